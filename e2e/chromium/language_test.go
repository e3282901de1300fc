package chromium_test

import (
	"github.com/chromedp/cdproto/emulation"
)

// german is what the pages say when somebody asked for German: the app by
// ui_locales, or the browser by Accept-Language. The app wins.
func german(w *world) {
	w.serve()
	for _, c := range []struct{ query, accept, title, allow string }{
		{"?ui_locales=de", "", "Anmelden", "Erlauben"},
		{"", "de-AT,de,en", "Anmelden", "Erlauben"},
		{"?ui_locales=en", "de", "Sign in", "Allow"},
		{"?ui_locales=fr", "", "Sign in", "Allow"},
	} {
		b := w.stranger()
		if c.accept != "" {
			agent := ask[string](b, "navigator.userAgent")
			call(b, emulation.SetUserAgentOverride, emulation.SetUserAgentOverrideParams{UserAgent: agent, AcceptLanguage: c.accept})
		}
		b.open(w.app.address("/login" + c.query))
		if got := b.text("h1"); got != c.title {
			w.t.Errorf("%q, %q: the page says %q, want %q", c.query, c.accept, got, c.title)
		}
		b.fill(bob, password)
		if got := b.text("button[value=approve]"); got != c.allow {
			w.t.Errorf("%q, %q: the button says %q, want %q", c.query, c.accept, got, c.allow)
		}
		if lang := ask[string](b, "document.documentElement.lang"); lang == "" || lang == "fr" {
			w.t.Errorf("%q, %q: lang is %q", c.query, c.accept, lang)
		}
	}
}
