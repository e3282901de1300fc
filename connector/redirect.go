package connector

import (
	"context"
	"net/url"
	"time"
)

// MaxKept is the most that a RedirectConnector may have kept in the browser while
// it is away, in bytes.
const MaxKept = 64

// RedirectConnector authenticates people on pages of the upstream's own.
//
// Both methods may be called concurrently, and for one departure Arrive may be
// called never, or more than once, with whatever a stranger puts into an address.
// Their errors are or wrap ErrInvalidCredentials, ErrTurnedBack, *DeniedError or
// ErrUpstream, or are ctx.Err().
type RedirectConnector interface {
	// Depart says where to send the browser.
	Depart(ctx context.Context, d Departure) (Away, error)

	// Arrive checks what the browser has brought back, against what Depart had
	// kept, and returns who the person is.
	Arrive(ctx context.Context, a Arrival) (Identity, error)
}

// Departure is what a connector is told when a browser leaves for the upstream.
type Departure struct {
	// State is what the upstream has to give back unchanged: OAuth 2.0's state,
	// SAML's RelayState. It finds the way back and proves nothing.
	State string
	// LoginHint is who the person probably is; may be empty. It was not checked.
	LoginHint string
	// SeenSince, if it is not zero, is since when the upstream must have seen the
	// person: it is to have them authenticate although it knows them, and what it says
	// of an earlier time is refused.
	SeenSince time.Time
	// Another: the upstream is to ask who the person is although it knows them, since
	// they do not want to be that account, or may not come in with it.
	Another bool
}

// Asks reports whether the upstream is to ask the person although it knows them.
func (d Departure) Asks() bool { return d.Another || !d.SeenSince.IsZero() }

// Away is how to send a browser to the upstream: with a GET of URL, or with a
// POST of Form to it.
type Away struct {
	// URL is absolute, http or https.
	URL string
	// Form is posted when not nil.
	Form url.Values
	// Kept comes back with the browser that leaves now, and with no other; nobody
	// can read or change it. At most MaxKept bytes.
	Kept []byte
}

// Arrival is what a browser has brought back.
type Arrival struct {
	// Kept is that of the departure.
	Kept []byte
	// Query are the parameters of the address that it came to, RawQuery its query as
	// it came, for signatures over its octets.
	Query    url.Values
	RawQuery string
	// Received is Receipt.Content, when the upstream posted; else nil.
	Received []byte
}

// Receiver is implemented by redirect connectors whose upstream posts its answer
// through the browser, which carries no cookie then: the departure is not known
// yet.
type Receiver interface {
	// Receive checks what was posted as far as that can be done without the
	// departure. Its error is as those of Arrive.
	Receive(ctx context.Context, form url.Values) (Receipt, error)
}

// Receipt is what Receive has found.
type Receipt struct {
	// ID makes the upstream's message unique at this connector: a second one with
	// the same is a replay.
	ID string
	// BelievedUntil is when the message is too old to be believed.
	BelievedUntil time.Time
	// Content is for Arrive.
	Content []byte
}
