package web

// SignedOut says that the session of this browser has ended.
type SignedOut struct {
	Client Client
	// ReturnURL leads back to the app when it is http or https.
	ReturnURL string
	// Upstream is the name of one that could not be reached, or failed: the person may
	// still be signed in there. Empty: there is nothing to say.
	Upstream string
}

func (SignedOut) template() string { return "signed_out" }
func (p SignedOut) client() Client { return p.Client }

// Return is ReturnURL when it may be a link.
func (p SignedOut) Return() string { return webAddress(p.ReturnURL) }
