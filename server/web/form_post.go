package web

import (
	"fmt"
	"html/template"
)

// FormPost carries an authorization response to the client as a form (OAuth 2.0
// Form Post Response Mode 1.0). It submits itself; without scripts there is a
// button.
//
// Its policy has no form-action: Chromium would apply it to what the client does
// with the form, and a client that redirects to another origin would leave people
// here (see Continue). The one form of the page goes to Action, and the template
// puts nothing into the page that could make another.
type FormPost struct {
	Client Client
	// Action is the validated redirect_uri: http or https.
	Action string
	Fields []Field
}

// Field is one parameter of the response.
type Field struct {
	Name  string
	Value string
}

// formPostScript takes the method from the prototype: a field named "submit" would
// hide the form's own.
const formPostScript = "HTMLFormElement.prototype.submit.call(document.forms[0])"

func (FormPost) template() string { return "form_post" }
func (p FormPost) client() Client { return p.Client }

func (p FormPost) check() error {
	if webAddress(p.Action) == "" {
		return fmt.Errorf("form_post to %q: %w", p.Action, errNoAddress)
	}
	return nil
}

// Script is the page's script; its hash is in the Content-Security-Policy.
func (FormPost) Script() template.JS { return formPostScript }
