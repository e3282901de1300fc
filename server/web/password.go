package web

import (
	"fmt"
	"time"
)

// Password asks for a user name and a password. It posts `login`, `password`, and
// `remember=on` when that was offered and ticked.
type Password struct {
	Client Client
	// Connector is the name of the connector.
	Connector string
	// Prompt is the connector's own label of the user name; empty: ours.
	Prompt string
	// Username fills the field: from login_hint, or what was typed before.
	Username string
	Action   string
	Error    LoginError
	// OfferRemember shows "Keep me signed in"; RememberChecked ticks it.
	OfferRemember   bool
	RememberChecked bool
	// BackURL leads to the choice of connectors; empty: there is none.
	BackURL string
}

// LoginError is why a sign-in did not work; the zero value: nothing was tried.
type LoginError struct {
	Kind LoginErrorKind
	// Wait is how long to wait, for LoginTooMany.
	Wait time.Duration
	// Message is the connector's, for LoginDenied: plain text.
	Message string
}

// LoginErrorKind tells the reasons apart.
type LoginErrorKind int

// The reasons why a sign-in did not work.
const (
	_                   LoginErrorKind = iota
	LoginInvalid                       // user name or password is wrong, and not which
	LoginTooMany                       // too many wrong ones
	LoginUpstreamFailed                // the upstream could not be asked
	LoginDenied                        // they are who they say, and may not come in
	LoginTurnedBack                    // they did not want to, on the upstream's page
)

// loginTexts are the keys of the reasons.
var loginTexts = map[LoginErrorKind]string{
	LoginInvalid:        "login.invalid",
	LoginTooMany:        "login.too_many",
	LoginUpstreamFailed: "login.upstream",
	LoginDenied:         "login.denied",
}

func (Password) template() string { return "password" }
func (p Password) client() Client { return p.Client }

func (p Password) check() error {
	if p.Error.Kind != 0 && loginTexts[p.Error.Kind] == "" {
		return fmt.Errorf("unknown reason %d", p.Error.Kind)
	}
	return nil
}

// Alert is the key of the reason, or empty.
func (p Password) Alert() string { return loginTexts[p.Error.Kind] }

// Invalid says that the fields themselves are at fault.
func (p Password) Invalid() bool { return p.Error.Kind == LoginInvalid }

// Explained says that the log has more of the reason than the page.
func (p Password) Explained() bool {
	return p.Error.Kind == LoginUpstreamFailed || p.Error.Kind == LoginDenied
}

// FocusPassword says where the person goes on: the user name is there already.
func (p Password) FocusPassword() bool { return p.Username != "" }
