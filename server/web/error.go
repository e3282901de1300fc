package web

import "fmt"

// Error says that something went wrong, what the person can do, and the request id
// to tell whoever they ask.
type Error struct {
	Kind ErrorKind
	// Message is for the developer or the operator, in English; it is shown as it
	// is, in small print. It must not hold internals or secrets.
	Message string
}

// ErrorKind picks title and text.
type ErrorKind int

// The kinds of errors, by what the person can do about them.
const (
	ErrorInternal    ErrorKind = iota // our fault: try again, or tell somebody
	ErrorBadRequest                   // the app sent something wrong: tell its developer
	ErrorDenied                       // signed in, and not allowed
	ErrorNotFound                     // no such page
	ErrorUnavailable                  // something of ours is down for now
	ErrorUpstream                     // the identity provider failed: try again, or another
	ErrorForeignForm                  // the form was not sent from a page of ours
)

// errorTexts are the keys of title and text.
var errorTexts = map[ErrorKind][2]string{
	ErrorInternal:    {"error.internal.title", "error.internal.text"},
	ErrorBadRequest:  {"error.bad_request.title", "error.bad_request.text"},
	ErrorDenied:      {"error.denied.title", "error.denied.text"},
	ErrorNotFound:    {"error.not_found.title", "error.not_found.text"},
	ErrorUnavailable: {"error.unavailable.title", "error.unavailable.text"},
	ErrorUpstream:    {"error.upstream.title", "error.upstream.text"},
	ErrorForeignForm: {"error.foreign_form.title", "error.foreign_form.text"},
}

func (Error) template() string { return "error" }

func (p Error) check() error {
	if _, ok := errorTexts[p.Kind]; !ok {
		return fmt.Errorf("unknown kind of error %d", p.Kind)
	}
	return nil
}

// Title and Text are keys.
func (p Error) Title() string { return errorTexts[p.Kind][0] }

// Text is the key of what the person can do.
func (p Error) Text() string { return errorTexts[p.Kind][1] }
