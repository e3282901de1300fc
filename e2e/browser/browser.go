// Package browser starts a real Chromium for tests and drives it over the
// DevTools protocol.
//
// It refuses to skip: a machine without Chromium fails the test, and the message
// says what to install.
//
// Threat: none of its own. The sandbox is off because tests run as root in
// containers; the browser therefore visits addresses of the test only, and the
// flags below keep it from asking anybody else for anything.
package browser

import (
	"context"
	"os/exec"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// Timeout bounds all that one browser does, start and stop included.
const Timeout = 10 * time.Minute

// names are the names Chromium has in distributions, in the order of preference.
var names = []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable"}

// New starts a headless Chromium with a profile of its own and returns the
// context of its first tab. Test and browser end together.
func New(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), Timeout)
	t.Cleanup(cancel)
	ctx, stop := chromedp.NewExecAllocator(ctx, options(executable(t), t.TempDir())...)
	t.Cleanup(stop)
	ctx, _ = chromedp.NewContext(ctx)
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("starting Chromium: %v", err)
	}
	// Cancel, not the context's own function: it waits until the process is
	// gone, so that the profile can be removed.
	t.Cleanup(func() {
		if err := chromedp.Cancel(ctx); err != nil && ctx.Err() == nil {
			t.Errorf("stopping Chromium: %v", err)
		}
	})
	return ctx
}

// Tab opens another tab that shares cookies with the one of ctx.
func Tab(t testing.TB, ctx context.Context) context.Context {
	t.Helper()
	return open(t, ctx)
}

// Stranger opens a tab that shares nothing with the one of ctx: another person's
// browser, without the price of another process.
func Stranger(t testing.TB, ctx context.Context) context.Context {
	t.Helper()
	return open(t, ctx, chromedp.WithNewBrowserContext())
}

func open(t testing.TB, ctx context.Context, opts ...chromedp.ContextOption) context.Context {
	t.Helper()
	tab, cancel := chromedp.NewContext(ctx, opts...)
	t.Cleanup(cancel)
	if err := chromedp.Do(tab); err != nil {
		t.Fatalf("opening a tab: %v", err)
	}
	return tab
}

func executable(t testing.TB) string {
	t.Helper()
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Fatalf("this test needs Chromium: none of %q is on PATH (Debian: apt-get install chromium)", names)
	return ""
}

func options(path, profile string) []chromedp.ExecAllocatorOption {
	opts := append([]chromedp.ExecAllocatorOption{}, chromedp.DefaultExecAllocatorOptions[:]...)
	return append(opts,
		chromedp.ExecPath(path),
		chromedp.UserDataDir(profile),
		chromedp.NoSandbox,
		chromedp.DisableGPU,
		chromedp.WindowSize(1280, 900),
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-component-update", true),
	)
}
