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
	// Links are the operator's: their names are not translated.
	Links []Link
}

// Link is a link with a name that is not ours to translate.
type Link struct {
	Name string
	URL  string
}

func (Home) template() string { return "home" }
