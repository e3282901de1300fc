package config

import (
	"net/url"
	"slices"
	"strings"

	"github.com/countersign/countersign/server/oauth"
	"github.com/countersign/countersign/server/web"
)

// dangerousSchemes would run or show what the code's receiver is not.
var dangerousSchemes = set("about", "blob", "data", "file", "filesystem", "javascript", "mailto", "vbscript", "view-source")

// redirectURI checks what may be registered: an absolute URI without a fragment
// (RFC 6749 section 3.1.2); http, https, or a private-use scheme, which has a
// dot (RFC 8252 section 7.1).
func (c *checker) redirectURI(path, uri string) {
	u, err := url.Parse(uri)
	switch {
	case uri == "":
		c.problem(path, "is empty: fill it in, or remove it")
	case err != nil || !printable(uri) || strings.ContainsAny(uri, " \\"):
		c.problem(path, "is no URI: write it as the client sends it")
	case len(uri) > oauth.MaxRedirectURI:
		c.problem(path, "has %d bytes, more than %d", len(uri), oauth.MaxRedirectURI)
	case uri == "/device/callback":
		c.problem(path, "is known from Dex, but not supported by this version: there is no device flow yet; remove it")
	case uri == "urn:ietf:wg:oauth:2.0:oob":
		c.problem(path, "is known from Dex, but not supported by this version: codes are not shown to be copied; use a loopback address (RFC 8252 section 7.3)")
	case u.Scheme == "":
		c.problem(path, "%q is not absolute: begin with https://, with http:// on loopback, or with the app's own scheme", clip(uri))
	case dangerousSchemes[u.Scheme]:
		c.problem(path, "the scheme %q is refused: it would run or show the answer in the browser", u.Scheme)
	case strings.Contains(uri, "#"):
		c.problem(path, "has a fragment, which a redirect URI must not have (RFC 6749 section 3.1.2): remove what begins with #")
	case strings.Contains(uri, "*"):
		c.problem(path, "has a wildcard: redirect URIs are compared letter by letter (RFC 9700 section 2.1); list each one")
	case u.User != nil:
		c.problem(path, "holds a user name: remove what stands before the @")
	case u.Scheme == "http" || u.Scheme == "https":
		c.webRedirect(path, u)
	case !strings.Contains(u.Scheme, "."):
		c.problem(path, "the scheme %q has no dot: an app's own scheme is its domain name reversed, such as com.example.app (RFC 8252 section 7.1)", u.Scheme)
	}
}

func (c *checker) webRedirect(path string, u *url.URL) {
	switch {
	case u.Hostname() == "" || u.Opaque != "":
		c.problem(path, "has no host: write https://app.example.com/callback")
	case !canLead(u):
		c.problem(path, "the host %q cannot be named in a Content-Security-Policy, and no page could lead there: write it as browsers send it, with letters, digits, hyphens and single dots (xn--… for others)", clip(u.Hostname()))
	case u.Scheme == "http" && !isLoopback(u.Hostname()):
		c.warn(path, "is http: the code can be read on its way to the client (RFC 9700 section 2.6); use https")
	}
}

// canLead reports whether a page's form may lead to an address: without a source for
// it, every page on the way there would be an error (CSP Level 3 section 2.3.1).
func canLead(u *url.URL) bool {
	_, ok := web.FormActionSource(u.String())
	return ok
}

// isWebURL reports whether a text is an http or https URL with a host.
func isWebURL(s string) bool {
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && printable(s)
}

func keysOf(m map[string]bool) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
