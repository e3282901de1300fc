package oauth_test

import (
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/countersign/countersign/server/oauth"
)

func TestCodeOf(t *testing.T) {
	refusal := &oauth.Error{Code: oauth.InvalidGrant, Description: "code is invalid"}
	for _, test := range []struct {
		name string
		err  error
		want oauth.Code
	}{
		{"an error", refusal, oauth.InvalidGrant},
		{"a wrapped error", fmt.Errorf("redeeming: %w", refusal), oauth.InvalidGrant},
		{"an authorization error", &oauth.AuthorizeError{Err: refusal}, oauth.InvalidGrant},
		// Whatever is not the protocol's is ours to hide.
		{"anything else", io.ErrUnexpectedEOF, oauth.ServerError},
	} {
		if got := oauth.CodeOf(test.err); got != test.want {
			t.Errorf("%s: CodeOf = %q, want %q", test.name, got, test.want)
		}
	}
	if got, want := (&oauth.AuthorizeError{Err: refusal}).Error(), "invalid_grant: code is invalid"; got != want {
		t.Errorf("Error() = %q, want %q", got, want)
	}
	if !errors.Is(&oauth.AuthorizeError{Err: refusal}, refusal) {
		t.Error("an AuthorizeError hides its cause")
	}
}
