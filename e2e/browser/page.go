package browser

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/chromedp"
)

// Root returns the root of the repository: the nearest folder with a go.mod.
func Root(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		if parent := filepath.Dir(dir); parent != dir {
			dir = parent
			continue
		}
		t.Fatal("no go.mod above the test")
	}
}

// Screenshot writes the whole page to e2e/screenshots/NAME.png, for people to
// look at.
func Screenshot(t testing.TB, ctx context.Context, name string) {
	t.Helper()
	png, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
	if err != nil {
		t.Fatalf("taking a screenshot: %v", err)
	}
	folder := filepath.Join(Root(t), "e2e", "screenshots")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, name+".png"), png, 0o644); err != nil {
		t.Fatal(err)
	}
}

// Prefer makes the browser prefer a colour scheme: "light" or "dark".
func Prefer(t testing.TB, ctx context.Context, scheme string) {
	t.Helper()
	media := emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}}
	if _, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, media); err != nil {
		t.Fatalf("preferring %s: %v", scheme, err)
	}
}

// Log collects what Chromium has to complain about in a tab: violations of the
// Content-Security-Policy, failed requests, unknown features.
type Log struct {
	mu      sync.Mutex
	entries []string
}

// Watch starts collecting. What is reported before the answer to a command is in
// the log when the command returns.
func Watch(t testing.TB, ctx context.Context) *Log {
	t.Helper()
	l := &Log{}
	ctx, cancel := context.WithCancel(ctx) // ends the listening, not the tab
	t.Cleanup(cancel)
	err := chromedp.Listen(ctx, func(event any) {
		if e, ok := event.(*log.EventEntryAdded); ok {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.entries = append(l.entries, string(e.Entry.Level)+": "+e.Entry.Text)
		}
	})
	if err != nil {
		t.Fatalf("watching the log of a tab: %v", err)
	}
	return l
}

// Take returns what has come since the last time, and forgets it.
func (l *Log) Take() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	entries := l.entries
	l.entries = nil
	return entries
}
