package web

import (
	"cmp"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/countersign/countersign/storage"
)

// Client is the relying party the person is on the way to.
type Client struct {
	ID string
	// Name is shown instead of ID when there is one.
	Name string
	// LogoURL is shown when it is the name of a static file, or https. The origin of
	// the latter is then allowed in the img-src of that page, and learns that somebody
	// is looking at it; it gets no referrer, hence nothing about whom.
	LogoURL string
}

// client is a client as a template may show it.
func (s *Site) client(c Client) clientView {
	v := clientView{Name: c.Name}
	if strings.TrimSpace(v.Name) == "" {
		v.Name = c.ID
	}
	v.LogoURL, _, _ = s.picture(c.LogoURL)
	return v
}

// Person is somebody who has signed in. Whoever has no name may have the user name
// there; a person with nothing at all is not mentioned.
type Person struct {
	Name  string
	Email string
}

// PersonOf is the person of an identity.
func PersonOf(id storage.Identity) Person {
	return Person{Name: cmp.Or(id.Name, id.PreferredUsername), Email: id.Email}
}

// Title is what the person is called: the name, or else the e-mail address.
func (p Person) Title() string {
	if strings.TrimSpace(p.Name) == "" {
		return p.Email
	}
	return p.Name
}

// Subtitle is the e-mail address where Title is not.
func (p Person) Subtitle() string {
	if p.Title() == p.Email {
		return ""
	}
	return p.Email
}

// Initial decorates; it is empty when Title does not start with a letter.
func (p Person) Initial() string {
	r, _ := utf8.DecodeRuneInString(strings.TrimSpace(p.Title()))
	if !unicode.IsLetter(r) {
		return ""
	}
	return string(unicode.ToUpper(r))
}
