package request

import (
	"errors"
	"net/url"
	"strings"
)

// cause is the text of an error for the log. Errors of net/http and net/url hold
// whole addresses, and so the codes and tokens in their queries: those are cut
// back to scheme, host and path, wherever in the tree of errors they stand.
func cause(err error) string {
	text := err.Error()
	for _, u := range addresses(err) {
		text = strings.ReplaceAll(text, quoted(u.URL), quoted(bare(u.URL)))
	}
	return text
}

// addresses finds every *url.Error in a tree of errors.
func addresses(err error) []*url.Error {
	var found []*url.Error
	if u, ok := err.(*url.Error); ok {
		found = append(found, u)
	}
	switch e := err.(type) {
	case interface{ Unwrap() error }:
		if inner := e.Unwrap(); inner != nil {
			found = append(found, addresses(inner)...)
		}
	case interface{ Unwrap() []error }:
		for _, inner := range e.Unwrap() {
			if inner != nil {
				found = append(found, addresses(inner)...)
			}
		}
	}
	return found
}

// quoted is how *url.Error writes an address.
func quoted(address string) string {
	prefix := (&url.Error{Op: "", URL: address, Err: errNothing}).Error()
	return strings.TrimSuffix(strings.TrimPrefix(prefix, " "), ": ")
}

// errNothing adds nothing to a text.
var errNothing = errors.New("")

// bare is an address without user, query and fragment.
func bare(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return "unparsable"
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}
