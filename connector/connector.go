// Package connector is the contract between the provider and the upstreams that
// know who people are.
//
// A connector takes parsed values and returns an Identity or one of three kinds
// of error, which people see as three different pages: wrong credentials, a
// policy that says no, an upstream that failed. It refuses to know about HTTP
// responses, cookies, clients or tokens of ours.
//
// Threat: an upstream's answer is foreign input, and the person typing is a
// stranger. Implementations bound what they read and how long they wait, and
// never let an empty password reach an upstream that takes it for an anonymous
// login.
package connector

import (
	"context"
	"errors"
)

// Identity is what an upstream says of a person who has just proved who they
// are.
type Identity struct {
	// UserID is the upstream's immutable id of the person: never a display name,
	// never something that can be given to somebody else. It is never empty.
	UserID            string
	Name              string
	PreferredUsername string
	Email             string
	// EmailVerified is true only when the upstream vouches for the address.
	EmailVerified bool
	// Groups are in the upstream's order.
	Groups []string
	// AMR are the authentication methods used (RFC 8176), such as "pwd".
	AMR []string
	// Secret is what the connector wants to have when it is asked about the person
	// again, such as a refresh token of the upstream's. It is stored sealed.
	Secret []byte
	// Session is what the connector wants to have when the person signs out in the
	// browser that they signed in with (see SignOuter), such as an id_token. It is
	// stored sealed, with the session of that browser; more than MaxSession bytes
	// are not kept. Refreshing leaves it as it was.
	Session []byte
	// Claims are all that the upstream said, by its own names, as encoding/json
	// decodes it, for the operator's rules. They are not stored.
	Claims map[string]any
}

var (
	// ErrInvalidCredentials: the user name or the password is wrong. It must not
	// tell which, in text or in time.
	ErrInvalidCredentials = errors.New("invalid credentials")

	// ErrTurnedBack: the person did not want to, on the upstream's page.
	ErrTurnedBack = errors.New("the person turned back")

	// ErrGone: the person does not exist any more, or is disabled.
	ErrGone = errors.New("the person is gone")

	// ErrCannotAsk: about this person the upstream cannot be asked while they are
	// not there. What it said before is as good as when it fails, and after that
	// the person has to sign in again.
	ErrCannotAsk = errors.New("the upstream cannot be asked about the person")

	// ErrUpstream: the upstream could not be asked or answered nonsense. It says
	// nothing about the person. Wrap it with the cause, for the log.
	ErrUpstream = errors.New("upstream failed")
)

// DeniedError: the person is who they say, and may not come in.
type DeniedError struct {
	// Message is shown to the person. It is plain text.
	Message string
}

func (e *DeniedError) Error() string { return "denied: " + e.Message }

// PasswordConnector checks a user name and a password that were typed into our
// own page.
type PasswordConnector interface {
	// Prompt names what the user name is at this upstream, "Email address" for
	// example; empty: the page's own translated "Username".
	Prompt() string

	// Login returns who the person is, or an error that is or wraps
	// ErrInvalidCredentials, *DeniedError or ErrUpstream, or ctx.Err().
	Login(ctx context.Context, username, password string) (Identity, error)
}

// SecretRefresher is a Refresher whose Secret may be good for one use, such as a
// refresh token that the upstream rotates.
type SecretRefresher interface {
	Refresher
	// SecretIsGoodForOneUse says so; it does nothing.
	SecretIsGoodForOneUse()
}

// Refresher is implemented by connectors that can be asked about a person who is
// not there, to learn whether they still exist and what has changed.
type Refresher interface {
	// Refresh returns what the upstream says now of the person with that UserID,
	// whom it described as before (without AMR and Claims). The UserID never
	// changes. What it returns as Secret takes the place of before's. Its error is
	// or wraps ErrGone, ErrCannotAsk, *DeniedError or ErrUpstream, or is ctx.Err().
	// Of a SecretRefresher, a Secret that comes with ErrUpstream takes the place of
	// before's, too: it was changed before the upstream failed.
	//
	// Callers see to it that a person with a Secret is asked about once at a time,
	// also by several processes.
	Refresh(ctx context.Context, before Identity) (Identity, error)
}
