package oidc

import (
	"slices"
	"strings"
)

// NewGroup makes one more group of claims, as Dex's newGroupFromClaims does.
type NewGroup struct {
	// Claims are joined in this order; those that are no text are left out.
	Claims []string
	// Delimiter is between them, and after Prefix.
	Delimiter string
	// ClearDelimiter takes the delimiter out of what claims say: otherwise whoever can
	// choose one of them can choose more of the group's name.
	ClearDelimiter bool
	// Prefix comes first. An empty one does, too: the group then begins with the
	// delimiter.
	Prefix string
}

// of is the group that claims make; ok is false if they have none of those wanted.
func (n NewGroup) of(claims map[string]any) (group string, ok bool) {
	parts := []string{n.Prefix}
	for _, name := range n.Claims {
		value, isText := claims[name].(string)
		if !isText {
			continue
		}
		if n.ClearDelimiter && n.Delimiter != "" {
			value = strings.ReplaceAll(value, n.Delimiter, "")
		}
		parts = append(parts, value)
	}
	return strings.Join(parts, n.Delimiter), len(parts) > 1
}

// modified are the groups of a person after the operator's filter, with those that
// claims make.
func (c *Connector) modified(groups []string, claims map[string]any) []string {
	groups = slices.DeleteFunc(groups, func(group string) bool {
		return c.cfg.GroupsFilter != nil && !c.cfg.GroupsFilter.MatchString(group) ||
			len(c.cfg.OnlyGroups) > 0 && !slices.Contains(c.cfg.OnlyGroups, group)
	})
	for _, n := range c.cfg.NewGroups {
		if group, ok := n.of(claims); ok {
			groups = append(groups, group)
		}
	}
	return groups
}
