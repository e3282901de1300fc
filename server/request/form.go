package request

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
)

// ErrForm: the parameters of a request, in its query or its body, cannot be read.
var ErrForm = errors.New("request: malformed parameters")

// ParseForm reads the parameters of a request as http.Request does. Its error is for
// the writer of errors: of a body that is too large *http.MaxBytesError, else ErrForm.
func ParseForm(r *http.Request) error { return formError(r.ParseForm()) }

// ParseQuery reads the parameters of an address. Its error is ErrForm.
func ParseQuery(r *http.Request) (url.Values, error) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	return query, formError(err)
}

func formError(err error) error {
	_, tooLarge := errors.AsType[*http.MaxBytesError](err)
	_, quotes := errors.AsType[url.EscapeError](err)
	switch {
	case err == nil, tooLarge:
		return err
	case quotes: // what was sent, which may be a password
		return ErrForm
	}
	return fmt.Errorf("%w: %w", ErrForm, err)
}
