package garbage_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/countersign/countersign/server/clock"
	"github.com/countersign/countersign/server/garbage"
	"github.com/countersign/countersign/storage"
	"github.com/countersign/countersign/storage/sqlite"
)

var t0 = time.Date(2026, 2, 3, 4, 5, 6, 0, time.UTC)

// site is a database whose clock is the test's, and which remembers what was
// deleted from it.
type site struct {
	storage.Store
	now atomic.Pointer[time.Time]
	// before, when set, runs ahead of each batch.
	before func()

	mu      sync.Mutex
	batches []storage.Expired
}

func openSite(t *testing.T) *site {
	t.Helper()
	store, err := sqlite.Open(sqlite.Config{File: filepath.Join(t.TempDir(), "db"), StatementTimeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() }) // it may be closed already
	if err := store.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	s := &site{Store: store}
	s.now.Store(&t0)
	return s
}

func (s *site) clock() time.Time        { return *s.now.Load() }
func (s *site) advance(d time.Duration) { now := s.clock().Add(d); s.now.Store(&now) }

func (s *site) Ping(ctx context.Context) (time.Time, error) {
	if _, err := s.Store.Ping(ctx); err != nil {
		return time.Time{}, err
	}
	return s.clock(), nil
}

func (s *site) DeleteExpired(ctx context.Context, in storage.Expired) (storage.Deleted, error) {
	if s.before != nil {
		s.before()
	}
	s.mu.Lock()
	s.batches = append(s.batches, in)
	s.mu.Unlock()
	return s.Store.DeleteExpired(ctx, in)
}

// from is where the batches of login failures began since the last time.
func (s *site) from() (from []time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range s.batches {
		if b.Table == storage.TableLoginFailures {
			from = append(from, b.From)
		}
	}
	s.batches = nil
	return from
}

// fill stores login failures that expire at the given times.
func (s *site) fill(t *testing.T, at ...time.Time) {
	t.Helper()
	for i, at := range at {
		key := fmt.Sprint(at.UnixMicro(), " ", i)
		if err := s.RecordLoginFailure(t.Context(), []string{key}, at.Add(-time.Hour), time.Hour); err != nil {
			t.Fatal(err)
		}
	}
}

// count is how many login failures are stored.
func (s *site) count(t *testing.T) (rows int) {
	t.Helper()
	// Without a way to ask for them, they are counted while they go.
	d, err := s.Store.DeleteExpired(t.Context(), storage.Expired{Table: storage.TableLoginFailures, Now: t0.AddDate(100, 0, 0), Limit: 1e6})
	if err != nil {
		t.Fatal(err)
	}
	return d.Rows
}

// log is what was logged.
type log struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// lines returns what was logged since the last time, without its time.
func (l *log) lines() (lines []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.b.String()) {
		_, line, _ = strings.Cut(line, " ")
		lines = append(lines, strings.TrimSpace(line))
	}
	l.b.Reset()
	return lines
}

func newCollector(t *testing.T, s garbage.Store, now func() time.Time, change ...func(*garbage.Config)) (*garbage.Collector, *log) {
	t.Helper()
	l := new(log)
	cfg := garbage.Config{
		Store: s, Now: now, Logger: slog.New(slog.NewTextHandler(l, nil)),
		Pace: garbage.Pace{First: 2, Least: 2, Most: 4, Target: time.Hour, Rest: 3, LongestPause: time.Millisecond},
	}
	for _, c := range change {
		c(&cfg)
	}
	c, err := garbage.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c, l
}

func TestRound(t *testing.T) {
	s := openSite(t)
	horizon := t0.Add(-garbage.Grace)
	s.fill(t, horizon.Add(-time.Hour), horizon.Add(-time.Hour), horizon.Add(-time.Minute), horizon, horizon.Add(-time.Second),
		horizon.Add(time.Microsecond), t0, t0.Add(time.Hour))
	counted := map[storage.Table]int{}
	c, l := newCollector(t, s, s.clock, func(c *garbage.Config) {
		c.Count = func(table storage.Table, rows int) { counted[table] += rows }
	})
	for range 2 {
		if err := c.Round(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if counted[storage.TableLoginFailures] != 5 {
		t.Errorf("%v deleted", counted)
	}
	if got, want := l.lines(), []string{`level=INFO msg="expired records deleted" login_failures=5 took=0s`}; !cmp.Equal(got, want) {
		t.Errorf("logged %q", got)
	}
	for _, b := range s.batches {
		if b.Limit < 2 || b.Limit > 4 || !b.Now.Equal(horizon) {
			t.Errorf("a batch of %+v", b)
		}
	}
	if rows := s.count(t); rows != 3 {
		t.Errorf("%d rows are left", rows)
	}
}

// What is deleted and not yet vacuumed is not walked over again, but for the
// round that looks for what somebody held.
func TestRoundsBeginWhereTheLastOneEnded(t *testing.T) {
	s := openSite(t)
	c, _ := newCollector(t, s, s.clock)
	oldest := t0.Add(-garbage.Grace - time.Hour)
	s.fill(t, oldest, oldest, oldest.Add(time.Second), oldest.Add(time.Minute))
	var zero time.Time
	for i, step := range []struct {
		later time.Duration
		from  time.Time
	}{
		{0, zero},
		{time.Minute, oldest.Add(time.Minute)},
		{58 * time.Minute, oldest.Add(time.Minute)},
		{time.Minute, zero}, // an hour has passed
		{-time.Hour, zero},  // the clock was set back
	} {
		s.advance(step.later)
		if err := c.Round(t.Context()); err != nil {
			t.Fatal(err)
		}
		if from := s.from(); len(from) == 0 || !from[0].Equal(step.from) {
			t.Errorf("round %d began at %v, not %v", i, from, step.from)
		}
	}
}

func TestOneReplicaAtATime(t *testing.T) {
	s := openSite(t)
	a, _ := newCollector(t, s, s.clock)
	b, _ := newCollector(t, s, s.clock)
	round := func(c *garbage.Collector) bool {
		t.Helper()
		if err := c.Round(t.Context()); err != nil {
			t.Fatal(err)
		}
		return len(s.from()) > 0
	}
	for range 5 {
		if !round(a) || round(b) {
			t.Fatal("it is not the one with the lease that collects")
		}
		s.advance(garbage.Interval)
	}
	s.advance(2 * garbage.Interval) // a is gone
	if !round(b) || round(a) {
		t.Error("nobody has taken over")
	}
}

// A long round extends its lease, and ends when somebody else has it.
func TestALongRoundKeepsItsLease(t *testing.T) {
	s := openSite(t)
	a, _ := newCollector(t, s, s.clock)
	b, _ := newCollector(t, s, s.clock)
	var old []time.Time
	for i := range 40 {
		old = append(old, t0.Add(-garbage.Grace-time.Duration(i)*time.Second))
	}
	s.fill(t, old...)
	var others, stolen int
	s.before = func() {
		s.advance(garbage.Interval)
		if held, err := s.AcquireLease(t.Context(), "garbage", "another", s.clock(), s.clock().Add(time.Second)); err != nil {
			t.Error(err)
		} else if held {
			others++
		}
		if stolen++; stolen == 8 { // stopped for long, as a suspended machine
			s.advance(5 * garbage.Interval)
			if held, err := s.AcquireLease(t.Context(), "garbage", "another", s.clock(), s.clock().Add(time.Hour)); err != nil || !held {
				t.Error("the lease did not end", err)
			}
		}
	}
	if err := a.Round(t.Context()); err != nil {
		t.Fatal(err)
	}
	if others != 0 || stolen != 8 {
		t.Errorf("the lease was free %d times; %d batches", others, stolen)
	}
	s.before = nil
	s.advance(2 * time.Hour)
	if err := b.Round(t.Context()); err != nil {
		t.Fatal(err)
	}
	if rows := s.count(t); rows != 0 {
		t.Errorf("%d rows are left", rows)
	}
}

func TestAWrongClockDeletesNothing(t *testing.T) {
	s := openSite(t)
	s.fill(t, t0.Add(-garbage.Grace), t0.Add(time.Hour))
	for _, off := range []time.Duration{clock.MaxError + 1, 24 * time.Hour, -clock.MaxError - 1, -24 * time.Hour} {
		wrong, _ := newCollector(t, s, func() time.Time { return s.clock().Add(off) })
		if err := wrong.Round(t.Context()); !errors.Is(err, clock.ErrWrong) {
			t.Errorf("off by %s: %v", off, err)
		}
	}
	if len(s.from()) > 0 {
		t.Error("a wrong clock deletes")
	}
	// It has not taken the lease from those who can.
	right, _ := newCollector(t, s, func() time.Time { return s.clock().Add(clock.MaxError) })
	if err := right.Round(t.Context()); err != nil || len(s.from()) == 0 {
		t.Errorf("a clock within the limit: %v", err)
	}
	if rows := s.count(t); rows != 1 {
		t.Errorf("%d rows are left", rows)
	}
}

// However wrong two clocks may be, one does not delete what lives for the other.
func TestGraceIsLongerThanTwoClocksDiffer(t *testing.T) {
	if garbage.Grace <= 2*clock.MaxError {
		t.Errorf("%s is not longer than twice %s", garbage.Grace, clock.MaxError)
	}
}

// await waits until the log has a line.
func (l *log) await(t *testing.T, want string) {
	t.Helper()
	l.awaitThat(t, want, func() bool { return strings.Contains(l.b.String(), want) })
}

// awaitLines waits until the log has so many lines.
func (l *log) awaitLines(t *testing.T, want int) {
	t.Helper()
	l.awaitThat(t, fmt.Sprintf("%d lines", want), func() bool { return strings.Count(l.b.String(), "\n") >= want })
}

// awaitThat waits for a condition, which is asked with the log locked.
func (l *log) awaitThat(t *testing.T, want string, condition func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		l.mu.Lock()
		found := condition()
		l.mu.Unlock()
		if found {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("never logged: %s", want)
		case <-tick.C:
		}
	}
}

func TestRun(t *testing.T) {
	s := openSite(t)
	s.fill(t, t0.Add(-garbage.Grace), t0)
	var off atomic.Int64
	c, l := newCollector(t, s, func() time.Time { return s.clock().Add(time.Duration(off.Load())) }, func(c *garbage.Config) {
		c.Interval = time.Millisecond
	})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); c.Run(ctx) }()
	l.await(t, `level=INFO msg="expired records deleted" login_failures=1`)
	off.Store(int64(time.Hour))
	l.await(t, `level=ERROR msg="expired records cannot be deleted, they are kept" error="this replica deletes nothing: clock differs too much from the database's, by 1h0m0s"`)
	off.Store(0)
	l.await(t, `level=INFO msg="expired records are deleted again"`)
	// Whatever the round was at: reading the clock, the lease, or a batch.
	s.Close()
	l.awaitLines(t, 4)
	cancel()
	<-ended
	got := l.lines()
	if len(got) != 4 || !strings.Contains(got[3], `level=ERROR msg="expired records cannot be deleted, they are kept"`) {
		t.Errorf("logged %q", got)
	}
}

// Whoever ends leaves the rest to the next one at once.
func TestRunGivesTheLeaseBack(t *testing.T) {
	s := openSite(t)
	s.fill(t, t0.Add(-2*garbage.Grace))
	ctx, cancel := context.WithCancel(t.Context())
	first, l := newCollector(t, s, s.clock, func(c *garbage.Config) { c.Interval = time.Millisecond })
	ended := make(chan struct{})
	go func() { defer close(ended); first.Run(ctx) }()
	l.await(t, "login_failures=1")
	cancel()
	<-ended
	s.fill(t, t0.Add(-2*garbage.Grace))
	next, l := newCollector(t, s, s.clock)
	if err := next.Round(t.Context()); err != nil {
		t.Fatal(err)
	}
	l.await(t, "login_failures=1")
}

// The end does not wait for the pause between two batches, and is no failure.
func TestRunEndsInTheMiddle(t *testing.T) {
	s := openSite(t)
	s.fill(t, t0.Add(-2*garbage.Grace), t0.Add(-2*garbage.Grace), t0.Add(-2*garbage.Grace), t0.Add(-2*garbage.Grace), t0.Add(-2*garbage.Grace))
	ctx, cancel := context.WithCancel(t.Context())
	s.before = func() { s.advance(time.Hour) } // makes the batch seem long, and so the pause
	c, l := newCollector(t, s, s.clock, func(c *garbage.Config) {
		c.Interval, c.Pace.LongestPause = time.Millisecond, time.Hour
		c.Count = func(_ storage.Table, rows int) {
			if rows > 0 {
				cancel()
			}
		}
	})
	c.Run(ctx)
	if got := l.lines(); len(got) != 1 || !strings.Contains(got[0], "login_failures=2") {
		t.Errorf("logged %q", got)
	}
}

func TestNew(t *testing.T) {
	for name, spoil := range map[string]func(*garbage.Config){
		"no store":            func(c *garbage.Config) { c.Store = nil },
		"no clock":            func(c *garbage.Config) { c.Now = nil },
		"no logger":           func(c *garbage.Config) { c.Logger = nil },
		"a negative interval": func(c *garbage.Config) { c.Interval = -1 },
		"no randomness":       func(c *garbage.Config) { c.Random = strings.NewReader("") },
	} {
		cfg := garbage.Config{Store: openSite(t), Now: time.Now, Logger: slog.New(slog.DiscardHandler)}
		spoil(&cfg)
		if _, err := garbage.New(cfg); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}
