package oauth_test

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/countersign/countersign/server/oauth"
	"github.com/countersign/countersign/storage"
)

// offlineGrant is a grant whose newest refresh token, of generation 5, was issued
// at now.
func offlineGrant() storage.Grant {
	g := grant()
	g.Scopes = []string{"openid", "email", "offline_access"}
	g.Generation, g.RefreshedAt, g.ExpiresAt = 5, now, now.Add(30*24*time.Hour)
	g.CodeRedeemedAt = now.Add(-time.Hour)
	return g
}

// newest is the newest refresh token of offlineGrant.
func newest() oauth.RefreshToken {
	return oauth.RefreshToken{GrantID: grant().ID, Generation: 5}
}

// The client's word goes before the server's; what it does not say is the
// server's, and 0 is something that it says.
func TestRefreshPolicyOf(t *testing.T) {
	server := policy().Refresh
	yes, no, zero, minute := true, false, time.Duration(0), time.Minute
	never := server
	never.DisableRotation = true
	for _, test := range []struct {
		name   string
		server oauth.RefreshPolicy
		client storage.RefreshTokens
		want   oauth.RefreshPolicy
	}{
		{"nothing", server, storage.RefreshTokens{}, server},
		{"everything", server, storage.RefreshTokens{ReuseInterval: &minute, IdleLifetime: time.Hour, AbsoluteLifetime: 2 * time.Hour, DisableRotation: &yes},
			oauth.RefreshPolicy{ReuseInterval: minute, IdleLifetime: time.Hour, AbsoluteLifetime: 2 * time.Hour, DisableRotation: true}},
		{"no reuse at all", server, storage.RefreshTokens{ReuseInterval: &zero},
			oauth.RefreshPolicy{IdleLifetime: server.IdleLifetime, AbsoluteLifetime: server.AbsoluteLifetime}},
		{"idle alone", server, storage.RefreshTokens{IdleLifetime: 20 * time.Minute},
			oauth.RefreshPolicy{ReuseInterval: server.ReuseInterval, IdleLifetime: 20 * time.Minute, AbsoluteLifetime: server.AbsoluteLifetime}},
		{"the end alone", server, storage.RefreshTokens{AbsoluteLifetime: time.Hour},
			oauth.RefreshPolicy{ReuseInterval: server.ReuseInterval, IdleLifetime: server.IdleLifetime, AbsoluteLifetime: time.Hour}},
		{"rotation all the same", never, storage.RefreshTokens{DisableRotation: &no}, server},
		{"no rotation either", never, storage.RefreshTokens{}, never},
	} {
		p, c := policy(), webClient()
		p.Refresh, c.RefreshTokens = test.server, test.client
		if diff := cmp.Diff(test.want, oauth.RefreshPolicyOf(p, c)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
	}
}

// What a person is shown as signed in is what a refresh would find alive.
func TestKeepsSignedIn(t *testing.T) {
	p := policy()
	p.Refresh.IdleLifetime = time.Hour
	for name, test := range map[string]struct {
		change func(*storage.Grant, *storage.Client)
		want   bool
	}{
		"used":                       {func(*storage.Grant, *storage.Client) {}, true},
		"at the idle limit":          {func(g *storage.Grant, _ *storage.Client) { g.RefreshedAt = now.Add(-time.Hour) }, false},
		"just before":                {func(g *storage.Grant, _ *storage.Client) { g.RefreshedAt = now.Add(1 - time.Hour) }, true},
		"at the client's limit":      {func(_ *storage.Grant, c *storage.Client) { c.RefreshTokens.IdleLifetime = time.Minute }, false},
		"without a refresh token":    {func(g *storage.Grant, _ *storage.Client) { g.Scopes = []string{"openid"} }, false},
		"a client that is not there": {func(g *storage.Grant, c *storage.Client) { *c = storage.Client{ID: g.ClientID} }, true},
	} {
		g, c := grant(), webClient()
		g.Scopes, g.RefreshedAt = []string{"openid", oauth.ScopeOfflineAccess}, now.Add(-time.Minute)
		test.change(&g, &c)
		if got := oauth.KeepsSignedIn(g, c, p, now); got != test.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

// RFC 6749 section 1.5: a refresh token is opaque to the client; what it says to
// us is fixed for as long as tokens live.
func TestRefreshTokenEncoding(t *testing.T) {
	for generation, want := range map[int64]string{
		0: "01955fff0a0b7c0d8e0f01020304050600000000000000004b5e57f6", 5: "01955fff0a0b7c0d8e0f01020304050600000000000000054b5e57f6",
		1 << 40: "01955fff0a0b7c0d8e0f01020304050600000100000000004b5e57f6",
	} {
		g := grant()
		g.Generation = generation
		token := oauth.NewestRefreshToken(g)
		encoded := token.Encode()
		if hex.EncodeToString(encoded) != want || len(encoded) != oauth.RefreshTokenBytes {
			t.Errorf("generation %d is %x, want %s", generation, encoded, want)
		}
		if got, err := oauth.DecodeRefreshToken(encoded); err != nil || got != token {
			t.Errorf("%x comes back as %+v, %v", encoded, got, err)
		}
		// Nothing in it is random: the successor can be made again.
		if !bytes.Equal(encoded, token.Encode()) {
			t.Error("the same token has two spellings")
		}
	}
	// SECURITY: zitadel CVE-2026-27840: no prefix is a token, nor one with a tail.
	encoded := newest().Encode()
	for n := range oauth.RefreshTokenBytes {
		if got, err := oauth.DecodeRefreshToken(encoded[:n]); codeOf(err) != oauth.InvalidGrant || got != (oauth.RefreshToken{}) {
			t.Errorf("%d bytes: %+v, %v, want invalid_grant", n, got, err)
		}
	}
	if _, err := oauth.DecodeRefreshToken(append(encoded, 0)); codeOf(err) != oauth.InvalidGrant {
		t.Errorf("a byte more: %v, want invalid_grant", err)
	}
}

// A token says whose it is before anybody looks for it.
func TestRefreshTokenIssuedTo(t *testing.T) {
	token := oauth.NewestRefreshToken(offlineGrant())
	for id, want := range map[string]bool{"web": true, "": false, "WEB": false, "web ": false, "we": false, "other": false} {
		if got := token.IssuedTo(storage.Client{ID: id}); got != want {
			t.Errorf("client %q: %v", id, got)
		}
	}
	if (oauth.RefreshToken{}).IssuedTo(storage.Client{}) {
		t.Error("a token that says nothing is somebody's")
	}
}

func FuzzRefreshToken(f *testing.F) {
	f.Add(newest().Encode())
	f.Add(bytes.Repeat([]byte{0xff}, oauth.RefreshTokenBytes))
	f.Add([]byte("csr_"))
	f.Fuzz(func(t *testing.T, b []byte) {
		token, err := oauth.DecodeRefreshToken(b)
		if (err == nil) != (len(b) == oauth.RefreshTokenBytes) {
			t.Fatalf("%d bytes: %v", len(b), err)
		}
		if err == nil && !bytes.Equal(token.Encode(), b) || err != nil && token != (oauth.RefreshToken{}) {
			t.Fatalf("%x comes back as %x, %v", b, token.Encode(), err)
		}
		// Whatever a token says, it does not panic, and only the newest rotates.
		g := offlineGrant()
		verdict, err := oauth.Refresh(g, webClient(), token, policy(), now)
		if (verdict == oauth.RefreshRecheck) != (token.Generation == g.Generation) || (err == nil) != (verdict == oauth.RefreshRecheck || verdict == oauth.RefreshRepeat) {
			t.Fatalf("generation %d: verdict %d, %v", token.Generation, verdict, err)
		}
	})
}

// OpenID Connect Core 1.0 section 11.
func TestIssuesRefreshToken(t *testing.T) {
	for scopes, want := range map[string]bool{
		"openid offline_access": true, "openid": false, "": false, "openid OFFLINE_ACCESS": false, "openid offline_access2": false,
		"openid audience:server:client_id:offline_access": false,
	} {
		if got := oauth.IssuesRefreshToken(storage.Grant{Scopes: strings.Fields(scopes)}); got != want {
			t.Errorf("%q: %v", scopes, got)
		}
	}
}

// RFC 6749 section 6.
func TestParseRefreshRequest(t *testing.T) {
	for _, test := range []struct {
		name string
		form url.Values
		want oauth.RefreshRequest
		code oauth.Code
	}{
		{"token", url.Values{"refresh_token": {"t"}}, oauth.RefreshRequest{Token: "t"}, ""},
		{"scope", url.Values{"refresh_token": {"t"}, "scope": {"openid email"}}, oauth.RefreshRequest{Token: "t", Scope: "openid email"}, ""},
		// Section 3.1: "sent without a value MUST be treated as if they were omitted".
		{"empty scope", url.Values{"refresh_token": {"t"}, "scope": {""}}, oauth.RefreshRequest{Token: "t"}, ""},
		{"no token", url.Values{"scope": {"openid"}}, oauth.RefreshRequest{Scope: "openid"}, oauth.InvalidRequest},
		{"empty token", url.Values{"refresh_token": {""}}, oauth.RefreshRequest{}, oauth.InvalidRequest},
		{"a code instead", url.Values{"code": {"t"}}, oauth.RefreshRequest{}, oauth.InvalidRequest},
		{"nothing", nil, oauth.RefreshRequest{}, oauth.InvalidRequest},
	} {
		got, err := oauth.ParseRefreshRequest(test.form)
		if diff := cmp.Diff(test.want, got); diff != "" || codeOf(err) != test.code {
			t.Errorf("%s: %v, want %q (-want +got):\n%s", test.name, err, test.code, diff)
		}
		if err != nil {
			describe(t, err)
		}
	}
	// Section 3.1: "Request and response parameters MUST NOT be included more than
	// once": the grant type is read first, and refuses it.
	for _, name := range []string{"refresh_token", "scope", "grant_type"} {
		form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {"t"}, "scope": {"openid"}}
		form.Add(name, form.Get(name))
		if _, err := oauth.TokenGrantType(form); codeOf(err) != oauth.InvalidRequest {
			t.Errorf("%s twice: %v", name, err)
		}
	}
}

// The step that is tried before anything is known.
func TestNewRotation(t *testing.T) {
	checkedAfter := []storage.CheckLimit{{ConnectorID: "ldap", After: now.Add(-5 * time.Minute)}}
	want := storage.Rotation{
		ID: grant().ID, ClientID: "web", Generation: 5, Next: 6, Now: now,
		UsedAfter: now.Add(-12 * time.Hour), CheckedAfter: checkedAfter, UserAgent: "kubectl", IPAddress: "192.0.2.1",
	}
	got := oauth.NewRotation(newest(), webClient(), policy(), checkedAfter, "kubectl", "192.0.2.1", now)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	yes := true
	c := webClient()
	c.RefreshTokens = storage.RefreshTokens{DisableRotation: &yes, IdleLifetime: 20 * time.Minute}
	want.Next, want.UsedAfter = 5, now.Add(-20*time.Minute)
	got = oauth.NewRotation(newest(), c, policy(), checkedAfter, "kubectl", "192.0.2.1", now)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("without rotation (-want +got):\n%s", diff)
	}
}

// A repeat leaves the grant as it is, to the user agent that holds the token.
func TestNewRepeat(t *testing.T) {
	g := offlineGrant()
	g.RefreshedUserAgent, g.RefreshedIPAddress = "kubectl", "192.0.2.1"
	want := storage.Rotation{
		ID: g.ID, ClientID: "web", Generation: 5, Next: 5, Now: now,
		UsedAfter: now.Add(-time.Second), UserAgent: "kubectl", IPAddress: "192.0.2.1",
	}
	if diff := cmp.Diff(want, oauth.NewRepeat(g)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// situation is everything that a verdict depends on.
type situation struct {
	delta                                           int64         // generations that the token is ahead of the newest
	since                                           time.Duration // since the newest was issued
	left                                            time.Duration // until the absolute end
	interval                                        time.Duration
	revoked, foreign, online, unredeemed, unrotated bool
}

// want is what must be decided, said once more: whose token it is and whether the
// grant lives, then what the token is to the grant.
func (s situation) want() oauth.RefreshVerdict {
	dead := s.foreign || s.online || s.unredeemed || s.revoked || s.left <= 0 || s.delta > 0
	idle := s.since >= policy().Refresh.IdleLifetime
	justBefore := s.delta == -1 && !s.unrotated && s.since < s.interval && s.interval != 0
	switch {
	case dead:
		return oauth.RefreshRefuse
	case s.delta == 0 && !idle:
		return oauth.RefreshRecheck
	case s.delta == 0:
		return oauth.RefreshRefuse
	case justBefore && !idle:
		return oauth.RefreshRepeat
	case justBefore:
		return oauth.RefreshRefuse
	}
	return oauth.RefreshReuse
}

func (s situation) decide() (oauth.RefreshVerdict, error) {
	p, c, g := policy(), webClient(), offlineGrant()
	p.Refresh.ReuseInterval, p.Refresh.DisableRotation = s.interval, s.unrotated
	g.RefreshedAt, g.ExpiresAt = now.Add(-s.since), now.Add(s.left)
	if s.revoked {
		g.RevokedAt = now.Add(-time.Second)
	}
	if s.foreign {
		c.ID = "another"
	}
	if s.online {
		g.Scopes = []string{"openid", "email"}
	}
	if s.unredeemed {
		g.CodeRedeemedAt = time.Time{}
	}
	return oauth.Refresh(g, c, oauth.RefreshToken{GrantID: g.ID, Generation: g.Generation + s.delta}, p, now)
}

// RFC 6749 section 6, RFC 9700 section 4.14.2: every situation there is.
func TestRefreshMatrix(t *testing.T) {
	const tick = time.Microsecond
	interval, idle := policy().Refresh.ReuseInterval, policy().Refresh.IdleLifetime
	count := map[oauth.RefreshVerdict]int{}
	for _, delta := range []int64{-5, -2, -1, 0, 1, 2} {
		for _, since := range []time.Duration{-time.Minute, 0, interval - tick, interval, interval + tick, idle - tick, idle, idle + tick} {
			for _, left := range []time.Duration{-time.Hour, 0, tick, time.Hour} {
				for _, within := range []time.Duration{0, interval, 2 * idle} {
					for flags := range 32 {
						on := func(bit int) bool { return flags>>bit&1 == 1 }
						s := situation{delta, since, left, within, on(0), on(1), on(2), on(3), on(4)}
						got, err := s.decide()
						if want := s.want(); got != want {
							t.Fatalf("%+v: verdict %d, want %d", s, got, want)
						}
						checkRefreshError(t, fmt.Sprintf("%+v", s), got, err)
						count[got]++
					}
				}
			}
		}
	}
	for v := oauth.RefreshRefuse; v <= oauth.RefreshReuse; v++ {
		if count[v] == 0 {
			t.Errorf("verdict %d never came", v)
		}
	}
}

// RFC 6749 section 5.2: invalid_grant, whatever is wrong. The answer to a stranger
// never tells what.
func checkRefreshError(t *testing.T, what string, verdict oauth.RefreshVerdict, err error) {
	t.Helper()
	var want error
	switch verdict {
	case oauth.RefreshRefuse:
		want = oauth.ErrInvalidRefreshToken()
	case oauth.RefreshReuse:
		want = oauth.ErrRefreshTokenReused()
	}
	if fmt.Sprint(err) != fmt.Sprint(want) || want != nil && (codeOf(err) != oauth.InvalidGrant || describe(t, err) == "") {
		t.Fatalf("%s: error %v, want %v", what, err, want)
	}
}

// What the client says of itself decides: 20 minutes for Kubernetes.
func TestRefreshByClient(t *testing.T) {
	zero, minute, yes := time.Duration(0), time.Minute, true
	previous := oauth.RefreshToken{GrantID: grant().ID, Generation: 4}
	for _, test := range []struct {
		name   string
		client storage.RefreshTokens
		token  oauth.RefreshToken
		since  time.Duration
		want   oauth.RefreshVerdict
	}{
		{"idle in time", storage.RefreshTokens{IdleLifetime: 20 * time.Minute}, newest(), 20*time.Minute - 1, oauth.RefreshRecheck},
		{"idle too long", storage.RefreshTokens{IdleLifetime: 20 * time.Minute}, newest(), 20 * time.Minute, oauth.RefreshRefuse},
		{"no reuse", storage.RefreshTokens{ReuseInterval: &zero}, previous, 0, oauth.RefreshReuse},
		// A replica whose clock is ahead rotated: the window is still none.
		{"no reuse, before it was rotated", storage.RefreshTokens{ReuseInterval: &zero}, previous, -time.Minute, oauth.RefreshReuse},
		{"longer reuse", storage.RefreshTokens{ReuseInterval: &minute}, previous, minute - 1, oauth.RefreshRepeat},
		// Without rotation every use moves RefreshedAt: a token from the time before
		// must not come alive with each.
		{"rotation was on", storage.RefreshTokens{DisableRotation: &yes}, previous, 0, oauth.RefreshReuse},
		{"rotation is off", storage.RefreshTokens{DisableRotation: &yes}, newest(), time.Hour, oauth.RefreshRecheck},
	} {
		c, g := webClient(), offlineGrant()
		c.RefreshTokens, g.RefreshedAt = test.client, now.Add(-test.since)
		got, err := oauth.Refresh(g, c, test.token, policy(), now)
		if got != test.want {
			t.Errorf("%s: verdict %d, %v, want %d", test.name, got, err, test.want)
		}
	}
	// A verdict that nobody made is a refusal.
	var none oauth.RefreshVerdict
	if none != oauth.RefreshRefuse {
		t.Error("the zero verdict is no refusal")
	}
}

// A client, a connector and an audience that are not allowed any more end it.
func TestCheckRefreshed(t *testing.T) {
	all := []string{"local", "ldap"}
	trusting := map[string]storage.Client{"k8s": {ID: "k8s", TrustedPeers: []string{"web"}}}
	const aud = "audience:server:client_id:"
	for _, test := range []struct {
		name       string
		change     func(*storage.Grant, *storage.Client)
		connectors []string
		peers      map[string]storage.Client
		code       oauth.Code
	}{
		{"as before", nil, all, nil, ""},
		{"allowed by name", func(_ *storage.Grant, c *storage.Client) { c.AllowedConnectors = []string{"ldap"} }, all, nil, ""},
		{"the connector is gone", nil, []string{"local"}, nil, oauth.InvalidGrant},
		{"all connectors are gone", nil, nil, nil, oauth.InvalidGrant},
		{"the client may not use it any more", func(_ *storage.Grant, c *storage.Client) { c.AllowedConnectors = []string{"local"} }, all, nil, oauth.InvalidGrant},
		{"allowed, but gone", func(_ *storage.Grant, c *storage.Client) { c.AllowedConnectors = []string{"ldap"} }, []string{"local"}, nil, oauth.InvalidGrant},
		{"as old as they get", func(g *storage.Grant, _ *storage.Client) {
			g.CodeRedeemedAt = now.Add(1 - policy().Refresh.AbsoluteLifetime)
		}, all, nil, ""},
		{"older than they get by now", func(g *storage.Grant, _ *storage.Client) {
			g.CodeRedeemedAt = now.Add(-policy().Refresh.AbsoluteLifetime)
		}, all, nil, oauth.InvalidGrant},
		{"younger, and the client's are shorter", func(g *storage.Grant, c *storage.Client) {
			g.CodeRedeemedAt, c.RefreshTokens.AbsoluteLifetime = now.Add(-time.Hour), time.Hour
		}, all, nil, oauth.InvalidGrant},
		{"never offline", func(g *storage.Grant, _ *storage.Client) { g.Scopes = []string{"openid"} }, all, nil, oauth.InvalidGrant},
		{"an audience that trusts it", func(g *storage.Grant, _ *storage.Client) { g.Scopes = append(g.Scopes, aud+"k8s") }, all, trusting, ""},
		{"itself as an audience", func(g *storage.Grant, _ *storage.Client) { g.Scopes = append(g.Scopes, aud+"web") }, all, nil, ""},
		{"an audience that trusts others now", func(g *storage.Grant, _ *storage.Client) { g.Scopes = append(g.Scopes, aud+"k8s") }, all,
			map[string]storage.Client{"k8s": {ID: "k8s", TrustedPeers: []string{"other"}}}, oauth.InvalidGrant},
		{"an audience that is gone", func(g *storage.Grant, _ *storage.Client) { g.Scopes = append(g.Scopes, aud+"k8s") }, all, nil, oauth.InvalidGrant},
	} {
		g, c := offlineGrant(), webClient()
		if test.change != nil {
			test.change(&g, &c)
		}
		err := oauth.CheckRefreshed(policy(), g, c, test.peers, test.connectors, now)
		if codeOf(err) != test.code {
			t.Errorf("%s: %v, want %q", test.name, err, test.code)
		}
		if err != nil && err.Error() != oauth.ErrInvalidRefreshToken().Error() {
			t.Errorf("%s: %v tells", test.name, err)
		}
	}
}

// RFC 6749 section 6: "MUST NOT include any scope not originally granted by the
// resource owner, and if omitted is treated as equal to the scope originally
// granted".
func TestNarrow(t *testing.T) {
	const aud = "audience:server:client_id:"
	granted := []string{"openid", "email", "groups", "offline_access", aud + "k8s"}
	for _, test := range []struct {
		name, scope string
		want        []string
		code        oauth.Code
	}{
		{"omitted", "", granted, ""},
		{"all", strings.Join(granted, " "), granted, ""},
		{"less", "openid email", []string{"openid", "email"}, ""},
		{"another order", "email openid", []string{"email", "openid"}, ""},
		{"each once", "openid openid", []string{"openid"}, ""},
		{"the audience", "openid " + aud + "k8s", []string{"openid", aud + "k8s"}, ""},
		// A client repeats what it once asked for: what was ignored then is ignored
		// now (OpenID Connect Core 1.0 section 3.1.2.1).
		{"unknown ones", "openid address https://example.com/x", []string{"openid"}, ""},
		{"more", "openid profile", nil, oauth.InvalidScope},
		{"all and more", strings.Join(granted, " ") + " profile", nil, oauth.InvalidScope},
		{"another audience", "openid " + aud + "api", nil, oauth.InvalidScope},
		{"itself as an audience", "openid " + aud + "web", nil, oauth.InvalidScope},
		{"federated:id", "openid federated:id", nil, oauth.InvalidScope},
		{"without openid", "email", nil, oauth.InvalidScope},
		{"spaces", "  ", nil, oauth.InvalidScope},
		{"what no scope may hold", "openid \"", nil, oauth.InvalidScope},
	} {
		got, err := oauth.Narrow(granted, test.scope)
		if diff := cmp.Diff(test.want, got); diff != "" || codeOf(err) != test.code {
			t.Errorf("%s: %v, want %q (-want +got):\n%s", test.name, err, test.code, diff)
		}
		if err != nil {
			describe(t, err)
		}
	}
	// Whatever is granted and whatever is asked, it never grows.
	known := oauth.NewMetadata(policy(), nil).ScopesSupported
	for have := range 1 << len(known) {
		for ask := range 1 << len(known) {
			got, _ := oauth.Narrow(some(known, have), strings.Join(some(known, ask), " "))
			for _, s := range got {
				if !slices.Contains(some(known, have), s) {
					t.Fatalf("%v was granted, %v was asked, %s came out", some(known, have), some(known, ask), s)
				}
			}
		}
	}
}

// some are those of a list whose bits are set.
func some(list []string, bits int) (out []string) {
	for i, s := range list {
		if bits>>i&1 == 1 {
			out = append(out, s)
		}
	}
	return out
}

// DESIGN: identity is checked again, not assumed.
func TestRecheck(t *testing.T) {
	r := oauth.Recheck{After: 5 * time.Minute, StaleIfError: time.Hour}
	for _, test := range []struct {
		age           time.Duration
		due, bearable bool
	}{
		{-time.Minute, false, true}, // another replica's clock is ahead
		{0, false, true},
		{5*time.Minute - 1, false, true},
		{5 * time.Minute, true, true},
		{time.Hour - 1, true, true},
		{time.Hour, true, false},
		{1000 * time.Hour, true, false},
	} {
		at := now.Add(-test.age)
		if due, bearable := r.Due(at, now), r.Bearable(at, now); due != test.due || bearable != test.bearable {
			t.Errorf("%v old: due %v, bearable %v; want %v, %v", test.age, due, bearable, test.due, test.bearable)
		}
	}
	if (oauth.Recheck{}).Due(time.Time{}, now) {
		t.Error("a connector that cannot be asked is asked")
	}
	if (oauth.Recheck{After: time.Minute}).Bearable(now, now) {
		t.Error("staleIfError 0 bears something")
	}
	if !r.Due(time.Time{}, now) || r.Bearable(time.Time{}, now) {
		t.Error("an identity that was never checked is relied on")
	}
}

// OpenID Connect Core 1.0 section 12.2.
func TestRefreshedIDToken(t *testing.T) {
	g := offlineGrant()
	g.Scopes = append(g.Scopes, "audience:server:client_id:k8s")
	later, changed := now.Add(3*time.Hour), jane()
	changed.Email = "doe@example.com"
	first := marshal(t, oauth.NewIDToken(policy(), webClient(), g, jane(), "RS256", "first", now))
	got := marshal(t, oauth.NewRefreshedIDToken(policy(), webClient(), g, changed, "RS256", "second", later))
	for _, claim := range []string{"iss", "sub", "aud", "azp", "auth_time", "acr", "amr", "sid"} {
		if diff := cmp.Diff(first[claim], got[claim]); diff != "" || got[claim] == nil {
			t.Errorf("%s must be the same (-first +refreshed):\n%s", claim, diff)
		}
	}
	if got["iat"] != float64(later.Unix()) || got["exp"] != float64(later.Add(10*time.Minute).Unix()) {
		t.Errorf("iat %v, exp %v", got["iat"], got["exp"])
	}
	// "it SHOULD NOT have a nonce Claim, even when the ID Token issued at the time of
	// the original authentication did".
	if nonce, there := got["nonce"]; there || first["nonce"] != "n" {
		t.Errorf("nonce %v, first %v", nonce, first["nonce"])
	}
	if got["at_hash"] != oauth.LeftHalfHash("RS256", "second") || got["email"] != "doe@example.com" {
		t.Errorf("at_hash %v, email %v", got["at_hash"], got["email"])
	}
}
