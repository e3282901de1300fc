package server_test

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/countersign/countersign/server"
	"github.com/countersign/countersign/server/garbage"
)

// timely is a store whose database has the world's time.
type timely struct {
	server.Store
	now func() time.Time
}

func (s timely) Ping(ctx context.Context) (time.Time, error) {
	if _, err := s.Store.Ping(ctx); err != nil {
		return time.Time{}, err
	}
	return s.now(), nil
}

// collecting gives a world a database that has its time, and an interval of
// garbage collection.
func collecting(interval time.Duration) option {
	return func(c *server.Config) {
		c.Store, c.GarbageInterval = timely{c.Store, c.Now}, interval
	}
}

// litter leaves a row in each table that expires.
func (w *world) litter() {
	w.t.Helper()
	p := w.browser()
	page := w.get(p, w.request())
	w.submit(p, page, "login", alice, "password", "wrong")
	w.code(w.browser(), w.request())
	w.tokens()
}

// remains is what there is, without what does not expire.
func (w *world) remains() map[string]int {
	w.t.Helper()
	rows := w.rows()
	delete(rows, "leases")
	delete(rows, "signing_keys")
	delete(rows, "logout_deliveries") // nobody signs out here
	return rows
}

func TestGarbage(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		w := newWorld(t, engine, collecting(24*365*time.Hour))
		w.litter()
		for table, n := range w.remains() {
			if n == 0 {
				t.Errorf("nothing in %s", table)
			}
		}
		token := w.tokens().str("refresh_token")
		collector, err := garbage.New(garbage.Config{
			Store: timely{w.store, w.clock.now}, Now: w.clock.now, Logger: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			t.Fatal(err)
		}
		round := func() {
			t.Helper()
			if err := collector.Round(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		// Used now and then, a refresh token lives for 30 days, and with it the
		// person, who signed in at no other place.
		for i := range 200 {
			w.clock.advance(29 * 24 * time.Hour / 200)
			round()
			if i%3 == 0 {
				token = w.goOn(token).str("refresh_token")
			}
		}
		want := map[string]int{"identities": 1, "sessions": 0, "grants": 2, "consents": 1, "login_failures": 0}
		if diff := cmp.Diff(want, w.remains()); diff != "" {
			t.Errorf("after 29 days (-want +got):\n%s", diff)
		}
		w.clock.advance(3 * 24 * time.Hour)
		round()
		want["identities"], want["grants"] = 0, 0
		if diff := cmp.Diff(want, w.remains()); diff != "" {
			t.Errorf("after 32 days (-want +got):\n%s", diff)
		}
		w.refresh(token).expect(t, "a token whose grant is deleted", 400, "invalid_grant")
		w.clock.advance(365 * 24 * time.Hour)
		round()
		want["consents"] = 0
		if diff := cmp.Diff(want, w.remains()); diff != "" {
			t.Errorf("after a year more (-want +got):\n%s", diff)
		}
		if w.rows()["signing_keys"] == 0 {
			t.Error("the keys are gone")
		}
		// The person comes back as if for the first time.
		w.goOn(w.tokens().str("refresh_token"))
	})
}

// The provider collects by itself, and counts it.
func TestProviderCollectsGarbage(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		var exposition http.Handler
		w := newWorld(t, engine, collecting(time.Millisecond), func(c *server.Config) { exposition = c.Metrics.Exposition() })
		w.litter()
		before := w.remains()
		w.clock.advance(400 * 24 * time.Hour)
		empty := map[string]int{"identities": 0, "sessions": 0, "grants": 0, "consents": 0, "login_failures": 0}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for !cmp.Equal(empty, w.remains()) {
			select {
			case <-ctx.Done():
				t.Fatalf("%v is left of %v", w.remains(), before)
			case <-tick.C:
			}
		}
		// What is deleted is counted a moment later.
		for want := `countersign_garbage_deleted_total{table="identities"} 1`; ; {
			answer := httptest.NewRecorder()
			exposition.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/metrics", nil))
			if strings.Contains(answer.Body.String(), want) {
				return
			}
			select {
			case <-ctx.Done():
				t.Fatalf("no %s", want)
			case <-tick.C:
			}
		}
	})
}
