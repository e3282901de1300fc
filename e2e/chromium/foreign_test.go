package chromium_test

import (
	"fmt"
	"html"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
)

// evil serves a page of another site.
func (w *world) evil(body string) string {
	w.t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", "text/html; charset=utf-8")
		fmt.Fprintf(rw, `<!doctype html><html lang="en"><title>Evil</title><link rel="icon" href="data:,"><h1>Evil</h1>%s</html>`, body)
	}))
	w.t.Cleanup(server.Close)
	return strings.Replace(server.URL, "127.0.0.1", "evil.localhost", 1)
}

// framing: no page of ours shows in the frame of another site (clickjacking), also
// when an app redirects the frame here.
func framing(w *world) {
	w.serve()
	b := w.stranger()
	b.open(w.app.address("/login"))
	b.see("#password")
	login := ask[string](b, "location.href")
	for _, address := range []string{login, w.issuer + "/", w.issuer + "/nowhere", w.app.address("/login")} {
		b.open(w.evil(`<iframe src="` + html.EscapeString(address) + `"></iframe>`))
		b.expect("frame-ancestors")
		b.expect("issue: ContentSecurityPolicyIssue")
		// What stands in the frame is Chromium's own page about an error.
		if got := ask[int](b, "document.querySelector('iframe').contentDocument === null ? 0 : 1"); got != 0 {
			w.t.Errorf("%s: the frame can be read", address)
		}
		for _, entry := range b.log.Take() {
			if !strings.Contains(entry, "net::ERR_BLOCKED_BY_RESPONSE") && !strings.Contains(entry, "frame-ancestors") {
				w.t.Errorf("%s: Chromium complains: %s", address, entry)
			}
		}
	}
}

// loginCSRF: another site posts its own user's password into a flow of the victim,
// so that the victim works in the attacker's account. It is refused at each step.
func loginCSRF(w *world) {
	w.serve()
	b := w.stranger()
	b.open(w.app.address("/login"))
	b.see("#password")
	login := ask[string](b, "location.href")
	b.open(w.evil(submitting(login, "login", bob, "password", password)))
	b.see("//h1[.='This form cannot be accepted']")
	b.expect("status of 403")
	if cookies := b.cookies(login); len(cookies) != 1 || cookies["countersign_flow"] == nil {
		w.t.Errorf("cookies after the attack: %v", cookies)
	}
	// The victim goes on as if nothing had been.
	b.open(login)
	b.fill(ada, password)
	b.see("button[name=approval]")
	consent := ask[string](b, "location.href")
	subject := ask[string](b, "document.querySelector('[name=subject]').value")
	b.open(w.evil(submitting(consent, "subject", subject, "approval", "approve")))
	b.see("//h1[.='This form cannot be accepted']")
	b.expect("status of 403")
	// Another site can only lead to the question (RP-Initiated Logout 1.0).
	b.open(w.evil(submitting(w.issuer + "/logout")))
	b.see("//h1[.='Sign out?']")
	b.open(consent)
	b.approve()
	b.wants(map[string]any{"email": ada})
}

// submitting is a form that submits itself.
func submitting(action string, pairs ...string) string {
	var form strings.Builder
	fmt.Fprintf(&form, `<form method="post" action="%s">`, html.EscapeString(action))
	for i := 0; i+1 < len(pairs); i += 2 {
		fmt.Fprintf(&form, `<input type="hidden" name="%s" value="%s">`, pairs[i], html.EscapeString(pairs[i+1]))
	}
	return form.String() + `</form><script>document.forms[0].submit()</script>`
}

// postedRequest: OpenID Connect Core 1.0 section 3.1.2.1 lets an app post its
// request from its own site. The session's cookie is Lax and stays at home with
// that POST; after the 303 it is there.
func postedRequest(w *world) {
	w.serve()
	b := w.stranger()
	b.open(w.app.address("/post"))
	b.fill(ada, password)
	b.approve()
	b.wants(map[string]any{"email": ada})
	b.documents()
	b.open(w.app.address("/post"))
	b.wants(map[string]any{"email": ada})
	if pages := b.pages(w); len(pages) > 0 {
		w.t.Errorf("the session was not seen: %q", pages)
	}
	b.open(w.app.address("/post?prompt=none"))
	b.wants(map[string]any{"email": ada})
}

// badRequests end on a page of ours, never at an address that nobody registered.
func badRequests(w *world) {
	w.serve()
	b := w.stranger()
	for _, query := range []url.Values{
		{"client_id": {"nobody"}, "redirect_uri": {w.app.address("/callback")}, "response_type": {"code"}},
		{"client_id": {"app"}, "redirect_uri": {w.evil("")}, "response_type": {"code"}},
		{"client_id": {"app"}, "redirect_uri": {w.app.address("/callback/../x")}, "response_type": {"code"}},
	} {
		b.open(w.issuer + "/auth?" + query.Encode())
		b.see("//h1[.='This request is not valid']")
		b.expect("status of 400")
	}
	b.open(w.issuer + "/nowhere")
	b.see("//h1[.='There is no such page']")
	b.expect("status of 404")
}
