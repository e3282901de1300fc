package chromium_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/security"
	"github.com/chromedp/chromedp"

	"github.com/countersign/countersign/e2e/browser"
)

// patience is how long a page may take to come: far longer than it does.
const patience = 30 * time.Second

// tab is one tab of somebody's browser, watched: what Chromium complains about and
// the test did not ask for fails the test.
type tab struct {
	t   *testing.T
	ctx context.Context
	log *browser.Log
	// elsewhere: the tab also sees pages that are not ours.
	elsewhere bool

	mu       sync.Mutex
	requests map[network.RequestID]*request
	order    []*request
}

// request is one that the tab has made. A redirect is a request of its own.
type request struct {
	id      network.RequestID
	method  string
	address string
	kind    network.ResourceType
	status  int64 // 0: no answer yet
	headers map[string]string
}

// stranger is the tab of another person: nothing is shared with any other.
func (w *world) stranger() *tab { return watch(w.t, browser.Stranger(w.t, w.chromium), w) }

// another is a further tab of the same browser.
func (b *tab) another(w *world) *tab { return watch(w.t, browser.Tab(w.t, b.ctx), w) }

func watch(t *testing.T, ctx context.Context, w *world) *tab {
	t.Helper()
	b := &tab{t: t, ctx: ctx, requests: map[network.RequestID]*request{}}
	b.log = browser.Watch(t, ctx)
	if err := chromedp.Listen(ctx, b.record); err != nil {
		t.Fatal(err)
	}
	// Many tabs at once: each is to believe that it is the one in front.
	call(b, emulation.SetFocusEmulationEnabled, emulation.SetFocusEmulationEnabledParams{Enabled: true})
	if strings.HasPrefix(w.issuer, "https:") {
		call(b, security.SetIgnoreCertificateErrors, security.SetIgnoreCertificateErrorsParams{Ignore: true})
	}
	t.Cleanup(func() {
		for _, entry := range b.log.Take() {
			if !strings.HasPrefix(entry, tooEarly) && !(b.elsewhere && theirs(entry)) {
				t.Errorf("Chromium complains: %s", entry)
			}
		}
	})
	return b
}

// theirs reports what is said of how others have made their pages: SimpleSAMLphp's
// are of another age, and have no icon on the way out.
func theirs(entry string) bool {
	return strings.Contains(entry, "QuirksModeIssue") || strings.HasSuffix(entry, "404 (Not Found)")
}

// tooEarly is said when a test types before the page has put the cursor anywhere.
const tooEarly = "info: Autofocus processing was blocked"

// record keeps what the tab asks for.
func (b *tab) record(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e := event.(type) {
	case *network.EventRequestWillBeSent:
		if e.RedirectResponse != nil && b.requests[e.RequestID] != nil {
			b.requests[e.RequestID].answered(e.RedirectResponse)
		}
		r := &request{id: e.RequestID, method: e.Request.Method, address: e.Request.URL, kind: e.Type}
		b.requests[e.RequestID], b.order = r, append(b.order, r)
	case *network.EventResponseReceived:
		if r := b.requests[e.RequestID]; r != nil {
			r.answered(e.Response)
		}
	}
}

func (r *request) answered(response *network.Response) {
	r.status, r.headers = response.Status, map[string]string{}
	for name, value := range response.Headers {
		r.headers[strings.ToLower(name)] = fmt.Sprint(value)
	}
}

// documents are the pages that the tab asked for since the last time, as
// "STATUS METHOD ADDRESS"; redirects are among them.
func (b *tab) documents() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var list []string
	for _, r := range b.order {
		if r.kind == network.ResourceTypeDocument {
			list = append(list, fmt.Sprintf("%d %s %s", r.status, r.method, r.address))
		}
	}
	b.order = nil
	return list
}

// pages are those of documents that people saw at an address of the provider.
func (b *tab) pages(w *world) []string {
	return slices.DeleteFunc(b.documents(), func(d string) bool {
		return strings.HasPrefix(d, "3") || !strings.Contains(d, " "+w.issuer)
	})
}

// call sends one command to the tab.
func call[P, R any](b *tab, cmd command[P, R], params P) R {
	b.t.Helper()
	result, err := chromedp.Call(b.ctx, cmd, params)
	if err != nil {
		b.fail("%s: %v", cmd.Method, err)
	}
	return result
}

// do takes steps, and gives up on those that do not come to an end.
func (b *tab) do(what string, steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		b.fail("%s: %v", what, err)
	}
}

// fail says where the tab is, and keeps a picture of it.
func (b *tab) fail(format string, args ...any) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, 5*time.Second) // a tab that failed may be stuck
	defer cancel()
	where, _ := chromedp.Run(ctx, chromedp.Location())
	text, _ := chromedp.Run(ctx, chromedp.Evaluate[string]("document.documentElement.innerText"))
	b.t.Fatalf("%s\nat %s:\n%s\ndocuments: %s\nlog: %q", fmt.Sprintf(format, args...), where, text,
		strings.Join(b.documents(), "\n           "), b.log.Take())
}

// open goes to an address.
func (b *tab) open(address string) {
	b.t.Helper()
	b.do("opening "+address, chromedp.Navigate(address))
}

// see waits until an element is there: a CSS selector, or an XPath with a text
// ("//h1[.='…']").
func (b *tab) see(selector string) {
	b.t.Helper()
	b.do("waiting for "+selector, chromedp.WaitVisible(selector))
}

func (b *tab) click(selector string) {
	b.t.Helper()
	b.do("clicking "+selector, chromedp.Click(chromedp.CSS(selector)))
}

// keys types, with the keys of package kb among the letters.
func (b *tab) keys(text string) {
	b.t.Helper()
	b.do("typing", chromedp.KeyEvent(text))
}

// text is what an element says; it waits for it.
func (b *tab) text(selector string) string {
	b.t.Helper()
	b.see(selector)
	text, err := chromedp.Run(b.ctx, chromedp.TextContent(chromedp.CSS(selector)))
	if err != nil {
		b.fail("reading %s: %v", selector, err)
	}
	return text
}

// ask evaluates JavaScript in the page.
func ask[T any](b *tab, expression string) T {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression))
	if err != nil {
		b.fail("%s: %v", expression, err)
	}
	return v
}

// fill signs in on the password page.
func (b *tab) fill(login, password string) {
	b.t.Helper()
	b.see("#password")
	b.do("filling in the form",
		chromedp.SetValue(chromedp.CSS("#login"), login),
		chromedp.SetValue(chromedp.CSS("#password"), password))
	b.click("form .button")
}

// approve consents.
func (b *tab) approve() {
	b.t.Helper()
	b.see("button[name=approval]")
	b.click("button[value=approve]")
}

// signIn goes the whole way from an app as ada, and returns what the app verified.
func (b *tab) signIn(a *app, query string) map[string]any {
	b.t.Helper()
	b.open(a.address("/login" + query))
	b.fill(ada, password)
	b.approve()
	return b.claims()
}

// claims are what the app has verified.
func (b *tab) claims() map[string]any {
	b.t.Helper()
	var claims map[string]any
	if err := json.Unmarshal([]byte(b.text("#claims")), &claims); err != nil {
		b.fail("reading the claims: %v", err)
	}
	return claims
}

// expect takes a complaint out of the log, which the test has provoked.
func (b *tab) expect(complaint string) {
	b.t.Helper()
	b.log.Await(b.t, b.ctx, complaint)
}

// cookies are all that the browser keeps for an address.
func (b *tab) cookies(address string) map[string]*network.Cookie {
	b.t.Helper()
	result := call(b, network.GetCookies, network.GetCookiesParams{URLs: []string{address}})
	named := map[string]*network.Cookie{}
	for _, c := range result.Cookies {
		named[c.Name] = c
	}
	return named
}

// wants compares some of the claims that the app has verified.
func (b *tab) wants(want map[string]any) {
	b.t.Helper()
	claims := b.claims()
	for name, value := range want {
		if claims[name] != value {
			b.t.Errorf("%s is %v, want %v", name, claims[name], value)
		}
	}
}
