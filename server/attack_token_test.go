package server_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/countersign/countersign/server"
	"github.com/countersign/countersign/server/oauth"
	"github.com/countersign/countersign/storage"
)

// mutants are every truncation of a token, every flipped bit, and other spellings
// of the same bytes.
func mutants(token string) []string {
	var all []string
	for i := range token {
		all = append(all, token[:i])
		for bit := range 8 {
			flipped := []byte(token)
			flipped[i] ^= 1 << bit
			all = append(all, string(flipped))
		}
	}
	return append(all, token+"A", token+"=", token+"==", token+".", token+"\n", token+" x", "x "+token, token+token,
		strings.ToUpper(token), strings.ReplaceAll(token, "_", "-"), "csa_"+token, strings.TrimPrefix(strings.TrimPrefix(token, "csa_"), "csc_"))
}

// spelled reports whether a mutant is the token itself, or only white space away.
func spelled(mutant, token string) bool { return strings.TrimSpace(mutant) == token }

// SECURITY 34 (zitadel CVE-2026-27840), DESIGN idea 3: a forged code or token
// is refused without a query.
func TestForgeriesCostNoQuery(t *testing.T) {
	for _, format := range []string{oauth.FormatOpaque, oauth.FormatJWT} {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			store := new(tap)
			w := newWorld(t, "sqlite", through(store), func(c *server.Config) { c.Policy.AccessTokenFormat = format })
			code := w.code(w.browser(), w.request())
			tokens := w.redeem(w.code(w.browser(), w.request()))
			access := tokens.str("access_token")
			store.arm(nil, nil)
			handler := w.http.Config.Handler
			for _, m := range mutants(code) {
				if m != "" && !spelled(m, code) && format == oauth.FormatOpaque {
					if a := direct(handler, w.tokenForm(m)); a.str("error") != "invalid_grant" && a.str("error") != "invalid_request" {
						t.Errorf("code %q: %d %s", m, a.status, a.raw)
					}
				}
			}
			step := 1
			if format == oauth.FormatJWT {
				step = 7 // each of these is a signature to check
			}
			all := mutants(access)
			for i := 0; i < len(all); i += step {
				m := all[i]
				if m == "" || spelled(m, access) || strings.ContainsAny(m, "\n\r") {
					continue
				}
				if a := direct(handler, url.Values{"access_token": {m}}); a.status != http.StatusUnauthorized {
					t.Errorf("access token %q: %d %s", m, a.status, a.raw)
				}
			}
			// Tokens of another kind, crosswise (zitadel CVE-2025-46815).
			for _, m := range []string{code, tokens.str("id_token"), "csr_" + access[4:], w.flowCookieValue()} {
				if a := direct(handler, url.Values{"access_token": {m}}); a.status != http.StatusUnauthorized {
					t.Errorf("as an access token %q: %d %s", m, a.status, a.raw)
				}
			}
			for _, m := range []string{access, tokens.str("id_token"), w.flowCookieValue()} {
				if a := direct(handler, w.tokenForm(m)); a.str("error") != "invalid_grant" {
					t.Errorf("as a code %q: %d %s", m, a.status, a.raw)
				}
			}
			if calls := store.taken(); len(calls) != 0 {
				t.Errorf("forgeries cost %d calls of the store: %v", len(calls), calls[:1])
			}
			// The real ones do work.
			if a := w.redeem(code); a.status != http.StatusOK {
				t.Errorf("%d %s", a.status, a.raw)
			}
			if a := w.do(http.MethodGet, "/userinfo", nil, bearer(access)...); a.status != http.StatusOK {
				t.Errorf("%d %s", a.status, a.raw)
			}
		})
	}
}

func (w *world) tokenForm(code string) url.Values {
	return url.Values{
		"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {callback}, "code_verifier": {verifier},
		"client_id": {"app"}, "client_secret": {"app-secret"},
	}
}

func (w *world) flowCookieValue() string {
	p := w.browser()
	return w.flowCookie(p, w.get(p, w.request())).Value
}

// A refresh token that is forged, or somebody else's, is refused before the
// database hears of it, wherever it is presented.
func TestForeignRefreshTokensCostNoQuery(t *testing.T) {
	t.Parallel()
	store := new(tap)
	w := newWorld(t, "sqlite", through(store))
	token := w.tokens().str("refresh_token")
	handler := w.http.Config.Handler
	own := url.Values{"client_id": {"app"}, "client_secret": {"app-secret"}}
	other := url.Values{"client_id": {"other"}, "client_secret": {"other-secret"}}
	at := func(path string, client url.Values, token string) answer {
		v := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}, "token": {token}}
		for name, values := range client {
			v[name] = values
		}
		return directAt(handler, "/dex"+path, v)
	}
	store.arm(nil, nil)
	at("/token", other, token).expect(t, "another client's", 400, "invalid_grant")
	at("/revoke", other, token).expect(t, "another client's", 400, "invalid_grant")
	if a := at("/token/introspect", other, token); a.raw != `{"active":false}` {
		t.Errorf("another client's: %d %s", a.status, a.raw)
	}
	for _, m := range mutants(token) {
		if m == "" || spelled(m, token) || strings.ContainsAny(m, "\n\r") {
			continue
		}
		if a := at("/token", own, m); a.str("error") != "invalid_grant" && a.str("error") != "invalid_request" {
			t.Errorf("forged %q: %d %s", m, a.status, a.raw)
		}
	}
	if calls := store.taken(); len(calls) != 0 {
		t.Errorf("%d calls of the store: %v", len(calls), calls[:1])
	}
	// The owner's is one.
	w.goOn(token)
	if calls := store.taken(); !slices.Equal(calls, []string{"RotateGrant"}) {
		t.Errorf("a refresh is %v", calls)
	}
}

// Claims of a JWT access token that are deleted or changed are never accepted,
// because nobody else can sign; and what we signed for another purpose is not
// either (RFC 8725 section 3.11).
func TestForgedJWTs(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "sqlite", func(c *server.Config) { c.Policy.AccessTokenFormat = oauth.FormatJWT })
	tokens := w.redeem(w.code(w.browser(), w.request()))
	access, idToken := tokens.str("access_token"), tokens.str("id_token")
	segments := strings.Split(access, ".")
	encode := func(v any) string {
		raw, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(raw)
	}
	var header map[string]any
	raw, _ := base64.RawURLEncoding.DecodeString(segments[0])
	if err := json.Unmarshal(raw, &header); err != nil {
		t.Fatal(err)
	}
	with := func(name string, value any) map[string]any {
		h := map[string]any{}
		for k, v := range header {
			h[k] = v
		}
		h[name] = value
		return h
	}
	changed := claims(t, access)
	changed["sub"] = oauth.Subject("user-bob", "staff")
	for name, forged := range map[string]string{
		"alg none":             encode(map[string]any{"alg": "none", "typ": "at+jwt", "kid": header["kid"]}) + "." + segments[1] + ".",
		"alg None":             encode(with("alg", "None")) + "." + segments[1] + ".",
		"no signature":         segments[0] + "." + segments[1] + ".",
		"alg HS256":            encode(with("alg", "HS256")) + "." + segments[1] + "." + segments[2],
		"changed payload":      segments[0] + "." + encode(changed) + "." + segments[2],
		"jku":                  encode(with("jku", "https://evil.example/keys")) + "." + segments[1] + "." + segments[2],
		"jwk":                  encode(with("jwk", map[string]any{"kty": "oct", "k": "AA"})) + "." + segments[1] + "." + segments[2],
		"another kid":          encode(with("kid", "../../dev/null")) + "." + segments[1] + "." + segments[2],
		"zip":                  encode(with("zip", "DEF")) + "." + segments[1] + "." + segments[2],
		"crit":                 encode(with("crit", []string{"exp"})) + "." + segments[1] + "." + segments[2],
		"the id_token":         idToken,
		"typ of the id_token":  strings.Split(idToken, ".")[0] + "." + segments[1] + "." + segments[2],
		"id_token's signature": segments[0] + "." + segments[1] + "." + strings.Split(idToken, ".")[2],
		"four segments":        access + ".x",
		"a JWE":                "a.b.c.d.e",
		"many dots":            strings.Repeat(".", 100_000/4),
	} {
		if a := w.post("/userinfo", url.Values{"access_token": {forged}}); a.status != http.StatusUnauthorized || a.str("error") != "invalid_token" {
			t.Errorf("%s: %d %s", name, a.status, a.raw)
		}
		back := w.response(w.get(w.browser(), w.request("prompt", "none", "id_token_hint", "x"+forged[:min(len(forged), 1000)])))
		if back.Get("error") != "login_required" {
			t.Errorf("%s as a hint: %v", name, back)
		}
	}
}

// What one issuer made is nothing to another: with another secret, with another
// database, or with another name over the same secret.
func TestTokensOfAnotherIssuer(t *testing.T) {
	for _, format := range []string{oauth.FormatOpaque, oauth.FormatJWT} {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			jwt := func(c *server.Config) { c.Policy.AccessTokenFormat = format }
			home := newWorld(t, "sqlite", jwt)
			code := home.code(home.browser(), home.request())
			tokens := home.redeem(home.code(home.browser(), home.request()))
			db, c := newDatabase(t, "sqlite"), new(clock)
			for name, w := range map[string]*world{
				"another database": newWorld(t, "sqlite", jwt),
				"another secret": db.replica(t, c, jwt, func(cfg *server.Config) {
					cfg.Secrets = [][]byte{[]byte("quite another master secret, of 32+")}
				}),
			} {
				w.redeem(code).expect(t, name, 400, "invalid_grant")
				for what, token := range map[string]string{"access token": tokens.str("access_token"), "id_token": tokens.str("id_token")} {
					if a := w.do(http.MethodGet, "/userinfo", nil, bearer(token)...); a.status != http.StatusUnauthorized {
						t.Errorf("%s: %s: %d", name, what, a.status)
					}
				}
				back := w.response(w.get(w.browser(), w.request("prompt", "none", "id_token_hint", tokens.str("id_token"))))
				if back.Get("error") != "login_required" {
					t.Errorf("%s: id_token_hint: %v", name, back)
				}
			}
			// The same database under another name: its JWTs name the wrong issuer.
			renamed := home.db.replica(t, home.clock, jwt)
			if renamed.issuer == home.issuer {
				t.Fatal("the issuers are the same")
			}
			if format == oauth.FormatJWT {
				if a := renamed.do(http.MethodGet, "/userinfo", nil, bearer(tokens.str("access_token"))...); a.status != http.StatusUnauthorized {
					t.Errorf("another issuer's JWT: %d", a.status)
				}
			}
			back := renamed.response(renamed.get(renamed.browser(), renamed.request("prompt", "none", "id_token_hint", tokens.str("id_token"))))
			if back.Get("error") != "login_required" {
				t.Errorf("another issuer's hint: %v", back)
			}
		})
	}
}

// Secrets are replaced without anybody noticing: the new one makes, both check;
// and when the old one is gone, so is what it made.
func TestSecretsAreRotated(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		older, newer := []byte("the older master secret, 32 bytes+"), []byte("the newer master secret, 32 bytes+")
		db, c := newDatabase(t, engine), new(clock)
		var issuer string
		with := func(secrets ...[]byte) *world {
			return db.replica(t, c, func(cfg *server.Config) {
				if cfg.Secrets = secrets; issuer != "" {
					cfg.Policy.Issuer = issuer
				}
			})
		}
		before := with(older)
		issuer = before.issuer
		code := before.code(before.browser(), before.request())
		access := before.redeem(before.code(before.browser(), before.request())).str("access_token")
		both := with(newer, older)
		if a := both.do(http.MethodGet, "/userinfo", nil, bearer(access)...); a.status != http.StatusOK {
			t.Errorf("an old token while both check: %d", a.status)
		}
		if a := both.redeem(code); a.status != http.StatusOK {
			t.Errorf("an old code while both check: %d %s", a.status, a.raw)
		}
		// The first makes, so the old one alone does not take it.
		fresh := both.code(both.browser(), both.request())
		before.redeem(fresh).expect(t, "a code of the newer secret at the older", 400, "invalid_grant")
		if a := both.redeem(fresh); a.status != http.StatusOK {
			t.Errorf("a new code: %d %s", a.status, a.raw)
		}
	})
}

// I3 across replicas: what is revoked at one is dead at the other, at once; what
// has expired everywhere.
func TestRevokedAndExpired(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		for _, format := range []string{oauth.FormatOpaque, oauth.FormatJWT} {
			first, second := replicas(t, engine, func(c *server.Config) { c.Policy.AccessTokenFormat = format })
			code := first.code(first.browser(), first.request())
			access := first.redeem(code).str("access_token")
			info := func() answer { return second.do(http.MethodGet, "/userinfo", nil, bearer(access)...) }
			if a := info(); a.status != http.StatusOK {
				t.Fatalf("%d %s", a.status, a.raw)
			}
			first.redeem(code).expect(t, "reuse", 400, "invalid_grant")
			info().expect(t, "revoked elsewhere", 401, "invalid_token")

			// A grant revoked before its code was redeemed gives nothing.
			code = first.code(first.browser(), first.request())
			first.exec(t, "UPDATE grants SET revoked_at = created_at, revoked_reason = 'test'")
			second.redeem(code).expect(t, "a revoked grant's code", 400, "invalid_grant")

			// Expired, for each who may ask.
			code = first.code(first.browser(), first.request())
			access = first.redeem(first.code(first.browser(), first.request())).str("access_token")
			first.clock.advance(10*time.Minute + time.Second)
			info().expect(t, "expired", 401, "invalid_token")
			first.redeem(code).expect(t, "an expired code", 400, "invalid_grant")
			first.exec(t, "DELETE FROM grants")
			info().expect(t, "a deleted grant", 401, "invalid_token")
		}
	})
}

// An opaque token of one client means nothing else at another: there is one
// userinfo endpoint, and it answers for the grant (GHSA-xqxv: the matrix of grant,
// client and expiry is in TestCodeIsBound).
func TestSubjectsAreThoseOfTheGrant(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		w := newWorld(t, engine)
		tokens := map[string]string{}
		for who, password := range map[string]string{alice: alicePassword, bob: bobPassword} {
			p := w.browser()
			page := w.approve(p, w.submit(p, w.get(p, w.request()), "login", who, "password", password))
			tokens[who] = w.redeem(w.response(page).Get("code")).str("access_token")
		}
		for who, token := range tokens {
			if a := w.do(http.MethodGet, "/userinfo", nil, bearer(token)...); a.str("email") != who {
				t.Errorf("%s gets %s", who, a.raw)
			}
		}
		// SECURITY 48, 19: the same groups and user id from two connectors are two
		// people.
		if oauth.Subject("x", "staff") == oauth.Subject("x", "partners") {
			t.Error("two connectors share a subject")
		}
	})
}

// The store's errors behind codes and tokens are no verdict on them (fosite
// CVE-2020-15223: 200 despite a storage error).
func TestStoreErrorsAreNoVerdict(t *testing.T) {
	for name, cause := range map[string]error{"unavailable": storage.ErrUnavailable, "a defect": errDefect} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store := new(tap)
			w := newWorld(t, "sqlite", through(store))
			code := w.code(w.browser(), w.request())
			access := w.redeem(w.code(w.browser(), w.request())).str("access_token")
			want, oauthError := http.StatusServiceUnavailable, "temporarily_unavailable"
			if name != "unavailable" {
				want, oauthError = http.StatusInternalServerError, "server_error"
			}
			store.arm(failAt("", 1, cause), nil)
			for what, a := range map[string]answer{
				"userinfo": w.do(http.MethodGet, "/userinfo", nil, bearer(access)...),
				"token":    w.redeem(code),
			} {
				if a.status != want || a.str("error") != oauthError || a.header.Get("WWW-Authenticate") != "" || strings.Contains(a.raw, "secret detail") {
					t.Errorf("%s: %d %v %s", what, a.status, a.header, a.raw)
				}
				if (a.header.Get("Retry-After") != "") != (name == "unavailable") {
					t.Errorf("%s: Retry-After %q", what, a.header.Get("Retry-After"))
				}
			}
			store.arm(nil, nil)
			if a := w.redeem(code); a.status != http.StatusOK {
				t.Errorf("afterwards: %d %s", a.status, a.raw)
			}
		})
	}
}
