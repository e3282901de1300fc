package server_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/countersign/countersign/server"
)

// offsets are how wrong the clock of a replica may be (F6).
var offsets = []time.Duration{5 * time.Minute, -5 * time.Minute, time.Hour, -time.Hour}

// operator is who looks after a replica.
type operator struct {
	log   journal
	inner server.Config
}

// watches lets the operator see the replica.
func (o *operator) watches(c *server.Config) {
	logging(&o.log)(c)
	o.inner = *c
}

// ask asks a handler of the operator's listener.
func ask(h http.Handler, path string) *httptest.ResponseRecorder {
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, path, nil))
	return rec
}

// F6: a clock that jumps while the replica runs is in the log and in the metrics
// without anybody asking, and readiness shows it to who does; each once. The replica
// goes on: if it is the database's clock that is wrong, all of them are wrong.
func TestWrongClockIsSaid(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		var o operator
		w := newWorld(t, engine, o.watches, func(c *server.Config) { c.ClockInterval = time.Millisecond })
		await := func(what string, met func() bool) {
			t.Helper()
			for deadline := time.Now().Add(patience); !met(); time.Sleep(time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatalf("never: %s\n%s", what, o.log.String())
				}
			}
		}
		const off, back = "clock and the database's differ", "clock and the database's agree again"
		for i, offset := range append([]time.Duration{45 * time.Second, -45 * time.Second}, offsets...) {
			w.clock.advance(offset)
			await("the log says so", func() bool { return strings.Count(o.log.String(), off) == i+1 })
			metric := "countersign_clock_skew_seconds "
			if offset < 0 {
				metric += "-"
			}
			if got := ask(o.inner.Metrics.Exposition(), "/metrics").Body.String(); !strings.Contains(got, metric) || strings.Contains(got, metric+"0\n") {
				t.Errorf("off by %s: the metric says nothing", offset)
			}
			ready := func(want string) func() bool {
				return func() bool {
					rec := ask(o.inner.Readiness.Handler(), "/readyz?verbose")
					return rec.Code == http.StatusOK && strings.Contains(rec.Body.String(), want)
				}
			}
			o.inner.Readiness.Changed()
			await("readiness says so", ready("[!] clock: this machine's clock is "))
			w.clock.advance(-offset)
			await("the log says that it is over", func() bool { return strings.Count(o.log.String(), back) == i+1 })
			o.inner.Readiness.Changed()
			await("readiness says that it is over", ready("[+] clock: ok"))
		}
	})
}

// apart are two replicas on one database, the clock of the second one off.
func apart(t *testing.T, engine string, offset time.Duration, options ...option) (right, wrong *world) {
	t.Helper()
	db := newDatabase(t, engine)
	right = db.replica(t, new(clock), options...)
	same := func(c *server.Config) { c.Policy.Issuer = right.issuer }
	off := new(clock)
	off.advance(offset)
	return right, db.replica(t, off, append([]option{same}, options...)...)
}

// dead expects nothing of a login to work at a replica.
func (w *world) dead(what string, tokens answer) {
	w.t.Helper()
	w.refresh(tokens.str("refresh_token")).expect(w.t, what, 400, "invalid_grant")
	access := tokens.str("access_token")
	if w.alive(access) {
		w.t.Errorf("%s: the access token opens userinfo", what)
	}
	a := w.post("/token/introspect", url.Values{"client_id": {"app"}, "client_secret": {"app-secret"}, "token": {access}})
	if a.raw != `{"active":false}` {
		w.t.Errorf("%s: introspection says %s", what, a.raw)
	}
}

func (w *world) revoke(token string) {
	w.t.Helper()
	a := w.post("/revoke", url.Values{"client_id": {"app"}, "client_secret": {"app-secret"}, "token": {token}})
	if a.status != http.StatusOK {
		w.t.Fatalf("revoking: %d %s", a.status, a.raw)
	}
}

// I3, F6: what was revoked at one replica works at none, whatever their clocks say,
// and whatever they say later.
func TestRevokedWhateverTheClock(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		for _, offset := range offsets {
			right, wrong := apart(t, engine, offset)
			var all []answer
			for _, by := range []*world{right, wrong} {
				for _, from := range []*world{right, wrong} {
					tokens := from.tokens()
					by.revoke(tokens.str("refresh_token"))
					all = append(all, tokens)
				}
			}
			for _, jump := range []time.Duration{0, -2 * offset, offset, offset} {
				wrong.clock.advance(jump)
				for _, tokens := range all {
					right.dead("revoked, at the right clock", tokens)
					wrong.dead("revoked, at the wrong clock", tokens)
				}
			}
		}
	})
}

// I1, I3, F6: a token that was used is a repeat to some clocks and a theft to others.
// It never makes a second branch, and a login that has ended by it has ended.
func TestReusedWhateverTheClock(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		for _, offset := range offsets {
			right, wrong := apart(t, engine, offset)
			first := right.tokens().str("refresh_token")
			second := right.goOn(first)
			switch again := wrong.refresh(first); {
			case offset < 0:
				if got := again.str("refresh_token"); got != second.str("refresh_token") {
					t.Errorf("%s behind: another branch, %d %s", -offset, again.status, again.raw)
				}
			default:
				again.expect(t, "a used token", 400, "invalid_grant")
				wrong.clock.advance(-offset)
				right.dead("ended by reuse, at the right clock", second)
				wrong.dead("ended by reuse, at the clock set right", second)
			}
			code := right.code(right.browser(), right.request("scope", offline))
			tokens := right.redeem(code)
			if tokens.status != http.StatusOK {
				t.Fatalf("%d %s", tokens.status, tokens.raw)
			}
			wrong.redeem(code).expect(t, "a used code", 400, "invalid_grant")
		}
	})
}

// I3, F6: what has expired is dead at a replica that is behind when its clock says so,
// too, and what is done there until then does not bring it back elsewhere.
func TestExpiredWhateverTheClock(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		const lifetime = 2 * time.Hour
		for _, offset := range offsets {
			right, wrong := apart(t, engine, offset, func(c *server.Config) {
				c.Policy.Refresh.AbsoluteLifetime, c.Policy.Refresh.IdleLifetime = lifetime, lifetime
			})
			tokens := right.tokens()
			for _, w := range []*world{right, wrong} {
				w.clock.advance(lifetime + time.Second)
			}
			right.dead("expired, at the right clock", tokens)
			if offset < 0 {
				tokens = wrong.goOn(tokens.str("refresh_token"))
				right.refresh(tokens.str("refresh_token")).expect(t, "its successor from a clock that is behind", 400, "invalid_grant")
				wrong.clock.advance(-offset)
				wrong.refresh(tokens.str("refresh_token")).expect(t, "expired, at the clock set right", 400, "invalid_grant")
				continue
			}
			wrong.dead("expired, at a clock that is ahead", tokens)
		}
	})
}
