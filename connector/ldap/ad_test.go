package ldap_test

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	goldap "github.com/go-ldap/ldap/v3"

	"github.com/countersign/countersign/connector"
	"github.com/countersign/countersign/connector/ldap"
	"github.com/countersign/countersign/connector/ldaptest"
	"github.com/countersign/countersign/connector/upstream"
)

// windowsTime is a value of accountExpires.
func windowsTime(at time.Time) string { return fmt.Sprint((at.Unix() + 11644473600) * 1e7) }

// inChain is how Active Directory finds the groups of groups by itself.
const inChain = "member:1.2.840.113556.1.4.1941:"

func openAD(t *testing.T, a *ldaptest.AD, options ...option) *ldap.Connector {
	t.Helper()
	return open(t, nil, append([]option{trust(t, upstream.TLS{RootCAData: a.CA.PEM}), func(c *ldap.Config) {
		c.Hosts, c.Security = []string{a.Host}, ldap.LDAPS
		c.BindDN, c.BindPassword = ldaptest.DomainAdmin, ldaptest.DomainPassword
		c.User = ldap.UserSearch{
			BaseDN: ldaptest.DomainBase, Filter: "(&(objectCategory=person)(objectClass=user))",
			Username: []string{"userPrincipalName", "sAMAccountName"}, IDAttr: "objectGUID",
			NameAttr: "displayName", PreferredUsernameAttr: "sAMAccountName", Attributes: []string{"objectSid"},
		}
		c.Group = ldap.GroupSearch{BaseDN: ldaptest.DomainBase, Filter: "(objectClass=group)",
			Matchers: []ldap.Matcher{{UserAttr: "DN", GroupAttr: inChain}}}
	}}, options...)...)
}

// The whole of what is special about Active Directory, at a real one.
func TestActiveDirectory(t *testing.T) {
	t.Parallel()
	a := ldaptest.StartAD(t)
	a.User(t, "alice")
	a.User(t, "a(b)é", "accountExpires", windowsTime(time.Now().Add(48*time.Hour)))
	a.User(t, "off")
	a.User(t, "late")
	a.User(t, "shut")
	a.User(t, "must", "pwdLastSet", "0")
	a.Group(t, "devs (all)", ldaptest.UserDN("alice"))
	a.Group(t, "staff", ldaptest.UserDN("devs (all)"))
	a.Group(t, "company", ldaptest.UserDN("staff"))
	a.Set(t, "devs (all)", "member", ldaptest.UserDN("alice"), ldaptest.UserDN("company")) // a circle
	ad := openAD(t, a, func(c *ldap.Config) { c.Security = ldap.Plain })

	t.Run("who they are", func(t *testing.T) {
		for _, name := range []string{"alice@" + ldaptest.Domain, "alice", "ALICE"} {
			who, err := ad.Login(t.Context(), name, ldaptest.DomainPassword)
			if err != nil {
				t.Fatal(err)
			}
			if !regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`).MatchString(who.UserID) || who.PreferredUsername != "alice" || who.Email != "alice@example.org" {
				t.Errorf("%+v", who)
			}
			if sid := fmt.Sprint(who.Claims["objectSid"]); !strings.HasPrefix(sid, "[S-1-5-21-") {
				t.Errorf("objectSid is %s", sid)
			}
			if got := sorted(who.Groups); !slices.Equal(got, []string{"company", "devs (all)", "staff"}) {
				t.Errorf("groups %q", got)
			}
		}
		who, err := ad.Login(t.Context(), "a(b)é", ldaptest.DomainPassword)
		if err != nil || who.PreferredUsername != "a(b)é" || len(who.Groups) != 0 {
			t.Errorf("%+v, %v", who, err)
		}
	})
	t.Run("the id is as Windows writes it", func(t *testing.T) {
		who, err := ad.Login(t.Context(), "alice", ldaptest.DomainPassword)
		if err != nil {
			t.Fatal(err)
		}
		a.Do(t, func(c *goldap.Conn) error { // Active Directory's own notation finds them
			found, err := c.Search(goldap.NewSearchRequest("<GUID="+who.UserID+">", goldap.ScopeBaseObject, 0, 0, 0, false, "(objectClass=*)", []string{"sAMAccountName"}, nil))
			if err == nil && (len(found.Entries) != 1 || found.Entries[0].GetAttributeValue("sAMAccountName") != "alice") {
				t.Errorf("%s is %v", who.UserID, found.Entries)
			}
			return err
		})
	})
	t.Run("groups otherwise", func(t *testing.T) {
		for name, group := range map[string]ldap.GroupSearch{
			"recursion": {Matchers: []ldap.Matcher{{UserAttr: "DN", GroupAttr: "member", Recursion: "member"}}},
			"memberOf":  {MemberOf: "memberOf"},
		} {
			c := openAD(t, a, func(c *ldap.Config) { group.BaseDN = c.Group.BaseDN; c.Group = group; c.Security = ldap.Plain })
			who, err := c.Login(t.Context(), "alice", ldaptest.DomainPassword)
			want := map[string][]string{"recursion": {"company", "devs (all)", "staff"}, "memberOf": {"devs (all)"}}[name]
			if err != nil || !slices.Equal(sorted(who.Groups), want) {
				t.Errorf("%s: %q, %v", name, who.Groups, err)
			}
		}
	})
	t.Run("by objectSid", func(t *testing.T) {
		c := openAD(t, a, func(c *ldap.Config) { c.User.IDAttr = "objectSid"; c.Security = ldap.Plain })
		who, err := c.Login(t.Context(), "alice", ldaptest.DomainPassword)
		if err != nil || !strings.HasPrefix(who.UserID, "S-1-5-21-") {
			t.Fatalf("%+v, %v", who, err)
		}
		if again, err := c.Refresh(t.Context(), who); err != nil || again.UserID != who.UserID {
			t.Errorf("%+v, %v", again, err)
		}
	})
	t.Run("TLS", func(t *testing.T) {
		// The certificate is of 127.0.0.1 and localhost, the server at another address.
		c := openAD(t, a)
		if _, err := c.Login(t.Context(), "alice", ldaptest.DomainPassword); !errors.Is(err, connector.ErrUpstream) || !strings.Contains(err.Error(), "certificate") {
			t.Errorf("another address than the certificate's: %v", err)
		}
		for _, security := range []ldap.Security{ldap.LDAPS, ldap.StartTLS} {
			c := openAD(t, a, trust(t, upstream.TLS{InsecureSkipVerify: true}), func(c *ldap.Config) { c.Security = security })
			if _, err := c.Login(t.Context(), "alice", ldaptest.DomainPassword); err != nil {
				t.Error(err)
			}
		}
	})

	refresh := func(who connector.Identity) error { _, err := ad.Refresh(t.Context(), who); return err }
	before := make(map[string]connector.Identity)
	for _, name := range []string{"alice", "off", "late"} {
		who, err := ad.Login(t.Context(), name, ldaptest.DomainPassword)
		if err != nil || refresh(who) != nil {
			t.Fatalf("%s: %v", name, err)
		}
		before[name] = who
	}
	a.Set(t, "off", "userAccountControl", "514")
	a.Set(t, "late", "accountExpires", windowsTime(time.Now().Add(-48*time.Hour)))
	for name, part := range map[string]string{"off": "disabled", "late": "expired", "must": "change your password"} {
		_, err := ad.Login(t.Context(), name, ldaptest.DomainPassword)
		denied, ok := errors.AsType[*connector.DeniedError](err)
		if !ok || !strings.Contains(denied.Message, part) {
			t.Errorf("%s: %v", name, err)
		}
		// Who does not know the password learns nothing of it.
		if _, err := ad.Login(t.Context(), name, "wrong"); err != connector.ErrInvalidCredentials {
			t.Errorf("%s with a wrong password: %v", name, err)
		}
	}
	for _, name := range []string{"off", "late"} {
		if err := refresh(before[name]); !errors.Is(err, connector.ErrGone) {
			t.Errorf("refreshing %s: %v", name, err)
		}
	}
	if _, err := ad.Login(t.Context(), "nobody@"+ldaptest.Domain, "wrong"); err != connector.ErrInvalidCredentials {
		t.Errorf("nobody: %v", err)
	}
	a.Lock(t, 3)
	for range 3 {
		if _, err := ad.Login(t.Context(), "shut", "wrong"); err != connector.ErrInvalidCredentials {
			t.Errorf("on the way to a lock: %v", err)
		}
	}
	_, err := ad.Login(t.Context(), "shut", ldaptest.DomainPassword)
	if denied, ok := errors.AsType[*connector.DeniedError](err); !ok || !strings.Contains(denied.Message, "locked") {
		t.Errorf("locked: %v", err)
	}
	a.Set(t, "staff", "member")
	again, err := ad.Refresh(t.Context(), before["alice"])
	if err != nil || !slices.Equal(again.Groups, []string{"devs (all)"}) {
		t.Errorf("after a group in the chain was left: %q, %v", again.Groups, err)
	}
	a.Do(t, func(c *goldap.Conn) error { return c.Del(goldap.NewDelRequest(ldaptest.UserDN("alice"), nil)) })
	if err := refresh(before["alice"]); !errors.Is(err, connector.ErrGone) {
		t.Errorf("refreshing somebody deleted: %v", err)
	}
}
