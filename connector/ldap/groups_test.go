package ldap_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	goldap "github.com/go-ldap/ldap/v3"

	"github.com/countersign/countersign/connector"
	"github.com/countersign/countersign/connector/ldap"
	"github.com/countersign/countersign/connector/ldaptest"
)

const odd = `odd (*) \2a, group=#`

func TestGroups(t *testing.T) {
	s := server(t)
	for name, tt := range map[string]struct {
		group ldap.GroupSearch
		who   string
		want  []string
	}{
		"direct":      {ldap.GroupSearch{Matchers: []ldap.Matcher{{UserAttr: "DN", GroupAttr: "member"}}}, "alice", []string{"devs", "narcissus", odd}},
		"of a(b)":     {ldap.GroupSearch{Matchers: []ldap.Matcher{{UserAttr: "DN", GroupAttr: "member"}}}, "a(b)", []string{"devs"}},
		"of x*":       {ldap.GroupSearch{Matchers: []ldap.Matcher{{UserAttr: "DN", GroupAttr: "member"}}}, "x*", nil},
		"nested":      {ldap.GroupSearch{Matchers: []ldap.Matcher{{UserAttr: "DN", GroupAttr: "member", Recursion: "member"}}}, "alice", []string{"all", "devs", "narcissus", odd, "of the odd", "staff"}},
		"one level":   {ldap.GroupSearch{Scope: ldap.One, Matchers: []ldap.Matcher{{UserAttr: "DN", GroupAttr: "member"}}}, "a(b)", []string{"devs"}},
		"filtered":    {ldap.GroupSearch{Filter: "(cn=dev*)", Matchers: []ldap.Matcher{{UserAttr: "DN", GroupAttr: "member"}}}, "alice", []string{"devs"}},
		"another":     {ldap.GroupSearch{Matchers: []ldap.Matcher{{UserAttr: "uid", GroupAttr: "cn"}, {UserAttr: "DN", GroupAttr: "member"}}}, "x", []string{"others"}},
		"by DN":       {ldap.GroupSearch{NameAttr: "DN", Matchers: []ldap.Matcher{{UserAttr: "DN", GroupAttr: "member"}}}, "x", []string{ldaptest.GroupDN("others")}},
		"memberOf":    {ldap.GroupSearch{MemberOf: "memberOf"}, "alice", []string{"devs", "narcissus", odd}},
		"memberOf, x": {ldap.GroupSearch{MemberOf: "memberof", Scope: ldap.One}, "x", []string{"others"}},
		"elsewhere":   {ldap.GroupSearch{BaseDN: "ou=people," + ldaptest.Base, MemberOf: "memberOf"}, "alice", nil},
		"too far up":  {ldap.GroupSearch{BaseDN: ldaptest.Base, Scope: ldap.One, MemberOf: "memberOf"}, "alice", nil},
		"nothing":     {ldap.GroupSearch{}, "alice", nil},
	} {
		t.Run(name, func(t *testing.T) {
			c := open(t, one(s), func(c *ldap.Config) {
				if tt.group.BaseDN == "" {
					tt.group.BaseDN = c.Group.BaseDN
				}
				c.Group = tt.group
			})
			who := login(t, c, tt.who)
			if got := sorted(who.Groups); !slices.Equal(got, tt.want) {
				t.Errorf("groups %q", got)
			}
			again, err := c.Refresh(t.Context(), who)
			if err != nil || !slices.Equal(sorted(again.Groups), tt.want) {
				t.Errorf("again: %q, %v", again.Groups, err)
			}
		})
	}
}

// A directory that gives 500 entries at once gives all of 1,201, page by page; a
// group of 5,000 people is one of them, without its people.
func TestManyGroups(t *testing.T) {
	c := open(t, one(server(t)))
	if got := login(t, c, "p0").Groups; len(got) != 1201 || !slices.Contains(got, "everybody") {
		t.Errorf("%d groups", len(got))
	}
	if got := login(t, c, "p4999").Groups; !slices.Equal(got, []string{"everybody"}) {
		t.Errorf("groups %q", got)
	}
	// Whom the directory does not give all: no groups at all, and no sign-in.
	anonymous := open(t, one(server(t)), func(c *ldap.Config) { c.BindDN, c.BindPassword = "", "" })
	if who, err := anonymous.Login(t.Context(), "p0", password); !errors.Is(err, connector.ErrUpstream) {
		t.Errorf("with a part of the groups: %d, %v", len(who.Groups), err)
	}
	if got := login(t, anonymous, "p1").Groups; !slices.Equal(got, []string{"everybody"}) {
		t.Errorf("groups %q", got)
	}
}

// Groups that are too deep are not cut off somewhere.
func TestDepth(t *testing.T) {
	s := ldaptest.Start(t, ldaptest.Options{})
	s.Person(t, "deep", password)
	member := ldaptest.PersonDN("deep")
	c := open(t, one(s), func(c *ldap.Config) { c.Group.Matchers[0].Recursion = "member" })
	for i := range 31 {
		s.Group(t, fmt.Sprint("level", i), member)
		member = ldaptest.GroupDN(fmt.Sprint("level", i))
	}
	if got := login(t, c, "deep").Groups; len(got) != 31 || got[30] != "level30" {
		t.Errorf("%d groups", len(got))
	}
	s.Group(t, "level31", member)
	if who, err := c.Login(t.Context(), "deep", password); !errors.Is(err, connector.ErrUpstream) {
		t.Errorf("32 levels: %+v, %v", who, err)
	}
}

// What the directory says of groups is what the next refresh says.
func TestGroupTakenAway(t *testing.T) {
	s := ldaptest.Start(t, ldaptest.Options{})
	s.Person(t, "bob", password)
	s.Person(t, "eve", password)
	s.Group(t, "devs", ldaptest.PersonDN("bob"), ldaptest.PersonDN("eve"))
	s.Group(t, "ops", ldaptest.PersonDN("bob"))
	c := open(t, one(s))
	who := login(t, c, "bob")
	change := goldap.NewModifyRequest(ldaptest.GroupDN("devs"), nil)
	change.Delete("member", []string{ldaptest.PersonDN("bob")})
	s.Do(t, func(l *goldap.Conn) error { return l.Modify(change) })
	again, err := c.Refresh(t.Context(), who)
	if err != nil || !slices.Equal(again.Groups, []string{"ops"}) {
		t.Errorf("%q, %v", again.Groups, err)
	}
}

// Active Directory gives 1,500 values of an attribute, by the name of that part. Who is
// in more groups is not taken for somebody without any.
func TestPartOfMemberOf(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]error{
		"memberOf": nil, "memberOf;range=0-1499": connector.ErrUpstream, "memberOf;binary;Range=0-0": connector.ErrUpstream,
	} {
		c := open(t, nil, byUID, func(c *ldap.Config) {
			c.Hosts = []string{scripted(t, func(id int64) []byte {
				return append(entry(id, "uid=bob", "uid", "bob", name, "cn=devs,"+c.Group.BaseDN), result(id, searchDone, 0, "")...)
			})}
			c.Group.Filter, c.Group.Matchers, c.Group.MemberOf = "", nil, "memberOf"
		})
		who, err := c.Login(t.Context(), "bob", password)
		if !errors.Is(err, want) || err == nil && !slices.Equal(who.Groups, []string{"devs"}) {
			t.Errorf("%s: login: %q, %v", name, who.Groups, err)
		}
		if who, err := c.Refresh(t.Context(), connector.Identity{UserID: "bob"}); !errors.Is(err, want) {
			t.Errorf("%s: refresh: %q, %v", name, who.Groups, err)
		}
	}
}
