package ldap

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	goldap "github.com/go-ldap/ldap/v3"

	"github.com/countersign/countersign/connector"
)

const (
	// maxGroups is how many groups somebody may be in. Who is in more is refused:
	// a part of them could be the wrong part.
	maxGroups = 5000
	// maxDepth is how deep groups may be in groups.
	maxDepth = 32
	// pageSize is how many entries the directory is asked for at once (RFC 2696).
	pageSize = 500
	// perFilter is how many values one filter asks for.
	perFilter = 50
)

var errTooMany = fmt.Errorf("somebody is in more than %d groups", maxGroups)

// names are group names, each once, in the order they were found.
type names struct {
	list []string
	seen map[string]bool
}

func (n *names) add(name string) error {
	if n.seen[name] {
		return nil
	}
	if len(n.list) >= maxGroups {
		return fmt.Errorf("%w: %w", connector.ErrUpstream, errTooMany)
	}
	n.seen[name] = true
	n.list = append(n.list, name)
	return nil
}

// groups are the names of a person's groups.
func (c *Connector) groups(ctx context.Context, e *goldap.Entry) ([]string, error) {
	n := &names{seen: make(map[string]bool)}
	if c.cfg.Group.MemberOf != "" {
		err := c.memberOf(e, n)
		return n.list, err
	}
	for _, m := range c.cfg.Group.Matchers {
		if err := c.match(ctx, e, m, n); err != nil {
			return nil, err
		}
	}
	return n.list, nil
}

// match adds the groups that a matcher finds, level by level. A group is looked at
// once, so that groups that contain each other end.
func (c *Connector) match(ctx context.Context, e *goldap.Entry, m Matcher, n *names) error {
	seen := make(map[string]bool)
	attr, of := m.GroupAttr, values(e, m.UserAttr)
	for depth := 0; len(of) > 0; depth++ {
		if depth >= maxDepth {
			return fmt.Errorf("%w: groups are more than %d levels deep in groups", connector.ErrUpstream, maxDepth)
		}
		found, err := c.groupsOf(ctx, attr, of)
		if err != nil {
			return err
		}
		of = nil
		for _, group := range found {
			if key := strings.ToLower(group.DN); !seen[key] {
				seen[key] = true
				of = append(of, group.DN)
			} else {
				continue
			}
			if err := c.name(group, n); err != nil {
				return err
			}
		}
		if attr = m.Recursion; attr == "" {
			return nil
		}
	}
	return nil
}

func (c *Connector) name(group *goldap.Entry, n *names) error {
	name, err := text(group, c.cfg.Group.NameAttr)
	if err == nil && name == "" {
		err = fmt.Errorf("it has no %s (groupSearch.nameAttr)", c.cfg.Group.NameAttr)
	}
	if err != nil {
		return fmt.Errorf("%w: the group %q: %w", connector.ErrUpstream, group.DN, err)
	}
	return n.add(name)
}

// groupsOf are the groups with one of the values in attr.
func (c *Connector) groupsOf(ctx context.Context, attr string, of []string) (found []*goldap.Entry, err error) {
	g := c.cfg.Group
	for some := range slices.Chunk(of, perFilter) {
		page, err := c.all(ctx, g.BaseDN, g.Scope.of(), equal(g.Filter, []string{attr}, some...), []string{g.NameAttr})
		if err != nil {
			return nil, err
		}
		if found = append(found, page...); len(found) > 2*maxGroups {
			return nil, fmt.Errorf("%w: %w", connector.ErrUpstream, errTooMany)
		}
	}
	return found, nil
}

// all are all entries that match, page by page.
func (c *Connector) all(ctx context.Context, base string, scope int, filter string, attributes []string) (found []*goldap.Entry, err error) {
	err = c.directory.do(ctx, searches, func(conn *goldap.Conn) error {
		found = nil // of an attempt that failed
		paging := goldap.NewControlPaging(pageSize)
		for {
			result, err := conn.Search(goldap.NewSearchRequest(base, scope, goldap.NeverDerefAliases,
				0, seconds(ctx), false, filter, attributes, []goldap.Control{paging}))
			if err != nil {
				return err
			}
			if found = append(found, result.Entries...); len(found) > maxGroups {
				return answered{errTooMany}
			}
			next, _ := goldap.FindControl(result.Controls, goldap.ControlTypePaging).(*goldap.ControlPaging)
			if next == nil || len(next.Cookie) == 0 {
				return nil
			}
			paging.SetCookie(next.Cookie)
		}
	})
	if err != nil && !errors.Is(err, errNotAsked) {
		err = fmt.Errorf("%w: searching groups below %q: %w", connector.ErrUpstream, base, err)
	}
	return found, err
}

// memberOf adds the groups that the entry itself names.
func (c *Connector) memberOf(e *goldap.Entry, n *names) error {
	for _, value := range values(e, c.cfg.Group.MemberOf) {
		dn, err := goldap.ParseDN(value)
		if err != nil || len(dn.RDNs) == 0 {
			return fmt.Errorf("%w: the entry %q: %s has %.100q, which is no DN", connector.ErrUpstream, e.DN, c.cfg.Group.MemberOf, value)
		}
		if !c.below(dn) {
			continue
		}
		if err := n.add(dn.RDNs[0].Attributes[0].Value); err != nil {
			return err
		}
	}
	return nil
}

// below: anybody who may create groups somewhere else could call them as they like.
func (c *Connector) below(dn *goldap.DN) bool {
	if !c.groupBase.AncestorOfFold(dn) {
		return len(c.groupBase.RDNs) == 0
	}
	return c.cfg.Group.Scope == Sub || len(dn.RDNs) == len(c.groupBase.RDNs)+1
}

// seconds is the time limit of a search: the directory need not go on when nobody
// waits any more.
func seconds(ctx context.Context) int {
	deadline, ok := ctx.Deadline()
	if !ok {
		return 0
	}
	return max(1, int(time.Until(deadline)/time.Second)+1)
}
