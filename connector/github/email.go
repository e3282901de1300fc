package github

import (
	"strings"

	gogithub "github.com/google/go-github/v89/github"
)

// email chooses the address: a verified one of the preferred domain, or the primary
// one if it is verified. A server that verifies none has nothing better than the
// primary one.
func (c *Connector) email(all []gogithub.UserEmail) (address string, verified bool) {
	for _, e := range all {
		if _, domain, ok := strings.Cut(e.GetEmail(), "@"); ok && e.GetVerified() && preferred(c.cfg.EmailDomain, domain) {
			return e.GetEmail(), true
		}
	}
	for _, e := range all {
		if e.GetPrimary() && (e.GetVerified() || c.cfg.Unverified) {
			return e.GetEmail(), e.GetVerified() && e.GetEmail() != ""
		}
	}
	return "", false
}

// preferred reports whether a domain is the preferred one. "*" stands for one label.
func preferred(pattern, domain string) bool {
	wanted, labels := strings.Split(strings.ToLower(pattern), "."), strings.Split(strings.ToLower(domain), ".")
	if pattern == "" || len(wanted) != len(labels) {
		return false
	}
	for i := range wanted {
		if wanted[i] != labels[i] && wanted[i] != "*" {
			return false
		}
	}
	return true
}
