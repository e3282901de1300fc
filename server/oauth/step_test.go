package oauth_test

import (
	"slices"
	"testing"
	"time"

	"github.com/countersign/countersign/server/oauth"
	"github.com/countersign/countersign/storage"
)

// signedIn is a session of an hour ago, at the client "web", with all consent
// given: nothing is left to ask.
func signedIn(change func(*oauth.Situation)) oauth.Situation {
	client := webClient()
	s := oauth.Situation{
		Request: oauth.AuthorizeRequest{ClientID: "web", RedirectURI: "https://app.example.com/cb", Scopes: []string{"openid", "email"}},
		Client:  client,
		Connectors: []oauth.Connector{
			{ID: "ldap"}, {ID: "github"},
		},
		Session: &storage.Session{
			SID: "sid-1", ConnectorID: "ldap", UserID: "jane", AuthTime: now.Add(-time.Hour),
			LoginClientIDs: []string{"web"}, ExpiresAt: now.Add(time.Hour),
		},
		SessionClients: []storage.Client{client},
		Consented:      []string{"openid", "email", "groups"},
		WasConsented:   true,
		Now:            now,
	}
	if change != nil {
		change(&s)
	}
	return s
}

func prompt(values ...string) func(*oauth.Situation) {
	return func(s *oauth.Situation) { s.Request.Prompt = values }
}

func all(changes ...func(*oauth.Situation)) func(*oauth.Situation) {
	return func(s *oauth.Situation) {
		for _, c := range changes {
			c(s)
		}
	}
}

func TestNext(t *testing.T) {
	var (
		nobody     = func(s *oauth.Situation) { s.Session = nil }
		loggedIn   = func(s *oauth.Situation) { s.LoginSID = "sid-1" }
		otherLogin = func(s *oauth.Situation) { s.LoginSID = "sid-2" }
		stale      = func(s *oauth.Situation) { s.StaleSID = "sid-1" }
		otherStale = func(s *oauth.Situation) { s.StaleSID = "sid-2" }
		account    = func(s *oauth.Situation) { s.AccountSID = "sid-1" }
		otherAcct  = func(s *oauth.Situation) { s.AccountSID = "sid-2" }
		approved   = func(s *oauth.Situation) { s.ApprovedSID = "sid-1" }
		otherAppr  = func(s *oauth.Situation) { s.ApprovedSID = "sid-2" }
		anonymous  = func(s *oauth.Situation) { s.Session.SID = "" }
		unasked    = func(s *oauth.Situation) { s.Consented, s.WasConsented = nil, false }
		noScopes   = func(s *oauth.Situation) { s.Consented = nil }
		moreScopes = func(s *oauth.Situation) { s.Request.Scopes = append(s.Request.Scopes, "federated:id") }
		skip       = func(v bool) func(*oauth.Situation) {
			return func(s *oauth.Situation) { s.Client.SkipApproval = &v }
		}
		maxAge = func(d time.Duration) func(*oauth.Situation) {
			return func(s *oauth.Situation) { s.Request.MaxAge = &d }
		}
		age = func(d time.Duration) func(*oauth.Situation) {
			return func(s *oauth.Situation) { s.Session.AuthTime = now.Add(-d) }
		}
		hint = func(user, connector string) func(*oauth.Situation) {
			return func(s *oauth.Situation) { s.Request.HintSubject = oauth.Subject(user, connector) }
		}
		asked   = func(id string) func(*oauth.Situation) { return func(s *oauth.Situation) { s.Request.ConnectorID = id } }
		allowed = func(ids ...string) func(*oauth.Situation) {
			return func(s *oauth.Situation) { s.Client.AllowedConnectors = ids }
		}
		// at signs the person in at clients that share as told; nil: the default.
		at = func(shares map[string][]string) func(*oauth.Situation) {
			return func(s *oauth.Situation) {
				s.Session.LoginClientIDs, s.SessionClients = nil, nil
				for id, with := range shares {
					s.Session.LoginClientIDs = append(s.Session.LoginClientIDs, id)
					s.SessionClients = append(s.SessionClients, storage.Client{ID: id, SSOSharedWith: with})
				}
			}
		}
		// own: our own page waits, and no client.
		own = func(s *oauth.Situation) {
			s.Own, s.Client, s.Request = true, storage.Client{}, oauth.AuthorizeRequest{}
		}
		gone = func(s *oauth.Situation) { s.Session.LoginClientIDs, s.SessionClients = []string{"gone"}, nil }
	)
	const (
		choose     = oauth.StepChooseConnector
		login      = oauth.StepLogin
		chooseAcct = oauth.StepChooseAccount
		consent    = oauth.StepConsent
		issue      = oauth.StepIssue
	)
	for _, test := range []struct {
		name   string
		change func(*oauth.Situation)
		want   oauth.Step
		code   oauth.Code
	}{
		{"nothing to ask", nil, issue, ""},
		{"nobody", nobody, choose, ""},
		// A page of ours: any session will do, and there is nothing to consent to.
		{"own", own, issue, ""},
		{"own, nobody", all(own, nobody), choose, ""},
		{"own, not shared, no consent", all(own, unasked, at(map[string][]string{"b": {}})), issue, ""},
		{"own, from a connector that is gone", all(own, func(s *oauth.Situation) { s.Session.ConnectorID = "gone" }), issue, ""},
		// OpenID Connect Core 1.0 section 3.1.2.1, prompt=none: never a page.
		{"none, nothing to ask", prompt("none"), issue, ""},
		{"none, nobody", all(prompt("none"), nobody), 0, oauth.LoginRequired},
		{"none, no consent", all(prompt("none"), unasked), 0, oauth.ConsentRequired},
		{"none, more scopes", all(prompt("none"), moreScopes), 0, oauth.ConsentRequired},
		{"none, no consent needed", all(prompt("none"), unasked, skip(true)), issue, ""},
		{"none, too old", all(prompt("none"), maxAge(time.Minute)), 0, oauth.LoginRequired},
		{"none, max_age=0", all(prompt("none"), maxAge(0)), 0, oauth.LoginRequired},
		{"none, hint fits", all(prompt("none"), hint("jane", "ldap")), issue, ""},
		{"none, hint of another", all(prompt("none"), hint("joe", "ldap")), 0, oauth.LoginRequired},
		{"none, not shared", all(prompt("none"), at(map[string][]string{"b": {}})), 0, oauth.LoginRequired},
		{"none, connector not allowed", all(prompt("none"), allowed("github")), 0, oauth.LoginRequired},
		{"none, another connector asked for", all(prompt("none"), asked("github")), 0, oauth.LoginRequired},
		{"none, unknown connector asked for", all(prompt("none"), asked("gone")), 0, oauth.LoginRequired},
		// A connector that has to see the person again.
		{"stale", stale, choose, ""},
		{"stale before the sign-in of this flow", all(otherStale, loggedIn), issue, ""},
		{"stale after the sign-in of this flow", all(stale, loggedIn), choose, ""},
		{"none, stale", all(prompt("none"), stale), 0, oauth.LoginRequired},
		// prompt=login: even if the person is signed in.
		{"login", prompt("login"), choose, ""},
		{"login, done in this flow", all(prompt("login"), loggedIn), issue, ""},
		{"login, done for another session", all(prompt("login"), otherLogin), choose, ""},
		{"login, mark of nothing", all(prompt("login"), anonymous), choose, ""},
		{"login, connector asked for", all(prompt("login"), asked("ldap")), login, ""},
		{"login consent, logged in", all(prompt("login", "consent"), loggedIn), consent, ""},
		{"login consent, both done", all(prompt("login", "consent"), loggedIn, approved), issue, ""},
		{"login consent, only approved", all(prompt("login", "consent"), approved), choose, ""},
		// prompt=consent: even if consent was given.
		{"consent", prompt("consent"), consent, ""},
		{"consent, skipped otherwise", all(prompt("consent"), skip(true)), consent, ""},
		{"consent, approved", all(prompt("consent"), approved), issue, ""},
		{"consent, approved for another session", all(prompt("consent"), otherAppr), consent, ""},
		{"consent, mark of nothing", all(prompt("consent"), anonymous), consent, ""},
		{"consent, nobody", all(prompt("consent"), nobody, approved), choose, ""},
		// prompt=select_account.
		{"select_account", prompt("select_account"), chooseAcct, ""},
		{"select_account, chosen", all(prompt("select_account"), account), issue, ""},
		{"select_account, chosen for another session", all(prompt("select_account"), otherAcct), chooseAcct, ""},
		{"select_account, mark of nothing", all(prompt("select_account"), anonymous), chooseAcct, ""},
		{"select_account, logged in just now", all(prompt("select_account"), loggedIn), issue, ""},
		{"select_account, nobody", all(prompt("select_account"), nobody), choose, ""},
		{"select_account consent", all(prompt("select_account", "consent"), account), consent, ""},
		{"select_account login", all(prompt("select_account", "login"), account), choose, ""},
		// Section 3.1.2.1, max_age: seconds since auth_time as the client sees it.
		{"max_age, younger", all(maxAge(2*time.Hour), age(time.Hour)), issue, ""},
		{"max_age, older", all(maxAge(time.Minute), age(time.Hour)), choose, ""},
		{"max_age, older, logged in just now", all(maxAge(time.Minute), age(time.Hour), loggedIn), issue, ""},
		{"max_age, to the second", all(maxAge(10*time.Second), age(9200*time.Millisecond)), issue, ""},
		{"max_age, a fraction more", all(maxAge(10*time.Second), age(9900*time.Millisecond)), choose, ""},
		{"max_age=0", all(maxAge(0), age(0)), choose, ""},
		{"max_age=0, a clock ahead", all(maxAge(0), age(-time.Minute)), choose, ""},
		{"max_age=0, logged in just now", all(maxAge(0), age(0), loggedIn), issue, ""},
		{"max_age, a clock ahead", all(maxAge(time.Second), age(-time.Minute)), issue, ""},
		// Section 3.1.2.1, id_token_hint.
		{"hint fits", hint("jane", "ldap"), issue, ""},
		{"hint of another person", hint("joe", "ldap"), choose, ""},
		{"hint of another connector", hint("jane", "github"), choose, ""},
		{"hint of another person, logged in just now", all(hint("joe", "ldap"), loggedIn), choose, ""},
		{"hint of another person, all marks", all(hint("joe", "ldap"), loggedIn, account, approved), choose, ""},
		// allowedConnectors, and connectors that were removed.
		{"allowed connector", allowed("ldap"), issue, ""},
		{"connector not allowed", allowed("github"), login, ""},
		{"connector not allowed, logged in just now", all(allowed("github"), loggedIn), login, ""},
		{"connector gone", func(s *oauth.Situation) { s.Connectors = s.Connectors[1:] }, login, ""},
		{"connector gone, all marks", all(loggedIn, account, approved, func(s *oauth.Situation) { s.Connectors = s.Connectors[1:] }), login, ""},
		{"the connector asked for", asked("ldap"), issue, ""},
		{"another connector asked for", asked("github"), login, ""},
		{"another connector asked for, logged in just now", all(asked("github"), loggedIn), login, ""},
		{"unknown connector asked for", asked("gone"), 0, oauth.InvalidRequest},
		// Single sign-on: from where the person authenticated, to whom that shares.
		{"shared by default", at(map[string][]string{"b": nil}), issue, ""},
		{"shared with it", at(map[string][]string{"b": {"c", "web"}}), issue, ""},
		{"shared with all", at(map[string][]string{"b": {"*"}}), issue, ""},
		{"shared with nobody", at(map[string][]string{"b": {}}), choose, ""},
		{"shared with another", at(map[string][]string{"b": {"c"}}), choose, ""},
		{"one of two shares", at(map[string][]string{"b": {}, "c": {"web"}}), issue, ""},
		{"itself, which shares with nobody", at(map[string][]string{"web": {}}), issue, ""},
		{"a client that is gone", gone, choose, ""},
		{"not shared, logged in just now", all(at(map[string][]string{"b": {}}), loggedIn), issue, ""},
		{"what this client shares does not matter", all(at(map[string][]string{"b": {}}), func(s *oauth.Situation) { s.Client.SSOSharedWith = []string{"*"} }), choose, ""},
		// Section 3.1.2.4, consent.
		{"never asked", unasked, consent, ""},
		{"asked for more", moreScopes, consent, ""},
		{"consented to nothing", noScopes, consent, ""},
		{"approved now", all(unasked, approved), issue, ""},
		{"approved for another session", all(unasked, otherAppr), consent, ""},
		{"never asked, skipped for this client", all(unasked, skip(true)), issue, ""},
		{"consented, not skipped for this client", skip(false), issue, ""},
	} {
		s := signedIn(test.change)
		got, err := oauth.Next(s, policy())
		if codeOf(err) != test.code || got.Step != test.want {
			t.Errorf("%s: step %d, %v, want step %d %q", test.name, got.Step, err, test.want, test.code)
		}
		if err != nil {
			describe(t, err)
			if target(t, err) == nil {
				t.Errorf("%s: the client is not told", test.name)
			}
		}
	}
}

// skipApprovalScreen and ssoSharedWithDefault are the server's; a client's own
// word goes before.
func TestNextByPolicy(t *testing.T) {
	yes, no := true, false
	for _, test := range []struct {
		name             string
		skip, sharedWith bool
		clientSkip       *bool
		shares           []string
		want             oauth.Step
	}{
		{"skip", true, true, nil, nil, oauth.StepIssue},
		{"do not skip", false, true, nil, nil, oauth.StepConsent},
		{"skip, the client does not", true, true, &no, nil, oauth.StepConsent},
		{"do not skip, the client does", false, true, &yes, nil, oauth.StepIssue},
		{"shared with none", true, false, nil, nil, oauth.StepChooseConnector},
		{"shared with none, a client shares", true, false, nil, []string{"web"}, oauth.StepIssue},
		{"shared with all, a client does not share", true, true, nil, []string{}, oauth.StepChooseConnector},
	} {
		s := signedIn(func(s *oauth.Situation) {
			s.Consented, s.WasConsented, s.Client.SkipApproval = nil, false, test.clientSkip
			s.Session.LoginClientIDs = []string{"b"}
			s.SessionClients = []storage.Client{{ID: "b", SSOSharedWith: test.shares}}
		})
		p := policy()
		p.SkipApproval, p.SSOSharedWithAll = test.skip, test.sharedWith
		if got, err := oauth.Next(s, p); err != nil || got.Step != test.want {
			t.Errorf("%s: step %d, %v, want %d", test.name, got.Step, err, test.want)
		}
	}
}

// Dex #4885: A shares with B, B shares with C; a sign-in at A is not C's, also
// after B has used it.
func TestSharingIsNotTransitive(t *testing.T) {
	clients := map[string]storage.Client{
		"A": {ID: "A", SSOSharedWith: []string{"B"}},
		"B": {ID: "B", SSOSharedWith: []string{"C"}},
		"C": {ID: "C", SSOSharedWith: []string{"A"}},
	}
	for _, test := range []struct {
		at   []string // where the person authenticated
		to   string
		want oauth.Step
	}{
		{[]string{"A"}, "A", oauth.StepIssue},
		{[]string{"A"}, "B", oauth.StepIssue},
		{[]string{"A"}, "C", oauth.StepChooseConnector},
		{[]string{"B"}, "C", oauth.StepIssue},
		{[]string{"B"}, "A", oauth.StepChooseConnector},
		{[]string{"A", "B"}, "C", oauth.StepIssue},
		{[]string{"A", "C"}, "C", oauth.StepIssue},
	} {
		s := signedIn(func(s *oauth.Situation) {
			s.Client = clients[test.to]
			s.Session.LoginClientIDs, s.SessionClients = test.at, nil
			for _, id := range test.at {
				s.SessionClients = append(s.SessionClients, clients[id])
			}
		})
		if got, err := oauth.Next(s, policy()); err != nil || got.Step != test.want {
			t.Errorf("signed in at %v, asked by %s: step %d, %v, want %d", test.at, test.to, got.Step, err, test.want)
		}
	}
}

// Over every combination of what matters: a code is issued only when nothing
// forbids it, prompt=none never shows a page, and marks of another session never
// count.
func TestNextNeverIssuesTooEarly(t *testing.T) {
	yes, no := true, false
	minute, zero, day := time.Minute, time.Duration(0), 24*time.Hour
	jane, joe := oauth.Subject("jane", "ldap"), oauth.Subject("joe", "ldap")
	issued, total := 0, 0
	for _, prompt := range [][]string{nil, {"none"}, {"login"}, {"consent"}, {"select_account"}, {"login", "consent"}, {"select_account", "consent"}, {"select_account", "login"}} {
		for _, maxAge := range []*time.Duration{nil, &zero, &minute, &day} {
			for _, hint := range []string{"", jane, joe} {
				for _, sid := range []string{"none", "sid-1", ""} {
					for _, shares := range [][]string{nil, {}, {"web"}} {
						for _, connectors := range [][]string{nil, {"ldap"}, {"github"}} {
							for _, asked := range []string{"", "ldap", "github"} {
								for _, consented := range []int{0, 1, 2} {
									for _, skip := range []*bool{nil, &yes, &no} {
										for _, marks := range [][4]string{{}, {"sid-1"}, {"", "sid-1"}, {"", "", "sid-1"}, {"sid-1", "sid-1", "sid-1", "sid-2"}, {"sid-2", "sid-2", "sid-2", "sid-1"}, {"sid-1", "sid-1", "sid-1", "sid-1"}} {
											s := signedIn(func(s *oauth.Situation) {
												s.Request.Prompt, s.Request.MaxAge, s.Request.HintSubject, s.Request.ConnectorID = prompt, maxAge, hint, asked
												s.Session.SID = sid
												s.Session.LoginClientIDs = []string{"b"}
												s.SessionClients = []storage.Client{{ID: "b", SSOSharedWith: shares}}
												s.Client.AllowedConnectors, s.Client.SkipApproval = connectors, skip
												s.Consented, s.WasConsented = [][]string{nil, {"openid"}, {"openid", "email"}}[consented], consented > 0
												s.LoginSID, s.AccountSID, s.ApprovedSID, s.StaleSID = marks[0], marks[1], marks[2], marks[3]
												if sid == "none" {
													s.Session = nil
												}
											})
											total++
											got, err := oauth.Next(s, policy())
											switch {
											case err == nil && got.Step == oauth.StepIssue:
												issued++
												if reason := forbids(s); reason != "" {
													t.Fatalf("issued although %s: %+v", reason, s)
												}
											case err == nil && slices.Contains(prompt, "none"):
												t.Fatalf("prompt=none shows step %d: %+v", got.Step, s)
											case err == nil && got.Step == oauth.StepLogin && !oauth.AllowedConnector(s.Request, s.Connectors, s.Client, got.ConnectorID):
												t.Fatalf("sent to %q, which is not allowed: %+v", got.ConnectorID, s)
											case err != nil && forbids(s) == "":
												t.Fatalf("refused although nothing forbids it: %v: %+v", err, s)
											}
											if forbids(s) == "" && got.Step != oauth.StepIssue {
												t.Fatalf("asks step %d although nothing is left to ask: %+v", got.Step, s)
											}
										}
									}
								}
							}
						}
					}
				}
			}
		}
	}
	if issued == 0 || issued == total {
		t.Errorf("%d of %d situations issue a code", issued, total)
	}
}

// forbids says in other words than the core why no code may be issued yet.
func forbids(s oauth.Situation) string {
	if s.Session == nil {
		return "nobody is signed in"
	}
	is := func(mark string) bool { return mark != "" && mark == s.Session.SID }
	has := func(p string) bool { return slices.Contains(s.Request.Prompt, p) }
	switch {
	case len(s.Client.AllowedConnectors) > 0 && !slices.Contains(s.Client.AllowedConnectors, s.Session.ConnectorID):
		return "the client does not allow the connector"
	case s.Request.ConnectorID != "" && s.Request.ConnectorID != s.Session.ConnectorID:
		return "another connector was asked for"
	case s.Request.HintSubject != "" && s.Request.HintSubject != oauth.Subject(s.Session.UserID, s.Session.ConnectorID):
		return "the hint names somebody else"
	case is(s.StaleSID):
		return "the connector was not asked"
	}
	if !is(s.LoginSID) {
		switch {
		case has("login"):
			return "a fresh sign-in was asked for"
		case s.Request.MaxAge != nil && *s.Request.MaxAge < time.Hour:
			return "the sign-in is too old"
		case s.SessionClients[0].SSOSharedWith != nil && !slices.Contains(s.SessionClients[0].SSOSharedWith, "web"):
			return "the sign-in is not shared"
		case has("select_account") && !is(s.AccountSID):
			return "the account was not chosen"
		}
	}
	if is(s.ApprovedSID) {
		return ""
	}
	skip := s.Client.SkipApproval != nil && *s.Client.SkipApproval
	if has("consent") || !skip && len(s.Consented) < 2 {
		return "there is no consent"
	}
	return ""
}

// OpenID Connect Core 1.0 section 3.1.2.1, id_token_hint: "otherwise … an error,
// such as login_required".
func TestCheckHint(t *testing.T) {
	r := oauth.AuthorizeRequest{HintSubject: oauth.Subject("jane", "ldap"), RedirectURI: "https://app.example.com/cb"}
	if err := oauth.CheckHint(r, "jane", "ldap"); err != nil {
		t.Error(err)
	}
	if err := oauth.CheckHint(oauth.AuthorizeRequest{}, "joe", "ldap"); err != nil {
		t.Errorf("without a hint: %v", err)
	}
	for _, other := range [][2]string{{"joe", "ldap"}, {"jane", "github"}, {"", ""}} {
		err := oauth.CheckHint(r, other[0], other[1])
		if codeOf(err) != oauth.LoginRequired || target(t, err) == nil {
			t.Errorf("%v: %v, want login_required to the client", other, err)
			continue
		}
		describe(t, err)
	}
}
