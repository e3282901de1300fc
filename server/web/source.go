package web

import (
	"net"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// validHost is a host-part of CSP Level 3 section 2.3.1 without its wildcard.
// net/url lets ';', ',' and quotes pass in hosts, which would end the directive,
// the policy or the mind of its reader.
var validHost = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?)*\.?$`).MatchString

// ownSchemes are what browsers act upon themselves, or other apps of everybody's:
// never the private-use scheme of a client (RFC 8252 section 7.1). Whether such a
// scheme must have a dot is for the check of the redirect_uri to say.
var ownSchemes = []string{
	"about", "blob", "chrome", "data", "file", "filesystem", "ftp", "intent", "javascript", "mailto", "sms", "tel",
	"urn", "vbscript", "view-source", "ws", "wss",
}

// FormActionSource returns the CSP source that lets a form lead to address, a
// validated redirect_uri. Chromium applies form-action to every redirect that
// follows the submit, so a page whose form may end in a redirect to a client must
// allow that client. false: no source can say it.
//
//   - http and https: the origin.
//   - [::1] and other IPv6 literals have no form in CSP and Chromium drops the
//     source, so it is any host with that scheme and port.
//   - private-use schemes (RFC 8252 section 7.1): the scheme.
func FormActionSource(address string) (string, bool) {
	u, err := url.Parse(address)
	if err != nil {
		return "", false
	}
	if u.Scheme == "http" || u.Scheme == "https" {
		return originSource(u)
	}
	// url.Parse has made sure of RFC 3986 section 3.1 and lower case.
	return u.Scheme + ":", u.Scheme != "" && !slices.Contains(ownSchemes, u.Scheme)
}

// imageSource returns the CSP source of a foreign image: https only, its origin.
// Not its path: sources are matched without it after a redirect anyway.
func imageSource(address string) (string, bool) {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "https" || net.ParseIP(u.Hostname()) != nil && strings.Contains(u.Hostname(), ":") {
		return "", false
	}
	return originSource(u)
}

// originSource rebuilds scheme://host:port from its parts.
func originSource(u *url.URL) (string, bool) {
	host, port := u.Hostname(), u.Port()
	switch ip := net.ParseIP(host); {
	case u.User != nil || u.Opaque != "":
		return "", false
	case ip != nil && strings.Contains(host, ":"):
		host = "*"
	case !validHost(host):
		return "", false
	}
	if port != "" {
		host += ":" + port // url.Parse has made sure of digits
	}
	return u.Scheme + "://" + strings.ToLower(host), true
}

// webAddress returns address if it is one a link may have: absolute, http or
// https. Everything else, javascript: above all, is no link.
func webAddress(address string) string {
	u, err := url.Parse(address)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.User != nil {
		return ""
	}
	return address
}
