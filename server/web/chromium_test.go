package web_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/countersign/countersign/e2e/axe"
	"github.com/countersign/countersign/e2e/browser"
	"github.com/countersign/countersign/server/device"
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
			{Name: "GitHub", URL: "/dex/d", Type: "github", Down: true},
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
		"failed-denied": web.SignInFailed{Client: client, Connector: "GitHub", RetryURL: "/dex/d", BackURL: "/dex/connectors",
			Error: web.LoginError{Kind: web.LoginDenied, Message: "You are not in a group that may sign in here."}},
		"failed-upstream": web.SignInFailed{Client: client, Connector: longName, RetryURL: "/dex/d", BackURL: "/dex/connectors",
			Error: web.LoginError{Kind: web.LoginUpstreamFailed}},
		"failed-back":  web.SignInFailed{Client: client, Connector: "GitHub", RetryURL: "/dex/d", Error: web.LoginError{Kind: web.LoginTurnedBack}},
		"account":      web.ChooseAccount{Client: client, Person: ada, Action: "/dex/x", Subject: "1"},
		"account-long": web.ChooseAccount{Client: long, Person: web.Person{Name: longName, Email: longEmail}, Action: "/dex/x", Subject: "1"},
		"consent": web.Consent{Client: client, Person: ada, Action: "/dex/consent", Subject: "s",
			Scopes: []string{"openid", "profile", "email", "groups", "offline_access"}},
		"consent-long": web.Consent{Client: long, Person: web.Person{Email: longEmail}, Action: "/dex/consent", Subject: "s",
			Scopes: []string{"openid", "federated:id", "audience:server:client_id:" + longName, longName}},
		"error": web.Error{Kind: web.ErrorBadRequest,
			Message: "redirect_uri https://app.example/" + longName + " is not registered for the client."},
		"error-internal":      web.Error{},
		"finished":            web.Finished{},
		"sign-out":            web.SignOut{Client: client, Person: ada, Action: "/dex/logout", Session: "s", Request: "r"},
		"signed-out":          web.SignedOut{Client: client, ReturnURL: "https://app.example/"},
		"signed-out-upstream": web.SignedOut{Client: client, ReturnURL: "https://app.example/", Upstream: longName},
		"home":                web.Home{DiscoveryURL: "https://id.example/x"},
		"home-signed-in":      web.Home{Person: &ada, SignOutAction: "/dex/logout", AccountURL: "/dex/account", DiscoveryURL: "https://id.example/x"},
		"my":                  accountPage(ada, "Kubernetes"),
		"my-long":             accountPage(web.Person{Name: longName, Email: longEmail}, longName),
		"my-nothing":          web.Account{Person: ada, Action: "/dex/account", Subject: "s", Browsers: accountPage(ada, "").Browsers[:1]},
		"form-post":           web.FormPost{Client: client, Fields: []web.Field{{Name: "code", Value: "c"}}},
		"continue":            web.Continue{Client: client},
	}
}

// accountPage is one with a little of everything.
func accountPage(person web.Person, app string) web.Account {
	at := func(d device.Device, address string, hours int) web.Where {
		return web.Where{Device: d, Address: address, At: time.Date(2026, 2, 3, 4, 5, 6, 0, time.UTC).Add(time.Duration(hours) * time.Hour)}
	}
	firefox, phone := device.Device{Program: "Firefox", System: "Linux"}, device.Device{Program: "Safari", System: "iPhone"}
	return web.Account{
		Person: person, Action: "/dex/account", Subject: "s", Done: web.DoneApp, MoreBrowsers: true,
		OlderURL: "/dex/account?before=1", NewestURL: "/dex/account",
		Browsers: []web.Browser{
			{ID: "1", Current: true, Since: at(firefox, "192.0.2.17", 0), Used: at(firefox, "", 5).At},
			{ID: "2", Since: at(phone, "2001:db8:85a3:8d3:1319:8a2e:370:7348", -30), Used: at(phone, "", -2).At},
			{ID: "3", Since: at(device.Device{}, "", -40), Used: at(phone, "", -39).At},
		},
		Apps: []web.App{
			{ID: "4", Name: app, Since: at(firefox, "192.0.2.17", 0), Used: at(device.Device{}, "198.51.100.4", 5)},
			{ID: "5", Name: "Wiki", Since: at(phone, "2001:db8:85a3:8d3:1319:8a2e:370:7348", -30), Used: at(phone, "", -20)},
		},
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
	for _, entry := range log.Take() {
		if entry != stayed {
			t.Errorf("Chromium complains: %s", entry)
		}
	}
}

// stayed is what becomes of a page that sends itself to the gallery's /away.
const stayed = "failed: net::ERR_ABORTED"

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

// focused describes what has the focus.
const focused = `(e => e === document.body ? "nothing" : e.id || e.getAttribute("value") || e.textContent.trim())(document.activeElement)`

// TestKeyboard signs in without a mouse: the focus starts where one types, goes
// through the page in its order, is visible at every stop, and Enter submits.
func TestKeyboard(t *testing.T) {
	pages := map[string]web.Page{
		"password": web.Password{Action: "/dex/posted", OfferRemember: true, BackURL: "/dex/finished", Connector: "Email"},
		"again":    web.Password{Action: "/dex/posted", Username: "ada", Error: web.LoginError{Kind: web.LoginInvalid}},
		"consent":  web.Consent{Action: "/dex/posted", Person: web.Person{Name: "Ada"}, Scopes: []string{"openid"}},
		"finished": web.Finished{},
		"posted":   web.Home{},
	}
	root := gallery(t, web.Frontend{}, pages)
	ctx := browser.New(t)
	for _, c := range []struct {
		page  string
		first string
		stops []string
	}{
		{"password", "login", []string{"password", "remember", "Sign in", "Sign in another way"}},
		{"again", "password", []string{"Sign in"}},
		{"consent", "nothing", []string{"approve", "deny"}},
	} {
		do(t, ctx, chromedp.Navigate(root+c.page), chromedp.WaitReady(chromedp.CSS("h1")))
		if got := evaluate[string](t, ctx, focused); got != c.first {
			t.Errorf("%s: the focus starts at %q, not %q", c.page, got, c.first)
		}
		for _, stop := range c.stops {
			do(t, ctx, chromedp.KeyEvent(kb.Tab))
			if got := evaluate[string](t, ctx, focused); got != stop {
				t.Errorf("%s: the focus is at %q, not %q", c.page, got, stop)
			}
			if width := evaluate[string](t, ctx, `getComputedStyle(document.activeElement).outlineWidth`); width != "3px" {
				t.Errorf("%s: the focus ring of %q is %s", c.page, stop, width)
			}
		}
		browser.Screenshot(t, ctx, "keyboard-"+c.page)
	}
	do(t, ctx, chromedp.Navigate(root+"password"), chromedp.WaitReady(chromedp.CSS("h1")),
		chromedp.KeyEvent("ada"+kb.Tab+"secret"+kb.Enter), chromedp.WaitNotPresent(chromedp.CSS("#login")))
	if got := evaluate[string](t, ctx, "location.pathname"); got != "/dex/posted" {
		t.Errorf("Enter led to %s", got)
	}
}

// TestFormPostInChromium arrives at the client by itself; without scripts, by the
// button.
func TestFormPostInChromium(t *testing.T) {
	app := relyingParty(t, "")
	site := newSite(t, web.Config{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		site.Page(w, r, http.StatusOK, web.FormPost{Action: app + "/callback", Fields: []web.Field{
			{Name: "code", Value: "c"}, {Name: "submit", Value: "hides the method"}}}, web.PageOptions{})
	}))
	t.Cleanup(server.Close)
	first := browser.New(t)
	for _, scripts := range []bool{true, false} {
		tab := browser.Tab(t, first)
		if _, err := chromedp.Call(tab, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: !scripts}); err != nil {
			t.Fatal(err)
		}
		do(t, tab, chromedp.Navigate(server.URL))
		if !scripts {
			do(t, tab, chromedp.Click(chromedp.CSS("button")))
		}
		do(t, tab, chromedp.WaitReady(chromedp.CSS("#arrived")))
		if got, err := chromedp.Run(tab, chromedp.Text(chromedp.CSS("#arrived"))); err != nil || got != http.MethodPost {
			t.Errorf("scripts %t: arrived by %s, %v", scripts, got, err)
		}
	}
}

// TestRightToLeft turns the pages round: nothing sticks out, and what was at the
// left is at the right.
func TestRightToLeft(t *testing.T) {
	english, err := os.ReadFile("locales/en.json")
	if err != nil {
		t.Fatal(err)
	}
	dir := folder(t, map[string]string{"locales/ar.json": string(english)})
	pages := shown()
	root := gallery(t, web.Frontend{Dir: dir}, pages)
	ctx := browser.New(t)
	do(t, ctx, chromedp.EmulateViewport(320, 700))
	for name := range pages {
		do(t, ctx, chromedp.Navigate(root+name+"?ui_locales=ar"), chromedp.WaitReady(chromedp.CSS("h1")))
		if over := evaluate[[]string](t, ctx, overflowing); len(over) > 0 {
			t.Errorf("%s: wider than the window: %s", name, over)
		}
	}
	do(t, ctx, chromedp.Navigate(root+"connectors?ui_locales=ar"), chromedp.WaitReady(chromedp.CSS("h1")))
	browser.Screenshot(t, ctx, "connectors-rtl")
	if !evaluate[bool](t, ctx, `document.querySelector(".icon").getBoundingClientRect().left > document.querySelector(".chevron").getBoundingClientRect().left`) {
		t.Error("the picture is still at the left")
	}
}

// TestTextSize doubles the size of the text alone, as some people's browsers do.
func TestTextSize(t *testing.T) {
	pages := shown()
	root := gallery(t, web.Frontend{}, pages)
	ctx := browser.New(t)
	do(t, ctx, chromedp.EmulateViewport(640, 700))
	for name := range pages {
		do(t, ctx, chromedp.Navigate(root+name), chromedp.WaitReady(chromedp.CSS("h1")),
			chromedp.Evaluate[chromedp.Void](`document.documentElement.style.fontSize = "200%"`))
		if over := evaluate[[]string](t, ctx, overflowing); len(over) > 0 {
			t.Errorf("%s: wider than the window: %s", name, over)
		}
	}
}

// TestForcedTheme: what the operator forces wins over what the browser prefers.
func TestForcedTheme(t *testing.T) {
	ctx := browser.New(t)
	browser.Prefer(t, ctx, "dark")
	for theme, want := range map[string]string{web.ThemeAuto: "rgb(25, 29, 35)", web.ThemeLight: "rgb(255, 255, 255)", web.ThemeDark: "rgb(25, 29, 35)"} {
		root := gallery(t, web.Frontend{Theme: theme}, map[string]web.Page{"home": web.Home{}})
		do(t, ctx, chromedp.Navigate(root+"home"), chromedp.WaitReady(chromedp.CSS("h1")))
		if got := evaluate[string](t, ctx, `getComputedStyle(document.querySelector(".card")).backgroundColor`); got != want {
			t.Errorf("theme %s: the card is %s, not %s", theme, got, want)
		}
	}
}
