package server_test

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/countersign/countersign/connector/local"
	"github.com/countersign/countersign/server"
	"github.com/countersign/countersign/server/oauth"
	"github.com/countersign/countersign/storage"
)

// offline is a scope that brings refresh tokens.
const offline = "openid email groups offline_access"

// tokens goes the whole way with offline_access.
func (w *world) tokens(pairs ...string) answer {
	w.t.Helper()
	a := w.redeem(w.code(w.browser(), w.request(append([]string{"scope", offline}, pairs...)...)))
	if a.status != http.StatusOK || !strings.HasPrefix(a.str("refresh_token"), "csr_") {
		w.t.Fatalf("no refresh token: %d %s", a.status, a.raw)
	}
	return a
}

// refresh is the token request of the client app for a refresh token, changed by
// pairs.
func (w *world) refresh(token string, pairs ...string) answer {
	w.t.Helper()
	v := url.Values{
		"grant_type": {"refresh_token"}, "refresh_token": {token},
		"client_id": {"app"}, "client_secret": {"app-secret"},
	}
	for i := 0; i+1 < len(pairs); i += 2 {
		v.Set(pairs[i], pairs[i+1])
	}
	return w.post("/token", v)
}

// goOn refreshes and returns the answer, which must be good.
func (w *world) goOn(token string) answer {
	w.t.Helper()
	a := w.refresh(token)
	if a.status != http.StatusOK {
		w.t.Fatalf("refreshing: %d %s", a.status, a.raw)
	}
	return a
}

func (w *world) alive(access string) bool {
	w.t.Helper()
	return w.do(http.MethodGet, "/userinfo", nil, bearer(access)...).status == http.StatusOK
}

// OpenID Connect Core 1.0 section 12.2 and the module oidcc-refresh-token.
func TestRefresh(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		w := newWorld(t, engine)
		first := w.tokens()
		before := claims(t, first.str("id_token"))
		w.clock.advance(2 * time.Second)
		a := w.goOn(first.str("refresh_token"))
		if a.header.Get("Cache-Control") != "no-store" || a.header.Get("Pragma") != "no-cache" || a.str("token_type") != "Bearer" {
			t.Errorf("headers %v, token_type %q", a.header, a.str("token_type"))
		}
		after := claims(t, a.str("id_token"))
		for _, name := range []string{"iss", "sub", "aud", "azp", "auth_time", "sid", "email"} {
			if before[name] != after[name] {
				t.Errorf("%s was %v and is %v", name, before[name], after[name])
			}
		}
		if after["iat"].(float64) <= before["iat"].(float64) || after["nonce"] != nil {
			t.Errorf("iat %v after %v, nonce %v", after["iat"], before["iat"], after["nonce"])
		}
		if !w.alive(a.str("access_token")) {
			t.Error("the new access token opens nothing")
		}
		if a.str("refresh_token") == first.str("refresh_token") {
			t.Error("the refresh token was not rotated")
		}
		// Without offline_access there is none.
		if got := w.redeem(w.code(w.browser(), w.request())); got.body["refresh_token"] != nil {
			t.Error("a refresh token that nobody asked for")
		}
	})
}

// A client that lost the response repeats, and gets the same successor: there is
// never a second live branch.
func TestRefreshRepeated(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		w := newWorld(t, engine)
		first := w.tokens().str("refresh_token")
		second := w.goOn(first).str("refresh_token")
		for range 3 {
			w.clock.advance(3 * time.Second)
			if got := w.goOn(first).str("refresh_token"); got != second {
				t.Fatalf("the repeat got another successor: %s and %s", got, second)
			}
		}
		third := w.goOn(second).str("refresh_token")
		// Now the first is older than the one before the newest: reuse.
		w.refresh(first).expect(t, "the first, after its successor was used", 400, "invalid_grant")
		w.refresh(third).expect(t, "the newest, after the reuse", 400, "invalid_grant")
	})
}

func TestRefreshReused(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		w := newWorld(t, engine)
		tokens := w.tokens()
		second := w.goOn(tokens.str("refresh_token"))
		other := w.tokens() // the same person, client and device: another grant
		w.clock.advance(10*time.Second + time.Millisecond)
		w.refresh(tokens.str("refresh_token")).expect(t, "outside of the window", 400, "invalid_grant")
		w.refresh(second.str("refresh_token")).expect(t, "its successor", 400, "invalid_grant")
		if w.alive(second.str("access_token")) {
			t.Error("the access token outlives the reuse")
		}
		// Another login is not disturbed.
		w.goOn(other.str("refresh_token"))
	})
}

// Two devices, or the same device twice, never disturb each other (dex #981).
func TestManyGrants(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		w := newWorld(t, engine)
		var newest []string
		for range 4 {
			newest = append(newest, w.tokens().str("refresh_token"))
		}
		for range 3 {
			for i := range newest {
				newest[i] = w.goOn(newest[i]).str("refresh_token")
			}
			w.clock.advance(time.Minute)
		}
	})
}

// F8: callers over replicas redeem one token at the same instant: all get the
// same successor, none gets a 500.
func TestRefreshRace(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		db, c := newDatabase(t, engine), new(clock)
		replicas := []*world{db.replica(t, c)}
		for range 3 {
			replicas = append(replicas, db.replica(t, c, func(cfg *server.Config) { cfg.Policy.Issuer = replicas[0].issuer }))
		}
		token := replicas[0].tokens().str("refresh_token")
		for range 5 {
			answers := make([]answer, 64)
			var callers sync.WaitGroup
			for i := range answers {
				callers.Go(func() { answers[i] = replicas[i%len(replicas)].refresh(token) })
			}
			callers.Wait()
			for _, a := range answers {
				if a.status != http.StatusOK || a.str("refresh_token") != answers[0].str("refresh_token") {
					t.Fatalf("%d %s, the first got %s", a.status, a.raw, answers[0].str("refresh_token"))
				}
			}
			token = answers[0].str("refresh_token")
		}
		if n := replicas[0].rows()["grants"]; n != 1 {
			t.Errorf("%d grants", n)
		}
	})
}

func TestRefreshRefused(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		w := newWorld(t, engine)
		tokens := w.tokens()
		token := tokens.str("refresh_token")
		w.refresh(token, "client_id", "other", "client_secret", "other-secret").expect(t, "another client", 400, "invalid_grant")
		w.refresh(token, "client_id", "native", "client_secret", "").expect(t, "a public client", 400, "invalid_grant")
		w.refresh(token, "client_secret", "wrong").expect(t, "a wrong secret", 401, "invalid_client")
		w.refresh(token, "scope", "openid profile").expect(t, "a wider scope", 400, "invalid_scope")
		w.refresh(token, "client_id", "other", "client_secret", "other-secret", "scope", "openid profile").expect(t, "another client asks about scopes", 400, "invalid_grant")
		w.refresh("").expect(t, "no token", 400, "invalid_request")
		for name, bad := range map[string]string{
			"truncated":            token[:len(token)-1],
			"altered":              token[:30] + "A" + token[31:],
			"another prefix":       "csc_" + strings.TrimPrefix(token, "csr_"),
			"an access token":      tokens.str("access_token"),
			"an id_token":          tokens.str("id_token"),
			"a prefix and no more": "csr_",
		} {
			if bad == token {
				continue
			}
			w.refresh(bad).expect(t, name, 400, "invalid_grant")
		}
		// Nothing of this has harmed the owner, and less scope is fine.
		a := w.refresh(token, "scope", "openid")
		if a.status != http.StatusOK || a.str("scope") != "openid" || claims(t, a.str("id_token"))["email"] != nil {
			t.Fatalf("narrowed: %d %s", a.status, a.raw)
		}
		info := w.do(http.MethodGet, "/userinfo", nil, bearer(a.str("access_token"))...)
		if info.status != http.StatusOK || info.body["email"] != nil {
			t.Errorf("userinfo of the narrowed token: %d %s", info.status, info.raw)
		}
		// The next refresh has all again.
		if a = w.goOn(a.str("refresh_token")); a.str("scope") != offline {
			t.Errorf("scope %q", a.str("scope"))
		}
	})
}

func TestRefreshExpires(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		w := newWorld(t, engine, func(c *server.Config) {
			c.Clients[1].RefreshTokens = storage.RefreshTokens{IdleLifetime: 20 * time.Minute}
		})
		w.clock.freeze()
		idle, used := w.tokens().str("refresh_token"), w.tokens().str("refresh_token")
		short := w.post("/token", url.Values{
			"grant_type": {"authorization_code"}, "code": {w.code(w.browser(), w.request("client_id", "other", "redirect_uri", otherCallback, "scope", offline))},
			"redirect_uri": {otherCallback}, "code_verifier": {verifier}, "client_id": {"other"}, "client_secret": {"other-secret"},
		}).str("refresh_token")
		w.clock.advance(20 * time.Minute)
		w.refresh(short, "client_id", "other", "client_secret", "other-secret").expect(t, "the client's own idle limit", 400, "invalid_grant")
		used = w.goOn(used).str("refresh_token")
		for range 59 {
			w.clock.advance(12*time.Hour - time.Second)
			used = w.goOn(used).str("refresh_token")
		}
		w.refresh(idle).expect(t, "idle for a month", 400, "invalid_grant")
		w.clock.advance(12*time.Hour - time.Second)
		w.refresh(used).expect(t, "after the absolute lifetime", 400, "invalid_grant")
	})
}

func TestRotationOff(t *testing.T) {
	off := true
	onEngines(t, func(t *testing.T, engine string) {
		w := newWorld(t, engine, func(c *server.Config) { c.Clients[0].RefreshTokens.DisableRotation = &off })
		token := w.tokens().str("refresh_token")
		for range 3 {
			w.clock.advance(time.Hour)
			if got := w.goOn(token).str("refresh_token"); got != token {
				t.Fatal("the token was rotated")
			}
		}
	})
}

// The token of a restarted server with the same database and secrets goes on; of
// one with other secrets it is nothing.
func TestRefreshAfterRestart(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		db, c := newDatabase(t, engine), new(clock)
		first := db.replica(t, c)
		token := first.tokens().str("refresh_token")
		first.http.Close()
		second := db.replica(t, c)
		token = second.goOn(token).str("refresh_token")
		stranger := newWorld(t, engine, func(cfg *server.Config) {
			cfg.Secrets = [][]byte{[]byte("another master secret, of 32 bytes+")}
		})
		stranger.refresh(token).expect(t, "at another server", 400, "invalid_grant")
	})
}

// DESIGN idea 6: groups follow, a person who is gone ends, a connector that is
// not allowed any more ends.
func TestRecheckOnRefresh(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		db, c := newDatabase(t, engine), new(clock)
		first := db.replica(t, c)
		tokens := []string{first.tokens().str("refresh_token"), first.tokens().str("refresh_token"), first.tokens().str("refresh_token")}

		// The list changes: a replica with the new one takes over.
		changed := db.replica(t, c, func(cfg *server.Config) {
			cfg.Policy.Issuer = first.issuer
			cfg.Connectors[0].Password = people(t, local.Password{Email: "alice@new.example", Hash: hash(t, "x"), UserID: "user-alice", Username: "Alice", Groups: []string{"staff"}})
		})
		groups := func(a answer) any { return claims(t, a.str("id_token"))["groups"] }
		a := changed.goOn(tokens[0])
		if got, _ := groups(a).([]any); len(got) != 2 {
			t.Errorf("asked again before recheck: groups %v", got)
		}
		c.advance(5 * time.Minute)
		a = changed.goOn(a.str("refresh_token"))
		if got, _ := groups(a).([]any); len(got) != 1 || claims(t, a.str("id_token"))["email"] != "alice@new.example" {
			t.Errorf("after recheck: %v", claims(t, a.str("id_token")))
		}
		tokens[0] = a.str("refresh_token")

		// A client that may not use the connector any more.
		narrowed := db.replica(t, c, func(cfg *server.Config) {
			cfg.Policy.Issuer = first.issuer
			cfg.Connectors = append(cfg.Connectors, partners(t))
			cfg.Clients[0].AllowedConnectors = []string{"partners"}
		})
		said := narrowed.post("/token/introspect", url.Values{"token": {tokens[1]}}, basic("app", "app-secret")...)
		if said.raw != `{"active":false}` {
			t.Errorf("a connector that is not allowed, introspected: %d %s", said.status, said.raw)
		}
		narrowed.refresh(tokens[1]).expect(t, "a connector that is not allowed", 400, "invalid_grant")
		changed.refresh(tokens[1]).expect(t, "afterwards, where it is allowed", 400, "invalid_grant")

		// The person is gone: all their grants end.
		gone := db.replica(t, c, func(cfg *server.Config) {
			cfg.Policy.Issuer = first.issuer
			cfg.Connectors[0].Password = people(t, local.Password{Email: bob, Hash: hash(t, bobPassword), UserID: "user-bob", Username: "bob"})
		})
		c.advance(5 * time.Minute)
		gone.refresh(tokens[0]).expect(t, "a person who is gone", 400, "invalid_grant")
		first.refresh(tokens[2]).expect(t, "their other login, at a replica that still knows them", 400, "invalid_grant")
	})
}

func people(t *testing.T, passwords ...local.Password) *local.Connector {
	t.Helper()
	c, err := local.New(passwords)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// What a client was given ends with it, on the replica that knows it no more.
func TestClientRemoved(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		db, c := newDatabase(t, engine), new(clock)
		first := db.replica(t, c)
		a := first.tokens()
		without := db.replica(t, c, func(cfg *server.Config) {
			cfg.Policy.Issuer = first.issuer
			cfg.Clients = cfg.Clients[1:]
		})
		if !first.alive(a.str("access_token")) || without.alive(a.str("access_token")) {
			t.Error("the access token lives where the client is not known, or not where it is")
		}
		without.refresh(a.str("refresh_token")).expect(t, "refreshing", 401, "invalid_client")
	})
}

// RFC 7009: effective at the very next use, on every replica.
func TestRevoke(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		for _, format := range []string{oauth.FormatOpaque, oauth.FormatJWT} {
			for _, kind := range []string{"refresh_token", "access_token"} {
				t.Run(format+" "+kind, func(t *testing.T) {
					db, c := newDatabase(t, engine), new(clock)
					w := db.replica(t, c, func(cfg *server.Config) { cfg.Policy.AccessTokenFormat = format })
					other := db.replica(t, c, func(cfg *server.Config) {
						cfg.Policy.Issuer, cfg.Policy.AccessTokenFormat = w.issuer, format
					})
					a, bystander := w.tokens(), w.tokens()
					app := url.Values{"client_id": {"app"}, "client_secret": {"app-secret"}}
					with := func(base url.Values, pairs ...string) url.Values {
						v := url.Values{}
						for k, values := range base {
							v[k] = values
						}
						for i := 0; i+1 < len(pairs); i += 2 {
							v.Set(pairs[i], pairs[i+1])
						}
						return v
					}
					for name, token := range map[string]string{"nonsense": "x", "a truncated one": a.str(kind)[:20]} {
						if got := w.post("/revoke", with(app, "token", token)); got.status != http.StatusOK {
							t.Errorf("%s: %d %s", name, got.status, got.raw)
						}
					}
					w.post("/revoke", with(app)).expect(t, "no token", 400, "invalid_request")
					w.post("/revoke", with(app, "token", a.str("id_token"))).expect(t, "an id_token", 400, "unsupported_token_type")
					w.post("/revoke", url.Values{"token": {a.str(kind)}}).expect(t, "no client", 401, "invalid_client")
					w.post("/revoke", url.Values{"client_id": {"other"}, "client_secret": {"other-secret"}, "token": {a.str(kind)}}).expect(t, "another client", 400, "invalid_grant")
					if !w.alive(a.str("access_token")) {
						t.Fatal("another client's attempt did harm")
					}
					if got := w.post("/revoke", with(app, "token", a.str(kind), "token_type_hint", "nonsense")); got.status != http.StatusOK {
						t.Fatalf("%d %s", got.status, got.raw)
					}
					if other.alive(a.str("access_token")) {
						t.Error("the access token still works at the other replica")
					}
					other.refresh(a.str("refresh_token")).expect(t, "refreshing at the other replica", 400, "invalid_grant")
					if got := w.post("/revoke", with(app, "token", a.str(kind))); got.status != http.StatusOK {
						t.Errorf("again: %d %s", got.status, got.raw)
					}
					other.goOn(bystander.str("refresh_token"))
				})
			}
		}
	})
}

// RFC 7662.
func TestIntrospect(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		w := newWorld(t, engine)
		a := w.tokens()
		ask := func(token string, header ...string) answer {
			return w.post("/token/introspect", url.Values{"token": {token}}, header...)
		}
		for _, kind := range []string{"access_token", "refresh_token"} {
			got := ask(a.str(kind), basic("app", "app-secret")...)
			if got.status != http.StatusOK || got.body["active"] != true || got.str("client_id") != "app" ||
				got.str("sub") != oauth.Subject("user-alice", "staff") || got.str("scope") != offline || got.body["exp"] == nil {
				t.Errorf("%s: %d %s", kind, got.status, got.raw)
			}
		}
		dead := func(what string, got answer) {
			t.Helper()
			if got.status != http.StatusOK || got.raw != `{"active":false}` {
				t.Errorf("%s: %d %s", what, got.status, got.raw)
			}
		}
		dead("another client's", ask(a.str("access_token"), basic("other", "other-secret")...))
		dead("another client's refresh token", ask(a.str("refresh_token"), basic("other", "other-secret")...))
		dead("an id_token", ask(a.str("id_token"), basic("app", "app-secret")...))
		dead("nonsense", ask("x", basic("app", "app-secret")...))
		ask(a.str("access_token")).expect(t, "nobody", 401, "invalid_client")
		w.post("/token/introspect", url.Values{"token": {a.str("access_token")}, "client_id": {"native"}}).expect(t, "a public client", 401, "invalid_client")
		if got := w.do(http.MethodGet, "/token/introspect?token="+a.str("access_token"), nil, basic("app", "app-secret")...); got.status != http.StatusMethodNotAllowed {
			t.Errorf("GET: %d", got.status)
		}
		w.clock.advance(11 * time.Minute)
		dead("an expired access token", ask(a.str("access_token"), basic("app", "app-secret")...))
		second := w.goOn(a.str("refresh_token"))
		w.clock.advance(11 * time.Second)
		dead("a rotated refresh token", ask(a.str("refresh_token"), basic("app", "app-secret")...))
		// Asking is no reuse.
		w.goOn(second.str("refresh_token"))
	})
}

// F13: used tokens stay used over a restart.
func TestUsedTokensStayUsed(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		db, c := newDatabase(t, engine), new(clock)
		first := db.replica(t, c)
		var used []string
		for range 10 {
			token := first.tokens().str("refresh_token")
			used = append(used, token)
			next := first.goOn(token).str("refresh_token")
			used = append(used, next)
			first.goOn(next)
		}
		first.http.Close()
		second := db.replica(t, c)
		c.advance(11 * time.Second)
		accepted := slices.DeleteFunc(used, func(token string) bool { return second.refresh(token).status != http.StatusOK })
		if len(accepted) != 0 {
			t.Errorf("%d used tokens were accepted", len(accepted))
		}
	})
}
