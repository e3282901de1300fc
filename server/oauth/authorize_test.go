package oauth_test

import (
	"encoding/json"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/countersign/countersign/e2e/fuzz"
	"github.com/countersign/countersign/server/oauth"
)

// RFC 6749 section 4.1.2.1: "If the request fails due to a missing, invalid, or
// mismatching redirection URI, or if the client identifier is missing or invalid,
// the authorization server … MUST NOT automatically redirect the user-agent".
// OpenID Connect Core 1.0 section 3.1.2.6: any other error goes to the client.
func TestWhereErrorsGo(t *testing.T) {
	client := webClient()
	for _, test := range []struct {
		name    string
		change  url.Values
		unknown bool // the client
		code    oauth.Code
		page    bool
	}{
		{"no client_id", url.Values{"client_id": nil}, true, oauth.InvalidRequest, true},
		{"empty client_id", url.Values{"client_id": {""}}, true, oauth.InvalidRequest, true},
		{"unknown client", nil, true, oauth.InvalidClient, true},
		{"client_id that is not text", url.Values{"client_id": {"\xff"}}, true, oauth.InvalidClient, true},
		{"two client_id", url.Values{"client_id": {"web", "web"}}, false, oauth.InvalidRequest, true},
		{"no redirect_uri", url.Values{"redirect_uri": nil}, false, oauth.InvalidRequest, true},
		{"empty redirect_uri", url.Values{"redirect_uri": {""}}, false, oauth.InvalidRequest, true},
		{"unregistered redirect_uri", url.Values{"redirect_uri": {"https://evil.example/"}}, false, oauth.InvalidRequest, true},
		{"two redirect_uri", url.Values{"redirect_uri": {"https://app.example.com/cb", "https://evil.example/"}}, false, oauth.InvalidRequest, true},
		// Several defects: the page wins, whatever else is wrong.
		{"unknown client, bad scope", url.Values{"scope": {""}}, true, oauth.InvalidClient, true},
		{"unregistered redirect_uri, form_post, no response_type",
			url.Values{"redirect_uri": {"https://evil.example/"}, "response_mode": {"form_post"}, "response_type": nil}, false, oauth.InvalidRequest, true},

		// RFC 6749 sections 3.1.1 and 4.1.2.1.
		{"no response_type", url.Values{"response_type": nil}, false, oauth.InvalidRequest, false},
		{"empty response_type", url.Values{"response_type": {""}}, false, oauth.InvalidRequest, false},
		// RFC 9700 section 2.1.2, OAuth 2.1: nothing but the code.
		{"token", url.Values{"response_type": {"token"}}, false, oauth.UnsupportedResponseType, false},
		{"id_token", url.Values{"response_type": {"id_token"}}, false, oauth.UnsupportedResponseType, false},
		{"id_token token", url.Values{"response_type": {"id_token token"}}, false, oauth.UnsupportedResponseType, false},
		{"code id_token", url.Values{"response_type": {"code id_token"}}, false, oauth.UnsupportedResponseType, false},
		{"code token", url.Values{"response_type": {"code token"}}, false, oauth.UnsupportedResponseType, false},
		{"none", url.Values{"response_type": {"none"}}, false, oauth.UnsupportedResponseType, false},
		{"CODE", url.Values{"response_type": {"CODE"}}, false, oauth.UnsupportedResponseType, false},
		{"code and a space", url.Values{"response_type": {"code "}}, false, oauth.UnsupportedResponseType, false},
		// OpenID Connect Core 1.0 sections 6.1, 6.2 and 7.2.1, named in 3.1.2.6.
		{"request", url.Values{"request": {"eyJhbGciOiJub25lIn0.e30."}}, false, oauth.RequestNotSupported, false},
		{"request_uri", url.Values{"request_uri": {"https://evil.example/r"}}, false, oauth.RequestURINotSupported, false},
		{"pushed request_uri", url.Values{"request_uri": {"urn:ietf:params:oauth:request_uri:x"}}, false, oauth.RequestURINotSupported, false},
		{"registration", url.Values{"registration": {"{}"}}, false, oauth.RegistrationNotSupported, false},
		// A request object does not excuse the parameters (section 6.1).
		{"request without response_type", url.Values{"request": {"x"}, "response_type": nil}, false, oauth.RequestNotSupported, false},
		// OAuth 2.0 Multiple Response Types section 2.1; fragment is refused for code.
		{"fragment", url.Values{"response_mode": {"fragment"}}, false, oauth.InvalidRequest, false},
		{"query.jwt", url.Values{"response_mode": {"query.jwt"}}, false, oauth.InvalidRequest, false},
		{"web_message", url.Values{"response_mode": {"web_message"}}, false, oauth.InvalidRequest, false},
		{"QUERY", url.Values{"response_mode": {"QUERY"}}, false, oauth.InvalidRequest, false},
		{"no scope", url.Values{"scope": nil}, false, oauth.InvalidScope, false},
		{"a long nonce", url.Values{"nonce": {strings.Repeat("n", 1025)}}, false, oauth.InvalidRequest, false},
		// OpenID Connect Core 1.0 section 3.1.2.1, id_token_hint.
		{"a hint that is not ours", url.Values{"id_token_hint": {"x.y.z"}}, false, oauth.InvalidRequest, false},
		{"a hint that is not ours, silently", url.Values{"id_token_hint": {"x.y.z"}, "prompt": {"none"}}, false, oauth.LoginRequired, false},
	} {
		l := oauth.Lookups{Client: &client}
		if test.unknown {
			l.Client = nil
		}
		got, err := oauth.Authorize(valid(test.change), l, policy())
		if codeOf(err) != test.code {
			t.Errorf("%s: %v, want %s", test.name, err, test.code)
			continue
		}
		describe(t, err)
		if !cmp.Equal(got, oauth.AuthorizeRequest{}) {
			t.Errorf("%s: a refused request was returned: %+v", test.name, got)
		}
		var want *oauth.ResponseTarget
		if !test.page {
			want = &oauth.ResponseTarget{RedirectURI: "https://app.example.com/cb", Mode: oauth.ModeQuery, State: "xyz"}
		}
		if diff := cmp.Diff(want, target(t, err)); diff != "" {
			t.Errorf("%s: target (-want +got):\n%s", test.name, diff)
		}
	}
}

// What a good request becomes.
func TestAuthorize(t *testing.T) {
	client := webClient()
	hour := time.Hour
	got, err := oauth.Authorize(valid(url.Values{
		"response_mode": {"form_post"}, "scope": {"openid email"}, "nonce": {"n-0S6_WzA2Mj"}, "prompt": {"login"}, "max_age": {"3600"},
		"login_hint": {"jane@example.com"}, "ui_locales": {"de-CH  en"}, "connector_id": {"ldap"}, "id_token_hint": {"a.b.c"},
		"code_challenge": {challenge}, "code_challenge_method": {"S256"},
	}), oauth.Lookups{Client: &client, HintSubject: "subject"}, policy())
	if err != nil {
		t.Fatal(err)
	}
	want := oauth.AuthorizeRequest{
		ClientID: "web", RedirectURI: "https://app.example.com/cb", ResponseMode: oauth.ModeFormPost, State: "xyz",
		Scopes: []string{"openid", "email"}, Nonce: "n-0S6_WzA2Mj", CodeChallenge: challenge, CodeChallengeMethod: "S256",
		Prompt: []string{"login"}, MaxAge: &hour, LoginHint: "jane@example.com", UILocales: []string{"de-CH", "en"},
		ConnectorID: "ldap", HintSubject: "subject",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// OpenID Connect Core 1.0 section 3.1.2.1: "Other parameters MAY be sent", and
// those that only ask are tolerated.
func TestTolerated(t *testing.T) {
	client := webClient()
	plain, err := oauth.Authorize(valid(nil), oauth.Lookups{Client: &client}, policy())
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{
		"display": "popup", "claims": `{"id_token":{"name":{"essential":true}}}`, "claims_locales": "fr", "acr_values": "urn:mace:incommon:iap:silver 2",
		"unknown": "anything", "access_type": "offline", "audience": "https://api.example.com", "resource": "https://api.example.com", "dpop_jkt": "x",
		// Hints that are too long to be any are dropped.
		"login_hint": strings.Repeat("x", 257), "ui_locales": strings.Repeat("de ", 50),
		"response_mode": "query", "client_secret": "never-here",
	} {
		got, err := oauth.Authorize(valid(url.Values{name: {value}}), oauth.Lookups{Client: &client}, policy())
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got.UILocales = plain.UILocales
		if diff := cmp.Diff(plain, got); diff != "" {
			t.Errorf("%s changes the request (-want +got):\n%s", name, diff)
		}
	}
}

// RFC 6749 section 4.1.2: state is "the exact value received from the client".
func TestStateRoundTripsExactly(t *testing.T) {
	client := webClient()
	for _, state := range append(hostileStates, "", strings.Repeat("\"", 1024), strings.Repeat("ü", 512)) {
		r, err := oauth.Authorize(valid(url.Values{"state": {state}}), oauth.Lookups{Client: &client}, policy())
		if err != nil {
			t.Errorf("state %.20q: %v", state, err)
			continue
		}
		// As a flow carries it.
		sealed, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		var back oauth.AuthorizeRequest
		if err := json.Unmarshal(sealed, &back); err != nil || !cmp.Equal(r, back, cmpopts.EquateEmpty()) {
			t.Errorf("state %.20q: the request changes on its way: %v %s", state, err, cmp.Diff(r, back))
		}
		if got := back.Target().Response(issuer, "c")["state"]; state == "" && got != nil || state != "" && !cmp.Equal(got, []string{state}) {
			t.Errorf("state %.20q comes back as %.20q", state, got)
		}
		// In errors too.
		_, err = oauth.Authorize(valid(url.Values{"state": {state}, "scope": nil}), oauth.Lookups{Client: &client}, policy())
		if to := target(t, err); to == nil || to.State != state {
			t.Errorf("state %.20q comes back with an error as %+v", state, to)
		}
	}
}

// OAuth 2.0 Form Post Response Mode section 2, for errors too; a browser cannot
// post to the private-use scheme of a native app.
func TestFormPost(t *testing.T) {
	client := webClient()
	client.RedirectURIs = append(client.RedirectURIs, "com.example.app:/cb", "http://127.0.0.1/cb")
	for _, test := range []struct {
		name, uri, mode, responseType string
		code                          oauth.Code
		want                          string
	}{
		{"success", "https://app.example.com/cb", "form_post", "code", "", oauth.ModeFormPost},
		{"error", "https://app.example.com/cb", "form_post", "token", oauth.UnsupportedResponseType, oauth.ModeFormPost},
		{"loopback", "http://127.0.0.1:99/cb", "form_post", "code", "", oauth.ModeFormPost},
		{"private-use scheme", "com.example.app:/cb", "form_post", "code", oauth.InvalidRequest, oauth.ModeQuery},
		{"private-use scheme, query", "com.example.app:/cb", "query", "code", "", oauth.ModeQuery},
		{"default", "https://app.example.com/cb", "", "code", "", oauth.ModeQuery},
	} {
		r, err := oauth.Authorize(valid(url.Values{
			"redirect_uri": {test.uri}, "response_mode": {test.mode}, "response_type": {test.responseType}}), oauth.Lookups{Client: &client}, policy())
		if codeOf(err) != test.code {
			t.Errorf("%s: %v, want %q", test.name, err, test.code)
			continue
		}
		to := r.Target()
		if err != nil {
			describe(t, err)
			to = *target(t, err)
		}
		if want := (oauth.ResponseTarget{RedirectURI: test.uri, Mode: test.want, State: "xyz"}); to != want {
			t.Errorf("%s: target %+v, want %+v", test.name, to, want)
		}
	}
}

func TestClientIDOf(t *testing.T) {
	for _, test := range []struct {
		name string
		form url.Values
		want string
	}{
		{"one", url.Values{"client_id": {"web"}}, "web"},
		{"none", url.Values{}, ""},
		{"two", url.Values{"client_id": {"web", "web"}}, ""},
		// Nothing that a database would choke on is looked up.
		{"NUL", url.Values{"client_id": {"we\x00b"}}, ""},
		{"not UTF-8", url.Values{"client_id": {"\xff"}}, ""},
	} {
		if got := oauth.ClientIDOf(test.form); got != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}

func TestRefuse(t *testing.T) {
	r := oauth.AuthorizeRequest{RedirectURI: "https://app.example.com/cb", ResponseMode: oauth.ModeFormPost, State: "s"}
	err := r.Refuse(oauth.AccessDenied, "the person refused")
	want := &oauth.ResponseTarget{RedirectURI: "https://app.example.com/cb", Mode: oauth.ModeFormPost, State: "s"}
	if diff := cmp.Diff(want, target(t, err)); diff != "" || codeOf(err) != oauth.AccessDenied {
		t.Errorf("%v\n%s", err, diff)
	}
}

func FuzzAuthorize(f *testing.F) {
	fuzz.Widely(f)
	f.Add(valid(nil).Encode(), "https://app.example.com/cb", false)
	f.Add(valid(url.Values{"code_challenge": {challenge}, "code_challenge_method": {"S256"}, "redirect_uri": {"http://127.0.0.1:1/"}}).Encode(), "", true)
	f.Add(valid(url.Values{"prompt": {"none login"}, "max_age": {"1"}, "response_mode": {"form_post"}}).Encode(), "com.example.app:/cb", true)
	f.Add("client_id=web&redirect_uri=http%3A%2F%2Flocalhost%2F&state=%FF&state=%00&scope=openid+audience%3Aserver%3Aclient_id%3Ax", "", true)
	f.Add("%22%5C%0A=1&%22%5C%0A=2&client_id=web&redirect_uri=http://[::1]:7", "http://[::1]", false)
	f.Fuzz(func(t *testing.T, query, registered string, public bool) {
		form, err := url.ParseQuery(query)
		if err != nil {
			return
		}
		client := webClient()
		client.Public, client.RedirectURIs = public, strings.Fields(registered)
		before := form.Encode()
		oauth.AudiencesOf(form)
		r, err := oauth.Authorize(form, oauth.Lookups{Client: &client}, policy())
		if form.Encode() != before {
			t.Fatal("the form was changed")
		}
		to := r.Target()
		if err != nil {
			describe(t, err)
			p := target(t, err)
			if p == nil {
				return
			}
			to = *p
		}
		// Nobody is sent where the client did not register, in any outcome.
		if !oauth.MatchRedirectURI(client, to.RedirectURI) || to.RedirectURI != form.Get("redirect_uri") {
			t.Fatalf("answers to %q", to.RedirectURI)
		}
		if to.State != "" && to.State != form.Get("state") {
			t.Fatalf("state %q became %q", form.Get("state"), to.State)
		}
		if err == nil && (len(form["redirect_uri"]) != 1 || len(form["client_id"]) != 1 || form.Get("response_type") != "code" ||
			public && r.CodeChallenge == "" || r.Scopes == nil) {
			t.Fatalf("accepted %s", query)
		}
	})
}
