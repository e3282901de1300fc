package web

// Finished says that this sign-in is over, done or expired: the back button, a
// second submit, a reload.
type Finished struct {
	Client Client
	// ReturnURL leads back to the app when it is http or https.
	ReturnURL string
}

func (Finished) template() string { return "finished" }
func (p Finished) client() Client { return p.Client }

// Return is ReturnURL when it may be a link.
func (p Finished) Return() string { return webAddress(p.ReturnURL) }
