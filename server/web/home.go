package web

// Home is what the issuer's own address shows.
type Home struct {
	// Person is who is signed in in this browser, or nil.
	Person *Person
	// SignOutAction is posted to, without fields.
	SignOutAction string
	// AccountURL leads to the account page; empty: not shown.
	AccountURL string
	// DiscoveryURL is for developers; empty: not shown.
	DiscoveryURL string
}

func (Home) template() string { return "home" }
