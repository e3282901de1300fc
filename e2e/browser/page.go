package browser

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/audits"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
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
	fits, err := chromedp.Run(ctx, chromedp.Evaluate[bool](`document.documentElement.scrollHeight <= innerHeight`))
	if err != nil {
		t.Fatalf("measuring the page: %v", err)
	}
	capture := chromedp.CaptureScreenshot()
	if !fits {
		capture = chromedp.FullScreenshot(100) // not always: it shifts pages written right to left
	}
	png, err := chromedp.Run(ctx, capture)
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

// Prefer makes the browser prefer a colour scheme: "light" or "dark". Nothing moves
// then, so that a change of colours is not looked at halfway.
func Prefer(t testing.TB, ctx context.Context, scheme string) {
	t.Helper()
	media := emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
		{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"},
	}}
	if _, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, media); err != nil {
		t.Fatalf("preferring %s: %v", scheme, err)
	}
}

// Log collects what Chromium has to say about a tab: violations of the
// Content-Security-Policy, requests that failed, headers it does not understand,
// exceptions of scripts, and the issues of its developer tools.
type Log struct {
	mu      sync.Mutex
	entries []string
	news    chan struct{}
}

// Watch starts collecting. What is reported before the answer to a command is in
// the log when the command returns.
func Watch(t testing.TB, ctx context.Context) *Log {
	t.Helper()
	l := &Log{news: make(chan struct{}, 1)}
	ctx, cancel := context.WithCancel(ctx) // ends the listening, not the tab
	t.Cleanup(cancel)
	if _, err := chromedp.Call(ctx, network.Enable, network.EnableParams{}); err != nil {
		t.Fatalf("watching the network of a tab: %v", err)
	}
	if _, err := chromedp.Call(ctx, audits.Enable, cdp.Empty{}); err != nil {
		t.Fatalf("watching the issues of a tab: %v", err)
	}
	err := chromedp.Listen(ctx, func(event any) {
		switch e := event.(type) {
		case *log.EventEntryAdded:
			l.add(string(e.Entry.Level) + ": " + e.Entry.Text)
		case *network.EventLoadingFailed:
			l.add("failed: " + e.ErrorText)
		case *runtime.EventExceptionThrown:
			l.add("exception: " + e.ExceptionDetails.Text)
		case *audits.EventIssueAdded:
			// Every sign-in looks like bounce tracking: there and back again.
			if e.Issue.Code != audits.InspectorIssueCodeBounceTrackingIssue {
				l.add(issue(e.Issue))
			}
		}
	})
	if err != nil {
		t.Fatalf("watching the log of a tab: %v", err)
	}
	return l
}

// issue is what the "Issues" of the developer tools show: cookies that were not
// taken, forms that cannot be filled in, deprecated features.
func issue(i *audits.InspectorIssue) string {
	details, err := json.Marshal(i.Details)
	if err != nil {
		return fmt.Sprintf("issue: %s: %v", i.Code, err)
	}
	return fmt.Sprintf("issue: %s: %s", i.Code, details)
}

func (l *Log) add(entry string) {
	l.mu.Lock()
	l.entries = append(l.entries, entry)
	l.mu.Unlock()
	select {
	case l.news <- struct{}{}:
	default: // whoever waits has been told already
	}
}

// Take returns what has come since the last time, and forgets it.
func (l *Log) Take() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	entries := l.entries
	l.entries = nil
	return entries
}

// Await waits until there is an entry that contains the text, takes it out of the
// log and returns it.
func (l *Log) Await(t testing.TB, ctx context.Context, text string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		if entry, ok := l.find(text); ok {
			return entry
		}
		select {
		case <-l.news:
		case <-ctx.Done():
			t.Fatalf("waiting for %q in the log: %v; there is %q", text, ctx.Err(), l.Take())
		}
	}
}

// patience is how long Await waits: far longer than anything takes.
const patience = 30 * time.Second

func (l *Log) find(text string) (string, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := slices.IndexFunc(l.entries, func(entry string) bool { return strings.Contains(entry, text) })
	if i < 0 {
		return "", false
	}
	entry := l.entries[i]
	l.entries = slices.Delete(l.entries, i, i+1)
	return entry, true
}
