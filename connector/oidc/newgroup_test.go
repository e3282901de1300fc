package oidc_test

import (
	"regexp"
	"slices"
	"testing"

	"github.com/countersign/countersign/connector/oidc"
)

// Groups are filtered, and made of claims, at the sign-in and at the recheck.
func TestClaimModifications(t *testing.T) {
	t.Parallel()
	roles := func(change func(*oidc.NewGroup)) []oidc.NewGroup {
		n := oidc.NewGroup{Claims: []string{"organization", "role", "missing", "number"}, Delimiter: "::", Prefix: "gh"}
		if change != nil {
			change(&n)
		}
		return []oidc.NewGroup{n}
	}
	for name, c := range map[string]struct {
		filter string
		only   []string
		made   []oidc.NewGroup
		said   any
		want   []string
	}{
		"nothing of it":             {said: []string{"a", "b"}, want: []string{"a", "b"}},
		"filtered":                  {filter: "^a", said: []string{"a", "ba", "ab"}, want: []string{"a", "ab"}},
		"filtered, one":             {filter: "^a", said: "b"},
		"only some":                 {only: []string{"b", "d"}, said: []string{"a", "b", "c"}, want: []string{"b"}},
		"only others":               {only: []string{"d"}, said: []string{"a"}},
		"only some, and made ones":  {only: []string{"b"}, made: roles(nil), said: []string{"a", "b"}, want: []string{"b", "gh::acme::own::er"}},
		"made, and not filtered":    {filter: "^a", made: roles(nil), said: []string{"a", "b"}, want: []string{"a", "gh::acme::own::er"}},
		"with nothing said":         {made: roles(nil), want: []string{"gh::acme::own::er"}},
		"without the delimiter":     {made: roles(func(n *oidc.NewGroup) { n.ClearDelimiter = true }), want: []string{"gh::acme::owner"}},
		"without a prefix":          {made: roles(func(n *oidc.NewGroup) { n.Prefix = "" }), want: []string{"::acme::own::er"}},
		"joined by nothing":         {made: roles(func(n *oidc.NewGroup) { n.Delimiter, n.ClearDelimiter = "", true }), want: []string{"ghacmeown::er"}},
		"of claims that are absent": {made: roles(func(n *oidc.NewGroup) { n.Claims = []string{"missing", "number"} })},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newProvider(t)
			p.claims["organization"], p.claims["role"], p.claims["number"] = "acme", "own::er", 5
			delete(p.claims, "groups")
			if c.said != nil {
				p.claims["groups"] = c.said
			}
			conn := p.connect(func(cfg *oidc.Config) {
				cfg.NewGroups, cfg.OnlyGroups = c.made, c.only
				if c.filter != "" {
					cfg.GroupsFilter = regexp.MustCompile(c.filter)
				}
			})
			who, err := p.signIn(conn)
			if err != nil || !slices.Equal(who.Groups, c.want) {
				t.Fatalf("groups %q, %v, want %q", who.Groups, err, c.want)
			}
			delete(p.claims, "nonce")
			who, err = conn.Refresh(t.Context(), who)
			if err != nil || !slices.Equal(who.Groups, c.want) {
				t.Errorf("rechecked: groups %q, %v, want %q", who.Groups, err, c.want)
			}
		})
	}
}
