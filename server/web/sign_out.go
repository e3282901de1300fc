package web

// SignOut asks whether to sign out, where anybody may have led the browser here.
// It posts `session` and `request`.
type SignOut struct {
	// Client is the app that asks, when it says who it is.
	Client Client
	Person Person
	Action string
	// Session binds the answer to the session it was asked in.
	Session string
	// Request is what was asked, sealed.
	Request string
}

func (SignOut) template() string { return "sign_out" }
func (p SignOut) client() Client { return p.Client }
