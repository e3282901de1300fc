package server_test

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/countersign/countersign/server"
	"github.com/countersign/countersign/server/oauth"
)

// expect compares an answer with an OAuth error.
func (a answer) expect(t *testing.T, what string, status int, code string) {
	t.Helper()
	if a.status != status || a.str("error") != code {
		t.Errorf("%s: %d %s, want %d %s", what, a.status, a.raw, status, code)
	}
	if a.str("error_description") == "" {
		t.Errorf("%s: no error_description", what)
	}
	if a.header.Get("Cache-Control") != "no-store" {
		t.Errorf("%s: Cache-Control is %q", what, a.header.Get("Cache-Control"))
	}
}

func bearer(token string) []string { return []string{"Authorization", "Bearer " + token} }

func basic(id, secret string) []string {
	return []string{"Authorization", "Basic " + base64.StdEncoding.EncodeToString([]byte(url.QueryEscape(id)+":"+url.QueryEscape(secret)))}
}

// RFC 6749 section 4.1.2 and the modules oidcc-codereuse and -codereuse-30seconds.
func TestCodeReuse(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		for _, format := range []string{oauth.FormatOpaque, oauth.FormatJWT} {
			t.Run(format, func(t *testing.T) {
				w := newWorld(t, engine, func(c *server.Config) { c.Policy.AccessTokenFormat = format })
				code := w.code(w.browser(), w.request())
				a := w.redeem(code)
				if a.status != http.StatusOK {
					t.Fatalf("%d %s", a.status, a.raw)
				}
				access := a.str("access_token")
				if got := w.do(http.MethodGet, "/userinfo", nil, bearer(access)...); got.status != http.StatusOK {
					t.Fatalf("userinfo: %d %s", got.status, got.raw)
				}
				// Another client's attempt is refused and harms nobody.
				w.redeem(code, "client_id", "other", "client_secret", "other-secret").expect(t, "another client", 400, "invalid_grant")
				if got := w.do(http.MethodGet, "/userinfo", nil, bearer(access)...); got.status != http.StatusOK {
					t.Errorf("another client's attempt killed the token: %d", got.status)
				}
				w.clock.advance(30 * time.Second)
				w.redeem(code).expect(t, "the second time", 400, "invalid_grant")
				got := w.do(http.MethodGet, "/userinfo", nil, bearer(access)...)
				if got.status != http.StatusUnauthorized || got.str("error") != "invalid_token" {
					t.Errorf("the access token outlived the reuse: %d %s", got.status, got.raw)
				}
			})
		}
	})
}

// 32 callers redeem one code at once: one gets tokens, and since the code leaked,
// they are dead.
func TestCodeRace(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		db, c := newDatabase(t, engine), new(clock)
		first := db.replica(t, c)
		second := db.replica(t, c, func(cfg *server.Config) { cfg.Policy.Issuer = first.issuer })
		for range 5 {
			code := first.code(first.browser(), first.request())
			answers := make([]answer, 32)
			var callers sync.WaitGroup
			for i := range answers {
				callers.Go(func() {
					w := first
					if i%2 == 1 {
						w = second
					}
					answers[i] = w.redeem(code)
				})
			}
			callers.Wait()
			won := slices.DeleteFunc(slices.Clone(answers), func(a answer) bool { return a.status != http.StatusOK })
			if len(won) != 1 {
				t.Fatalf("%d callers got tokens", len(won))
			}
			for _, a := range answers {
				if a.status != http.StatusOK {
					a.expect(t, "a loser", 400, "invalid_grant")
				}
			}
			if got := first.do(http.MethodGet, "/userinfo", nil, bearer(won[0].str("access_token"))...); got.status != http.StatusUnauthorized {
				t.Errorf("the winner's token lives: %d", got.status)
			}
		}
	})
}

// The whole matrix of what a code is bound to (zitadel GHSA-xqxv, pocket-id
// CVE-2026-28513, authentik CVE-2023-48228 and -2024-23647).
func TestCodeIsBound(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		w := newWorld(t, engine)
		for name, pairs := range map[string][]string{
			"another redirect_uri":       {"redirect_uri", callback + "/"},
			"another case":               {"redirect_uri", "https://APP.example/callback"},
			"another client":             {"client_id", "other", "client_secret", "other-secret"},
			"another verifier":           {"code_verifier", strings.Repeat("v", 43)},
			"the challenge as verifier":  {"code_verifier", challenge},
			"no verifier":                {"code_verifier", ""},
			"a short verifier":           {"code_verifier", "short"},
			"a truncated code":           {"code", "-"},
			"a code of another makeup":   {"code", "csc_AAAA"},
			"an access token as a code":  {"code", "csa_AaIBj4gKcNCytvi-I4AqegAAAABrAnTpp7JL-qhj0RbO3LMpAXpC0KunF3mrklzqh6rDM7X7N_A"},
			"a code with another prefix": {"code", "+"},
		} {
			code := w.code(w.browser(), w.request())
			for i, v := range pairs {
				switch v {
				case "-":
					pairs[i] = code[:len(code)-1]
				case "+":
					pairs[i] = "csa_" + strings.TrimPrefix(code, "csc_")
				}
			}
			w.redeem(code, pairs...).expect(t, name, 400, "invalid_grant")
			// None of it has burnt the code of its owner.
			if a := w.redeem(code); a.status != http.StatusOK {
				t.Errorf("after %q the owner gets %d %s", name, a.status, a.raw)
			}
		}
		code := w.code(w.browser(), w.request())
		w.clock.advance(61 * time.Second)
		w.redeem(code).expect(t, "an old code", 400, "invalid_grant")
		// PKCE downgrade: the challenge was removed on its way (RFC 9700 2.1.1).
		code = w.code(w.browser(), w.request("code_challenge", "", "code_challenge_method", ""))
		w.redeem(code).expect(t, "a verifier without a challenge", 400, "invalid_grant")
		if a := w.redeem(code, "code_verifier", ""); a.status != http.StatusOK {
			t.Errorf("a confidential client without PKCE: %d %s", a.status, a.raw)
		}
	})
}

// RFC 6749 section 5.2: the form of every refusal.
func TestTokenErrors(t *testing.T) {
	w := newWorld(t, "sqlite")
	good := func() url.Values {
		return url.Values{"grant_type": {"authorization_code"}, "code": {"x"}, "redirect_uri": {callback}, "client_id": {"app"}, "client_secret": {"app-secret"}}
	}
	without := func(name string) url.Values { v := good(); v.Del(name); return v }
	with := func(name string, values ...string) url.Values { v := good(); v[name] = values; return v }
	for name, c := range map[string]struct {
		form   url.Values
		header []string
		status int
		code   string
	}{
		"no grant_type":           {without("grant_type"), nil, 400, "invalid_request"},
		"unknown grant_type":      {with("grant_type", "password"), nil, 400, "unsupported_grant_type"},
		"implicit is no grant":    {with("grant_type", "implicit"), nil, 400, "unsupported_grant_type"},
		"grant_type twice":        {with("grant_type", "authorization_code", "authorization_code"), nil, 400, "invalid_request"},
		"no code":                 {without("code"), nil, 400, "invalid_request"},
		"no redirect_uri":         {without("redirect_uri"), nil, 400, "invalid_request"},
		"an unknown code":         {good(), nil, 400, "invalid_grant"},
		"no client":               {without("client_id"), nil, 401, "invalid_client"},
		"no secret":               {without("client_secret"), nil, 401, "invalid_client"},
		"a wrong secret":          {with("client_secret", "wrong"), nil, 401, "invalid_client"},
		"another's secret":        {with("client_secret", "other-secret"), nil, 401, "invalid_client"},
		"an unknown client":       {with("client_id", "nobody"), nil, 401, "invalid_client"},
		"a client_id with NUL":    {with("client_id", "app\x00"), nil, 401, "invalid_client"},
		"two ways to identify":    {good(), basic("app", "app-secret"), 400, "invalid_request"},
		"two Basic headers":       {url.Values{"grant_type": {"authorization_code"}, "code": {"x"}, "redirect_uri": {callback}}, append(basic("app", "app-secret"), basic("app", "app-secret")...), 400, "invalid_request"},
		"a wrong Basic secret":    {url.Values{"grant_type": {"authorization_code"}}, basic("app", "wrong"), 401, "invalid_client"},
		"Basic that is no base64": {url.Values{"grant_type": {"authorization_code"}}, []string{"Authorization", "Basic %%%"}, 401, "invalid_client"},
		"Bearer as client":        {url.Values{"grant_type": {"authorization_code"}}, []string{"Authorization", "Bearer abc"}, 401, "invalid_client"},
	} {
		a := w.post("/token", c.form, c.header...)
		a.expect(t, name, c.status, c.code)
		if challenge := a.header.Get("WWW-Authenticate"); (c.status == 401) != strings.HasPrefix(challenge, "Basic ") {
			t.Errorf("%s: WWW-Authenticate is %q", name, challenge)
		}
	}
	// Secrets never travel in addresses, and bodies are forms.
	a := w.post("/token?"+good().Encode(), url.Values{})
	a.expect(t, "everything in the query", 401, "invalid_client")
	r := directAs(w.http.Config.Handler, "/dex/token", "application/json", good())
	r.expect(t, "JSON", 400, "invalid_request")
	if a := w.do(http.MethodGet, "/token", nil); a.status != http.StatusMethodNotAllowed {
		t.Errorf("GET: %d", a.status)
	}
	if a := w.post("/token", with("code", strings.Repeat("x", 1<<20))); a.status != http.StatusRequestEntityTooLarge || a.str("error") != "invalid_request" {
		t.Errorf("1 MB: %d %s", a.status, a.raw)
	}
}

// The operator's limit is the limit, also where it is a wide one.
func TestWideBodies(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "sqlite", func(c *server.Config) { c.MaxBody = 3 << 20 })
	for size, status := range map[int]int{2 << 20: http.StatusBadRequest, 3 << 20: http.StatusRequestEntityTooLarge} {
		if a := w.redeem(strings.Repeat("x", size)); a.status != status {
			t.Errorf("%d bytes: %d %s", size, a.status, a.raw)
		}
	}
}

func TestUserinfo(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		for _, format := range []string{oauth.FormatOpaque, oauth.FormatJWT} {
			t.Run(format, func(t *testing.T) {
				w := newWorld(t, engine, func(c *server.Config) { c.Policy.AccessTokenFormat = format })
				tokens := w.redeem(w.code(w.browser(), w.request("scope", "openid email")))
				access := tokens.str("access_token")
				form := url.Values{"access_token": {access}}
				for name, a := range map[string]answer{
					"GET, header":  w.do(http.MethodGet, "/userinfo", nil, bearer(access)...),
					"POST, header": w.do(http.MethodPost, "/userinfo", nil, bearer(access)...),
					"POST, body":   w.post("/userinfo", form),
				} {
					if a.status != http.StatusOK || a.str("sub") != oauth.Subject("user-alice", "staff") || a.str("email") != alice {
						t.Errorf("%s: %d %s", name, a.status, a.raw)
					}
					// Claims that no scope asked for stay home.
					if a.body["groups"] != nil || a.body["name"] != nil {
						t.Errorf("%s: %s", name, a.raw)
					}
				}
				refused := func(what string, a answer, status int, code string) {
					t.Helper()
					a.expect(t, what, status, code)
					if !strings.HasPrefix(a.header.Get("WWW-Authenticate"), `Bearer realm="countersign", error="`+code+`"`) {
						t.Errorf("%s: WWW-Authenticate is %q", what, a.header.Get("WWW-Authenticate"))
					}
				}
				refused("in the query", w.do(http.MethodGet, "/userinfo?access_token="+access, nil), 400, "invalid_request")
				refused("twice", w.post("/userinfo", form, bearer(access)...), 400, "invalid_request")
				refused("an id_token", w.do(http.MethodGet, "/userinfo", nil, bearer(tokens.str("id_token"))...), 401, "invalid_token")
				refused("nonsense", w.do(http.MethodGet, "/userinfo", nil, bearer("abc")...), 401, "invalid_token")
				for i := 0; i < len(access); i += 7 { // zitadel CVE-2026-27840: truncated tokens
					if i == 0 {
						continue
					}
					refused("a prefix", w.do(http.MethodGet, "/userinfo", nil, bearer(access[:i])...), 401, "invalid_token")
				}
				a := w.do(http.MethodGet, "/userinfo", nil)
				if a.status != http.StatusUnauthorized || a.header.Get("WWW-Authenticate") != `Bearer realm="countersign"` {
					t.Errorf("no token: %d %q", a.status, a.header.Get("WWW-Authenticate"))
				}
				w.clock.advance(10*time.Minute + time.Second)
				refused("expired", w.do(http.MethodGet, "/userinfo", nil, bearer(access)...), 401, "invalid_token")
			})
		}
	})
}

// An access token is never an id_token, and the other way round (RFC 8725 section
// 3.11, RFC 9068 section 5): kube-apiserver looks at signature and aud only.
func TestTokenConfusion(t *testing.T) {
	w := newWorld(t, "sqlite", func(c *server.Config) { c.Policy.AccessTokenFormat = oauth.FormatJWT })
	a := w.redeem(w.code(w.browser(), w.request()))
	access := claims(t, a.str("access_token"))
	if access["aud"] == "app" || access["aud"] != w.issuer {
		t.Errorf("aud of the access token is %v", access["aud"])
	}
	header, err := base64.RawURLEncoding.DecodeString(strings.Split(a.str("access_token"), ".")[0])
	if err != nil || !strings.Contains(string(header), `"typ":"at+jwt"`) {
		t.Errorf("header of the access token: %s %v", header, err)
	}
	back := w.response(w.get(w.browser(), w.request("id_token_hint", a.str("access_token"))))
	if back.Get("error") != "invalid_request" {
		t.Errorf("an access token as id_token_hint: %v", back)
	}
}

func TestAudiences(t *testing.T) {
	w := newWorld(t, "sqlite")
	got := w.idToken(w.browser(), "scope", "openid audience:server:client_id:api")
	aud, _ := got["aud"].([]any)
	if len(aud) != 2 || aud[0] != "api" || aud[1] != "app" || got["azp"] != "app" {
		t.Errorf("aud %v, azp %v", got["aud"], got["azp"])
	}
	// api does not trust other, and nobody trusts for app.
	for _, c := range []string{"api", "app", "nobody"} {
		back := w.response(w.get(w.browser(), w.request("client_id", "other", "redirect_uri", otherCallback, "scope", "openid audience:server:client_id:"+c)))
		if back.Get("error") != "invalid_scope" {
			t.Errorf("other asks for %s: %v", c, back)
		}
	}
}

func TestLifetimePerClient(t *testing.T) {
	w := newWorld(t, "sqlite", func(c *server.Config) { c.Clients[0].IDTokenLifetime = time.Minute })
	got := w.idToken(w.browser())
	if d := got["exp"].(float64) - got["iat"].(float64); d != 60 {
		t.Errorf("the id_token lives %v s, want 60", d)
	}
}
