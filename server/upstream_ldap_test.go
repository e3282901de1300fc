package server_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	goldap "github.com/go-ldap/ldap/v3"

	"github.com/countersign/countersign/connector/ldap"
	"github.com/countersign/countersign/connector/ldaptest"
	upstreams "github.com/countersign/countersign/connector/upstream"
	"github.com/countersign/countersign/server"
	"github.com/countersign/countersign/server/flow"
	"github.com/countersign/countersign/server/oauth"
)

// directory gives a provider an LDAP directory as its only connector.
func directory(t *testing.T, s *ldaptest.Server, c *clock) option {
	return func(cfg *server.Config) {
		trust, err := upstreams.TLS{RootCAData: s.CA.PEM}.Config()
		if err != nil {
			t.Fatal(err)
		}
		conn, err := ldap.New(ldap.Config{
			Hosts: []string{s.TLSAddress}, TLS: trust, BindDN: ldaptest.Reader, BindPassword: ldaptest.ReaderPassword,
			User: ldap.UserSearch{BaseDN: "ou=people," + ldaptest.Base, Username: []string{"uid"}, NameAttr: "cn", PreferredUsernameAttr: "uid"},
			Group: ldap.GroupSearch{BaseDN: "ou=groups," + ldaptest.Base, Matchers: []ldap.Matcher{
				{UserAttr: "DN", GroupAttr: "member", Recursion: "member"}}},
			Timeout: time.Minute, Now: c.now, Logger: cfg.Logger,
		})
		if err != nil {
			t.Fatal(err)
		}
		cfg.Connectors = []flow.Connector{{
			Connector: oauth.Connector{ID: "ldap"}, Name: "Directory", Type: "ldap", Password: conn,
			Recheck: oauth.Recheck{After: 5 * time.Minute, StaleIfError: time.Hour}, Timeout: time.Minute,
		}}
	}
}

// Somebody of a directory signs in; their groups follow them, and so does their end.
func TestLDAPUpstream(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		s := ldaptest.Start(t, ldaptest.Options{})
		for _, uid := range []string{"müller", "x*"} {
			s.Person(t, uid, alicePassword)
		}
		s.Group(t, "devs", ldaptest.PersonDN("müller"), ldaptest.PersonDN("x*"))
		s.Group(t, "ops", ldaptest.PersonDN("x*"), ldaptest.PersonDN("müller"))
		s.Group(t, "all", ldaptest.GroupDN("devs"))
		c := new(clock)
		w := newDatabase(t, engine).replica(t, c, directory(t, s, c))
		signIn := func(uid string) answer {
			t.Helper()
			p := w.browser()
			page := w.submit(p, w.get(p, w.request("scope", offline)), "login", uid, "password", alicePassword)
			return w.redeem(w.response(w.approve(p, page)).Get("code"))
		}
		a := signIn("müller")
		got := claims(t, a.str("id_token"))
		if got["sub"] != oauth.Subject("müller", "ldap") || got["email"] != ldaptest.Mail("müller") || len(groupsOf(got)) != 3 {
			t.Errorf("claims %v", got)
		}
		if other := claims(t, signIn("x*").str("id_token")); other["sub"] != oauth.Subject("x*", "ldap") {
			t.Errorf("claims of the other %v", other)
		}
		p := w.browser()
		if page := w.submit(p, w.get(p, w.request()), "login", "*", "password", alicePassword); page.Status != http.StatusUnprocessableEntity {
			t.Errorf("as everybody: %d", page.Status)
		}

		change := goldap.NewModifyRequest(ldaptest.GroupDN("devs"), nil)
		change.Delete("member", []string{ldaptest.PersonDN("müller")})
		s.Do(t, func(l *goldap.Conn) error { return l.Modify(change) })
		a = w.goOn(a.str("refresh_token"))
		if got := groupsOf(claims(t, a.str("id_token"))); len(got) != 3 {
			t.Errorf("before the recheck: %v", got)
		}
		c.advance(5*time.Minute + time.Second)
		a = w.goOn(a.str("refresh_token"))
		if got := groupsOf(claims(t, a.str("id_token"))); len(got) != 1 || got[0] != "ops" {
			t.Errorf("after a group was taken away: %v", got)
		}

		// While the directory is away people keep working, for staleIfError.
		s.Kill()
		c.advance(10 * time.Minute)
		a = w.goOn(a.str("refresh_token"))
		p = w.browser()
		if page := w.submit(p, w.get(p, w.request()), "login", "müller", "password", alicePassword); page.Status != http.StatusBadGateway || !strings.Contains(page.Body, "could not be checked right now") {
			t.Errorf("signing in while it is away: %d\n%s", page.Status, page.Body)
		}
		if err := s.Restart(); err != nil {
			t.Fatal(err)
		}
		c.advance(10 * time.Minute)
		a = w.goOn(a.str("refresh_token"))

		s.Do(t, func(l *goldap.Conn) error { return l.Del(goldap.NewDelRequest(ldaptest.PersonDN("müller"), nil)) })
		c.advance(5*time.Minute + time.Second)
		w.refresh(a.str("refresh_token")).expect(t, "somebody who is deleted", 400, "invalid_grant")
		w.refresh(a.str("refresh_token")).expect(t, "again", 400, "invalid_grant")
	})
}
