package audit_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/countersign/countersign/server/audit"
)

// moving is a clock that the test moves.
type moving struct{ offset atomic.Int64 }

func (m *moving) now() time.Time          { return epoch.Add(time.Duration(m.offset.Load())) }
func (m *moving) advance(d time.Duration) { m.offset.Add(int64(d)) }

func openFile(t *testing.T, path string, clock *moving) *audit.File {
	t.Helper()
	f, err := audit.OpenFile(path, clock.now)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func write(t *testing.T, f *audit.File, line string) {
	t.Helper()
	if _, err := f.Write([]byte(line)); err != nil {
		t.Fatal(err)
	}
}

// The file belongs to its owner alone, and what is in it stays.
func TestFileIsAppendedTo(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "audit.log")
	for _, line := range []string{"one\n", "two\n"} {
		write(t, openFile(t, path, new(moving)), line)
	}
	if got := source(t, path); got != "one\ntwo\n" {
		t.Errorf("got %q", got)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

// A full disk may cut short what a process writes last; whoever starts afterwards
// begins a line of its own.
func TestFileWithATornLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	if err := os.WriteFile(path, []byte("one\ntw"), 0o600); err != nil {
		t.Fatal(err)
	}
	f := openFile(t, path, new(moving))
	write(t, f, "three\n")
	write(t, f, "four\n")
	if got := source(t, path); got != "one\ntw\nthree\nfour\n" {
		t.Errorf("got %q", got)
	}
}

// As logrotate does it, in each of its ways.
func TestFileIsRotated(t *testing.T) {
	for name, rotate := range map[string]func(path string) error{
		"moved":             func(p string) error { return os.Rename(p, p+".1") },
		"moved and created": func(p string) error { return errors.Join(os.Rename(p, p+".1"), os.WriteFile(p, nil, 0o600)) },
		"deleted":           os.Remove,
		"truncated":         func(p string) error { return os.Truncate(p, 0) },
	} {
		t.Run(name, func(t *testing.T) {
			path, clock := filepath.Join(t.TempDir(), "audit.log"), new(moving)
			f := openFile(t, path, clock)
			write(t, f, "before\n")
			if err := rotate(path); err != nil {
				t.Fatal(err)
			}
			clock.advance(2 * time.Second)
			write(t, f, "after\n")
			write(t, f, "later\n")
			if got := source(t, path); got != "after\nlater\n" {
				t.Errorf("got %q", got)
			}
		})
	}
}

// When the file cannot be made anew, lines go to where it was moved, and whoever
// writes is told; when it can again, they go there.
func TestFileCannotBeReopened(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "logs")
	path, clock := filepath.Join(folder, "audit.log"), new(moving)
	f := openFile(t, path, clock)
	if err := errors.Join(os.Rename(folder, folder+".moved"), os.WriteFile(folder, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	clock.advance(2 * time.Second)
	if _, err := f.Write([]byte("kept\n")); err == nil {
		t.Error("nobody is told")
	}
	if got := source(t, filepath.Join(folder+".moved", "audit.log")); got != "kept\n" {
		t.Errorf("got %q", got)
	}
	if err := os.Remove(folder); err != nil {
		t.Fatal(err)
	}
	write(t, f, "again\n")
	if got := source(t, path); got != "again\n" {
		t.Errorf("got %q", got)
	}
}

func TestUnwritableFile(t *testing.T) {
	for _, path := range []string{t.TempDir(), "/dev/null/audit.log"} {
		if _, err := audit.OpenFile(path, now); err == nil || !strings.Contains(err.Error(), "audit file") {
			t.Errorf("%s: got %v", path, err)
		}
	}
}

// tight is an output with room for so many bytes.
type tight struct {
	lines
	room int
}

var errFull = errors.New("no space left on device")

func (o *tight) Write(p []byte) (int, error) {
	if len(p) > o.room {
		return 0, errFull
	}
	o.room -= len(p)
	return o.lines.Write(p)
}

// counts counts results.
type counts struct {
	mu sync.Mutex
	of map[string]int
}

func (c *counts) add(result string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.of == nil {
		c.of = map[string]int{}
	}
	c.of[result]++
}

// Trouble is said once, and once more when it is over; each record is counted.
func TestOutputFails(t *testing.T) {
	out, log, count := &tight{}, new(bytes.Buffer), new(counts)
	l, err := audit.New(audit.Config{Output: out, Count: count.add, Logger: slog.New(slog.NewJSONHandler(log, nil)), Now: now})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		l.Write(t.Context(), audit.CodeRedeemed{Grant: login})
	}
	if err := l.Check(); !errors.Is(err, errFull) {
		t.Errorf("the check says %v", err)
	}
	out.room = 1000
	for range 2 {
		l.Write(t.Context(), audit.CodeRedeemed{Grant: login})
	}
	if err := l.Check(); err != nil {
		t.Errorf("the check says %v", err)
	}
	if said := strings.Split(strings.TrimSpace(log.String()), "\n"); len(said) != 2 ||
		!strings.Contains(said[0], "no space left") || !strings.Contains(said[1], `"lost":3`) {
		t.Errorf("the log says %q", said)
	}
	if count.of[audit.Failed] != 3 || count.of[audit.Written] != 2 {
		t.Errorf("counted %v", count.of)
	}
}

// A real full device.
func TestDiskFull(t *testing.T) {
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Fatal(err)
	}
	l, err := audit.New(audit.Config{Output: openFile(t, "/dev/full", new(moving)), Count: func(string) {}, Logger: slog.New(slog.DiscardHandler), Now: now})
	if err != nil {
		t.Fatal(err)
	}
	l.Write(t.Context(), audit.CodeRedeemed{Grant: login})
	if err := l.Check(); err == nil || !strings.Contains(err.Error(), "no space left") {
		t.Errorf("the check says %v", err)
	}
}

// Whoever writes at the same time, lines stay whole, also in the middle of
// rotation.
func TestRacingWriters(t *testing.T) {
	path, clock := filepath.Join(t.TempDir(), "audit.log"), new(moving)
	l, err := audit.New(audit.Config{Output: openFile(t, path, clock), Count: func(string) {}, Logger: slog.New(slog.DiscardHandler), Now: now})
	if err != nil {
		t.Fatal(err)
	}
	const writers, each = 16, 50
	var running sync.WaitGroup
	for range writers {
		running.Go(func() {
			for range each {
				l.Write(t.Context(), audit.TokenRefreshed{Grant: login, Generation: 1})
			}
		})
	}
	for i := range 3 {
		if err := os.Rename(path, path+"."+string(rune('a'+i))); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Error(err)
		}
		clock.advance(2 * time.Second)
		l.Write(t.Context(), audit.TokenRefreshed{Grant: login, Generation: 2})
	}
	running.Wait()
	files, err := filepath.Glob(path + "*")
	if err != nil {
		t.Fatal(err)
	}
	var n int
	for _, file := range files {
		for line := range strings.Lines(source(t, file)) {
			var r map[string]any
			if err := json.Unmarshal([]byte(line), &r); err != nil {
				t.Fatalf("%v: %q", err, line)
			}
			n++
		}
	}
	if n != writers*each+3 {
		t.Errorf("%d records, want %d", n, writers*each+3)
	}
}
