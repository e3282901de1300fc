package config

import (
	"net/netip"
	"net/url"
	"regexp"
	"strings"
)

// cleanPath is a path that every HTTP implementation reads alike.
var cleanPath = regexp.MustCompile(`^(/[A-Za-z0-9._~-]+)*$`)

// issuer checks OpenID Connect Discovery section 3 and RFC 8414 section 2: a URL
// with neither query nor fragment, https unless it is for development.
func (c *checker) issuer() {
	const path = "issuer"
	if !c.required(path, c.cfg.Issuer, "give the public URL of this server, such as https://login.example.com") {
		return
	}
	u, err := url.Parse(c.cfg.Issuer)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
		c.problem(path, "is no http or https URL: give the public URL of this server, such as https://login.example.com")
	case u.User != nil:
		c.problem(path, "holds a user name: remove what stands before the @")
	case strings.ContainsAny(c.cfg.Issuer, "?#"):
		c.problem(path, "has a query or a fragment, which an issuer must not have (RFC 8414 section 2): remove it")
	case strings.HasSuffix(c.cfg.Issuer, "/"):
		c.problem(path, "ends with a slash: remove it; relying parties compare the issuer letter by letter")
	case !cleanPath.MatchString(u.EscapedPath()) || strings.Contains(u.Path+"/", "/./") || strings.Contains(u.Path+"/", "/../"):
		c.problem(path, "has a path with more than letters, digits and . _ ~ - between single slashes: simplify it")
	case u.Scheme == "http" && !isLoopback(u.Hostname()):
		c.warn(path, "is http, which is for development only: codes and tokens can be read on the way, cookies lose their protection, and relying parties such as kube-apiserver refuse it")
	}
}

// isLoopback reports whether a host can only be this machine.
func isLoopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback()
}
