// Package local is the connector of the small built-in password list.
//
// It checks an e-mail address and a password against the hashes of the
// configuration. It refuses to say, in text or in time, whether an address is on
// the list, and it never shortens a password to what a hash can take.
//
// Threat: strangers guess, try addresses to learn who exists, and send passwords
// made to cost. Whatever they type costs the same work for every address, and
// only so many checks run at once.
package local

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"

	"github.com/countersign/countersign/connector"
)

const (
	// MaxPasswordBytes is the longest password that is looked at.
	MaxPasswordBytes = 1024

	// maxUsernameBytes is more than an e-mail address can have.
	maxUsernameBytes = 1024
)

// Password is one person of the list, as in Dex's `staticPasswords`.
type Password struct {
	// Email is what the person types, in any case. Unique.
	Email string
	// Hash is bcrypt, base64 of bcrypt, or argon2id: see ParseHash.
	Hash string
	// UserID is immutable and unique. Tokens name the person by it.
	UserID string
	// Username is the person's name unless Name is set.
	Username string
	Name     string
	// PreferredUsername is left out of tokens when empty, as with Dex.
	PreferredUsername string
	EmailVerified     bool
	Groups            []string
}

// Connector is a connector.PasswordConnector. It is safe for concurrent use.
type Connector struct {
	people map[string]person
	// byID are the same people by their user id.
	byID map[string]connector.Identity
	// decoys has a hash of each kind in the list, in a fixed order.
	decoys []Hashed
	// slots bounds the checks that run at once to the processors there are.
	slots chan struct{}
}

var (
	_ connector.PasswordConnector = (*Connector)(nil)
	_ connector.Refresher         = (*Connector)(nil)
)

type person struct {
	identity connector.Identity
	hash     Hashed
}

// New checks the list, and reports everything that is wrong with it at once.
func New(passwords []Password) (*Connector, error) {
	c := &Connector{
		people: make(map[string]person, len(passwords)),
		byID:   make(map[string]connector.Identity, len(passwords)),
		slots:  make(chan struct{}, runtime.GOMAXPROCS(0)),
	}
	var errs []error
	for i, p := range passwords {
		if err := c.add(p); err != nil {
			errs = append(errs, fmt.Errorf("password %d (%q): %w", i+1, p.Email, err))
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return c, nil
}

func (c *Connector) add(p Password) error {
	key := Canonical(p.Email)
	if key == "" {
		return errors.New("email is empty")
	}
	if _, taken := c.people[key]; taken {
		return errors.New("email is on the list already")
	}
	if p.UserID == "" {
		return errors.New("userID is empty")
	}
	if other, taken := c.byID[p.UserID]; taken {
		// Two people with one id would be one person to every relying party.
		return fmt.Errorf("userID is that of %q already", other.Email)
	}
	hash, err := ParseHash(p.Hash)
	if err != nil {
		return err
	}
	c.byID[p.UserID] = identity(p)
	c.people[key] = person{identity(p), hash}
	sameKind := func(h Hashed) bool { return h.kind() == hash.kind() }
	if !slices.ContainsFunc(c.decoys, sameKind) {
		c.decoys = append(c.decoys, hash)
	}
	return nil
}

func identity(p Password) connector.Identity {
	name := p.Name
	if name == "" {
		name = p.Username
	}
	return connector.Identity{
		UserID: p.UserID, Name: name, PreferredUsername: p.PreferredUsername,
		Email: strings.TrimSpace(p.Email), EmailVerified: p.EmailVerified,
		Groups: slices.Clone(p.Groups),
		AMR:    []string{"pwd"}, // RFC 8176 section 2
	}
}

// Canonical is what addresses are compared by: case is folded by the Unicode
// Standard's canonical caseless match (3.13, D145), so that two spellings that look
// the same are the same address.
func Canonical(email string) string {
	return norm.NFD.String(cases.Fold().String(norm.NFD.String(strings.TrimSpace(email))))
}

// Prompt names what is typed as the user name.
func (c *Connector) Prompt() string { return "Email address" }

// Login returns the person, connector.ErrInvalidCredentials, or ctx.Err() when
// the wait for a processor was too long.
func (c *Connector) Login(ctx context.Context, username, password string) (connector.Identity, error) {
	// What no hash can have been made of is wrong for everybody: that it is
	// refused at once tells nothing of the address.
	if checkPassword(password) != nil {
		return connector.Identity{}, connector.ErrInvalidCredentials
	}
	select {
	case c.slots <- struct{}{}:
		defer func() { <-c.slots }()
	case <-ctx.Done():
		return connector.Identity{}, ctx.Err()
	}
	if err := ctx.Err(); err != nil {
		return connector.Identity{}, err
	}
	p, known := c.person(username)
	if !c.check(p, known, password) {
		return connector.Identity{}, connector.ErrInvalidCredentials
	}
	return copied(p.identity), nil
}

// Refresh implements connector.Refresher: whoever is still on the list is as the
// list says now.
func (c *Connector) Refresh(_ context.Context, before connector.Identity) (connector.Identity, error) {
	id, ok := c.byID[before.UserID]
	if !ok {
		return connector.Identity{}, connector.ErrGone
	}
	return copied(id), nil
}

// copied is an identity that the caller may change.
func copied(id connector.Identity) connector.Identity {
	id.Groups, id.AMR = slices.Clone(id.Groups), slices.Clone(id.AMR)
	return id
}

func (c *Connector) person(username string) (person, bool) {
	if len(username) > maxUsernameBytes {
		return person{}, false
	}
	p, known := c.people[Canonical(username)]
	return p, known
}

// check verifies one hash of every kind in the list, whoever it is: the person's
// own, and for the kinds they do not have (all of them, for a stranger) a decoy
// whose result is dropped. A single decoy would do if all hashes cost the same;
// where they do not, the time to answer would tell an address of a cheap or dear
// hash from a stranger's. The sum is the same for all. It is small: mostly there
// is one kind, and since each cost of bcrypt is twice the one below, all of them
// together cost less than two of the dearest.
func (c *Connector) check(p person, known bool, password string) bool {
	ok := false
	for _, decoy := range c.decoys {
		hash, own := decoy, false
		if known && p.hash.kind() == decoy.kind() {
			hash, own = p.hash, true
		}
		if hash.matches(password) && own {
			ok = true
		}
	}
	return ok
}

// checkPassword refuses what is no password to anything: an empty one is an
// anonymous login elsewhere, and implementations of bcrypt differ about what
// follows a NUL.
func checkPassword(password string) error {
	switch {
	case password == "":
		return errors.New("password is empty")
	case len(password) > MaxPasswordBytes:
		return fmt.Errorf("password is longer than %d bytes", MaxPasswordBytes)
	case strings.ContainsRune(password, 0):
		return errors.New("password contains a NUL")
	}
	return nil
}
