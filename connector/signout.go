package connector

import "context"

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
