package connector

import (
	"context"
	"net/url"
	"time"
)

// MaxSession is the most that is kept of one browser's session at an upstream, in
// bytes: it is in the row of each session, and mostly in an address afterwards.
const MaxSession = 4 << 10

// SignOuter is implemented by redirect connectors that can end the session which a
// browser has at the upstream, too: without that, the next person at the browser is
// signed in as the one before.
//
// Both methods may be called concurrently, and for one departure SignedOut may be
// called never, or more than once, with whatever a stranger puts into an address.
// Our own session has ended before, whatever becomes of them.
type SignOuter interface {
	// SignOut says where to send the browser, so that its session at the upstream
	// ends and it comes back. Without a URL there is nowhere to send it to: the
	// upstream offers no way, or the operator wants none. The error is or wraps
	// ErrUpstream, or is ctx.Err().
	SignOut(ctx context.Context, s SignOut) (Away, error)

	// SignedOut checks what the browser has brought back, against what SignOut had
	// kept. The error is or wraps ErrUpstream: the session may live on there.
	SignedOut(ctx context.Context, a Arrival) error
}

// SignOut is what a connector is told when a browser leaves to sign out.
type SignOut struct {
	// Session is Identity.Session of the sign-in in this browser; nil when nothing
	// was kept of it, or can be read any more.
	Session []byte
	// State is what the upstream has to give back unchanged: that of OpenID Connect
	// RP-Initiated Logout 1.0, SAML's RelayState. It finds the way back and proves
	// nothing.
	State string
}

// SignOutReceiver is implemented by those whose upstream ends sessions by itself,
// and tells us through the browser, at the address that SignOut's way back leads to.
type SignOutReceiver interface {
	SignOuter

	// Asks reports whether a message is such a request, and no answer to SignOut.
	Asks(m Message) bool

	// ReceiveSignedOut checks an answer that was posted, as far as that can be done
	// without the departure. What it returns is for SignedOut, as Arrival.Received. The
	// error is that of SignedOut.
	ReceiveSignedOut(ctx context.Context, m Message) ([]byte, error)

	// ReceiveSignOut checks a request. The error is or wraps ErrUpstream: it must end
	// nothing.
	ReceiveSignOut(ctx context.Context, m Message) (SignOutRequest, error)
}

// Message is what a browser has brought from an upstream: the query of an address,
// or a form.
type Message struct {
	// RawQuery is the query as it came, for signatures over its octets.
	RawQuery string
	Query    url.Values
	// Form is nil unless it was posted.
	Form url.Values
}

// SignOutRequest is an upstream's request to end sessions, verified.
type SignOutRequest struct {
	// ID makes it unique at this connector: a second one with the same is a replay.
	// It is too old to be believed at BelievedUntil.
	ID            string
	BelievedUntil time.Time
	// UserID is whose sessions are meant; empty: it names the person in another way,
	// and only what was kept of a session tells whether that is meant.
	UserID string
	// Means reports whether a session of this connector is meant, by the person's id
	// and what was kept of it.
	Means func(userID string, session []byte) bool
	// Answer says where to send the browser with the answer: done, or that there was
	// nobody to sign out. Without a URL there is nowhere.
	Answer func(done bool) (Away, error)
}
