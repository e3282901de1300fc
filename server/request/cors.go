package request

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// corsMaxAge is how long, in seconds, a browser may remember a preflight.
const corsMaxAge = "600"

// CORS lets scripts of other origins read the responses of next (Fetch
// standard, CORS protocol). It belongs around discovery, keys, token and
// userinfo, and around nothing that reads a cookie: credentials are never
// allowed.
//
// An origin is allowed if it is in origins exactly, or if "*" is. Methods are
// what a preflight may ask for. Preflights are answered here, so OPTIONS must be
// routed here too. Without origins it is next.
func CORS(origins []string, methods ...string) func(next http.Handler) http.Handler {
	c := cors{origins: slices.Clone(origins), methods: slices.Clone(methods)}
	return func(next http.Handler) http.Handler {
		if len(c.origins) == 0 {
			return next
		}
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { c.serve(w, r, next) })
	}
}

type cors struct{ origins, methods []string }

func (c cors) serve(w http.ResponseWriter, r *http.Request, next http.Handler) {
	header, origin := w.Header(), r.Header.Get("Origin")
	// Also when the origin is not allowed: a cache must keep the answers apart.
	header.Add("Vary", "Origin")
	allowed := c.allowed(origin)
	if allowed != "" {
		header.Set("Access-Control-Allow-Origin", allowed)
	}
	asked := r.Header.Get("Access-Control-Request-Method")
	if r.Method != http.MethodOptions || origin == "" || asked == "" {
		if allowed != "" {
			header.Set("Access-Control-Expose-Headers", "WWW-Authenticate, Retry-After, "+idHeader)
		}
		next.ServeHTTP(w, r)
		return
	}
	if allowed != "" && slices.Contains(c.methods, asked) {
		header.Set("Access-Control-Allow-Methods", strings.Join(c.methods, ", "))
		header.Set("Access-Control-Allow-Headers", "Authorization, Content-Type")
		header.Set("Access-Control-Max-Age", corsMaxAge)
	}
	w.WriteHeader(http.StatusNoContent)
}

// allowed returns what Access-Control-Allow-Origin says to an origin, "" for
// nothing. Origins are compared as they are: no suffixes, no patterns, and
// "null" is what anybody can be.
func (c cors) allowed(origin string) string {
	switch {
	case origin == "":
		return ""
	case slices.Contains(c.origins, "*"):
		return "*"
	case origin != "null" && slices.Contains(c.origins, origin):
		return origin
	}
	return ""
}

// CheckOrigin tells whether an allowed origin of the configuration could ever
// match: "*", or a scheme and host in the form that browsers send (RFC 6454
// 6.2).
func CheckOrigin(origin string) error {
	if origin == "*" {
		return nil
	}
	u, err := url.Parse(origin)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || strings.Contains(u.Host, "*") {
		return fmt.Errorf("%q is no origin: write it as browsers do, such as https://app.example.com", origin)
	}
	want := strings.ToLower(u.Scheme + "://" + u.Host)
	want = strings.TrimSuffix(want, map[string]string{"https": ":443", "http": ":80"}[u.Scheme])
	if origin != want {
		return fmt.Errorf("%q never matches: browsers send %q", origin, want)
	}
	return nil
}
