package server_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"

	"github.com/countersign/countersign/e2e/person"
	"github.com/countersign/countersign/server"
	"github.com/countersign/countersign/server/telemetry"
)

// receiver is a client's back-channel: a server of its own.
type receiver struct {
	*httptest.Server
	mu     sync.Mutex
	tokens []string
	// answer writes the response; nil: 200.
	answer http.HandlerFunc
	// reached gets a value for each request, when it has been noted.
	reached chan struct{}
}

func newReceiver(t *testing.T, answer http.HandlerFunc) *receiver {
	t.Helper()
	r := &receiver{answer: answer, reached: make(chan struct{}, 1000)}
	r.Server = httptest.NewServer(r)
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if err := req.ParseForm(); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	r.mu.Lock()
	token := req.PostForm.Get("logout_token")
	if req.Method == http.MethodPost && req.Header.Get("Content-Type") == "application/x-www-form-urlencoded" {
		r.tokens = append(r.tokens, token)
	}
	answer := r.answer
	r.mu.Unlock()
	r.reached <- struct{}{}
	if answer != nil {
		answer(w, req)
	}
}

// becomes changes the answer.
func (r *receiver) becomes(answer http.HandlerFunc) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = answer
}

func (r *receiver) received() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.tokens)
}

// await waits for the next request.
func (r *receiver) await(t *testing.T) {
	t.Helper()
	select {
	case <-r.reached:
	case <-time.After(30 * time.Second):
		t.Fatal("the receiver is not told within 30 s")
	}
}

// eventually waits until the condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	for !holds() {
		select {
		case <-deadline:
			t.Fatalf("not within 30 s: %s", what)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// telling gives clients receivers, of machines that the tests may use.
func telling(receivers map[int]*receiver) option {
	return func(c *server.Config) {
		withBye(c)
		for i, r := range receivers {
			c.Clients[i].BackchannelLogoutURI = r.URL + "/logout?client=" + c.Clients[i].ID
			c.Clients[i].BackchannelLogoutPrivate = true
		}
	}
}

func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}

// signOut ends the session on the home page.
func (w *world) signOut(p *person.Person) {
	w.t.Helper()
	if page := w.submit(p, w.get(p, w.issuer+"/")); page.Status != http.StatusOK {
		w.t.Fatalf("signing out: %d", page.Status)
	}
}

// pending is how many clients have still to be told.
func (w *world) pending() int { return w.rows()["logout_deliveries"] }

// The module backchannel-rp-initiated-logout.
func TestBackchannelRPInitiatedLogout(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		for _, alg := range []string{"RS256", "ES256", "EdDSA"} {
			t.Run(alg, func(t *testing.T) {
				t.Parallel()
				r := newReceiver(t, nil)
				w := newWorld(t, engine, telling(map[int]*receiver{0: r}), func(c *server.Config) { c.Policy.SigningAlg = alg })
				p := w.browser()
				hint := w.hint(p)
				page := w.get(p, w.logout("id_token_hint", hint, "post_logout_redirect_uri", bye, "state", "s"))
				if page.URL.String() != bye+"?state=s" {
					t.Errorf("at %s", page.URL)
				}
				if w.signedIn(p) {
					t.Error("still signed in")
				}
				r.await(t)
				w.checkLogoutToken(t, r.received()[0], claims(t, hint), alg)
				eventually(t, "the delivery is finished", func() bool { return w.pending() == 0 })
				if n := len(r.received()); n != 1 {
					t.Errorf("told %d times", n)
				}
			})
		}
	})
}

// checkLogoutToken: Back-Channel Logout 1.0 sections 2.4 and 2.6.
func (w *world) checkLogoutToken(t *testing.T, token string, id map[string]any, alg string) {
	t.Helper()
	if h := header(t, token); h["typ"] != "logout+jwt" || h["alg"] != alg || h["kid"] == nil || len(h) != 3 {
		t.Errorf("header %v", h)
	}
	provider, err := oidc.NewProvider(t.Context(), w.issuer)
	if err != nil {
		t.Fatal(err)
	}
	verifier := provider.Verifier(&oidc.Config{ClientID: "app", SupportedSigningAlgs: []string{alg}})
	if _, err := verifier.Verify(t.Context(), token); err != nil {
		t.Errorf("verifying: %v", err)
	}
	c := claims(t, token)
	jti, _ := c["jti"].(string)
	if c["iss"] != id["iss"] || c["sub"] != id["sub"] || c["sid"] != id["sid"] || c["sid"] == nil || c["aud"] != "app" || jti == "" {
		t.Errorf("claims %v, of the id_token %v", c, id)
	}
	events, _ := c["events"].(map[string]any)
	event, ok := events["http://schemas.openid.net/event/backchannel-logout"].(map[string]any)
	if !ok || len(events) != 1 || len(event) != 0 {
		t.Errorf("events %v", c["events"])
	}
	if _, has := c["nonce"]; has {
		t.Error("there is a nonce")
	}
	if life := c["exp"].(float64) - c["iat"].(float64); life <= 0 || life > 120 {
		t.Errorf("it lives %v s", life)
	}
	// It is nothing else (SECURITY row 36).
	if w.alive(token) {
		t.Error("the logout token opens userinfo")
	}
	for _, page := range []*person.Page{
		w.get(w.browser(), w.logout("id_token_hint", token, "post_logout_redirect_uri", bye)),
	} {
		if page.Status != http.StatusBadRequest {
			t.Errorf("the logout token as a hint: %d", page.Status)
		}
	}
	if back := w.response(w.get(w.browser(), w.request("prompt", "none", "id_token_hint", token))); back.Get("error") != "login_required" {
		t.Errorf("the logout token as a hint at /auth: %v", back)
	}
}

// The module backchannel-discovery-endpoint-verification.
func TestBackchannelDiscovery(t *testing.T) {
	t.Parallel()
	d := newWorld(t, "sqlite").do(http.MethodGet, "/.well-known/openid-configuration", nil)
	for _, name := range []string{"backchannel_logout_supported", "backchannel_logout_session_supported"} {
		if d.body[name] != true {
			t.Errorf("%s is %v", name, d.body[name])
		}
	}
	if d.str("end_session_endpoint") == "" {
		t.Error("no end_session_endpoint")
	}
}

// Receivers that do all that receivers do; the good one is told at once. What
// failed is tried again, and given up after a day.
func TestBackchannelReceivers(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		trap := newReceiver(t, nil)
		done := make(chan struct{})
		t.Cleanup(func() { close(done) })
		t.Cleanup(func() {
			if n := len(trap.reached); n != 0 {
				t.Errorf("a redirect was followed %d times", n)
			}
		})
		for name, c := range map[string]struct {
			answer    http.HandlerFunc
			delivered bool
		}{
			"hangs": {func(_ http.ResponseWriter, r *http.Request) {
				select {
				case <-r.Context().Done():
				case <-done:
				}
			}, false},
			"500": {status(http.StatusInternalServerError), false},
			"400": {status(http.StatusBadRequest), false},
			"204": {status(http.StatusNoContent), true},
			"redirects, 307": {func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, trap.URL, http.StatusTemporaryRedirect)
			}, false},
			"redirects, 302": {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, trap.URL, http.StatusFound) }, false},
			"10 MB": {func(w http.ResponseWriter, _ *http.Request) {
				n, _ := io.Copy(w, io.LimitReader(endless{}, 10<<20))
				if n == 10<<20 {
					t.Error("all of the 10 MB were taken")
				}
			}, true},
			"10 MB and 500": {func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(http.StatusInternalServerError)
				_, _ = io.Copy(w, io.LimitReader(endless{}, 10<<20))
			}, false},
			"endless header": {func(w http.ResponseWriter, _ *http.Request) {
				for i := range 1000 {
					w.Header().Set(fmt.Sprint("X-", i), strings.Repeat("x", 1000))
				}
			}, false},
			"drops the connection": {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, false},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				good, bad := newReceiver(t, nil), newReceiver(t, c.answer)
				var metrics *telemetry.Metrics
				w := newWorld(t, engine, telling(map[int]*receiver{0: bad, 1: good}), func(c *server.Config) { metrics = c.Metrics })
				w.clock.freeze() // when it is tried again is up to the test
				p := w.browser()
				w.hint(p)
				w.code(p, w.request("client_id", "other", "redirect_uri", otherCallback))
				w.signOut(p)
				good.await(t)
				bad.await(t)
				left := 1
				if c.delivered {
					left = 0
				}
				eventually(t, "the good one is done with", func() bool { return w.pending() == left })
				if c.delivered {
					return
				}
				eventually(t, "the failure is counted", func() bool { return counts(t, metrics, `{result="failed"} 1`) })
				w.clock.advance(6 * time.Second)
				bad.await(t)
				eventually(t, "the second failure is counted", func() bool { return counts(t, metrics, `{result="failed"} 2`) })
				one, two := bad.received()[0], bad.received()[1]
				if claims(t, one)["jti"] == claims(t, two)["jti"] {
					t.Error("the same token is sent twice")
				}
				w.clock.advance(25 * time.Hour)
				eventually(t, "it is given up", func() bool { return w.pending() == 0 })
				if n := len(bad.received()); n != 2 || !counts(t, metrics, `{result="expired"} 1`) {
					t.Errorf("told %d times", n)
				}
			})
		}
	})
}

// counts reports whether the count of deliveries is so.
func counts(t *testing.T, m *telemetry.Metrics, line string) bool {
	t.Helper()
	rec := httptest.NewRecorder()
	m.Exposition().ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	return strings.Contains(rec.Body.String(), "countersign_logout_deliveries_total"+line)
}

// A receiver that is dead when the person signs out is told when it is back, also
// by a provider that was started since. One that hangs does not keep it from
// ending.
func TestBackchannelOverARestart(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		db, c := newDatabase(t, engine), new(clock)
		dead := newReceiver(t, status(http.StatusServiceUnavailable))
		hangs := newReceiver(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
		receivers := telling(map[int]*receiver{0: dead, 1: hangs})
		w := db.replica(t, c, receivers)
		p := w.browser()
		id := claims(t, w.hint(p))
		w.code(p, w.request("client_id", "other", "redirect_uri", otherCallback))
		w.signOut(p)
		dead.await(t)
		hangs.await(t)
		w.stop()
		w.http.Close()
		if w.pending() != 2 {
			t.Fatalf("%d deliveries are left", w.pending())
		}
		c.advance(20 * time.Hour)
		dead.becomes(nil)
		hangs.becomes(nil)
		next := db.replica(t, c, receivers, func(cfg *server.Config) { cfg.Policy.Issuer = w.issuer })
		dead.await(t)
		hangs.await(t)
		eventually(t, "all are told", func() bool { return next.pending() == 0 })
		tokens := dead.received()
		last := claims(t, tokens[len(tokens)-1])
		if last["sid"] != id["sid"] || last["sub"] != id["sub"] || last["exp"].(float64) < float64(c.now().Unix()) {
			t.Errorf("told %v at %d", last, c.now().Unix())
		}
	})
}

// Of several replicas, one tells.
func TestBackchannelReplicas(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		db, c := newDatabase(t, engine), new(clock)
		r, other := newReceiver(t, nil), newReceiver(t, nil)
		receivers := telling(map[int]*receiver{0: r, 1: other})
		w := db.replica(t, c, receivers)
		for range 2 {
			db.replica(t, c, receivers, func(cfg *server.Config) { cfg.Policy.Issuer = w.issuer })
		}
		const people = 8
		sids := map[any]bool{}
		for range people {
			p := w.browser()
			sids[claims(t, w.hint(p))["sid"]] = true
			w.signOut(p)
		}
		eventually(t, "all are told", func() bool { return w.pending() == 0 })
		for _, token := range r.received() {
			delete(sids, claims(t, token)["sid"])
		}
		if n := len(r.received()); n != people || len(sids) != 0 {
			t.Errorf("told %d times, not of %d", n, len(sids))
		}
		if n := len(other.received()); n != 0 {
			t.Errorf("a client that nobody went to is told %d times", n)
		}
	})
}

// A client is told also when the person came by single sign-on, and when somebody
// else takes over the browser; not when they only prove again who they are.
func TestBackchannelWhoIsTold(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		app, other, native := newReceiver(t, nil), newReceiver(t, nil), newReceiver(t, nil)
		w := newWorld(t, engine, telling(map[int]*receiver{0: app, 1: other, 2: native}))
		p := w.browser()
		id := claims(t, w.hint(p))
		page := w.get(p, w.request("client_id", "other", "redirect_uri", otherCallback, "prompt", "login"))
		w.response(w.approve(p, w.submit(p, page, "login", alice, "password", alicePassword)))
		w.response(w.approve(p, w.get(p, w.request("client_id", "other", "redirect_uri", otherCallback))))
		if w.pending() != 0 || len(app.reached)+len(other.reached) != 0 {
			t.Error("told although the session goes on")
		}
		page = w.get(p, w.request("prompt", "login"))
		w.response(w.approve(p, w.submit(p, page, "login", bob, "password", bobPassword)))
		app.await(t)
		other.await(t)
		for _, r := range []*receiver{app, other} {
			if c := claims(t, r.received()[0]); c["sub"] != id["sub"] || c["sid"] != id["sid"] {
				t.Errorf("told %v, not of alice's session", c)
			}
		}
		eventually(t, "all are told", func() bool { return w.pending() == 0 })
		if n := len(native.received()); n != 0 {
			t.Errorf("a client that nobody went to is told %d times", n)
		}
	})
}

// A client without the switch is not reached at a private address, by no name for
// it.
func TestBackchannelPrivateAddresses(t *testing.T) {
	for _, host := range []string{"127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0"} {
		t.Run(host, func(t *testing.T) {
			t.Parallel()
			r := newReceiver(t, nil)
			var metrics *telemetry.Metrics
			w := newWorld(t, "sqlite", func(c *server.Config) {
				metrics = c.Metrics
				_, port, _ := strings.Cut(strings.TrimPrefix(r.URL, "http://"), ":")
				c.Clients[0].BackchannelLogoutURI = "http://" + host + ":" + port + "/"
			})
			w.clock.freeze() // it is tried once
			p := w.browser()
			w.hint(p)
			w.signOut(p)
			eventually(t, "the failure is counted", func() bool { return counts(t, metrics, `{result="failed"} 1`) })
			if len(r.reached) != 0 || w.pending() != 1 {
				t.Errorf("reached %d times, %d pending", len(r.reached), w.pending())
			}
		})
	}
}

// While replicas with an old and a new configuration run side by side, one that does
// not know a new client yet leaves it to one that does.
func TestBackchannelOfAClientThatIsNew(t *testing.T) {
	t.Parallel()
	db, c := newDatabase(t, "sqlite"), new(clock)
	r := newReceiver(t, nil)
	configured := telling(map[int]*receiver{0: r})
	w := db.replica(t, c, configured)
	p := w.browser()
	w.hint(p)
	page := w.get(p, w.issuer+"/")
	w.stop() // it goes on answering, and tells nobody
	w.submit(p, page)
	old := db.replica(t, c, func(cfg *server.Config) { cfg.Policy.Issuer = w.issuer })
	eventually(t, "the old replica has taken it", func() bool {
		var attempts int
		if err := w.side().QueryRow("SELECT coalesce(max(attempts), 1) FROM logout_deliveries").Scan(&attempts); err != nil {
			t.Fatal(err)
		}
		return attempts > 0
	})
	old.stop()
	c.advance(time.Minute)
	db.replica(t, c, configured, func(cfg *server.Config) { cfg.Policy.Issuer = w.issuer })
	r.await(t)
	eventually(t, "it is told", func() bool { return w.pending() == 0 })
}

// A client that is gone, or wants to be told no more, is dropped.
func TestBackchannelDropped(t *testing.T) {
	db, c := newDatabase(t, "sqlite"), new(clock)
	r := newReceiver(t, status(http.StatusInternalServerError))
	w := db.replica(t, c, telling(map[int]*receiver{0: r}))
	c.freeze() // it is tried once
	p := w.browser()
	w.hint(p)
	w.signOut(p)
	r.await(t)
	w.stop()
	c.advance(time.Hour)
	next := db.replica(t, c)
	eventually(t, "it is dropped", func() bool { return next.pending() == 0 })
	if n := len(r.received()); n != 1 {
		t.Errorf("told %d times", n)
	}
}
