package telemetry_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/countersign/countersign/server/telemetry"
)

// clock is set by hand.
type clock struct{ at atomic.Int64 }

func (c *clock) now() time.Time          { return time.Unix(0, c.at.Load()) }
func (c *clock) advance(d time.Duration) { c.at.Add(int64(d)) }

func manual(t *testing.T, timeout time.Duration) (*telemetry.Readiness, *clock) {
	t.Helper()
	c := &clock{}
	c.at.Store(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).UnixNano())
	r, err := telemetry.NewReadiness(telemetry.ReadinessConfig{Now: c.now, Timeout: timeout})
	if err != nil {
		t.Fatal(err)
	}
	return r, c
}

func TestReadinessSaysWhy(t *testing.T) {
	r, clock := manual(t, 0)
	var database, skew atomic.Pointer[error]
	answer := func(p *atomic.Pointer[error]) func(context.Context) error {
		return func(context.Context) error {
			if err := p.Load(); err != nil {
				return *err
			}
			return nil
		}
	}
	r.Add("database", answer(&database))
	r.Add("keys", func(context.Context) error { return nil })
	r.Warn("clock", answer(&skew))
	private, public := serve(t, r.Handler()), serve(t, r.PublicHandler())
	away, late := errors.New("dial tcp 10.0.0.5:5432:\nconnection refused"), errors.New("31 s behind the database")
	for i, step := range []struct {
		database, skew           *error
		status                   int
		private, verbose, public string
	}{
		{nil, nil, 200, "ready\n", "[+] database: ok\n[+] keys: ok\n[+] clock: ok\nready\n", "ready\n"},
		{nil, &late, 200, "ready\n", "[+] database: ok\n[+] keys: ok\n[!] clock: 31 s behind the database\nready\n", "ready\n"},
		{&away, &late, 503, "[-] database: dial tcp 10.0.0.5:5432: connection refused\nnot ready\n",
			"[-] database: dial tcp 10.0.0.5:5432: connection refused\n[+] keys: ok\n[!] clock: 31 s behind the database\nnot ready\n",
			"[-] database\nnot ready\n"},
		{nil, nil, 200, "ready\n", "[+] database: ok\n[+] keys: ok\n[+] clock: ok\nready\n", "ready\n"},
	} {
		database.Store(step.database)
		skew.Store(step.skew)
		clock.advance(time.Second)
		for url, want := range map[string]string{
			private: step.private, private + "?verbose": step.verbose, private + "?verbose=1": step.verbose,
			public: step.public, public + "?verbose": step.public,
		} {
			if status, body := do(t, http.MethodGet, url); status != step.status || body != want {
				t.Errorf("step %d: got %d %q, want %d %q", i, status, body, step.status, want)
			}
		}
	}
}

// A database that swallows packets: the check does not even heed its context.
// Readiness fails within its bound, and probes do not pile up behind it.
func TestHangingCheck(t *testing.T) {
	r, clock := manual(t, 20*time.Millisecond)
	var asked atomic.Int32
	release := make(chan struct{})
	r.Add("database", func(context.Context) error {
		asked.Add(1)
		<-release
		return nil
	})
	url := serve(t, r.Handler())
	if status, body := do(t, http.MethodGet, url); status != 503 || !strings.Contains(body, "no answer within 20ms") {
		t.Errorf("got %d %q", status, body)
	}
	for range 5 {
		clock.advance(time.Second)
		if status, body := do(t, http.MethodGet, url); status != 503 || !strings.Contains(body, "has not returned yet") {
			t.Errorf("got %d %q", status, body)
		}
	}
	if n := asked.Load(); n != 1 {
		t.Errorf("a check that hangs was asked %d times", n)
	}
	close(release)
	await(t, "readiness heals", func() bool {
		clock.advance(time.Second)
		status, _ := do(t, http.MethodGet, url)
		return status == 200
	})
}

// However many ask, the database is asked once per MaxAge.
func TestProbesShareAnAnswer(t *testing.T) {
	r, clock := manual(t, 0)
	var asked atomic.Int32
	r.Add("database", func(context.Context) error { asked.Add(1); return nil })
	url := serve(t, r.PublicHandler())
	for round := range int32(3) {
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				resp, err := http.Get(url)
				if err != nil {
					t.Error(err)
					return
				}
				resp.Body.Close()
			})
		}
		wg.Wait()
		if n := asked.Load(); n != round+1 {
			t.Fatalf("asked %d times in round %d", n, round)
		}
		clock.advance(500 * time.Millisecond)
	}
	clock.advance(-time.Hour) // a clock that was set back does not freeze the answer
	do(t, http.MethodGet, url)
	if n := asked.Load(); n != 4 {
		t.Errorf("asked %d times", n)
	}
}

func TestChecksRunAtOnce(t *testing.T) {
	r, _ := manual(t, 0)
	var both sync.WaitGroup
	both.Add(2)
	meet := func(context.Context) error { both.Done(); both.Wait(); return nil }
	r.Add("one", meet)
	r.Add("two", meet)
	if status, body := do(t, http.MethodGet, serve(t, r.Handler())); status != 200 {
		t.Errorf("got %d %q", status, body)
	}
}

func TestDrainingIsNotReady(t *testing.T) {
	r, _ := manual(t, 0)
	r.Add("database", func(context.Context) error { return nil })
	url, alive := serve(t, r.Handler()), serve(t, telemetry.Alive())
	do(t, http.MethodGet, url) // an answer that could be given again
	r.Drain()
	if status, body := do(t, http.MethodGet, url); status != 503 || !strings.Contains(body, "draining") {
		t.Errorf("got %d %q", status, body)
	}
	if status, _ := do(t, http.MethodGet, alive); status != 200 {
		t.Errorf("a draining process is not alive: %d", status)
	}
}

func TestPanickingCheck(t *testing.T) {
	r, _ := manual(t, 0)
	r.Add("database", func(context.Context) error { panic("oops") })
	if status, body := do(t, http.MethodGet, serve(t, r.Handler())); status != 503 || !strings.Contains(body, "panicked: oops") {
		t.Errorf("got %d %q", status, body)
	}
}

func TestReadinessBounds(t *testing.T) {
	for _, c := range []telemetry.ReadinessConfig{
		{},
		{Now: time.Now, Timeout: 2 * time.Second},
		{Now: time.Now, Timeout: -1},
		{Now: time.Now, MaxAge: 2 * time.Second},
		{Now: time.Now, MaxAge: -1},
	} {
		if _, err := telemetry.NewReadiness(c); err == nil {
			t.Errorf("%+v is accepted", c)
		}
	}
}

// A server that has just become ready does not say otherwise for as long as the
// answer given before is young.
func TestReadinessAsksAgainAfterAChange(t *testing.T) {
	r, _ := manual(t, 0)
	r.Changed() // nobody has asked yet
	var loaded atomic.Bool
	asked, answer := make(chan bool), make(chan bool)
	r.Add("provider", func(context.Context) error {
		was := loaded.Load()
		asked <- true
		<-answer
		if !was {
			return errors.New("not loaded")
		}
		return nil
	})
	probe := func() (status int) {
		rec := httptest.NewRecorder()
		r.Handler().ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/readyz", nil))
		return rec.Code
	}
	first := make(chan int)
	go func() { first <- probe() }()
	<-asked
	loaded.Store(true)
	r.Changed() // while the first probe waits for its answer
	answer <- true
	if status := <-first; status != http.StatusServiceUnavailable {
		t.Errorf("before: %d", status)
	}
	go func() { first <- probe() }()
	<-asked
	answer <- true
	if status := <-first; status != http.StatusOK {
		t.Errorf("after: %d", status)
	}
	if status := probe(); status != http.StatusOK { // the same answer, without asking
		t.Errorf("again: %d", status)
	}
}
