package oauth

import (
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/countersign/countersign/storage"
)

// MatchRedirectURI reports whether a client may be answered at uri. The
// comparison is of exact strings (RFC 9700 section 2.1): no case folding, no
// decoding, no normalization, no patterns.
//
// The one exception is the port of a loopback address, which a native app learns
// from its operating system at the time of the request (RFC 8252 section 7.3):
// for http://127.0.0.1 and http://[::1] of any client, and for http://localhost,
// which is a name and could resolve elsewhere, of public clients only.
//
// A public client that registered nothing may use any path on the loopback
// interface: then only programs on the person's own machine can be reached. It
// may use no query, which could hold a second code, state or iss.
func MatchRedirectURI(client storage.Client, uri string) bool {
	if uri == "" || len(uri) > MaxRedirectURI || strings.Contains(uri, "#") { // RFC 6749 section 3.1.2: no fragment
		return false
	}
	if slices.Contains(client.RedirectURIs, uri) {
		return true
	}
	got, ok := splitLoopback(uri)
	if !ok || got.host == "localhost" && !client.Public {
		return false
	}
	if client.Public && len(client.RedirectURIs) == 0 {
		return plainPath(got.rest)
	}
	return slices.ContainsFunc(client.RedirectURIs, func(registered string) bool {
		want, ok := splitLoopback(registered)
		return ok && want == got
	})
}

// MaxRedirectURI is the most bytes of a URI that people can be sent to: it bounds what
// is kept of a request.
const MaxRedirectURI = 2048

// loopback is an http loopback URI without its port. The rest (path and query)
// is kept as it was written.
type loopback struct{ host, rest string }

func splitLoopback(uri string) (loopback, bool) {
	after, ok := strings.CutPrefix(uri, "http://")
	if !ok {
		return loopback{}, false
	}
	for _, host := range []string{"127.0.0.1", "[::1]", "localhost"} {
		rest, ok := strings.CutPrefix(after, host)
		if !ok {
			continue
		}
		if port, found := strings.CutPrefix(rest, ":"); found {
			rest = strings.TrimLeft(port, "0123456789")
			if n, err := strconv.ParseUint(port[:len(port)-len(rest)], 10, 16); err != nil || n == 0 {
				return loopback{}, false
			}
		}
		// Whatever follows must not continue the authority: "127.0.0.1.evil",
		// "127.0.0.1:80@evil", "127.0.0.1\evil".
		if rest != "" && rest[0] != '/' && rest[0] != '?' {
			return loopback{}, false
		}
		// A second parser must read the same host.
		u, err := url.Parse(uri)
		return loopback{host, rest}, err == nil && u.Hostname() == strings.Trim(host, "[]")
	}
	return loopback{}, false
}

// plainPath reports whether s is a path of RFC 3986 section 3.3 and nothing
// else: what browsers and HTTP libraries read differently is not in it.
func plainPath(s string) bool {
	for i := range len(s) {
		c := s[i]
		switch {
		case 'A' <= c && c <= 'Z', 'a' <= c && c <= 'z', '0' <= c && c <= '9':
		case strings.IndexByte("-._~!$&'()*+,;=:@/%", c) >= 0:
		default:
			return false
		}
	}
	_, err := url.PathUnescape(s)
	return err == nil
}

// Response modes: OAuth 2.0 Multiple Response Type Encoding Practices section
// 2.1 and OAuth 2.0 Form Post Response Mode.
const (
	ModeQuery    = "query"
	ModeFormPost = "form_post"
)

// canPost reports whether a form can be sent there: the private-use scheme of a
// native app (RFC 8252 section 7.1) opens from a redirect only.
func canPost(redirectURI string) bool {
	return strings.HasPrefix(redirectURI, "https://") || strings.HasPrefix(redirectURI, "http://")
}

// ResponseTarget is where and how an authorization response goes. RedirectURI
// has been matched against the client's registration.
type ResponseTarget struct {
	RedirectURI string
	Mode        string
	// State is echoed exactly as received.
	State string
}

// Response returns the parameters of a successful authorization response
// (RFC 6749 section 4.1.2) with the issuer (RFC 9207 section 2).
func (t ResponseTarget) Response(issuer, code string) url.Values {
	return t.complete(issuer, url.Values{"code": {code}})
}

// ErrorResponse returns the parameters of a refusal (RFC 6749 section 4.1.2.1).
func (t ResponseTarget) ErrorResponse(issuer string, e *Error) url.Values {
	v := url.Values{"error": {string(e.Code)}}
	if e.Description != "" {
		v.Set("error_description", e.Description)
	}
	return t.complete(issuer, v)
}

func (t ResponseTarget) complete(issuer string, v url.Values) url.Values {
	v.Set("iss", issuer)
	if t.State != "" {
		v.Set("state", t.State)
	}
	return v
}

// Location is the address of a response in query mode: the redirect_uri as it
// was registered, its own query kept, with the parameters added (RFC 6749
// section 3.1.2).
func (t ResponseTarget) Location(v url.Values) string {
	base, separator := t.RedirectURI, "?"
	if strings.Contains(base, "?") {
		separator = "&"
		if strings.HasSuffix(base, "?") || strings.HasSuffix(base, "&") {
			separator = ""
		}
	}
	return base + separator + v.Encode()
}
