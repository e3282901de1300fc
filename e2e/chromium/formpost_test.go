package chromium_test

import (
	"github.com/chromedp/cdproto/emulation"
)

// formPost arrives by itself; without scripts, by a button. What our pages need no
// script for works without too.
func formPost(w *world) {
	w.serve()
	for _, scripts := range []bool{true, false} {
		b := w.stranger()
		call(b, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: !scripts})
		b.open(w.app.address("/login?response_mode=form_post"))
		b.fill(ada, password)
		if scripts { // for the next one consent is remembered
			b.approve()
		} else {
			b.see("main form .button")
			b.click("main form .button")
		}
		b.wants(map[string]any{"email": ada})
		b.sawPost(w.app.address("/callback"))
	}
}

// sawPost holds that an address was posted to.
func (b *tab) sawPost(address string) {
	b.t.Helper()
	documents := b.documents()
	for _, d := range documents {
		if d == "200 POST "+address {
			return
		}
	}
	b.t.Errorf("nothing was posted to %s, only %q", address, documents)
}
