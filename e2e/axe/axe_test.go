package axe_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/countersign/countersign/e2e/axe"
	"github.com/countersign/countersign/e2e/browser"
)

// TestFindsSomething: a checker that finds nothing on a bad page proves nothing on
// a good one. The page forbids scripts, as ours do.
func TestFindsSomething(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Security-Policy", "default-src 'none'")
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, `<!doctype html><html><title>x</title><main><h1>x</h1><input><font color="#ccc">pale</font></main></html>`)
	}))
	t.Cleanup(server.Close)
	ctx := browser.New(t)
	if err := chromedp.Do(ctx, chromedp.Navigate(server.URL)); err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for _, v := range axe.Check(t, ctx, axe.Source(t)) {
		found[v.ID] = true
	}
	for _, want := range []string{"html-has-lang", "label", "color-contrast"} {
		if !found[want] {
			t.Errorf("axe-core does not find %s, only %v", want, found)
		}
	}
}
