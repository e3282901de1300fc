package server_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/countersign/countersign/connector"
	"github.com/countersign/countersign/e2e/person"
	"github.com/countersign/countersign/server"
	"github.com/countersign/countersign/server/audit"
	"github.com/countersign/countersign/server/garbage"
	"github.com/countersign/countersign/server/revocation"
	"github.com/countersign/countersign/storage"
)

// at is a browser that comes to another replica with the cookies of p.
func (w *world) at(p *person.Person) *person.Person {
	other := w.browser()
	other.SetCookies(w.issuer+"/", p.Cookies(w.issuer+"/"))
	return other
}

// revoker revokes past this replica, as an administrator's program would.
func (w *world) revoker() *revocation.Revoker {
	w.t.Helper()
	r, err := revocation.New(revocation.Config{
		Store: w.store, Ended: func() {}, Now: w.clock.now,
		Ending: func() storage.Ending {
			now := w.clock.now().UTC().Truncate(time.Microsecond)
			return storage.Ending{Now: now, RevokeClientIDs: []string{"app"}, TellClientIDs: []string{"app"}, TellUntil: now.Add(time.Hour)}
		},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

// test is why the tests revoke.
var test = revocation.Cause{By: audit.ByAdministrator, Reason: "test"}

// holding is a person's browser, with what app and other have of it.
type holding struct {
	browser *person.Person
	sid     string
	// tokens by client.
	tokens map[string]answer
}

// holds signs somebody in at both clients.
func (w *world) holds(login, password string) holding {
	w.t.Helper()
	h := holding{browser: w.browser(), tokens: map[string]answer{}}
	for _, client := range []string{"app", "other"} {
		uri := map[string]string{"app": callback, "other": otherCallback}[client]
		page := w.get(h.browser, w.request("scope", offline, "client_id", client, "redirect_uri", uri))
		if strings.Contains(page.URL.Path, "/login/") {
			page = w.submit(h.browser, page, "login", login, "password", password)
		}
		code := w.response(w.approve(h.browser, page)).Get("code")
		a := w.redeem(code, "client_id", client, "client_secret", client+"-secret", "redirect_uri", uri)
		if a.str("refresh_token") == "" {
			w.t.Fatalf("%s: %d %s", client, a.status, a.raw)
		}
		h.tokens[client], h.sid = a, claims(w.t, a.str("id_token"))["sid"].(string)
	}
	return h
}

// works asks a replica for everything that h has: "browser", and for each client
// the access token at userinfo and both tokens at introspection, then a refresh, which h has afterwards.
func (w *world) works(h holding) map[string]bool {
	w.t.Helper()
	works := map[string]bool{"browser": w.signedIn(w.at(h.browser))}
	for client, a := range h.tokens {
		secret := client + "-secret"
		works[client+" userinfo"] = w.alive(a.str("access_token"))
		for _, token := range []string{"access_token", "refresh_token"} {
			said := w.post("/token/introspect", map[string][]string{"token": {a.str(token)}, "client_id": {client}, "client_secret": {secret}})
			works[client+" introspect "+token] = said.body["active"] == true
		}
		next := w.refresh(a.str("refresh_token"), "client_id", client, "client_secret", secret)
		if works[client+" refresh"] = next.status == http.StatusOK; next.status == http.StatusOK {
			a.body["refresh_token"] = next.str("refresh_token")
		}
	}
	return works
}

// left is what works of a holding: the browser, and all of each of these clients.
func left(browser bool, clients ...string) map[string]bool {
	works := map[string]bool{"browser": browser}
	for _, client := range []string{"app", "other"} {
		for _, use := range []string{"userinfo", "introspect access_token", "introspect refresh_token", "refresh"} {
			works[client+" "+use] = strings.Contains(strings.Join(clients, " "), client)
		}
	}
	return works
}

// Each revocation works at the very next use, on the other replica, for refresh,
// userinfo, introspection and single sign-on; and reaches nobody else's.
func TestRevocationWorksAtTheNextUseEverywhere(t *testing.T) {
	type result struct {
		ended                    revocation.Count
		mine, myOther, somebodys map[string]bool
	}
	alices := revocation.Person{ConnectorID: "staff", UserID: "user-alice"}
	all := left(true, "app", "other")
	for name, c := range map[string]struct {
		revoke func(r *revocation.Revoker, w *world, mine holding, id storage.GrantID) (revocation.Count, error)
		want   result
	}{
		"a grant": {func(r *revocation.Revoker, w *world, mine holding, id storage.GrantID) (c revocation.Count, err error) {
			done, err := r.Grant(w.t.Context(), id, "test")
			if !done {
				err = errors.Join(err, errors.New("not done"))
			}
			return c, err
		}, result{revocation.Count{}, left(true, "other"), all, all}},
		"a grant of a person": {func(r *revocation.Revoker, w *world, mine holding, id storage.GrantID) (revocation.Count, error) {
			return r.GrantOf(w.t.Context(), alices, id, test)
		}, result{revocation.Count{Grants: 1}, left(true, "other"), all, all}},
		"a grant of another person": {func(r *revocation.Revoker, w *world, mine holding, id storage.GrantID) (revocation.Count, error) {
			return r.GrantOf(w.t.Context(), revocation.Person{ConnectorID: "staff", UserID: "user-bob"}, id, test)
		}, result{revocation.Count{}, all, all, all}},
		"a person's grants": {func(r *revocation.Revoker, w *world, mine holding, id storage.GrantID) (revocation.Count, error) {
			return r.GrantsOf(w.t.Context(), alices, test)
		}, result{revocation.Count{Grants: 4}, left(true), left(true), all}},
		"a browser": {func(r *revocation.Revoker, w *world, mine holding, id storage.GrantID) (revocation.Count, error) {
			return r.Session(w.t.Context(), mine.sid, test)
		}, result{revocation.Count{Sessions: 1}, left(false, "other"), all, all}},
		"a browser of another person": {func(r *revocation.Revoker, w *world, mine holding, id storage.GrantID) (revocation.Count, error) {
			return r.SessionOf(w.t.Context(), revocation.Person{ConnectorID: "staff", UserID: "user-bob"}, mine.sid, test)
		}, result{revocation.Count{}, all, all, all}},
		"a person": {func(r *revocation.Revoker, w *world, mine holding, id storage.GrantID) (revocation.Count, error) {
			return r.Person(w.t.Context(), alices, test)
		}, result{revocation.Count{Sessions: 2, Grants: 4}, left(false), left(false), all}},
		"a client": {func(r *revocation.Revoker, w *world, mine holding, id storage.GrantID) (revocation.Count, error) {
			return r.Client(w.t.Context(), "app", test)
		}, result{revocation.Count{Grants: 3}, left(true, "other"), left(true, "other"), left(true, "other")}},
		"a connector": {func(r *revocation.Revoker, w *world, mine holding, id storage.GrantID) (revocation.Count, error) {
			return r.Connector(w.t.Context(), "staff", test)
		}, result{revocation.Count{Sessions: 3, Grants: 6}, left(false), left(false), left(false)}},
		"another connector": {func(r *revocation.Revoker, w *world, mine holding, id storage.GrantID) (revocation.Count, error) {
			return r.Connector(w.t.Context(), "staf", test)
		}, result{revocation.Count{}, all, all, all}},
		"everything": {func(r *revocation.Revoker, w *world, mine holding, id storage.GrantID) (revocation.Count, error) {
			return r.Everything(w.t.Context(), test)
		}, result{revocation.Count{Sessions: 3, Grants: 6}, left(false), left(false), left(false)}},
	} {
		t.Run(name, func(t *testing.T) {
			onEngines(t, func(t *testing.T, engine string) {
				first, second := replicas(t, engine)
				first.clock.freeze()
				mine, myOther, somebodys := first.holds(alice, alicePassword), first.holds(alice, alicePassword), first.holds(bob, bobPassword)
				if diff := cmp.Diff(all, second.works(mine)); diff != "" {
					t.Fatalf("before (-want +got):\n%s", diff)
				}
				id := first.grantOf(mine, "app")
				ended, err := c.revoke(first.revoker(), first, mine, id)
				if err != nil {
					t.Fatal(err)
				}
				got := result{ended, second.works(mine), second.works(myOther), second.works(somebodys)}
				if diff := cmp.Diff(c.want, got, cmp.AllowUnexported(result{})); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
				if again, err := c.revoke(first.revoker(), first, mine, id); name != "a grant" && (err != nil || again != revocation.Count{}) {
					t.Errorf("again: %+v, %v", again, err)
				}
			})
		})
	}
}

// grantOf finds the grant of a client that came from a browser.
func (w *world) grantOf(h holding, client string) storage.GrantID {
	w.t.Helper()
	all, err := w.store.GrantsOf(w.t.Context(), storage.Holding{ConnectorID: "staff", UserID: "user-alice", Now: w.clock.now(), Limit: 100})
	if err != nil {
		w.t.Fatal(err)
	}
	for _, g := range all {
		if g.SID == h.sid && g.ClientID == client {
			return g.ID
		}
	}
	w.t.Fatal("there is no such grant")
	return storage.GrantID{}
}

// What names nobody ends nothing: an empty id is not a wildcard.
func TestRevocationOfNobody(t *testing.T) {
	w := newWorld(t, "sqlite")
	h := w.holds(alice, alicePassword)
	r, ctx := w.revoker(), t.Context()
	nobody := []revocation.Person{{}, {ConnectorID: "staff"}, {UserID: "user-alice"}}
	for _, p := range nobody {
		for name, call := range map[string]func() (revocation.Count, error){
			"Person":    func() (revocation.Count, error) { return r.Person(ctx, p, test) },
			"GrantsOf":  func() (revocation.Count, error) { return r.GrantsOf(ctx, p, test) },
			"GrantOf":   func() (revocation.Count, error) { return r.GrantOf(ctx, p, w.grantOf(h, "app"), test) },
			"SessionOf": func() (revocation.Count, error) { return r.SessionOf(ctx, p, h.sid, test) },
		} {
			if c, err := call(); err == nil || c != (revocation.Count{}) {
				t.Errorf("%s of %+v: %+v, %v", name, p, c, err)
			}
		}
	}
	for name, call := range map[string]func() (revocation.Count, error){
		"Client":    func() (revocation.Count, error) { return r.Client(ctx, "", test) },
		"Connector": func() (revocation.Count, error) { return r.Connector(ctx, "", test) },
	} {
		if c, err := call(); err == nil || c != (revocation.Count{}) {
			t.Errorf("%s: %+v, %v", name, c, err)
		}
	}
	alices := revocation.Person{ConnectorID: "staff", UserID: "user-alice"}
	for name, call := range map[string]func() (revocation.Count, error){
		"no session":  func() (revocation.Count, error) { return r.Session(ctx, "", test) },
		"no text":     func() (revocation.Count, error) { return r.SessionOf(ctx, alices, "\x00\xff", test) },
		"no grant":    func() (revocation.Count, error) { return r.GrantOf(ctx, alices, storage.GrantID{}, test) },
		"the unknown": func() (revocation.Count, error) { return r.Session(ctx, "unknown", test) },
	} {
		if c, err := call(); err != nil || c != (revocation.Count{}) {
			t.Errorf("%s: %+v, %v", name, c, err)
		}
	}
	if diff := cmp.Diff(left(true, "app", "other"), w.works(h)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// A person who is gone is signed out, too: single sign-on makes no new grant, and
// clients are told.
func TestGoneEndsSingleSignOn(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		told := newReceiver(t, nil)
		var gone leaving // of both replicas
		first, second := replicas(t, engine, telling(map[int]*receiver{0: told}), func(c *server.Config) {
			gone.PasswordConnector = c.Connectors[0].Password
			c.Connectors[0].Password = &gone
		})
		h, other := first.holds(alice, alicePassword), first.holds(bob, bobPassword)
		gone.gone.Store(true)
		first.clock.advance(6 * time.Minute)
		first.refresh(h.tokens["app"].str("refresh_token")).expect(t, "who is gone", http.StatusBadRequest, "invalid_grant")
		if diff := cmp.Diff(left(false), second.works(h)); diff != "" {
			t.Errorf("who is gone (-want +got):\n%s", diff)
		}
		told.await(t)
		if sid := claims(t, told.received()[0])["sid"]; sid != h.sid {
			t.Errorf("told of %v, not %s", sid, h.sid)
		}
		if !second.signedIn(second.at(other.browser)) {
			t.Error("somebody else is signed out")
		}
	})
}

// leaving is a connector that disowns alice one day.
type leaving struct {
	connector.PasswordConnector
	gone atomic.Bool
}

func (l *leaving) Refresh(_ context.Context, id connector.Identity) (connector.Identity, error) {
	if id.UserID == "user-alice" && l.gone.Load() {
		return connector.Identity{}, connector.ErrGone
	}
	return id, nil
}

// A session that merely expires, because it is not used or by its age, tells the
// clients, and the grants end that end with it, though nobody comes back.
func TestSessionsThatExpireEndWhatEndsWithThem(t *testing.T) {
	for name, idle := range map[string]bool{"not used": true, "too old": false} {
		t.Run(name, func(t *testing.T) {
			onEngines(t, func(t *testing.T, engine string) {
				told := newReceiver(t, nil)
				w := newWorld(t, engine, collecting(24*365*time.Hour), telling(map[int]*receiver{0: told}), func(c *server.Config) {
					c.Clients[0].EndsWithSession = true
					if !idle {
						c.Sessions.IdleTimeout = 30 * time.Hour
					}
				})
				h := w.holds(alice, alicePassword)
				token := h.tokens["app"].str("refresh_token")
				round := func() {
					t.Helper()
					w.collector(idle).round(t)
				}
				lifetime := 24 * time.Hour
				if idle {
					lifetime = time.Hour
				}
				for range 10 {
					w.clock.advance(lifetime / 10)
					token = w.goOn(token).str("refresh_token")
				}
				round() // another replica's clock may be behind
				token = w.goOn(token).str("refresh_token")
				w.clock.advance(garbage.Grace)
				round()
				w.refresh(token).expect(t, "a token that ends with its session", http.StatusBadRequest, "invalid_grant")
				told.await(t)
				if sid := claims(t, told.received()[0])["sid"]; sid != h.sid {
					t.Errorf("told of %v, not %s", sid, h.sid)
				}
				if n := w.rows()["sessions"]; n != 0 {
					t.Errorf("%d sessions are left", n)
				}
				// The other client's goes on, unless it is too old itself by now.
				if !idle {
					return
				}
				after := w.refresh(h.tokens["other"].str("refresh_token"), "client_id", "other", "client_secret", "other-secret")
				if after.status != http.StatusOK {
					t.Errorf("a token that does not end with its session: %d %s", after.status, after.raw)
				}
			})
		})
	}
}

// collector is garbage collection by this replica, at once.
func (w *world) collector(idle bool) collector {
	w.t.Helper()
	timeout := 30 * time.Hour
	if idle {
		timeout = time.Hour
	}
	c, err := garbage.New(garbage.Config{
		Store: timely{w.store, w.clock.now}, Now: w.clock.now, Logger: slog.New(slog.DiscardHandler), IdleTimeout: timeout,
		Ending: func() storage.Ending {
			now := w.clock.now().UTC().Truncate(time.Microsecond)
			return storage.Ending{Now: now, RevokeClientIDs: []string{"app"}, TellClientIDs: []string{"app"}, TellUntil: now.Add(time.Hour)}
		},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return collector{c}
}

type collector struct{ *garbage.Collector }

func (c collector) round(t *testing.T) {
	t.Helper()
	if err := c.Round(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// The provider's own collection knows what ends with a session.
func TestProviderEndsSessionsThatExpire(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		told := newReceiver(t, nil)
		w := newWorld(t, engine, collecting(time.Millisecond), telling(map[int]*receiver{0: told}), func(c *server.Config) {
			c.Clients[0].EndsWithSession = true
		})
		h := w.holds(alice, alicePassword)
		w.clock.advance(time.Hour + garbage.Grace)
		told.await(t)
		if sid := claims(t, told.received()[0])["sid"]; sid != h.sid {
			t.Errorf("told of %v, not %s", sid, h.sid)
		}
		w.refresh(h.tokens["app"].str("refresh_token")).expect(t, "a token that ends with its session", http.StatusBadRequest, "invalid_grant")
	})
}
