package web

import "fmt"

// Continue carries the browser from a submitted form to the client with a fresh
// navigation, instead of a 303.
//
// Chromium applies the form-action of the page with the form to the whole chain of
// redirects behind the submit, also to those the client adds after our own: a
// client that sends people from its redirect_uri to another origin (another
// broker, an app behind a proxy) would leave them on our page, with an error only
// the console shows. A page in between ends the chain. It needs no script and no
// form.
//
// It is for http and https only: Android's browsers open an app by a private-use
// scheme (RFC 8252 section 7.1) from a redirect, and not from a refresh.
type Continue struct {
	Client Client
	// URL is the authorization response: the validated redirect_uri with its
	// parameters.
	URL string
}

func (Continue) template() string { return "continue" }
func (p Continue) client() Client { return p.Client }

func (p Continue) check() error {
	if webAddress(p.URL) == "" {
		return fmt.Errorf("continuing: %w", errNoAddress) // without the address, which has a code in it
	}
	return nil
}

// Refresh is the content of the <meta http-equiv="refresh">. check has made sure
// that the address starts with its scheme, so that nothing in it can be taken for
// a quote or a second address.
func (p Continue) Refresh() string { return "0;url=" + p.URL }
