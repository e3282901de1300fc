package ldap

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	goldap "github.com/go-ldap/ldap/v3"

	"github.com/countersign/countersign/connector"
)

// maxTyped is the longest user name and the longest password that is looked at, in
// bytes.
const maxTyped = 1024

// empty: a password that no directory is asked about. Directories take an empty one
// for an anonymous bind, and some cut at a NUL, or trim.
func empty(password string) bool {
	return strings.TrimSpace(password) == "" || strings.ContainsRune(password, 0)
}

func typed(username string) bool {
	return strings.TrimSpace(username) != "" && len(username) <= maxTyped && !strings.ContainsRune(username, 0) && utf8.ValidString(username)
}

// Login implements connector.PasswordConnector. Who is not found is bound, too, with
// the name of an entry that does not exist: the directory is asked as often, and
// says the same, as for a wrong password.
func (c *Connector) Login(ctx context.Context, username, password string) (connector.Identity, error) {
	var none connector.Identity
	if !typed(username) || empty(password) || len(password) > maxTyped {
		return none, connector.ErrInvalidCredentials
	}
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	u := c.cfg.User
	e, err := c.one(ctx, c.directory.do, u.BaseDN, u.Scope.of(), equal(u.Filter, u.Username, username))
	if errors.Is(err, errNobody) {
		return none, c.bindNobody(ctx, password)
	}
	if err != nil {
		return none, err
	}
	if err := c.bind(ctx, e.DN, password); err != nil {
		return none, err
	}
	who, err := c.identity(ctx, e)
	if err != nil {
		return none, err
	}
	if why := blocked(e, c.cfg.Now()); why != "" {
		return none, &connector.DeniedError{Message: why}
	}
	who.AMR = []string{"pwd"} // RFC 8176 section 2
	return who, nil
}

// bindNobody spends the time that a bind takes.
func (c *Connector) bindNobody(ctx context.Context, password string) error {
	err := c.bind(ctx, "cn="+rand.Text()+","+c.cfg.User.BaseDN, password)
	if errors.Is(err, errNotAsked) {
		return err
	}
	return connector.ErrInvalidCredentials
}

// bind proves that the password is that of the entry.
func (c *Connector) bind(ctx context.Context, dn, password string) error {
	if dn == "" || empty(password) { // anonymous: must not happen
		return connector.ErrInvalidCredentials
	}
	err := c.directory.do(ctx, binds, func(conn *goldap.Conn) error { return conn.Bind(dn, password) })
	if answer, ok := errors.AsType[*goldap.Error](err); ok && !errors.Is(err, errNotAsked) {
		return notBound(answer)
	}
	return err
}

var (
	errNobody = errors.New("nobody is found")
	errSome   = fmt.Errorf("%w: more than one entry matches", connector.ErrUpstream)
)

// one is the only entry that matches, errNobody, errSome or another error.
func (c *Connector) one(ctx context.Context, ask asker, base string, scope int, filter string) (*goldap.Entry, error) {
	var found []*goldap.Entry
	err := ask(ctx, searches, func(conn *goldap.Conn) error {
		result, err := conn.Search(goldap.NewSearchRequest(base, scope, goldap.NeverDerefAliases,
			2, seconds(ctx), false, filter, c.attributes, nil))
		if result != nil {
			found = result.Entries
		}
		return err
	})
	answer, _ := errors.AsType[*goldap.Error](err)
	switch {
	case errors.Is(err, errNotAsked):
		return nil, err
	case answer != nil && answer.ResultCode == goldap.LDAPResultSizeLimitExceeded || len(found) > 1:
		return nil, errSome
	case answer != nil && answer.ResultCode == goldap.LDAPResultNoSuchObject && scope == goldap.ScopeBaseObject:
		return nil, errNobody
	case err != nil:
		return nil, fmt.Errorf("%w: searching a person below %q: %w", connector.ErrUpstream, base, err)
	case len(found) == 0:
		return nil, errNobody
	case found[0].DN == "":
		return nil, fmt.Errorf("%w: it found an entry without a name", connector.ErrUpstream)
	}
	return found[0], nil
}

// identity is what an entry says, with the groups.
func (c *Connector) identity(ctx context.Context, e *goldap.Entry) (connector.Identity, error) {
	var who connector.Identity
	u := c.cfg.User
	if attr := part(e); attr != "" {
		return who, fmt.Errorf("%w: the entry %q: the directory gives a part of an attribute only: %.100q", connector.ErrUpstream, e.DN, attr)
	}
	for _, f := range []struct {
		to   *string
		attr string
	}{{&who.UserID, u.IDAttr}, {&who.Email, u.EmailAttr}, {&who.Name, u.NameAttr}, {&who.PreferredUsername, u.PreferredUsernameAttr}} {
		var err error
		if *f.to, err = text(e, f.attr); err != nil {
			return who, fmt.Errorf("%w: the entry %q: %w", connector.ErrUpstream, e.DN, err)
		}
	}
	if who.UserID == "" {
		return who, fmt.Errorf("%w: the entry %q has no attribute %s, which is the user's id (userSearch.idAttr)", connector.ErrUpstream, e.DN, u.IDAttr)
	}
	if u.EmailSuffix != "" {
		who.Email = who.UserID + "@" + u.EmailSuffix
	}
	who.EmailVerified = who.Email != ""
	var err error
	if who.Groups, err = c.groups(ctx, e); err != nil {
		return who, err
	}
	who.Claims = c.claims(e)
	return who, nil
}

// Refresh implements connector.Refresher: the entry with the person's id is searched
// again.
func (c *Connector) Refresh(ctx context.Context, before connector.Identity) (connector.Identity, error) {
	var none connector.Identity
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	e, err := c.byID(ctx, c.directory.do, before.UserID)
	if errors.Is(err, errNobody) {
		return none, c.goneEverywhere(ctx, before.UserID)
	}
	if err != nil {
		return none, err
	}
	if why := blocked(e, c.cfg.Now()); why != "" {
		return none, fmt.Errorf("%w: %s", connector.ErrGone, why)
	}
	who, err := c.identity(ctx, e)
	if err != nil {
		return none, err
	}
	if !c.has(e, before.UserID) {
		return none, fmt.Errorf("%w: it found %q, whose %s is not %.100q", connector.ErrUpstream, e.DN, c.cfg.User.IDAttr, before.UserID)
	}
	if who.UserID != before.UserID && c.cfg.User.EmailSuffix != "" {
		who.Email = before.UserID + "@" + c.cfg.User.EmailSuffix
	}
	who.UserID = before.UserID
	return who, nil
}

// goneEverywhere is what becomes of somebody whom one host does not have. A host that
// lags behind has nobody whose account is new: as long as another one that answers
// lets them in, none is believed. One that gives no answer may be that one: it is left
// out when it is asked again, so that it does not keep somebody here for long.
func (c *Connector) goneEverywhere(ctx context.Context, id string) error {
	hosts, err := c.directory.inOrder(ctx)
	if err != nil {
		return err
	}
	for i, h := range hosts {
		if len(hosts) == 1 || h.avoided() {
			continue
		}
		e, err := c.byID(ctx, c.directory.only(h, len(hosts)-1-i), id)
		switch {
		case errors.Is(ctx.Err(), context.Canceled):
			return ctx.Err()
		case err != nil && !errors.Is(err, errNobody): // it has not said that they are gone
			return err
		case err == nil && blocked(e, c.cfg.Now()) == "":
			return fmt.Errorf("%w: its hosts do not agree: %s has an entry with %s %.100q, another has none",
				connector.ErrUpstream, h.address, c.cfg.User.IDAttr, id)
		}
	}
	return fmt.Errorf("%w: no entry has %s %.100q", connector.ErrGone, c.cfg.User.IDAttr, id)
}

// byID finds an entry by what its id is.
func (c *Connector) byID(ctx context.Context, ask asker, id string) (*goldap.Entry, error) {
	u := c.cfg.User
	if id == "" {
		return nil, errNobody
	}
	if u.IDAttr == entryDN {
		filter := u.Filter
		if filter == "" {
			filter = "(objectClass=*)"
		}
		return c.one(ctx, ask, id, goldap.ScopeBaseObject, filter)
	}
	value, err := raw(u.IDAttr, id)
	if err != nil { // of another attribute, that idAttr was before
		return nil, fmt.Errorf("%w: %w", connector.ErrCannotAsk, err)
	}
	return c.one(ctx, ask, u.BaseDN, u.Scope.of(), equal(u.Filter, []string{u.IDAttr}, value))
}

// has: the directory compares ids by rules of its own, such as without case; an
// attribute may have more than one value, in any order.
func (c *Connector) has(e *goldap.Entry, id string) bool {
	return slices.ContainsFunc(values(e, c.cfg.User.IDAttr), func(v string) bool {
		t, err := readable(c.cfg.User.IDAttr, v)
		return err == nil && strings.EqualFold(t, id)
	})
}
