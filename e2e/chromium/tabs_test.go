package chromium_test

import (
	"strings"

	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"
)

// over is the page of a flow that is over.
const over = "//h1[.='This sign-in is over']"

// Two tabs at once both finish, whichever order they go in.
func twoTabs(w *world) {
	w.serve()
	first := w.stranger()
	second := first.another(w)
	first.open(w.app.address("/login"))
	second.open(w.other.address("/login"))
	second.fill(ada, password)
	first.fill(ada, password)
	first.see("button[name=approval]")
	second.approve()
	first.approve()
	first.wants(map[string]any{"aud": "app", "email": ada})
	second.wants(map[string]any{"aud": "other", "email": ada})
}

// A tab that was left at the password page while another signed in goes on by
// itself when it is loaded again.
func leftTab(w *world) {
	w.serve()
	left := w.stranger()
	left.open(w.app.address("/login"))
	left.see("#password")
	other := left.another(w)
	other.signIn(w.app, "")
	left.do("reloading", chromedp.Reload())
	left.wants(map[string]any{"email": ada})
}

// A flow begun in one browser cannot be finished in another, at any of its steps.
func anotherBrowser(w *world) {
	w.serve()
	b, thief := w.stranger(), w.stranger()
	b.open(w.app.address("/login"))
	b.see("#password")
	thief.open(ask[string](b, "location.href"))
	thief.see(over)
	thief.expect("status of 400")
	b.fill(ada, password)
	b.see("button[name=approval]")
	consent := ask[string](b, "location.href")
	thief.open(consent)
	thief.see(over)
	thief.expect("status of 400")
	if cookies := thief.cookies(consent); len(cookies) > 0 {
		w.t.Errorf("the other browser got cookies: %v", cookies)
	}
	b.approve()
	b.wants(map[string]any{"email": ada})
}

// After the end there is nothing to go back to, and the page says so.
func backButton(w *world) {
	w.serve()
	b := w.stranger()
	b.open(w.app.address("/login"))
	b.fill(ada, password)
	b.see("button[name=approval]")
	consent := ask[string](b, "location.href")
	b.approve()
	b.claims()
	b.do("going back", chromedp.NavigateBack())
	b.see(over)
	if got := ask[string](b, "location.href"); got != consent {
		w.t.Errorf("back led to %s", got)
	}
	b.expect("status of 400")
	b.do("going back", chromedp.NavigateBack())
	b.see(over)
	b.expect("status of 400")
	b.do("reloading", chromedp.Reload())
	b.see(over)
	b.expect("status of 400")
	// And it is no dead end: the app still works.
	b.open(w.app.address("/login"))
	b.claims()
}

// Reloading the page that says "wrong password" sends it again, as browsers do
// after asking; the page that comes is of use.
func reloadAfterSubmit(w *world) {
	w.serve()
	b := w.stranger()
	b.open(w.app.address("/login"))
	b.fill(ada, "wrong")
	b.see("#alert")
	b.expect("status of 422")
	b.do("reloading", chromedp.Reload())
	b.see("#password")
	b.expect("status of 4")
	b.fill(ada, password)
	b.approve()
	b.wants(map[string]any{"email": ada})
}

// A double click on every button of the way sends each form twice, or the second
// click hits the page that comes next.
func doubleClick(w *world) {
	w.serve()
	b := w.stranger()
	b.open(w.app.address("/login"))
	b.see("#password")
	b.do("filling in the form",
		chromedp.SetValue(chromedp.CSS("#login"), ada),
		chromedp.SetValue(chromedp.CSS("#password"), password))
	b.clickTwice("form .button")
	b.see("button[name=approval]")
	b.clickTwice("button[value=approve]")
	b.wants(map[string]any{"email": ada})
	// And where nothing is asked between the password and the app.
	b.open(w.app.address("/login?prompt=login"))
	b.see("#password")
	b.do("filling in the form",
		chromedp.SetValue(chromedp.CSS("#login"), ada),
		chromedp.SetValue(chromedp.CSS("#password"), password))
	b.clickTwice("form .button")
	b.wants(map[string]any{"email": ada})
	for _, entry := range b.log.Take() {
		if !strings.Contains(entry, "net::ERR_ABORTED") { // the first of two navigations
			w.t.Errorf("Chromium complains: %s", entry)
		}
	}
}

// clickTwice clicks as fast as hands cannot.
func (b *tab) clickTwice(selector string) {
	b.t.Helper()
	type point struct{ X, Y float64 }
	p := ask[point](b, `(r => ({X: r.x + r.width / 2, Y: r.y + r.height / 2}))(document.querySelector("`+selector+`").getBoundingClientRect())`)
	for count := range int64(2) {
		for _, kind := range []input.DispatchMouseEventType{input.DispatchMouseEventTypeMousePressed, input.DispatchMouseEventTypeMouseReleased} {
			call(b, input.DispatchMouseEvent, input.DispatchMouseEventParams{
				Type: kind, X: p.X, Y: p.Y, Button: input.MouseButtonLeft, ClickCount: count + 1,
			})
		}
	}
}
