package script

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"

	"github.com/countersign/countersign/e2e/person"
)

// person returns the browser of that name, a new one at first.
func (w *world) person(name string) *person.Person {
	p := w.people[name]
	if p == nil {
		p = w.newPerson()
		if name != "" { // without a name, a browser is used once
			w.people[name] = p
		}
	}
	return p
}

func (w *world) newPerson() *person.Person { return person.New("", w.witness) }

// Account is who signs in, and how.
type Account struct {
	Email, Password string
	// Refuse the consent.
	Refuse bool
	// SSO: signed in already, so that asking for the password is an error.
	SSO bool
}

var errAskedForPassword = errors.New("it asks for the password")

// walk goes through the pages until there is nothing more to fill in.
func walk(ctx context.Context, p *person.Person, address string, who Account) (*person.Page, error) {
	page, err := p.Get(ctx, address)
	for asked := false; err == nil; {
		switch {
		case page.Left || len(page.Forms) == 0:
			return page, nil
		case strings.Contains(page.URL.Path, "/login/") && who.SSO:
			return page, errAskedForPassword
		case strings.Contains(page.URL.Path, "/login/") && !asked:
			asked = true
			page, err = p.Submit(ctx, page.Forms[0], url.Values{"login": {who.Email}, "password": {who.Password}})
		case strings.HasSuffix(page.URL.Path, "/consent"):
			answer := "approve"
			if who.Refuse {
				answer = "deny"
			}
			page, err = p.Submit(ctx, page.Forms[0], url.Values{"approval": {answer}})
		default:
			return page, nil
		}
	}
	return nil, err
}

var invitation = regexp.MustCompile(`(?m)^  (https?://\S+)$`)

// signIn does what `countersign login --no-browser` asks of the person. Its
// redirect ends at the loopback listener of login.
func (w *world) signIn(args []string) error {
	set, args := options(args, "-refuse", "-sso")
	if len(args) != 3 {
		return usageError{}
	}
	name := args[0]
	var address string
	err := poll(func() error {
		_, errs := w.output(name)
		found := invitation.FindStringSubmatch(errs)
		if found == nil {
			return fmt.Errorf("%s has not said where to sign in:\n%s", name, errs)
		}
		address = found[1]
		return nil
	})
	if err != nil {
		return err
	}
	page, err := walk(w.t.Context(), w.person(one(set, "-as", "")), address, Account{
		Email: args[1], Password: args[2], Refuse: set["-refuse"] != nil, SSO: set["-sso"] != nil,
	})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w.ts.Stdout(), "%d %s\n%s", page.Status, page.URL.Path, page.Body)
	return err
}
