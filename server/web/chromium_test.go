package web_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/countersign/countersign/e2e/axe"
	"github.com/countersign/countersign/e2e/browser"
	"github.com/countersign/countersign/server/web"
)

// gallery serves one page per name at /dex/NAME, and stays where it is when a page
// sends itself away.
func gallery(t *testing.T, frontend web.Frontend, pages map[string]web.Page) string {
	t.Helper()
	site := newSite(t, web.Config{BasePath: "/dex", Frontend: frontend})
	mux := http.NewServeMux()
	mux.Handle("/dex/static/", site.Static())
	mux.HandleFunc("/dex/away", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	mux.HandleFunc("/dex/{name}", func(w http.ResponseWriter, r *http.Request) {
		p, ok := pages[r.PathValue("name")]
		if !ok {
			http.NotFound(w, r)
			return
		}
		site.Page(w, r, http.StatusOK, p, web.PageOptions{RequestID: "01J9Z3K8QX", Locales: r.URL.Query()["ui_locales"]})
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	for name, p := range pages {
		switch p := p.(type) {
		case web.FormPost:
			p.Action = server.URL + "/dex/away"
			pages[name] = p
		case web.Continue:
			p.URL = server.URL + "/dex/away"
			pages[name] = p
		}
	}
	return server.URL + "/dex/"
}

const (
	longName  = "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft"
	longEmail = "wolfeschlegelsteinhausenbergerdorff.hubert.blaine@wolfeschlegelsteinhausenbergerdorff.example"
)

// shown are the pages to look at: each type, and what may break its layout.
func shown() map[string]web.Page {
	client := web.Client{ID: "demo", Name: "Demo App"}
	long := web.Client{ID: "long", Name: longName}
	ada := web.Person{Name: "Ada Lovelace", Email: "ada@example.com"}
	return map[string]web.Page{
		"connectors": web.ChooseConnector{Client: client, Connectors: []web.ConnectorLink{
			{Name: "Email", URL: "/dex/a", Type: "local"},
			{Name: "Company directory", URL: "/dex/b", Type: "ldap"},
			{Name: "Example Workforce", URL: "/dex/c", Type: "saml"},
			{Name: "GitHub", URL: "/dex/d", Type: "github"},
			{Name: "Partners", URL: "/dex/e", Type: "oidc"},
			{Name: longName, URL: "/dex/f", Type: "other"},
		}},
		"password": web.Password{Client: client, Connector: "Email", Prompt: "Email address", Action: "/dex/login",
			OfferRemember: true, BackURL: "/dex/connectors"},
		"password-invalid": web.Password{Client: client, Connector: "Email", Action: "/dex/login", Username: longEmail,
			Error: web.LoginError{Kind: web.LoginInvalid}, OfferRemember: true, RememberChecked: true, BackURL: "/dex/connectors"},
		"password-wait": web.Password{Client: client, Connector: "Company directory", Action: "/dex/login", Username: "ada",
			Error: web.LoginError{Kind: web.LoginTooMany, Wait: 95 * time.Second}},
		"password-denied": web.Password{Client: long, Connector: longName, Action: "/dex/login", Username: "ada",
			Error: web.LoginError{Kind: web.LoginDenied, Message: "Your account is not in the group " + longName + "."}},
		"account":      web.ChooseAccount{Client: client, Person: ada, Action: "/dex/x", Session: "1"},
		"account-long": web.ChooseAccount{Client: long, Person: web.Person{Name: longName, Email: longEmail}, Action: "/dex/x", Session: "1"},
		"consent": web.Consent{Client: client, Person: ada, Action: "/dex/consent", Session: "s",
			Scopes: []string{"openid", "profile", "email", "groups", "offline_access"}},
		"consent-long": web.Consent{Client: long, Person: web.Person{Email: longEmail}, Action: "/dex/consent", Session: "s",
			Scopes: []string{"openid", "federated:id", "audience:server:client_id:" + longName, longName}},
		"error": web.Error{Kind: web.ErrorBadRequest, Client: client, ReturnURL: "https://app.example/",
			Message: "redirect_uri https://app.example/" + longName + " is not registered for the client."},
		"error-internal": web.Error{},
		"finished":       web.Finished{Client: client, ReturnURL: "https://app.example/"},
		"signed-out":     web.SignedOut{Client: client, ReturnURL: "https://app.example/"},
		"home":           web.Home{DiscoveryURL: "https://id.example/x"},
		"home-signed-in": web.Home{Person: &ada, SignOutAction: "/dex/logout", DiscoveryURL: "https://id.example/x",
			Links: []web.Link{{Name: "Kubernetes", URL: "https://wiki.example/"}}},
		"form-post": web.FormPost{Client: client, Fields: []web.Field{{Name: "code", Value: "c"}}},
		"continue":  web.Continue{Client: client},
	}
}

// TestLook opens every page in both colour schemes, both languages, wide and
// narrow: nothing overflows, nothing is against the policy, and axe-core finds
// nothing. The screenshots are for people.
func TestLook(t *testing.T) {
	source := axe.Source(t)
	pages := shown()
	root := gallery(t, web.Frontend{}, pages)
	ctx := browser.New(t)
	for name := range pages {
		for _, locale := range []string{"en", "de"} {
			for _, scheme := range []string{"light", "dark"} {
				t.Run(strings.Join([]string{name, locale, scheme}, "-"), func(t *testing.T) {
					look(t, ctx, root+name+"?ui_locales="+locale, locale, scheme, source)
				})
			}
		}
	}
}

// look checks one page, and takes its pictures.
func look(t *testing.T, ctx context.Context, address, locale, scheme, source string) {
	log := browser.Watch(t, ctx)
	browser.Prefer(t, ctx, scheme)
	do(t, ctx, chromedp.EmulateViewport(1280, 800), chromedp.Navigate(address), chromedp.WaitReady(chromedp.CSS("h1")))
	if got := evaluate[string](t, ctx, `document.documentElement.lang`); got != locale {
		t.Errorf("lang is %q, want %q", got, locale)
	}
	for _, v := range axe.Check(t, ctx, source) {
		t.Error(v)
	}
	name := strings.TrimPrefix(t.Name(), t.Name()[:strings.Index(t.Name(), "/")+1])
	for _, width := range []int64{1280, 320} {
		do(t, ctx, chromedp.EmulateViewport(width, 700))
		if over := evaluate[[]string](t, ctx, overflowing); len(over) > 0 {
			t.Errorf("%d px: wider than the window: %s", width, over)
		}
		browser.Screenshot(t, ctx, fmt.Sprintf("%s-%d", name, width))
	}
	if entries := log.Take(); len(entries) > 0 {
		t.Errorf("Chromium complains: %q", entries)
	}
}

// overflowing names the elements that stick out of the window sideways, or whose
// content sticks out of them.
const overflowing = `[...document.querySelectorAll("html, body, body *")].filter(e => {
	const box = e.getBoundingClientRect();
	return box.width > 0 && (box.left < -0.5 || box.right > document.documentElement.clientWidth + 0.5 ||
		(e.scrollWidth > e.clientWidth + 1 && e.clientWidth > 0 && e.tagName !== "INPUT" && getComputedStyle(e).display !== "inline"));
}).map(e => e.tagName + "." + e.className)`

func do(t *testing.T, ctx context.Context, steps ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	if err := chromedp.Do(ctx, steps...); err != nil {
		t.Fatal(err)
	}
}

func evaluate[T any](t *testing.T, ctx context.Context, expression string) T {
	t.Helper()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression))
	if err != nil {
		t.Fatalf("%s: %v", expression, err)
	}
	return v
}

var _ = kb.Tab
var _ network.Headers
var _ = slices.Sort[[]int]
