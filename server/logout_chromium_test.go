package server_test

import (
	"fmt"
	"html"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/countersign/countersign/e2e/browser"
	"github.com/countersign/countersign/server"
)

// A real browser posts a logout request from another site: it sends no session
// with that, and with the GET that follows it does. Signing out on our own page
// leads on to the client although the page's policy names no chain of redirects.
func TestLogoutInChromium(t *testing.T) {
	t.Parallel()
	app := http.NewServeMux()
	client := httptest.NewServer(app)
	t.Cleanup(client.Close)
	address := strings.Replace(client.URL, "127.0.0.1", "localhost", 1) // another site than the issuer's
	w := newWorld(t, "sqlite", func(c *server.Config) {
		c.Policy.SkipApproval = true
		c.Clients[0].RedirectURIs = []string{address + "/callback"}
		c.Clients[0].PostLogoutRedirectURIs = []string{address + "/hop"}
	})
	show := func(out http.ResponseWriter, body string) {
		out.Header().Set("Content-Type", "text/html")
		fmt.Fprintf(out, "<!doctype html><title>app</title>%s", body)
	}
	app.HandleFunc("/callback", func(out http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		fields := fmt.Sprintf(`<input type="hidden" name="client_id" value="app"><input type="hidden" name="state" value="s">
			<input type="hidden" name="post_logout_redirect_uri" value="%s/hop">`, address)
		hint := w.redeem(q.Get("code"), "redirect_uri", address+"/callback").str("id_token")
		show(out, fmt.Sprintf(`<p id="arrived">%s</p><form method="post" action="%s/logout">%s<button id="ask">x</button></form>
			<form method="post" action="%s/logout">%s<input type="hidden" name="id_token_hint" value="%s"><button id="vouch">x</button></form>`,
			html.EscapeString(q.Get("error")), w.issuer, fields, w.issuer, fields, hint))
	})
	app.HandleFunc("/hop", func(out http.ResponseWriter, r *http.Request) { // and on to a third origin
		http.Redirect(out, r, client.URL+"/bye?"+r.URL.RawQuery, http.StatusFound)
	})
	app.HandleFunc("/bye", func(out http.ResponseWriter, _ *http.Request) { show(out, `<p id="bye">bye</p>`) })

	ctx := browser.New(t)
	run := func(steps ...chromedp.Action[chromedp.Void]) {
		t.Helper()
		if err := chromedp.Do(ctx, steps...); err != nil {
			t.Fatal(err)
		}
	}
	request := w.request("redirect_uri", address+"/callback")
	for _, button := range []string{"#ask", "#vouch"} {
		run(chromedp.Navigate(request),
			chromedp.SendKeys(chromedp.CSS("input[name=login]"), alice), chromedp.SendKeys(chromedp.CSS("input[name=password]"), alicePassword),
			chromedp.Click(chromedp.CSS("main button")), chromedp.WaitVisible(chromedp.CSS(button)), chromedp.Click(chromedp.CSS(button)))
		if button == "#ask" {
			run(chromedp.WaitVisible(chromedp.CSS("input[name=request] ~ button")), chromedp.Click(chromedp.CSS("main button")))
		}
		run(chromedp.WaitVisible(chromedp.CSS("#bye")))
		at, err := chromedp.Run(ctx, chromedp.Location())
		if err != nil || at != client.URL+"/bye?state=s" {
			t.Errorf("%s: at %s, %v", button, at, err)
		}
		run(chromedp.Navigate(request+"&"+url.Values{"prompt": {"none"}}.Encode()), chromedp.WaitReady(chromedp.CSS("#arrived")))
		refused, err := chromedp.Run(ctx, chromedp.Text(chromedp.CSS("#arrived")))
		if err != nil || refused != "login_required" {
			t.Errorf("%s: then %q, %v", button, refused, err)
		}
	}
}
