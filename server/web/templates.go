package web

import (
	"errors"
	"fmt"
	"html/template"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/countersign/countersign/server/device"
)

// The templates that are parts of every page rather than pages.
var partials = []string{"layout.html", "parts.html"}

// parse reads the templates, and executes each page once in each language: what
// html/template finds only while executing is an error at start too.
func (s *Site) parse(files files) error {
	base := template.New("")
	for _, name := range partials {
		if _, err := base.New(name).Parse(string(files.templates[name])); err != nil {
			return fmt.Errorf("templates/%s: %w", name, err)
		}
	}
	s.templates = map[string]*template.Template{}
	for _, name := range slices.Sorted(maps.Keys(files.templates)) {
		if slices.Contains(partials, name) {
			continue
		}
		page, err := base.Clone()
		if err == nil {
			_, err = page.New(name).Parse(string(files.templates[name]))
		}
		if err != nil {
			return fmt.Errorf("templates/%s: %w", name, err)
		}
		s.templates[strings.TrimSuffix(name, ".html")] = page
	}
	return s.rehearse()
}

// rehearse renders every example in every language.
func (s *Site) rehearse() error {
	var errs []error
	for _, p := range Examples() {
		for i := range s.languages.catalogues {
			if err := s.render(io.Discard, &s.languages.catalogues[i], p, "0"); err != nil {
				errs = append(errs, fmt.Errorf("templates/%s.html: %w", p.template(), err))
				break
			}
		}
	}
	return errors.Join(errs...)
}

// Examples are pages of every type, with every part of them that can be shown:
// what templates are tried with at start, and what there is to look at while
// designing them.
func Examples() []Page {
	client := Client{ID: "demo", Name: "Demo App", LogoURL: "https://app.example/logo.png"}
	person := Person{Name: "Ada Lovelace", Email: "ada@example.com"}
	const returnURL = "https://app.example/"
	pages := []Page{
		ChooseConnector{Client: client, Connectors: []ConnectorLink{
			{Name: "Email", URL: "/flow/1/local", Type: "local"},
			{Name: "Company directory", URL: "/flow/1/ldap", Type: "ldap"},
			{Name: "Example Workforce", URL: "/flow/1/saml", Type: "saml"},
			{Name: "GitHub", URL: "/flow/1/github", Type: "github", Down: true},
			{Name: "Partners", URL: "/flow/1/oidc", Type: "oidc"},
		}},
		Password{Client: client, Connector: "Email", Action: "/flow/1/local", BackURL: "/flow/1", OfferRemember: true},
		ChooseAccount{Client: client, Person: person, Action: "/flow/1/account", Subject: "1"},
		Consent{Client: client, Person: person, Action: "/flow/1/consent", Subject: "s", Scopes: []string{
			"openid", "profile", "email", "groups", "offline_access", "federated:id",
			"audience:server:client_id:kubernetes", "something-else",
		}},
		SignInFailed{Client: client, Connector: "GitHub", Error: LoginError{Kind: LoginDenied, Message: "You are not in a group that may sign in here."},
			RetryURL: "/flow/1/login/github", BackURL: "/flow/1"},
		SignInFailed{Connector: "GitHub", Error: LoginError{Kind: LoginTurnedBack}},
		Finished{},
		SignOut{Client: client, Person: person, Action: "/logout", Session: "s", Request: "r"},
		SignedOut{Client: client, ReturnURL: returnURL},
		SignedOut{Upstream: "Example Workforce"},
		Home{DiscoveryURL: "https://id.example/.well-known/openid-configuration"},
		Home{Person: &person, SignOutAction: "/logout", AccountURL: "/account", DiscoveryURL: "https://id.example/.well-known/openid-configuration"},
		Account{Action: "/account", Subject: "1", Browsers: []Browser{{ID: "1", Current: true}}},
		Account{Person: person, Action: "/account", Subject: "1", Done: DoneApp, MoreBrowsers: true, OlderURL: "/account?before=1", NewestURL: "/account",
			Browsers: []Browser{
				{ID: "1", Current: true, Since: Where{Device: device.Device{Program: "Firefox", System: "Linux"}, Address: "192.0.2.1"}},
				{ID: "2", Since: Where{Device: device.Device{Program: "curl"}}}, {ID: "3", Since: Where{Device: device.Device{System: "iPhone"}}},
			},
			Apps: []App{{ID: "4", Name: "Kubernetes", Since: Where{Address: "192.0.2.1"}, Used: Where{Address: "192.0.2.2"}}}},
		FormPost{Client: client, Action: "https://app.example/callback", Fields: []Field{{"code", "c"}, {"state", "s"}}},
		Continue{Client: client, URL: "https://app.example/callback?code=c"},
	}
	for _, e := range []LoginError{{Kind: LoginInvalid}, {Kind: LoginTooMany, Wait: 2 * time.Minute},
		{Kind: LoginUpstreamFailed}, {Kind: LoginDenied, Message: "Your account is locked."}} {
		pages = append(pages, Password{Client: client, Connector: "Company directory", Prompt: "User name",
			Username: "ada", Action: "/flow/1/ldap", Error: e, BackURL: "/flow/1", OfferRemember: true, RememberChecked: true})
	}
	for kind := range errorTexts {
		pages = append(pages, Error{Kind: kind, Message: "a detail"})
	}
	return pages
}
