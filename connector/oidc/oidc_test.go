package oidc_test

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/countersign/countersign/connector"
	"github.com/countersign/countersign/connector/oidc"
)

func TestDepart(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	c := p.connect(func(c *oidc.Config) { c.ACRValues, c.Prompt = []string{"mfa", "pwd"}, "consent" })
	away, err := c.Depart(t.Context(), connector.Departure{State: "flow", LoginHint: "jane@x", SeenSince: p.clock()})
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(away.URL)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	for name, want := range map[string]string{
		"client_id": "us", "redirect_uri": "https://we.example/callback", "response_type": "code", "state": "flow",
		"scope": "openid profile email offline_access", "code_challenge_method": "S256", "login_hint": "jane@x",
		"acr_values": "mfa pwd", "prompt": "login consent",
	} {
		if q.Get(name) != want || len(q[name]) != 1 {
			t.Errorf("%s is %q, want %q", name, q[name], want)
		}
	}
	again, err := c.Depart(t.Context(), connector.Departure{State: "flow"})
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(again.URL, q.Get("nonce")) || strings.Contains(again.URL, q.Get("code_challenge")) || len(q.Get("nonce")) < 22 ||
		q.Get("nonce") == q.Get("code_challenge") || away.Form != nil || len(away.Kept) > connector.MaxKept {
		t.Errorf("departures are alike, or not bound: %s, %s", away.URL, again.URL)
	}
}

// as answers for the host of an address, in its place.
type as struct {
	host string
	next http.RoundTripper
}

func (a as) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.URL.Scheme, r.URL.Host = "http", a.host
	return a.next.RoundTrip(r)
}

// The provider is to ask who the person is, in words that it knows.
func TestPrompt(t *testing.T) {
	t.Parallel()
	const google = "https://accounts.google.com"
	now := time.Now()
	for _, tt := range []struct {
		issuer, configured string
		departure          connector.Departure
		want               string
	}{
		{"", "consent", connector.Departure{}, "consent"},
		{"", "", connector.Departure{Another: true}, "login"},
		{"", "none", connector.Departure{SeenSince: now}, "login"},
		{"", "consent login", connector.Departure{SeenSince: now}, "consent login"},
		{google, "consent", connector.Departure{}, "consent"},
		{google, "consent", connector.Departure{Another: true}, "select_account consent"},
		{google, "select_account", connector.Departure{SeenSince: now}, "select_account"},
	} {
		p := newProvider(t)
		c := p.connect(func(c *oidc.Config) {
			if c.Prompt = tt.configured; tt.issuer != "" {
				c.Issuer = tt.issuer
				discovery := p.documents["/.well-known/openid-configuration"].(map[string]any)
				for name, value := range discovery {
					if address, ok := value.(string); ok {
						discovery[name] = strings.Replace(address, p.URL, tt.issuer, 1)
					}
				}
				client := *c.Client
				client.Transport = as{strings.TrimPrefix(p.URL, "http://"), client.Transport}
				c.Client = &client
			}
		})
		away, err := c.Depart(t.Context(), tt.departure)
		if err != nil {
			t.Fatal(err)
		}
		if u, err := url.Parse(away.URL); err != nil || u.Query().Get("prompt") != tt.want {
			t.Errorf("%+v: %s", tt, away.URL)
		}
	}
}

func TestSignIn(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	who, err := p.signIn(p.connect())
	if err != nil {
		t.Fatal(err)
	}
	want := connector.Identity{
		UserID: "subject", Name: "Jane", PreferredUsername: "jane", Email: "jane@example.com", EmailVerified: true, Groups: []string{"a", "b"},
	}
	if diff := cmp.Diff(want, who, cmpopts.IgnoreFields(connector.Identity{}, "Secret", "Claims")); diff != "" {
		t.Error(diff)
	}
	if !strings.Contains(string(who.Secret), "refresh-1") || who.Claims["sub"] != "subject" {
		t.Errorf("secret %q, claims %v", who.Secret, who.Claims)
	}
	form := p.forms[0]
	if form.Get("code") != "the-code" || form.Get("redirect_uri") != "https://we.example/callback" || len(form.Get("code_verifier")) < 43 {
		t.Errorf("redeemed with %v", form)
	}
}

func TestClaims(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*oidc.Config)
		claims map[string]any // nil values remove
		want   func(*connector.Identity)
	}{
		"no groups unless asked for": {change: func(c *oidc.Config) { c.Groups = false }, want: func(i *connector.Identity) { i.Groups = nil }},
		"verified as text":           {claims: map[string]any{"email_verified": "true"}, want: func(*connector.Identity) {}},
		"not verified":               {claims: map[string]any{"email_verified": "yes"}, want: func(i *connector.Identity) { i.EmailVerified = false }},
		"nothing said of it":         {claims: map[string]any{"email_verified": nil}, want: func(i *connector.Identity) { i.EmailVerified = false }},
		"taken for verified":         {change: func(c *oidc.Config) { c.SkipEmailVerified = true }, claims: map[string]any{"email_verified": false}, want: func(*connector.Identity) {}},
		"no address is not verified": {change: func(c *oidc.Config) { c.SkipEmailVerified = true }, claims: map[string]any{"email": nil},
			want: func(i *connector.Identity) { i.Email, i.EmailVerified = "", false }},
		"another id":         {change: func(c *oidc.Config) { c.Keys.UserID = "oid" }, claims: map[string]any{"oid": "o-1"}, want: func(i *connector.Identity) { i.UserID = "o-1" }},
		"a number for an id": {change: func(c *oidc.Config) { c.Keys.UserID = "oid" }, claims: map[string]any{"oid": 1234567}, want: func(i *connector.Identity) { i.UserID = "1234567" }},
		"another name":       {change: func(c *oidc.Config) { c.Keys.Name = "nick" }, claims: map[string]any{"nick": "J"}, want: func(i *connector.Identity) { i.Name = "J" }},
		"mapped where missing": {change: func(c *oidc.Config) { c.Keys.Groups, c.Keys.Email = "roles", "mail" }, claims: map[string]any{"roles": []string{"r"}, "groups": nil, "mail": "m@x"},
			want: func(i *connector.Identity) { i.Groups = []string{"r"} }},
		"mapped always": {change: func(c *oidc.Config) { c.Keys.Groups, c.Keys.Force = "roles", true }, claims: map[string]any{"roles": []string{"r"}},
			want: func(i *connector.Identity) { i.Groups = []string{"r"} }},
		"another address": {change: func(c *oidc.Config) { c.Keys.Email, c.Keys.Force = "mail", true }, claims: map[string]any{"mail": "other@x"},
			want: func(i *connector.Identity) { i.Email, i.EmailVerified = "other@x", false }},
		"another address, the only one": {change: func(c *oidc.Config) { c.Keys.Email = "mail" }, claims: map[string]any{"mail": "other@x", "email": nil},
			want: func(i *connector.Identity) { i.Email = "other@x" }},
		"the same address": {change: func(c *oidc.Config) { c.Keys.Email, c.Keys.Force = "mail", true }, claims: map[string]any{"mail": "jane@example.com"},
			want: func(*connector.Identity) {}},
		"another address, taken for verified": {change: func(c *oidc.Config) { c.Keys.Email, c.Keys.Force, c.SkipEmailVerified = "mail", true, true }, claims: map[string]any{"mail": "other@x"},
			want: func(i *connector.Identity) { i.Email = "other@x" }},
		"one group as text":   {claims: map[string]any{"groups": "alone"}, want: func(i *connector.Identity) { i.Groups = []string{"alone"} }},
		"groups with names":   {claims: map[string]any{"groups": []any{map[string]any{"name": "n", "id": 1}, 7, "s"}}, want: func(i *connector.Identity) { i.Groups = []string{"n", "s"} }},
		"groups are a number": {claims: map[string]any{"groups": 7}, want: func(i *connector.Identity) { i.Groups = nil }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newProvider(t)
			var changes []func(*oidc.Config)
			if c.change != nil {
				changes = append(changes, c.change)
			}
			for key, value := range c.claims {
				if p.claims[key] = value; value == nil {
					delete(p.claims, key)
				}
			}
			who, err := p.signIn(p.connect(changes...))
			if err != nil {
				t.Fatal(err)
			}
			want := connector.Identity{
				UserID: "subject", Name: "Jane", PreferredUsername: "jane", Email: "jane@example.com", EmailVerified: true, Groups: []string{"a", "b"},
			}
			c.want(&want)
			if diff := cmp.Diff(want, who, cmpopts.IgnoreFields(connector.Identity{}, "Secret", "Claims")); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A number that is decoded as another one is nobody's id.
func TestNumberForAnID(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	c := p.connect(func(c *oidc.Config) { c.Keys.UserID = "oid" })
	for id, want := range map[any]string{
		int64(9007199254740991): "9007199254740991", int64(-9007199254740991): "-9007199254740991",
		int64(9007199254740992): "", int64(9007199254740993): "", uint64(1<<63 + 1): "", 1e300: "", 1.5: "", true: "",
	} {
		p.claims["oid"] = id
		if who, err := p.signIn(c); who.UserID != want || (want == "") != errors.Is(err, connector.ErrUpstream) {
			t.Errorf("%v: %q, %v", id, who.UserID, err)
		}
	}
}

func TestUserInfo(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	c := p.connect(func(c *oidc.Config) { c.UserInfo = true })
	p.documents["/userinfo"] = map[string]any{"sub": "subject", "groups": []string{"from userinfo"}, "aud": "somebody", "email": "new@example.com"}
	who, err := p.signIn(c)
	if err != nil || !slices.Equal(who.Groups, []string{"from userinfo"}) || who.Email != "new@example.com" || who.Claims["aud"] != "us" {
		t.Errorf("%+v, %v", who, err)
	}
	if who.EmailVerified { // the id_token has vouched for another address
		t.Errorf("%s is verified", who.Email)
	}
	p.documents["/userinfo"] = map[string]any{"sub": "subject", "email": "new@example.com", "email_verified": true}
	if who, err := p.signIn(c); err != nil || !who.EmailVerified {
		t.Errorf("%+v, %v", who, err)
	}
	p.documents["/userinfo"] = map[string]any{"sub": "subject", "email": "jane@example.com"}
	if who, err := p.signIn(c); err != nil || !who.EmailVerified {
		t.Errorf("%+v, %v", who, err)
	}
	for name, document := range map[string]any{
		"of somebody else": map[string]any{"sub": "other", "groups": []string{"admins"}},
		"of nobody":        map[string]any{"groups": []string{"admins"}},
		"no object":        "sub",
	} {
		p.mu.Lock()
		p.documents["/userinfo"] = document
		p.mu.Unlock()
		if who, err := p.signIn(c); !errors.Is(err, connector.ErrUpstream) {
			t.Errorf("%s: %+v, %v", name, who, err)
		}
	}
}

// Tokens that must not sign anybody in.
func TestHostileTokens(t *testing.T) {
	t.Parallel()
	claim := func(name string, value any) func(*fakeProvider) {
		return func(p *fakeProvider) {
			if p.claims[name] = value; value == nil {
				delete(p.claims, name)
			}
		}
	}
	signed := func(header map[string]any, sign func(*fakeProvider) func([]byte) []byte) func(*fakeProvider) {
		return func(p *fakeProvider) {
			p.sign = func(claims map[string]any) string { return p.jws(header, claims, sign(p)) }
		}
	}
	for name, change := range map[string]func(*fakeProvider){
		"no exp": claim("exp", nil), "expired": claim("exp", 1), "exp is text": claim("exp", "tomorrow"),
		"no iat": claim("iat", nil), "no sub": claim("sub", nil), "empty sub": claim("sub", ""),
		"no iss": claim("iss", nil), "another iss": claim("iss", "https://evil.example"),
		"no aud": claim("aud", nil), "another aud": claim("aud", "them"), "aud begins like ours": claim("aud", "us2"),
		"several aud, no azp": claim("aud", []string{"us", "them"}), "another azp": claim("azp", "them"), "azp is a list": claim("azp", []string{"us"}),
		"not yet": claim("nbf", 9999999999), "another at_hash": claim("at_hash", "AAAAAAAAAAAAAAAAAAAAAA"),
		"no nonce": func(p *fakeProvider) {
			p.sign = func(c map[string]any) string { delete(c, "nonce"); return p.signed(c) }
		},
		"alg none":        signed(map[string]any{"alg": "none"}, func(*fakeProvider) func([]byte) []byte { return func([]byte) []byte { return nil } }),
		"HS256 of secret": signed(map[string]any{"alg": "HS256", "kid": "first"}, func(*fakeProvider) func([]byte) []byte { return hs256([]byte("secret")) }),
		"HS256 of the public key": signed(map[string]any{"alg": "HS256", "kid": "first"}, func(p *fakeProvider) func([]byte) []byte {
			return hs256(append(p.key.X.Bytes(), p.key.Y.Bytes()...))
		}),
		"another alg than the key's": signed(map[string]any{"alg": "RS256", "kid": "first"}, func(p *fakeProvider) func([]byte) []byte { return p.es256 }),
		"unknown kid":                signed(map[string]any{"alg": "ES256", "kid": "other"}, func(p *fakeProvider) func([]byte) []byte { return p.es256 }),
		"altered": func(p *fakeProvider) {
			p.sign = func(c map[string]any) string { s := p.signed(c); return s[:len(s)-8] + "AAAAAAAA" }
		},
		"truncated": func(p *fakeProvider) {
			p.sign = func(c map[string]any) string { s := p.signed(c); return s[:len(s)-10] }
		},
		"none at all":             func(p *fakeProvider) { p.sign = func(map[string]any) string { return "" } },
		"dots":                    func(p *fakeProvider) { p.sign = func(map[string]any) string { return strings.Repeat(".", 100_000) } },
		"oversized":               claim("padding", strings.Repeat("x", 300<<10)),
		"oversized answer":        func(p *fakeProvider) { p.token["padding"] = strings.Repeat("x", 2<<20) },
		"oversized refresh token": func(p *fakeProvider) { p.token["refresh_token"] = strings.Repeat("x", 300<<10) },
		"no user id":              func(p *fakeProvider) { p.claims["sub"] = 7 },
		"a redirect": func(p *fakeProvider) {
			p.handlers["/token"] = func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
			}
		},
		"no access": func(p *fakeProvider) {
			p.handlers["/token"] = func(w http.ResponseWriter, r *http.Request) { answer(w, 400, map[string]any{"error": "invalid_grant"}) }
		},
		"keys of 10 MB": func(p *fakeProvider) {
			p.handlers["/keys"] = func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				_, _ = w.Write([]byte(`{"keys":["` + strings.Repeat("x", 10<<20) + `"]}`))
			}
		},
		"keys redirect in a circle": func(p *fakeProvider) {
			p.handlers["/keys"] = func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/keys", http.StatusFound) }
		},
		"a key for another alg":  func(p *fakeProvider) { p.publish(func(k *jose.JSONWebKey) { k.Algorithm = "ES384" }) },
		"a key for encryption":   func(p *fakeProvider) { p.publish(func(k *jose.JSONWebKey) { k.Use = "enc" }) },
		"the key by another kid": func(p *fakeProvider) { p.publish(func(k *jose.JSONWebKey) { k.KeyID = "other" }) },
		"keys in a failed response": func(p *fakeProvider) {
			p.handlers["/keys"] = func(w http.ResponseWriter, r *http.Request) { answer(w, http.StatusNotFound, p.documents["/keys"]) }
		},
		"no keys":         func(p *fakeProvider) { p.documents["/keys"] = map[string]any{} },
		"keys are a page": func(p *fakeProvider) { p.documents["/keys"] = "<html>" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newProvider(t)
			change(p)
			who, err := p.signIn(p.connect())
			if !errors.Is(err, connector.ErrUpstream) || who.UserID != "" && err == nil {
				t.Errorf("%+v, %v", who, err)
			}
			if err != nil && strings.Contains(err.Error(), "refresh-1") {
				t.Errorf("the error tells a token: %v", err)
			}
			if p.count("/elsewhere") != 0 {
				t.Error("the code was sent elsewhere")
			}
		})
	}
}

// An answer for another departure, or for none.
func TestHostileArrivals(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	c := p.connect()
	first := p.depart(c)
	second := p.depart(c) // the provider's token is for this one
	good := url.Values{"code": {"x"}}
	for name, a := range map[string]connector.Arrival{
		"another departure": {Kept: first.Kept, Query: good},
		"no departure":      {Query: good},
		"half a departure":  {Kept: second.Kept[:16], Query: good},
		"posted":            {Kept: second.Kept, Query: good, Received: []byte("x")},
		"two codes":         {Kept: second.Kept, Query: url.Values{"code": {"x", "y"}}},
		"no code":           {Kept: second.Kept, Query: url.Values{}},
		"another issuer":    {Kept: second.Kept, Query: url.Values{"code": {"x"}, "iss": {"https://evil.example"}}},
	} {
		if who, err := c.Arrive(t.Context(), a); !errors.Is(err, connector.ErrUpstream) {
			t.Errorf("%s: %+v, %v", name, who, err)
		}
	}
	if _, err := c.Arrive(t.Context(), connector.Arrival{Kept: second.Kept, Query: url.Values{"error": {"access_denied"}}}); !errors.Is(err, connector.ErrTurnedBack) {
		t.Errorf("turned back: %v", err)
	}
	if _, err := c.Arrive(t.Context(), connector.Arrival{Kept: second.Kept, Query: url.Values{"code": {"x"}, "iss": {p.URL}}}); err != nil {
		t.Errorf("the right one: %v", err)
	}
}

// Who has to authenticate anew, and takes that out of the request, is not signed in.
func TestFresh(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	c := p.connect()
	for name, tt := range map[string]struct {
		since    time.Time
		authTime any
		want     error
	}{
		"an hour ago":             {p.clock(), p.clock().Add(-time.Hour).Unix(), connector.ErrUpstream},
		"in 1970":                 {p.clock(), 0, connector.ErrUpstream},
		"just now":                {p.clock(), p.clock().Unix(), nil},
		"by a clock that is late": {p.clock(), p.clock().Add(-50 * time.Second).Unix(), nil},
		"not said":                {p.clock(), nil, nil},
		"nobody wants it":         {time.Time{}, p.clock().Add(-time.Hour).Unix(), nil},
		"young enough":            {p.clock().Add(-time.Hour), p.clock().Add(-time.Hour).Unix(), nil},
		"too old":                 {p.clock().Add(-time.Hour), p.clock().Add(-2 * time.Hour).Unix(), connector.ErrUpstream},
	} {
		away := p.departFor(c, connector.Departure{State: "flow", SeenSince: tt.since})
		if p.claims["auth_time"] = tt.authTime; tt.authTime == nil {
			delete(p.claims, "auth_time")
		}
		who, err := c.Arrive(t.Context(), connector.Arrival{Kept: away.Kept, Query: url.Values{"code": {"x"}}})
		if !errors.Is(err, tt.want) || (err == nil) != (who.UserID == "subject") {
			t.Errorf("%s: %+v, %v", name, who, err)
		}
	}
}

// Discovery documents that are not believed.
func TestHostileDiscovery(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(map[string]any){
		"another issuer":       func(d map[string]any) { d["issuer"] = "https://evil.example" },
		"no issuer":            func(d map[string]any) { delete(d, "issuer") },
		"no token endpoint":    func(d map[string]any) { delete(d, "token_endpoint") },
		"a script":             func(d map[string]any) { d["authorization_endpoint"] = "javascript:alert(1)" },
		"a file":               func(d map[string]any) { d["jwks_uri"] = "file:///etc/passwd" },
		"a user in an address": func(d map[string]any) { d["token_endpoint"] = "http://a:b@evil.example" },
		"symmetric only":       func(d map[string]any) { d["id_token_signing_alg_values_supported"] = []string{"HS256", "none"} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newProvider(t)
			document := p.documents["/.well-known/openid-configuration"].(map[string]any)
			change(document)
			c := p.unknown()
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan struct{})
			go func() { defer close(ended); c.Run(ctx) }()
			p.await("asked", func() bool { return !strings.Contains(c.Ready().Error(), "not been asked") })
			cancel()
			<-ended
			if _, err := c.Depart(t.Context(), connector.Departure{State: "flow"}); !errors.Is(err, connector.ErrUpstream) {
				t.Errorf("%v", err)
			}
		})
	}
}

// A new key is found; an invented one makes no flood.
func TestKeyRotation(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	c := p.connect()
	if _, err := p.signIn(c); err != nil {
		t.Fatal(err)
	}
	p.now.Add(11)
	p.rotate("second")
	if _, err := p.signIn(c); err != nil {
		t.Errorf("after a rotation: %v", err)
	}
	asked := p.count("/keys")
	p.sign = func(claims map[string]any) string {
		return p.jws(map[string]any{"alg": "ES256", "kid": "invented"}, claims, p.es256)
	}
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if _, err := c.Arrive(t.Context(), connector.Arrival{Kept: make([]byte, 32), Query: url.Values{"code": {"x"}}}); !errors.Is(err, connector.ErrUpstream) {
				t.Errorf("an invented key: %v", err)
			}
		})
	}
	all.Wait()
	if n := p.count("/keys") - asked; n > 1 {
		t.Errorf("20 tokens of an invented key asked %d times", n)
	}
	// Keys that cannot be had again are still those that are known.
	p.sign = nil
	p.handlers["/keys"] = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }
	p.now.Add(2 * 3600)
	p.claims["exp"] = p.clock().Add(time.Hour).Unix()
	if _, err := p.signIn(c); err != nil {
		t.Errorf("while the keys cannot be had: %v", err)
	}
}

// A provider that hangs holds nobody for longer than they want to wait.
func TestHangs(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	c := p.connect()
	away := p.depart(c)
	release := make(chan struct{})
	defer close(release)
	p.mu.Lock()
	p.handlers["/token"] = func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	}
	p.mu.Unlock()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := c.Arrive(ctx, connector.Arrival{Kept: away.Kept, Query: url.Values{"code": {"x"}}})
	if !errors.Is(err, connector.ErrUpstream) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
}
