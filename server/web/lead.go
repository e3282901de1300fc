package web

import (
	"net/http"
	"strings"
)

// Lead sends a browser to a validated address of a client: by a redirect, or,
// where one of our own forms has been submitted, by the page Continue.
//
// 303 turns a POST into a GET (RFC 9700 section 2.6: never 307). The address may
// hold a code: it must not be cached, nor told to the next site.
func (s *Site) Lead(w http.ResponseWriter, r *http.Request, client Client, location string, opt PageOptions) {
	if submitted(r) && isWeb(location) {
		s.Page(w, r, http.StatusOK, Continue{Client: client, URL: location}, opt)
		return
	}
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Location", location)
	w.WriteHeader(http.StatusSeeOther)
}

// submitted reports whether a browser that enforces form-action has submitted one
// of our forms. Chromium applies the form's policy to every redirect that follows,
// also to those that the client adds behind its own address, which nobody can
// list; a page in between ends the chain (see Continue).
func submitted(r *http.Request) bool {
	return r.Method == http.MethodPost && r.Header.Get("Sec-Fetch-Mode") == "navigate"
}

// isWeb excludes the private-use schemes of native apps (RFC 8252 section 7.1),
// which browsers open from a redirect only.
func isWeb(location string) bool {
	return strings.HasPrefix(location, "https://") || strings.HasPrefix(location, "http://")
}
