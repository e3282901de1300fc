package chromium_test

import (
	"fmt"
	"strings"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"github.com/countersign/countersign/e2e/axe"
	"github.com/countersign/countersign/e2e/browser"
)

// walk is somebody who looks closely at every page on the way.
type walk struct {
	*tab
	axe string
}

// look takes pictures of every step of the real way, for people to look at: light
// and dark, wide and narrow. axe-core finds nothing, nothing sticks out, and no
// script sees a cookie.
func look(w *world) {
	w.serve(choice)
	b := walk{w.stranger(), axe.Source(w.t)}
	b.open(w.issuer + "/")
	b.look("home")
	b.open(w.app.address("/login"))
	b.see(".options")
	b.look("connectors")
	b.do("choosing", chromedp.Click("//a[contains(., 'Email')]"))
	b.see("#password")
	b.look("password")
	b.fill(ada, "wrong")
	b.see("#alert")
	b.expect("status of 422")
	b.look("password-wrong")
	b.fill(ada, password)
	b.see("button[name=approval]")
	b.look("consent")
	consent := ask[string](b.tab, "location.href")
	w.app.busy.Store(true)
	b.click("button[value=approve]")
	b.see("//h1[.='One moment']")
	b.expect("net::ERR_ABORTED")
	b.lateButton()
	b.look("continue")
	w.app.busy.Store(false)
	b.click("main .button")
	b.claims()
	b.open(consent)
	b.see(over)
	b.expect("status of 400")
	b.look("over")
	b.open(w.app.address("/login?prompt=select_account"))
	b.see("button[name=account]")
	b.look("account")
	b.open(w.issuer + "/")
	b.see(".who")
	b.look("home-signed-in")
	b.click("a[href$='/account']")
	b.see(".holding")
	b.look("my-account")
	b.open(w.issuer + "/auth?client_id=app&redirect_uri=https://evil.example/")
	b.see("//h1[.='This request is not valid']")
	b.expect("status of 400")
	b.look("error")
	b.open(w.issuer + "/")
	b.click("form .button")
	b.see("//h1[.='You are signed out']")
	b.look("signed-out")
	b.tooMany(w)
	b.withoutScripts(w)
}

// lateButton waits for the button of a page that goes on by itself. It comes late:
// the second click of a double click is not to hit it.
func (b walk) lateButton() {
	b.t.Helper()
	if got := ask[string](b.tab, "getComputedStyle(document.querySelector('main .button')).animation"); !strings.Contains(got, "2s") {
		b.t.Errorf("the button comes at once: animation is %q", got)
	}
	b.do("waiting for the button", chromedp.Poll[chromedp.Void]("getComputedStyle(document.querySelector('main .button')).visibility === 'visible'"))
}

// tooMany tries until it is told to wait.
func (b walk) tooMany(w *world) {
	b.t.Helper()
	b.open(w.app.address("/login?connector_id=local&login_hint=" + bob))
	for range 20 {
		b.fill(bob, "wrong")
		b.see("#alert")
		b.expect("Failed to load resource")
		if b.sawStatus(429) {
			b.look("password-wait")
			return
		}
	}
	b.fail("20 wrong passwords, and no end")
}

func (b walk) sawStatus(status int) bool {
	return ask[int](b.tab, "performance.getEntriesByType('navigation')[0].responseStatus") == status
}

// withoutScripts shows the page of form_post, which is gone at once otherwise.
func (b walk) withoutScripts(w *world) {
	b.t.Helper()
	b.open(w.app.address("/login?prompt=none"))
	b.see("#error")
	call(b.tab, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
	b.open(w.app.address("/login?prompt=none&response_mode=form_post"))
	b.see("main form .button")
	call(b.tab, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: false})
	b.lateButton()
	b.look("form-post")
}

// look looks at one page.
func (b walk) look(name string) {
	b.t.Helper()
	for _, scheme := range []string{"light", "dark"} {
		browser.Prefer(b.t, b.ctx, scheme)
		for _, width := range []int64{1280, 320} {
			b.do("resizing", chromedp.EmulateViewport(width, 700))
			if over := ask[[]string](b.tab, overflowing); len(over) > 0 {
				b.t.Errorf("%s, %d px: wider than the window: %s", name, width, over)
			}
			browser.Screenshot(b.t, b.ctx, fmt.Sprintf("flow-%s-%s-%d", name, scheme, width))
		}
		for _, v := range axe.Check(b.t, b.ctx, b.axe) {
			b.t.Errorf("%s, %s: %s", name, scheme, v)
		}
	}
	b.noCookieForScripts()
}

// overflowing names the elements that stick out of the window sideways.
const overflowing = `[...document.querySelectorAll("body *")].filter(e => {
	const box = e.getBoundingClientRect();
	return box.width > 0 && (box.left < -0.5 || box.right > document.documentElement.clientWidth + 0.5);
}).map(e => e.tagName + "." + e.className)`
