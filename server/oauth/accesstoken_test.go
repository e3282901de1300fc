package oauth_test

import (
	"bytes"
	"encoding/json"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/countersign/countersign/e2e/fuzz"
	"github.com/countersign/countersign/server/oauth"
	"github.com/countersign/countersign/storage"
)

func grant() storage.Grant {
	return storage.Grant{
		ID:       storage.GrantID{0x01, 0x95, 0x5f, 0xff, 0x0a, 0x0b, 0x7c, 0x0d, 0x8e, 0x0f, 1, 2, 3, 4, 5, 6},
		ClientID: "web", ConnectorID: "ldap", UserID: "jane", SID: "sid-1", Scopes: []string{"openid", "email"}, Nonce: "n",
		AuthTime: now.Add(-time.Hour), ACR: "1", AMR: []string{"pwd"}, CodeRedeemedAt: now, ExpiresAt: now.Add(10 * time.Minute),
	}
}

func TestOpaqueAccessToken(t *testing.T) {
	token := oauth.AccessToken{GrantID: grant().ID, ExpiresAt: now.Add(10 * time.Minute)}
	encoded := token.Encode()
	want := append(bytes.Clone(token.GrantID[:]), 0, 0, 0, 0, 0x69, 0xa7, 0xc0, 0x17, 0)
	if !bytes.Equal(encoded, want) {
		t.Errorf("Encode = %x, want %x", encoded, want)
	}
	got, err := oauth.DecodeAccessToken(encoded)
	if err != nil || got.GrantID != token.GrantID || !got.ExpiresAt.Equal(token.ExpiresAt.Truncate(time.Second)) {
		t.Errorf("Decode = %+v, %v", got, err)
	}
	// SECURITY: zitadel CVE-2026-27840: no prefix is a token.
	for n := range len(encoded) {
		if _, err := oauth.DecodeAccessToken(encoded[:n]); codeOf(err) != oauth.InvalidToken {
			t.Errorf("%d bytes: %v, want invalid_token", n, err)
		}
	}
	if _, err := oauth.DecodeAccessToken(append(encoded, 0)); codeOf(err) != oauth.InvalidToken {
		t.Errorf("a byte more: %v, want invalid_token", err)
	}
}

// Tokens live while versions change: the bit of a scope is its own for good. A new
// scope takes the next, and there are eight.
func TestScopesOfOpaqueAccessToken(t *testing.T) {
	bits := []string{"openid", "profile", "email", "groups", "offline_access", "federated:id"}
	if got := oauth.NewMetadata(policy(), nil).ScopesSupported; len(got) > 8 || len(got) < len(bits) || !slices.Equal(got[:len(bits)], bits) {
		t.Errorf("scopes %v have other bits than %v", got, bits)
	}
	encode := func(scopes ...string) []byte {
		return oauth.AccessToken{GrantID: grant().ID, ExpiresAt: now, Scopes: scopes}.Encode()
	}
	for i, scope := range bits {
		if got := encode(scope)[24]; got != 1<<i {
			t.Errorf("%s is %08b", scope, got)
		}
	}
	for _, test := range []struct{ scopes, back []string }{
		{nil, nil},
		{[]string{"groups", "openid"}, []string{"openid", "groups"}},
		{[]string{"openid", "openid"}, []string{"openid"}},
		{bits, bits},
		// What opens nothing here is not kept.
		{[]string{"audience:server:client_id:k8s", "unknown", "OPENID", ""}, nil},
	} {
		got, err := oauth.DecodeAccessToken(encode(test.scopes...))
		if diff := cmp.Diff(test.back, got.Scopes); err != nil || diff != "" {
			t.Errorf("%v: %v (-want +got):\n%s", test.scopes, err, diff)
		}
	}
	for i := len(bits); i < 8; i++ {
		raw := encode("openid")
		raw[24] |= 1 << i
		if got, err := oauth.DecodeAccessToken(raw); codeOf(err) != oauth.InvalidToken || got.Scopes != nil {
			t.Errorf("bit %d, which nobody has set: %+v, %v", i, got, err)
		}
	}
}

// RFC 6749 section 6, RFC 9068 section 2.2.3: a token opens what it has and what
// the grant still has, not more.
func TestScopesOfUserInfo(t *testing.T) {
	g := grant()
	g.Scopes = []string{"openid", "email"}
	for _, test := range []struct {
		token []string
		want  map[string]any
	}{
		{[]string{"openid", "email"}, map[string]any{"sub": "CgRqYW5lEgRsZGFw", "email": "jane@example.com", "email_verified": true}},
		{[]string{"openid"}, map[string]any{"sub": "CgRqYW5lEgRsZGFw"}},
		{nil, map[string]any{"sub": "CgRqYW5lEgRsZGFw"}},
		{[]string{"openid", "profile", "groups"}, map[string]any{"sub": "CgRqYW5lEgRsZGFw"}},
	} {
		if diff := cmp.Diff(test.want, marshal(t, oauth.NewUserInfo(g, test.token, jane()))); diff != "" {
			t.Errorf("%v (-want +got):\n%s", test.token, diff)
		}
	}
}

// RFC 6750 section 3.1, pinniped GHSA-rp4v: expiry is exclusive, everywhere.
func TestCheckAccessToken(t *testing.T) {
	for _, test := range []struct {
		left time.Duration
		want oauth.Code
	}{{time.Hour, ""}, {1, ""}, {0, oauth.InvalidToken}, {-1, oauth.InvalidToken}, {-time.Hour, oauth.InvalidToken}} {
		err := oauth.CheckAccessToken(oauth.AccessToken{ExpiresAt: now.Add(test.left)}, now)
		if codeOf(err) != test.want {
			t.Errorf("%v left: %v, want %q", test.left, err, test.want)
		}
	}
	if oauth.CheckAccessToken(oauth.AccessToken{}, now) == nil {
		t.Error("a token without expiry lives")
	}
}

func TestCheckAccessGrant(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*storage.Grant)
		want   oauth.Code
	}{
		{"alive", func(*storage.Grant) {}, ""},
		{"its last moment", func(g *storage.Grant) { g.ExpiresAt = now.Add(1) }, ""},
		{"revoked", func(g *storage.Grant) { g.RevokedAt = now.Add(-time.Hour) }, oauth.InvalidToken},
		{"revoked this moment", func(g *storage.Grant) { g.RevokedAt = now }, oauth.InvalidToken},
		{"expired", func(g *storage.Grant) { g.ExpiresAt = now }, oauth.InvalidToken},
		{"without expiry", func(g *storage.Grant) { g.ExpiresAt = time.Time{} }, oauth.InvalidToken},
		{"its code was never redeemed", func(g *storage.Grant) { g.CodeRedeemedAt = time.Time{} }, oauth.InvalidToken},
	} {
		g := grant()
		test.change(&g)
		err := oauth.CheckAccessGrant(g, now)
		if codeOf(err) != test.want {
			t.Errorf("%s: %v, want %q", test.name, err, test.want)
		}
		// Every dead token dies with the same words.
		if err != nil && err.Error() != oauth.ErrInvalidToken().Error() {
			t.Errorf("%s: %v", test.name, err)
		}
	}
	describe(t, oauth.ErrInvalidToken())
}

func TestAccessTokenFormat(t *testing.T) {
	p := policy()
	for client, want := range map[string]string{"": oauth.FormatOpaque, oauth.FormatJWT: oauth.FormatJWT, oauth.FormatOpaque: oauth.FormatOpaque} {
		if got := oauth.AccessTokenFormat(p, storage.Client{AccessTokenFormat: client}); got != want {
			t.Errorf("client's %q: %q", client, got)
		}
	}
	p.AccessTokenFormat = oauth.FormatJWT
	if got := oauth.AccessTokenFormat(p, storage.Client{AccessTokenFormat: oauth.FormatOpaque}); got != oauth.FormatOpaque {
		t.Errorf("the client's word does not go before: %q", got)
	}
}

// RFC 9068 sections 2.2 and 2.2.1.
func TestJWTAccessToken(t *testing.T) {
	got, err := json.Marshal(oauth.NewJWTAccessToken(policy(), grant(), grant().Scopes, [16]byte{0xff}, now))
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"iss":"https://id.example.com/dex","sub":"CgRqYW5lEgRsZGFw","aud":"https://id.example.com/dex","client_id":"web",` +
		`"exp":1772601367,"iat":1772600767,"jti":"01955fff0a0b7c0d8e0f010203040506.ff000000000000000000000000000000",` +
		`"scope":"openid email","auth_time":1772597167,"acr":"1","amr":["pwd"]}`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if oauth.JWTTypeAccessToken == oauth.JWTTypeIDToken || oauth.JWTTypeAccessToken != "at+jwt" {
		t.Error("RFC 9068 section 2.1, RFC 8725 section 3.11: typ is at+jwt, and no other token's")
	}
	token, err := oauth.ParseJWTAccessToken(policy(), got)
	if err != nil || token.GrantID != grant().ID || token.ExpiresAt.Unix() != 1772601367 {
		t.Errorf("ParseJWTAccessToken = %+v, %v", token, err)
	}
}

// RFC 9068 sections 2.2 and 4; SECURITY: zitadel CVE-2026-56665, an absent exp.
func TestParseJWTAccessTokenRefuses(t *testing.T) {
	payload := func(change map[string]any) []byte {
		raw, err := json.Marshal(oauth.NewJWTAccessToken(policy(), grant(), grant().Scopes, [16]byte{1}, now))
		if err != nil {
			t.Fatal(err)
		}
		claims := map[string]any{}
		if err := json.Unmarshal(raw, &claims); err != nil {
			t.Fatal(err)
		}
		for name, value := range change {
			if claims[name] = value; value == nil {
				delete(claims, name)
			}
		}
		if raw, err = json.Marshal(claims); err != nil {
			t.Fatal(err)
		}
		return raw
	}
	if _, err := oauth.ParseJWTAccessToken(policy(), payload(nil)); err != nil {
		t.Fatal(err)
	}
	type row struct {
		name    string
		payload []byte
	}
	var rows []row
	for _, claim := range []string{"iss", "exp", "aud", "sub", "client_id", "iat", "jti"} {
		rows = append(rows,
			row{"no " + claim, payload(map[string]any{claim: nil})},
			row{"null " + claim, bytes.Replace(payload(map[string]any{claim: "REPLACED"}), []byte(`"REPLACED"`), []byte("null"), 1)},
			row{"empty " + claim, payload(map[string]any{claim: ""})},
			row{claim + " of another type", payload(map[string]any{claim: map[string]any{}})},
			row{claim + " in an array", payload(map[string]any{claim: []any{"https://id.example.com/dex"}})},
		)
	}
	const id = "01955fff0a0b7c0d8e0f010203040506"
	rows = append(rows,
		row{"another issuer", payload(map[string]any{"iss": "https://evil.example"})},
		row{"an issuer below", payload(map[string]any{"iss": issuer + "/"})},
		// SECURITY: Keycloak CVE-2026-37979, Argo CD CVE-2023-22482.
		row{"another audience", payload(map[string]any{"aud": "web"})},
		row{"an audience among others", payload(map[string]any{"aud": []string{issuer, "web"}})},
		row{"exp 0", payload(map[string]any{"exp": 0})},
		row{"exp in quotes", payload(map[string]any{"exp": "1772601367"})},
		row{"exp with a fraction", payload(map[string]any{"exp": 1772601367.5})},
		row{"exp beyond 64 bits", bytes.Replace(payload(nil), []byte("1772601367"), []byte("99999999999999999999"), 1)},
		row{"jti without grant", payload(map[string]any{"jti": ".ff"})},
		row{"jti without dot", payload(map[string]any{"jti": id})},
		row{"jti of a short grant", payload(map[string]any{"jti": id[2:] + ".ff"})},
		row{"jti of a long grant", payload(map[string]any{"jti": id + "00.ff"})},
		row{"jti that is no hexadecimal", payload(map[string]any{"jti": "zz" + id[2:] + ".ff"})},
		row{"nothing", nil},
		row{"null", []byte("null")},
		row{"an array", []byte("[]")},
		row{"two values", append(payload(nil), "{}"...)},
		row{"cut off", payload(nil)[:40]},
	)
	// SECURITY: mattermost CVE-2025-12421, token types confused: an id_token, even
	// one whose client is named like the issuer.
	g := grant()
	g.ClientID = issuer
	idToken, err := json.Marshal(oauth.NewIDToken(policy(), storage.Client{}, g, storage.Identity{}, "RS256", "x", now))
	if err != nil {
		t.Fatal(err)
	}
	rows = append(rows, row{"an id_token", idToken})
	for _, r := range rows {
		if got, err := oauth.ParseJWTAccessToken(policy(), r.payload); codeOf(err) != oauth.InvalidToken {
			t.Errorf("%s: %+v, %v, want invalid_token: %s", r.name, got, err, r.payload)
		}
	}
	for _, claim := range []string{"scope", "auth_time", "acr", "amr"} {
		if _, err := oauth.ParseJWTAccessToken(policy(), payload(map[string]any{claim: nil})); err != nil {
			t.Errorf("no %s: %v, although it is optional", claim, err)
		}
	}
}

// RFC 6750 sections 2 and 3.1, OAuth 2.1 section 5.1.
func TestBearerToken(t *testing.T) {
	form := func(v ...string) url.Values { return url.Values{"access_token": v} }
	for _, test := range []struct {
		name        string
		header      []string
		form, query url.Values
		token       string
		missing     bool
		code        oauth.Code
	}{
		{"header", []string{"Bearer abc"}, nil, nil, "abc", false, ""},
		{"no case in the scheme", []string{"bEARER abc"}, nil, nil, "abc", false, ""},
		{"spaces around", []string{"Bearer   abc "}, nil, nil, "abc", false, ""},
		{"case in the token", []string{"Bearer AbC"}, nil, nil, "AbC", false, ""},
		{"body", nil, form("abc"), nil, "abc", false, ""},
		{"header and a form without token", []string{"Bearer abc"}, url.Values{"x": {"y"}}, nil, "abc", false, ""},
		// Section 3.1: no error code when there is no authentication at all.
		{"nothing", nil, nil, nil, "", true, ""},
		{"an empty body token", nil, form(""), nil, "", true, ""},
		{"an empty header", []string{""}, nil, nil, "", true, ""},
		{"only the scheme", []string{"Bearer"}, nil, nil, "", true, ""},
		{"only the scheme and a space", []string{"Bearer "}, nil, nil, "", true, ""},
		{"another scheme", []string{"Basic abc"}, nil, nil, "", true, ""},
		{"DPoP", []string{"DPoP abc"}, nil, nil, "", true, ""},
		{"a scheme that begins like it", []string{"BearerX abc"}, nil, nil, "", true, ""},
		{"tab behind the scheme", []string{"Bearer\tabc"}, nil, nil, "", true, ""},
		// Section 2: "Clients MUST NOT use more than one method".
		{"header and body", []string{"Bearer abc"}, form("abc"), nil, "", false, oauth.InvalidRequest},
		{"header and an empty body token", []string{"Bearer abc"}, form(""), nil, "", false, oauth.InvalidRequest},
		{"another scheme and body", []string{"Basic abc"}, form("abc"), nil, "", false, oauth.InvalidRequest},
		{"two headers", []string{"Bearer abc", "Bearer abc"}, nil, nil, "", false, oauth.InvalidRequest},
		{"two in the body", nil, form("abc", "def"), nil, "", false, oauth.InvalidRequest},
		{"query", nil, nil, form("abc"), "", false, oauth.InvalidRequest},
		{"empty in the query", nil, nil, form(""), "", false, oauth.InvalidRequest},
		{"header and query", []string{"Bearer abc"}, nil, form("abc"), "", false, oauth.InvalidRequest},
		{"body and query", nil, form("abc"), form("abc"), "", false, oauth.InvalidRequest},
	} {
		token, missing, err := oauth.BearerToken(test.header, test.form, test.query)
		if token != test.token || missing != test.missing || codeOf(err) != test.code {
			t.Errorf("%s: %q, missing %v, %v; want %q, %v, %q", test.name, token, missing, err, test.token, test.missing, test.code)
		}
		if err != nil {
			describe(t, err)
		}
	}
}

func FuzzAccessToken(f *testing.F) {
	fuzz.Widely(f)
	g := grant()
	jwt, err := json.Marshal(oauth.NewJWTAccessToken(policy(), g, g.Scopes, [16]byte{1}, now))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(jwt)
	f.Add(oauth.AccessToken{GrantID: g.ID, ExpiresAt: now}.Encode())
	f.Add(bytes.Repeat([]byte{0xff}, oauth.AccessTokenBytes))
	f.Add([]byte(strings.Repeat("[", 1000)))
	f.Fuzz(func(t *testing.T, b []byte) {
		if token, err := oauth.DecodeAccessToken(b); err == nil && !bytes.Equal(token.Encode(), b) {
			t.Fatalf("%x comes back as %x", b, token.Encode())
		}
		token, err := oauth.ParseJWTAccessToken(policy(), b)
		if err != nil {
			if codeOf(err) != oauth.InvalidToken || !reflect.DeepEqual(token, oauth.AccessToken{}) {
				t.Fatalf("%+v, %v", token, err)
			}
			return
		}
		if token.ExpiresAt.Unix() == 0 || !bytes.Contains(b, []byte(issuer)) && !bytes.Contains(b, []byte(`\`)) {
			t.Fatalf("%s is accepted as %+v", b, token)
		}
	})
}

// An access token ends with its grant at the latest, and says so.
func TestAccessTokenUntil(t *testing.T) {
	g := grant()
	lifetime := policy().AccessTokenLifetime
	for left, want := range map[time.Duration]time.Duration{
		2 * lifetime: lifetime, lifetime: lifetime, lifetime - time.Second: lifetime - time.Second, time.Second: time.Second,
	} {
		g.ExpiresAt = now.Add(left)
		if got := oauth.AccessTokenUntil(policy(), g, now); !got.Equal(now.Add(want)) {
			t.Errorf("%s before its grant's end it is issued for %s, want %s", left, got.Sub(now), want)
		}
		if got := oauth.NewJWTAccessToken(policy(), g, g.Scopes, [16]byte{}, now).Expiry; got != now.Add(want).Unix() {
			t.Errorf("%s before its grant's end a JWT expires at %d", left, got)
		}
	}
}
