package web

import "fmt"

// SignInFailed says why signing in at somebody else's pages did not work, and what
// the person can do.
type SignInFailed struct {
	Client Client
	// Connector is the name of the connector.
	Connector string
	Error     LoginError
	// RetryURL begins at the connector again; BackURL leads to the choice of
	// connectors. Empty: there is none.
	RetryURL string
	BackURL  string
}

// signInFailedTexts are the keys of title and text.
var signInFailedTexts = map[LoginErrorKind][2]string{
	LoginInvalid:        {"failed.title", "failed.invalid"},
	LoginUpstreamFailed: {"failed.title", "failed.upstream"},
	LoginDenied:         {"error.denied.title", "error.denied.text"},
	LoginTurnedBack:     {"failed.turned_back.title", "failed.turned_back"},
}

func (SignInFailed) template() string { return "sign_in_failed" }
func (p SignInFailed) client() Client { return p.Client }

func (p SignInFailed) check() error {
	if _, ok := signInFailedTexts[p.Error.Kind]; !ok {
		return fmt.Errorf("unknown reason %d", p.Error.Kind)
	}
	return nil
}

// Title is a key.
func (p SignInFailed) Title() string { return signInFailedTexts[p.Error.Kind][0] }

// Text is the key of what has happened.
func (p SignInFailed) Text() string { return signInFailedTexts[p.Error.Kind][1] }
