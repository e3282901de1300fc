package main

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/countersign/countersign/server/oauth"
	"github.com/countersign/countersign/storage"
)

func TestPercentilesAreExact(t *testing.T) {
	var o outcome
	for i := range 1000 {
		o.note(time.Duration(i), nil)
	}
	for p, want := range map[float64]time.Duration{0: 0, 50: 500, 95: 950, 99: 990, 99.9: 999, 100: 999} {
		if got := o.percentile(p); got != want {
			t.Errorf("p%v is %d, want %d", p, got, want)
		}
	}
	if (outcome{}).percentile(99) != 0 {
		t.Error("nothing took time")
	}
}

// A stall is charged to all who were to begin meanwhile, not to the one that met
// it alone: no coordinated omission.
func TestOpenLoopCountsFromTheIntendedStart(t *testing.T) {
	const stall = 50 * time.Millisecond
	var calls atomic.Int64
	stalls := func() error {
		if calls.Add(1) == 1 {
			time.Sleep(stall)
		}
		return nil
	}
	o := openLoop(t.Context(), []caller{stalls}, 1000, func(due time.Duration) bool { return due < 20*time.Millisecond })
	if o.count() != 20 || o.failures != 0 {
		t.Fatalf("%v calls, %d failures", o.count(), o.failures)
	}
	// The last was due 19 ms after the first, which took 50.
	if least := o.latencies[0]; least < stall-19*time.Millisecond {
		t.Errorf("the least latency is %v", least)
	}
}

func TestFailuresAreCounted(t *testing.T) {
	broken := errors.New("broken")
	o := closedLoop(t.Context(), []caller{func() error { return broken }, func() error { return broken }}, time.Hour)
	if o.failures != 2*tooMany || !errors.Is(o.failure, broken) || o.count() != 0 {
		t.Errorf("%d failures, %v", o.failures, o.failure)
	}
	b := new(bench)
	b.count("doing", o)
	if err := b.failed(); !errors.Is(err, broken) {
		t.Errorf("the run says %v", err)
	}
	var left atomic.Int64
	left.Store(10)
	all := untilDone([]caller{func() error {
		if left.Add(-1) < 0 {
			return errDone
		}
		return nil
	}})
	if all.count() != 10 || all.failures != 0 {
		t.Errorf("%v calls, %d failures", all.count(), all.failures)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if o := closedLoop(ctx, []caller{func() error { return nil }}, time.Hour); o.count() != 0 {
		t.Errorf("%v calls after the end", o.count())
	}
}

func TestWire(t *testing.T) {
	long := strings.Repeat("long ", 10_000)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/dex/short":
			w.Write([]byte("short"))
		case "/dex/long": // comes in chunks
			w.Write([]byte(long))
		default:
			w.WriteHeader(http.StatusTeapot)
		}
	}))
	defer s.Close()
	address := s.Listener.Addr().String()
	w, err := dial(address)
	if err != nil {
		t.Fatal(err)
	}
	defer w.close()
	server := &server{address: address}
	for range 2 {
		for path, want := range map[string]struct {
			status int
			body   string
		}{"/short": {200, "short"}, "/long": {200, long}, "/other": {418, ""}} {
			status, body, err := w.send(server.get(path))
			if err != nil || status != want.status || string(body) != want.body {
				t.Errorf("%s: %d, %d bytes, %v", path, status, len(body), err)
			}
		}
	}
}

// What the generator makes is what the program makes, for grants that the program
// did not make.
func TestChains(t *testing.T) {
	tokens, err := newRefreshTokens()
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{tokens: tokens}
	for _, rows := range []int{smallRows, 1_000_000, 10_000_000} {
		var ids []storage.GrantID
		for client := range clientIDs {
			for _, c := range chains(client, rows) {
				if number := int(c.id[15]); number%2 != client {
					t.Fatalf("grant %s is not one of client %d", c.id, client)
				}
				ids = append(ids, c.id)
			}
		}
		slices.SortFunc(ids, func(a, b storage.GrantID) int { return slices.Compare(a[:], b[:]) })
		if n := len(slices.Compact(ids)); n != smallRows || slices.Compare(ids[n-1][:], ptr(grantID(rows - 1))[:]) > 0 {
			t.Errorf("of %d rows, %d grants up to %s", rows, n, ids[n-1])
		}
	}
	c := chain{grantID(4711), 3}
	payload, err := tokens.Parse(b.token("es256", c))
	if err != nil {
		t.Fatal(err)
	}
	got, err := oauth.DecodeRefreshToken(payload)
	if err != nil || got.GrantID.String() != "01900000000070008000000000001267" || got.Generation != 3 || !got.IssuedTo(storage.Client{ID: "es256"}) {
		t.Errorf("%+v, %v", got, err)
	}
}

func ptr[T any](v T) *T { return &v }

func TestUsage(t *testing.T) {
	if cpu, err := cpuOf(os.Getpid()); err != nil || cpu < 0 {
		t.Errorf("%v, %v", cpu, err)
	}
	if n, err := residentBytes(os.Getpid()); err != nil || n < 1<<20 {
		t.Errorf("%d bytes, %v", n, err)
	}
	if _, err := cpuOf(1 << 30); err == nil {
		t.Error("there is no such process")
	}
}

func TestTargets(t *testing.T) {
	for _, c := range []struct {
		target target
		want   string
	}{
		{target{got: 1, want: 1}, "met"}, {target{got: 1, want: 1, atLeast: true}, "met"},
		{target{got: 2, want: 1}, "MISSED"}, {target{got: 2, want: 1, atLeast: true}, "met"},
		{target{got: 1, want: 2}, "met"}, {target{got: 1, want: 2, atLeast: true}, "MISSED"},
	} {
		if got := c.target.met(); got != c.want {
			t.Errorf("%+v: %s", c.target, got)
		}
	}
}
