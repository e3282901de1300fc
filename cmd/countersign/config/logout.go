package config

import (
	"net/netip"
	"net/url"
	"strings"

	"github.com/countersign/countersign/server/backchannel"
)

// lifetimeSession is the refreshTokenLifetime of clients whose logins end with
// the browser's session.
const lifetimeSession = "session"

func (c *checker) clientLogout(path string, s StaticClient) {
	c.oneOf(path+".refreshTokenLifetime", s.RefreshTokenLifetime, "standalone", lifetimeSession)
	for i, uri := range s.PostLogoutRedirectURIs {
		c.redirectURI(index(path+".postLogoutRedirectURIs", i), uri)
	}
	if s.BackchannelLogoutURI != "" {
		c.backchannelLogout(path+".backchannelLogoutURI", s)
	}
}

// backchannelLogout checks the address that the server itself connects to (OpenID
// Connect Back-Channel Logout 1.0 section 2.2).
func (c *checker) backchannelLogout(path string, s StaticClient) {
	uri := s.BackchannelLogoutURI
	u, err := url.Parse(uri)
	switch {
	case err != nil || !isWebURL(uri) || strings.ContainsAny(uri, " \\") || u.Opaque != "" || u.Hostname() == "":
		c.problem(path, "is no http or https URL: write https://app.example.com/logout")
	case strings.Contains(uri, "#"):
		c.problem(path, "has a fragment, which it must not have (Back-Channel Logout 1.0 section 2.2): remove what begins with #")
	case u.User != nil:
		c.problem(path, "holds a user name: remove what stands before the @")
	case isPrivateHost(u.Hostname()) && !s.BackchannelLogoutAllowPrivate:
		c.problem(path, "leads to a private address: set backchannelLogoutAllowPrivate, if that is meant")
	case u.Scheme == "http" && !isLoopback(u.Hostname()):
		c.warn(path, "is http: who reads along learns who signs out; use https")
	}
}

// isPrivateHost reports what can be known without asking for names. Names are
// looked at when they are used.
func isPrivateHost(host string) bool {
	if addr, err := netip.ParseAddr(host); err == nil {
		return !backchannel.Public(addr)
	}
	return host == "localhost" || strings.HasSuffix(host, ".localhost")
}
