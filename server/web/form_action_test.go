package web_test

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/countersign/countersign/e2e/browser"
	"github.com/countersign/countersign/server/web"
)

// provider is a site with one form at /. Submitting it leads to the next target: by
// a 303, or by the Continue page.
type provider struct {
	address    string
	formAction []string
	byContinue bool
	targets    chan string      // where the next submits lead
	submits    chan http.Header // what came with them
}

func newProvider(t *testing.T) *provider {
	t.Helper()
	p := &provider{targets: make(chan string, 2), submits: make(chan http.Header, 2)}
	site := newSite(t, web.Config{})
	mux := http.NewServeMux()
	mux.Handle("/static/", site.Static())
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		site.Page(w, r, http.StatusOK, web.Consent{Client: web.Client{ID: "app"}, Action: "/consent"}, web.PageOptions{FormAction: p.formAction})
	})
	mux.HandleFunc("POST /consent", func(w http.ResponseWriter, r *http.Request) {
		p.submits <- r.Header.Clone()
		target := <-p.targets
		if p.byContinue {
			site.Page(w, r, http.StatusOK, web.Continue{URL: target}, web.PageOptions{})
			return
		}
		site.Headers(w.Header(), web.Policy{})
		http.Redirect(w, r, target, http.StatusSeeOther)
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	p.address = server.URL + "/"
	return p
}

// relyingParty is a client: /callback arrives, /hop sends on to another origin.
func relyingParty(t *testing.T, next string) string {
	t.Helper()
	return serve(t, "tcp4", "127.0.0.1:0", next)
}

func serve(t *testing.T, network, address, next string) string {
	t.Helper()
	listener, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	server := &httptest.Server{Listener: listener, Config: &http.Server{
		ReadHeaderTimeout: time.Minute,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/hop" {
				http.Redirect(w, r, next, http.StatusFound)
				return
			}
			w.Header().Set("Content-Type", "text/html")
			fmt.Fprintf(w, `<!doctype html><title>app</title><p id="arrived">%s`, r.Method)
		}),
	}}
	server.Start()
	t.Cleanup(server.Close)
	return server.URL
}

// TestFormActionInChromium holds what the policy of a page with a form must say
// for the form to lead to a client, in the browser that minds.
func TestFormActionInChromium(t *testing.T) {
	third := relyingParty(t, "")
	app := relyingParty(t, third+"/elsewhere")
	app6 := serve(t, "tcp6", "[::1]:0", "")
	first := browser.New(t)
	for _, c := range []struct {
		name       string
		target     string
		formAction string
		byContinue bool
		arrives    bool
	}{
		{name: "not allowed", target: app + "/callback"},
		{name: "another client allowed", target: app + "/callback", formAction: third + "/callback"},
		{name: "allowed", target: app + "/callback", formAction: app + "/callback?x=y", arrives: true},
		{name: "IPv6 allowed", target: app6 + "/callback", formAction: app6 + "/callback", arrives: true},
		{name: "client sends on", target: app + "/hop", formAction: app + "/hop"},
		{name: "continue", target: app + "/callback", byContinue: true, arrives: true},
		{name: "continue, client sends on", target: app + "/hop", byContinue: true, arrives: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newProvider(t)
			p.byContinue = c.byContinue
			p.targets <- c.target
			if c.formAction != "" {
				p.formAction = []string{c.formAction}
			}
			tab := browser.Tab(t, first)
			log := browser.Watch(t, tab)
			do(t, tab, chromedp.Navigate(p.address), chromedp.Click(chromedp.CSS("button[value=approve]")))
			if c.arrives {
				do(t, tab, chromedp.WaitReady(chromedp.CSS("#arrived")))
				if entries := violations(log); len(entries) > 0 {
					t.Errorf("arrived, and Chromium complains: %q", entries)
				}
				return
			}
			log.Await(t, tab, `violates the following Content Security Policy directive: "form-action`)
			if title := evaluate[string](t, tab, "document.title"); strings.Contains(title, "app") {
				t.Errorf("arrived at %q", title)
			}
		})
	}
}

// An app with a private-use scheme (RFC 8252 section 7.1) is reached by a 303 when
// the scheme is allowed. There is no such app here, so that Chromium gives up
// either way; whether it was the policy shows in the log. A second submit, to where
// the policy never allows, brings the violation that is waited for.
func TestFormActionSchemeInChromium(t *testing.T) {
	first := browser.New(t)
	for allowed, want := range map[bool]int{false: 2, true: 1} {
		p := newProvider(t)
		p.targets <- "com.example.app:/callback?code=c"
		p.targets <- "com.example.other:/callback?code=c"
		if allowed {
			p.formAction = []string{"com.example.app:/callback"}
		}
		tab := browser.Tab(t, first)
		log := browser.Watch(t, tab)
		do(t, tab, chromedp.Navigate(p.address))
		for range 2 {
			do(t, tab, chromedp.Click(chromedp.CSS("button[value=approve]")))
			log.Await(t, tab, "failed: net::ERR_ABORTED")
			<-p.submits
		}
		for range want {
			log.Await(t, tab, "Content Security Policy")
		}
		if more := violations(log); len(more) > 0 {
			t.Errorf("allowed %t: %d violations more than %d", allowed, len(more), want)
		}
	}
}

// Our own forms say where they come from, although nothing else learns it: without
// the pages' <meta name="referrer"> the Origin would be "null".
func TestOriginOfForms(t *testing.T) {
	p := newProvider(t)
	app := relyingParty(t, "")
	p.formAction = []string{app}
	p.targets <- app + "/callback"
	tab := browser.New(t)
	do(t, tab, chromedp.Navigate(p.address), chromedp.Click(chromedp.CSS("button[value=deny]")), chromedp.WaitReady(chromedp.CSS("#arrived")))
	submit := <-p.submits
	if got := submit.Get("Origin") + "/"; got != p.address {
		t.Errorf("Origin %q", got)
	}
	if got := submit.Get("Sec-Fetch-Site"); got != "same-origin" {
		t.Errorf("Sec-Fetch-Site %q", got)
	}
	if got := evaluate[string](t, tab, "document.referrer"); got != "" {
		t.Errorf("the app learns the referrer %q", got)
	}
}

func violations(log *browser.Log) []string {
	var found []string
	for _, entry := range log.Take() {
		if strings.Contains(entry, "Content Security Policy") {
			found = append(found, entry)
		}
	}
	return found
}
