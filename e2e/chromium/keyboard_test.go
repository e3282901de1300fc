package chromium_test

import (
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// choice adds a second connector.
const choice = people + `connectors:
- {type: local, id: guests, name: Guests, config: {passwords: []}}
`

// keyboard goes the whole way without a mouse: from the app, through the choice of
// a connector, the password and "keep me signed in", to the consent.
func keyboard(w *world) {
	w.serve(choice)
	b := w.stranger()
	b.open(w.app.address("/"))
	b.see("#login")
	b.press("login", kb.Tab)
	b.keys(kb.Enter)
	b.see(".options")
	b.press("Guests", kb.Tab)
	b.press("Email", kb.Tab)
	b.press("Guests", kb.Tab, chromedp.KeyModifiers(kb.ModifierShift))
	b.press("Email", kb.Tab)
	b.keys(kb.Enter)
	b.see("#password")
	b.focused("login") // without a key
	b.keys(ada)
	b.press("password", kb.Tab)
	b.keys(password)
	b.press("remember", kb.Tab)
	b.keys(" ")
	if !ask[bool](b, "document.activeElement.checked") {
		w.t.Error("Space does not tick the box")
	}
	b.press("Sign in", kb.Tab)
	b.keys(kb.Enter)
	b.see("button[name=approval]")
	b.press("approve", kb.Tab)
	b.press("deny", kb.Tab)
	b.press("approve", kb.Tab, chromedp.KeyModifiers(kb.ModifierShift))
	b.keys(" ")
	b.wants(map[string]any{"email": ada})
	// "Keep me signed in" outlives the browser.
	cookie := b.cookies(w.issuer + "/")["countersign_session"]
	if cookie == nil || time.Until(time.Unix(int64(cookie.Expires), 0)) < 29*24*time.Hour {
		w.t.Errorf("the session's cookie: %+v", cookie)
	}
}

// press presses a key, after which something else has the focus, visibly.
func (b *tab) press(want, key string, options ...chromedp.KeyOption) {
	b.t.Helper()
	b.do("pressing a key", chromedp.KeyEvent(key, options...))
	b.focused(want)
	if style := ask[string](b, "getComputedStyle(document.activeElement).outlineStyle"); style == "none" {
		b.t.Errorf("the focus on %q cannot be seen", want)
	}
}

// focused holds what has the focus: by its id, its value or its text.
func (b *tab) focused(want string) {
	b.t.Helper()
	const script = `(e => e === document.body ? "nothing" : e.id || e.getAttribute("value") || e.textContent.trim())(document.activeElement)`
	if got := ask[string](b, script); got != want {
		b.t.Errorf("the focus is on %q, not on %q", got, want)
	}
}
