package oauth_test

import (
	"encoding/json"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/countersign/countersign/server/oauth"
	"github.com/countersign/countersign/storage"
)

// RFC 7009 section 2.1, RFC 7662 section 2.1, RFC 6749 section 3.2.
func TestTokenParameter(t *testing.T) {
	for _, test := range []struct {
		name string
		form url.Values
		want string
		code oauth.Code
	}{
		{"token", url.Values{"token": {"t"}}, "t", ""},
		{"a hint", url.Values{"token": {"t"}, "token_type_hint": {"access_token"}}, "t", ""},
		// RFC 7009 section 2.1: the server "MAY ignore this parameter".
		{"a wrong hint", url.Values{"token": {"t"}, "token_type_hint": {"what?"}}, "t", ""},
		{"no token", url.Values{"token_type_hint": {"access_token"}}, "", oauth.InvalidRequest},
		{"an empty token", url.Values{"token": {""}}, "", oauth.InvalidRequest},
		{"two tokens", url.Values{"token": {"t", "u"}}, "", oauth.InvalidRequest},
		{"two hints", url.Values{"token": {"t"}, "token_type_hint": {"a", "b"}}, "", oauth.InvalidRequest},
		{"NUL", url.Values{"token": {"t\x00"}}, "", oauth.InvalidRequest},
		{"not UTF-8", url.Values{"token": {"t\xff"}}, "", oauth.InvalidRequest},
		{"nothing", nil, "", oauth.InvalidRequest},
	} {
		got, err := oauth.TokenParameter(test.form)
		if got != test.want || codeOf(err) != test.code {
			t.Errorf("%s: %q, %v, want %q", test.name, got, err, test.code)
		}
		if err != nil {
			describe(t, err)
		}
	}
}

// RFC 7009 section 2.1: "the authorization server … verifies whether the token was
// issued to the client making the revocation request. If this validation fails, the
// request is refused".
func TestCheckRevocation(t *testing.T) {
	if err := oauth.CheckRevocation(grant(), webClient()); err != nil {
		t.Error(err)
	}
	for _, id := range []string{"", "WEB", "web ", "other"} {
		err := oauth.CheckRevocation(grant(), storage.Client{ID: id})
		if codeOf(err) != oauth.InvalidGrant {
			t.Errorf("client %q: %v", id, err)
		}
		describe(t, err)
	}
	// A dead grant may be revoked again, which does nothing.
	g := grant()
	g.RevokedAt, g.ExpiresAt = now, now
	if err := oauth.CheckRevocation(g, webClient()); err != nil {
		t.Errorf("a dead grant: %v", err)
	}
}

func TestRevocationErrors(t *testing.T) {
	// RFC 7009 section 2.2.1.
	if err := oauth.ErrUnsupportedTokenType(); codeOf(err) != oauth.UnsupportedTokenType || describe(t, err) == "" {
		t.Error(err)
	}
	// RFC 7662 section 2.3: by the rules of RFC 6749 section 5.2.
	if err := oauth.ErrPublicIntrospection(); codeOf(err) != oauth.InvalidClient || describe(t, err) == "" {
		t.Error(err)
	}
}

// RFC 7662 section 2.2: "the authorization server SHOULD NOT include any additional
// information about an inactive token, including why the token is inactive".
const inactive = `{"active":false}`

func asJSON(t *testing.T, i oauth.Introspection) string {
	t.Helper()
	raw, err := json.Marshal(i)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// deaths are what ends a grant, for both kinds of token.
var deaths = []struct {
	name   string
	change func(*storage.Grant, *storage.Client)
}{
	{"of another client", func(g *storage.Grant, _ *storage.Client) { g.ClientID = "another" }},
	{"asked by another client", func(_ *storage.Grant, c *storage.Client) { c.ID = "another" }},
	// SECURITY: Keycloak CVE-2026-37979: an audience is not the client it was issued to.
	{"asked by its audience", func(g *storage.Grant, c *storage.Client) {
		g.Scopes, c.ID = append(g.Scopes, "audience:server:client_id:k8s"), "k8s"
	}},
	{"revoked", func(g *storage.Grant, _ *storage.Client) { g.RevokedAt = now.Add(-time.Hour) }},
	{"revoked this moment", func(g *storage.Grant, _ *storage.Client) { g.RevokedAt = now }},
	{"expired", func(g *storage.Grant, _ *storage.Client) { g.ExpiresAt = now }},
	{"never redeemed", func(g *storage.Grant, _ *storage.Client) { g.CodeRedeemedAt = time.Time{} }},
	{"no grant at all", func(g *storage.Grant, _ *storage.Client) { *g = storage.Grant{} }},
	{"no grant and no client", func(g *storage.Grant, c *storage.Client) { *g, *c = storage.Grant{}, storage.Client{} }},
}

// RFC 7662 sections 2.2 and 4.
func TestIntrospectAccessToken(t *testing.T) {
	token := oauth.AccessToken{GrantID: grant().ID, ExpiresAt: now.Add(time.Minute), Scopes: []string{"openid", "email", "profile"}}
	for _, test := range []struct {
		name   string
		scopes string // of the grant
		token  []string
		want   string
	}{
		{"alive", "openid email", token.Scopes, `{"active":true,"scope":"openid email","client_id":"web","token_type":"Bearer","exp":1772600827,` +
			`"sub":"CgRqYW5lEgRsZGFw","aud":"https://id.example.com/dex","iss":"https://id.example.com/dex"}`},
		// The user name is released by profile, here as elsewhere.
		{"profile", "openid profile", token.Scopes, `{"active":true,"scope":"openid profile","client_id":"web","username":"jane","token_type":"Bearer","exp":1772600827,` +
			`"sub":"CgRqYW5lEgRsZGFw","aud":"https://id.example.com/dex","iss":"https://id.example.com/dex"}`},
		{"narrowed", "openid email profile", []string{"openid"}, `{"active":true,"scope":"openid","client_id":"web","token_type":"Bearer","exp":1772600827,` +
			`"sub":"CgRqYW5lEgRsZGFw","aud":"https://id.example.com/dex","iss":"https://id.example.com/dex"}`},
		{"an audience opens nothing here", "openid audience:server:client_id:k8s", []string{"openid", "audience:server:client_id:k8s"},
			`{"active":true,"scope":"openid","client_id":"web","token_type":"Bearer","exp":1772600827,` +
				`"sub":"CgRqYW5lEgRsZGFw","aud":"https://id.example.com/dex","iss":"https://id.example.com/dex"}`},
	} {
		g, tok := grant(), token
		g.Scopes, tok.Scopes = strings.Fields(test.scopes), test.token
		before := strings.Join(g.Scopes, " ")
		if diff := cmp.Diff(test.want, asJSON(t, oauth.IntrospectAccessToken(tok, g, jane(), webClient(), policy(), now))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
		if strings.Join(g.Scopes, " ") != before {
			t.Errorf("%s: the grant's scopes were changed", test.name)
		}
	}
	for _, d := range deaths {
		g, c := grant(), webClient()
		d.change(&g, &c)
		if got := asJSON(t, oauth.IntrospectAccessToken(token, g, jane(), c, policy(), now)); got != inactive {
			t.Errorf("%s: %s", d.name, got)
		}
	}
	for _, left := range []time.Duration{0, -time.Hour} {
		tok := token
		tok.ExpiresAt = now.Add(left)
		if got := asJSON(t, oauth.IntrospectAccessToken(tok, grant(), jane(), webClient(), policy(), now)); got != inactive {
			t.Errorf("%v left: %s", left, got)
		}
	}
}

func TestIntrospectRefreshToken(t *testing.T) {
	ask := func(g storage.Grant, c storage.Client, generation int64) string {
		token := oauth.RefreshToken{GrantID: g.ID, Generation: generation}
		return asJSON(t, oauth.IntrospectRefreshToken(token, g, jane(), c, policy(), now))
	}
	const alive = `{"active":true,"scope":"openid email offline_access","client_id":"web","token_type":"refresh_token",` +
		`"exp":1772643967,"iat":1772600767,"sub":"CgRqYW5lEgRsZGFw","iss":"https://id.example.com/dex"}`
	if diff := cmp.Diff(alive, ask(offlineGrant(), webClient(), 5)); diff != "" {
		t.Errorf("the newest (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(alive, ask(offlineGrant(), webClient(), 4)); diff != "" {
		t.Errorf("rotated a moment ago (-want +got):\n%s", diff)
	}
	// It ends with whichever limit comes first.
	ending := offlineGrant()
	ending.ExpiresAt = now.Add(time.Minute)
	if got := ask(ending, webClient(), 5); !strings.Contains(got, `"exp":1772600827,`) {
		t.Errorf("near its absolute end: %s", got)
	}
	// Also with an absolute lifetime that is shorter by now.
	shorter := webClient()
	shorter.RefreshTokens.AbsoluteLifetime = now.Add(time.Hour).Sub(offlineGrant().CodeRedeemedAt)
	if got := ask(offlineGrant(), shorter, 5); !strings.Contains(got, `"exp":1772604367,`) {
		t.Errorf("with a shorter absolute lifetime: %s", got)
	}
	profile := offlineGrant()
	profile.Scopes = append(profile.Scopes, "profile")
	if got := ask(profile, webClient(), 5); !strings.Contains(got, `"username":"jane"`) {
		t.Errorf("with profile: %s", got)
	}
	for _, d := range deaths {
		g, c := offlineGrant(), webClient()
		d.change(&g, &c)
		if got := ask(g, c, g.Generation); got != inactive {
			t.Errorf("%s: %s", d.name, got)
		}
	}
	// Asking about a spent token is no reuse, and tells nothing.
	for _, generation := range []int64{-1, 0, 3, 6, 1 << 62} {
		if got := ask(offlineGrant(), webClient(), generation); got != inactive {
			t.Errorf("generation %d: %s", generation, got)
		}
	}
	idle := offlineGrant()
	idle.RefreshedAt = now.Add(-12 * time.Hour)
	for _, generation := range []int64{4, 5} {
		if got := ask(idle, webClient(), generation); got != inactive {
			t.Errorf("idle for too long: %s", got)
		}
	}
	online := offlineGrant()
	online.Scopes = []string{"openid"}
	if got := ask(online, webClient(), 5); got != inactive {
		t.Errorf("without offline_access: %s", got)
	}
}

// RFC 7009 section 2, RFC 7662 section 2 and RFC 8414 section 2: what discovery
// says of the endpoints.
func TestRevocationMetadata(t *testing.T) {
	m := marshal(t, oauth.NewMetadata(policy(), nil))
	for key, want := range map[string]any{
		"revocation_endpoint":                           issuer + "/revoke",
		"introspection_endpoint":                        issuer + "/token/introspect",
		"revocation_endpoint_auth_methods_supported":    []any{"client_secret_basic", "client_secret_post", "none"},
		"introspection_endpoint_auth_methods_supported": []any{"client_secret_basic", "client_secret_post"},
		"grant_types_supported":                         []any{"authorization_code", "refresh_token"},
	} {
		if diff := cmp.Diff(want, m[key]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", key, diff)
		}
	}
}
