package chromium_test

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/countersign/countersign/e2e/browser"
)

// demo is what `make run` serves, with its own user and client: nothing but the
// ports differ.
func demo(w *world) {
	example, err := os.ReadFile(filepath.Join(browser.Root(w.t), "config.example.yaml"))
	if err != nil {
		w.t.Fatal(err)
	}
	w.start(strings.NewReplacer("127.0.0.1:5556", "{address}", "127.0.0.1:5558", "{telemetry}").Replace(string(example)))
	w.app = newApp(w.t, w, "demo", "", "127.0.0.1")
	b := w.stranger()
	b.open(w.app.address("/"))
	b.click("#login")
	b.fill("admin@example.com", "password")
	b.approve()
	b.wants(map[string]any{
		"iss": w.issuer, "aud": "demo", "sub": "CiQwOGE4Njg0Yi1kYjg4LTRiNzMtOTBhOS0zY2QxNjYxZjU0NjYSBWxvY2Fs",
		"email": "admin@example.com", "email_verified": true, "name": "admin",
	})
}

// A wrong password, then the right one: what was typed is kept, the password is
// not, and the cursor stands where one goes on.
func wrongPassword(w *world) {
	w.serve()
	b := w.stranger()
	b.open(w.app.address("/login"))
	b.fill(ada, "wrong")
	if got := b.text("#alert"); !strings.Contains(got, "wrong") {
		w.t.Errorf("the alert says %q", got)
	}
	b.expect("status of 422")
	for expression, want := range map[string]string{
		"document.querySelector('#login').value":                                    ada,
		"document.querySelector('#password').value":                                 "",
		"document.activeElement.id":                                                 "password",
		"document.querySelector('#password').getAttribute('aria-describedby')":      "alert",
		"document.querySelector('#login').getAttribute('aria-invalid')":             "true",
		"document.title.slice(0, 6)":                                                "Error:",
		"String(performance.getEntriesByType('navigation')[0].responseStatus)":      "422",
		"String(document.querySelector('input[name=remember]').checked)":            "false",
		"document.querySelector('#alert').getAttribute('role')":                     "alert",
		"String(document.querySelector('form').action.startsWith(location.origin))": "true",
	} {
		if got := ask[string](b, expression); got != want {
			w.t.Errorf("%s is %q, want %q", expression, got, want)
		}
	}
	b.fill(ada, password)
	b.approve()
	b.wants(map[string]any{"email": ada, "name": "Ada Lovelace"})
}

// Who refuses comes back to the app, which hears access_denied, and is asked again
// the next time.
func consentRefused(w *world) {
	w.serve()
	b := w.stranger()
	for range 2 {
		b.open(w.app.address("/login"))
		if strings.Contains(strings.Join(b.pages(w), " "), "/login/local") {
			b.fill(ada, password)
		}
		b.see("button[name=approval]")
		b.click("button[value=deny]")
		if got := b.text("#error"); got != "access_denied" {
			w.t.Errorf("the app heard %q", got)
		}
	}
}

// Consent is remembered: the second login shows no page of ours at all. For what
// was not asked before it is asked again.
func remembered(w *world) {
	w.serve()
	b := w.stranger()
	first := b.signIn(w.app, "")
	b.documents()
	b.open(w.app.address("/login"))
	second := b.claims()
	if pages := b.pages(w); len(pages) > 0 {
		w.t.Errorf("the second login showed %q", pages)
	}
	if first["sub"] != second["sub"] || first["auth_time"] != second["auth_time"] || first["sid"] != second["sid"] {
		w.t.Errorf("the second login is another: %v, then %v", first, second)
	}
	b.open(w.app.address("/login?scope=openid+offline_access"))
	b.approve()
	b.claims()
}

// Single sign-on: signed in at one app, the next lets in without a password, but
// not without asking for consent.
func singleSignOn(w *world) {
	w.serve()
	b := w.stranger()
	first := b.signIn(w.app, "")
	b.open(w.other.address("/login"))
	b.approve()
	second := b.claims()
	if second["aud"] != "other" || first["sub"] != second["sub"] || first["auth_time"] != second["auth_time"] {
		w.t.Errorf("signed in as %v, then as %v", first, second)
	}
}

// An app that sends people on from its redirect_uri to another origin: Chromium
// would apply our form-action to that too, which is why web.Continue exists.
func onward(w *world) {
	w.serve()
	w.app.onward = w.other
	b := w.stranger()
	for _, query := range []string{"", "?prompt=login", "?prompt=login&response_mode=form_post", "?response_mode=form_post"} {
		b.open(w.app.address("/login" + query))
		if query != "?response_mode=form_post" {
			b.fill(ada, password)
		}
		if query == "" {
			b.approve()
		}
		b.wants(map[string]any{"email": ada})
		if got := ask[string](b, "location.origin"); got != w.other.address("") {
			w.t.Errorf("%s: arrived at %s", query, got)
		}
	}
}

// Before somebody signs in the home page says so; after, it says who; and signing
// out there ends it for every app.
func signOut(w *world) {
	w.serve()
	b := w.stranger()
	b.open(w.issuer)
	b.see("//h1[.='You are not signed in']")
	b.signIn(w.app, "")
	b.open(w.issuer + "/")
	if got := b.text(".who"); !strings.Contains(got, "Ada Lovelace") || !strings.Contains(got, ada) {
		w.t.Errorf("signed in as %q", got)
	}
	b.open(w.app.address("/login?prompt=none"))
	b.wants(map[string]any{"email": ada})
	b.open(w.issuer + "/")
	b.click("form .button")
	b.see("//h1[.='You are signed out']")
	if cookies := b.cookies(w.issuer + "/"); len(cookies) > 0 {
		w.t.Errorf("cookies are left: %v", cookies)
	}
	for _, a := range []*app{w.app, w.other} {
		b.open(a.address("/login?prompt=none"))
		if got := b.text("#error"); got != "login_required" {
			w.t.Errorf("the app heard %q", got)
		}
	}
}

// prompt=login asks for the password although somebody is signed in.
func promptLogin(w *world) {
	w.serve()
	b := w.stranger()
	first := b.signIn(w.app, "")
	b.open(w.app.address("/login?prompt=login"))
	b.fill(ada, password)
	second := b.claims() // consent was remembered
	if first["sid"] != second["sid"] || second["auth_time"].(float64) < first["auth_time"].(float64) {
		w.t.Errorf("signed in %v, then %v", first, second)
	}
}

// prompt=select_account shows who is signed in, and lets somebody else in.
func selectAccount(w *world) {
	w.serve()
	b := w.stranger()
	b.signIn(w.app, "")
	b.open(w.app.address("/login?prompt=select_account"))
	if got := b.text("button[value=continue]"); got != "Continue as Ada Lovelace" {
		w.t.Errorf("the button says %q", got)
	}
	b.click("button[value=continue]")
	b.wants(map[string]any{"email": ada})
	b.open(w.app.address("/login?prompt=select_account"))
	b.see("button[value=other]")
	b.click("button[value=other]")
	b.fill(bob, password)
	b.approve()
	b.wants(map[string]any{"email": bob, "name": "Bob Kahn", "email_verified": false})
}
