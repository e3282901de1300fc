package ldap_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	goldap "github.com/go-ldap/ldap/v3"

	"github.com/countersign/countersign/connector"
	"github.com/countersign/countersign/connector/ldap"
	"github.com/countersign/countersign/connector/ldaptest"
	"github.com/countersign/countersign/connector/upstream"
)

const password = "correct horse"

// crowd is how many people the shared server has besides.
const crowd = 5000

var shared struct {
	once   sync.Once
	dir    string
	server *ldaptest.Server
	err    error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if shared.server != nil {
		shared.server.Close()
	}
	_ = os.RemoveAll(shared.dir)
	os.Exit(code)
}

// server is one that all tests read from.
func server(t testing.TB) *ldaptest.Server {
	t.Helper()
	shared.once.Do(func() {
		var err error
		if shared.dir, err = os.MkdirTemp("", "slapd"); err == nil {
			shared.server, err = ldaptest.New(shared.dir, ldaptest.Options{LDIF: crowdLDIF()})
		}
		if shared.err = err; err != nil {
			return
		}
		for _, uid := range strange {
			shared.server.Person(t, uid, password)
		}
		nest(t, shared.server)
	})
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.server
}

// crowdLDIF is 5,000 people in one group, and one of them in 1,200 more.
func crowdLDIF() string {
	var b strings.Builder
	for i := range crowd {
		fmt.Fprintf(&b, "dn: uid=p%d,ou=people,dc=example,dc=org\nobjectClass: inetOrgPerson\nuid: p%d\ncn: Person %d\nsn: P\nmail: p%d@example.org\nuserPassword: %s\n\n", i, i, i, i, password)
	}
	b.WriteString("dn: cn=everybody,ou=groups,dc=example,dc=org\nobjectClass: groupOfNames\ncn: everybody\n")
	for i := range crowd {
		fmt.Fprintf(&b, "member: uid=p%d,ou=people,dc=example,dc=org\n", i)
	}
	for i := range 1200 {
		fmt.Fprintf(&b, "\ndn: cn=g%d,ou=groups,dc=example,dc=org\nobjectClass: groupOfNames\ncn: g%d\nmember: uid=p0,ou=people,dc=example,dc=org\n", i, i)
	}
	return b.String()
}

// strange are the names that people really have, and those that are not names.
var strange = []string{
	"alice", "müller", "a(b)", "x*", `o\b`, "x", "ob", "a,b", "a+b=c", `"q"`, "#hash", "<t>;", "日本", "a  b", "*", ")(uid=*", "null\u00a0",
}

// escaped are those whose DN is written otherwise than their name.
var escaped = []string{`o\b`, "a,b", "a+b=c", `"q"`, "#hash", "<t>;", ")(uid=*", "*"}

// nest makes groups in groups: two circles, and names that filters must not read.
func nest(t testing.TB, s *ldaptest.Server) {
	var members []string
	s.Group(t, "devs", ldaptest.PersonDN("alice"), ldaptest.PersonDN("a(b)"))
	s.Group(t, "staff", ldaptest.GroupDN("devs"), ldaptest.GroupDN("all"))
	s.Group(t, "all", ldaptest.GroupDN("staff"))
	s.Group(t, "narcissus", ldaptest.GroupDN("narcissus"), ldaptest.PersonDN("alice"))
	s.Group(t, `odd (*) \2a, group=#`, ldaptest.PersonDN("alice"))
	s.Group(t, "of the odd", ldaptest.GroupDN(`odd (*) \2a, group=#`))
	for _, uid := range escaped {
		members = append(members, ldaptest.PersonDN(uid))
	}
	s.Group(t, "escaped", members...)
	s.Group(t, "others", ldaptest.PersonDN("x"))
}

type option func(*ldap.Config)

// open makes a connector to servers.
func open(t testing.TB, servers []*ldaptest.Server, options ...option) *ldap.Connector {
	t.Helper()
	cfg := ldap.Config{
		Security: ldap.Plain, BindDN: ldaptest.Reader, BindPassword: ldaptest.ReaderPassword,
		User: ldap.UserSearch{
			BaseDN: "ou=people," + ldaptest.Base, Filter: "(objectClass=inetOrgPerson)", Username: []string{"uid"},
			IDAttr: "entryUUID", NameAttr: "cn", PreferredUsernameAttr: "uid",
		},
		Group: ldap.GroupSearch{BaseDN: "ou=groups," + ldaptest.Base, Filter: "(objectClass=groupOfNames)", Matchers: []ldap.Matcher{
			{UserAttr: "DN", GroupAttr: "member"},
		}},
		Timeout: deadline, Now: time.Now, Logger: slog.New(slog.DiscardHandler),
	}
	ca := []byte{}
	for _, s := range servers {
		cfg.Hosts = append(cfg.Hosts, s.Address)
		ca = append(ca, s.CA.PEM...)
	}
	var err error
	if cfg.TLS, err = (upstream.TLS{RootCAData: ca}).Config(); err != nil {
		t.Fatal(err)
	}
	for _, o := range options {
		o(&cfg)
	}
	c, err := ldap.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func one(s *ldaptest.Server) []*ldaptest.Server { return []*ldaptest.Server{s} }

// run looks after the connector until the test ends.
func run(t testing.TB, c *ldap.Connector) {
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() { c.Run(ctx) })
	t.Cleanup(func() { cancel(); done.Wait() })
}

func login(t testing.TB, c *ldap.Connector, username string) connector.Identity {
	t.Helper()
	who, err := c.Login(t.Context(), username, password)
	if err != nil {
		t.Fatalf("%q: %v", username, err)
	}
	return who
}

func sorted(list []string) []string { slices.Sort(list); return list }

// Everybody signs in by exactly their name, and nobody by anything that means more
// than one name to a filter or a DN.
func TestNames(t *testing.T) {
	c := open(t, one(server(t)), func(c *ldap.Config) { c.User.Username = []string{"uid", "mail"} })
	ids := make(map[string]string)
	for _, uid := range strange {
		who := login(t, c, uid)
		if who.PreferredUsername != uid || who.Email != ldaptest.Mail(uid) || !who.EmailVerified || who.Name != uid || len(who.AMR) != 1 {
			t.Errorf("%q is %+v", uid, who)
		}
		if other := ids[who.UserID]; other != "" || len(who.UserID) != 36 {
			t.Errorf("%q and %q are both %q", uid, other, who.UserID)
		}
		ids[who.UserID] = uid
		if slices.Contains(escaped, uid) && !slices.Equal(who.Groups, []string{"escaped"}) {
			t.Errorf("%q is in %q", uid, who.Groups)
		}
		if by := login(t, c, ldaptest.Mail(uid)); by.UserID != who.UserID {
			t.Errorf("by e-mail %q is %+v", uid, by)
		}
		again, err := c.Refresh(t.Context(), who)
		if err != nil || again.UserID != who.UserID || !slices.Equal(again.Groups, who.Groups) {
			t.Errorf("%q again: %+v, %v", uid, again, err)
		}
	}
	for _, name := range []string{
		"a*", "?", "**", `\2a`, `x\2a`, `m\c3\bcller`, "a(", "alice)", "alice)(objectClass=*", "*)(uid=*", "*)(|(uid=*", "alice)(|(a=b)",
		"alice\x00", "\x00", "", " ", "\t\n", "alice,ou=people,dc=example,dc=org", "uid=alice", ldaptest.PersonDN("alice"), "m\xfcller", "mu\u0308ller x",
		strings.Repeat("a", 1025), strings.Repeat("(", 1024), "(&(uid=alice))", "alice\\", "\\", "\\zz", "(|(uid=alice)", "!(uid=x)",
	} {
		if who, err := c.Login(t.Context(), name, password); !errors.Is(err, connector.ErrInvalidCredentials) {
			t.Errorf("%.40q is %+v, %v", name, who, err)
		}
	}
}

// No such password reaches a bind: the directory would take some of them for an
// anonymous login. It is not even there.
func TestPasswordsThatAreNone(t *testing.T) {
	c := open(t, nil, func(c *ldap.Config) { c.Hosts = []string{"127.0.0.1:1"} })
	for _, none := range []string{"", " ", "\t \n", "\x00", "pass\x00word", password + "\x00", "\u00a0\u2003", strings.Repeat("p", 1025)} {
		if _, err := c.Login(t.Context(), "alice", none); err != connector.ErrInvalidCredentials {
			t.Errorf("%.20q: %v", none, err)
		}
	}
	if _, err := c.Login(t.Context(), "alice", password); !errors.Is(err, connector.ErrUpstream) {
		t.Errorf("a real one: %v", err)
	}
}

// A stranger and a wrong password are the same.
func TestStrangers(t *testing.T) {
	c := open(t, one(server(t)))
	_, unknown := c.Login(t.Context(), "nobody", password)
	_, wrong := c.Login(t.Context(), "alice", "wrong")
	if unknown != connector.ErrInvalidCredentials || wrong != connector.ErrInvalidCredentials {
		t.Errorf("unknown: %v, wrong: %v", unknown, wrong)
	}
}

// Which of two people it is, is not guessed.
func TestMoreThanOne(t *testing.T) {
	c := open(t, one(server(t)), func(c *ldap.Config) { c.User.Username = []string{"uid", "sn"} })
	if who, err := c.Login(t.Context(), "P", password); !errors.Is(err, connector.ErrUpstream) {
		t.Errorf("one of %d people is %+v, %v", crowd, who, err)
	}
}

func TestAttributes(t *testing.T) {
	s := server(t)
	for name, tt := range map[string]struct {
		change func(*ldap.UserSearch)
		want   connector.Identity
	}{
		"Dex's defaults": {func(u *ldap.UserSearch) { *u = ldap.UserSearch{BaseDN: u.BaseDN, Username: u.Username} },
			connector.Identity{UserID: "p7", Email: "p7@example.org", EmailVerified: true}},
		"DN": {func(u *ldap.UserSearch) { u.IDAttr = "DN" },
			connector.Identity{UserID: ldaptest.PersonDN("p7"), Name: "Person 7", PreferredUsername: "p7", Email: "p7@example.org", EmailVerified: true}},
		"suffix": {func(u *ldap.UserSearch) { u.IDAttr, u.EmailSuffix, u.NameAttr = "UID", "corp.example", "displayName" },
			connector.Identity{UserID: "p7", PreferredUsername: "p7", Email: "p7@corp.example", EmailVerified: true}},
		"no address": {func(u *ldap.UserSearch) { u.IDAttr, u.EmailAttr, u.Scope = "uid", "labeledURI", ldap.One },
			connector.Identity{UserID: "p7", Name: "Person 7", PreferredUsername: "p7"}},
	} {
		t.Run(name, func(t *testing.T) {
			c := open(t, one(s), func(c *ldap.Config) { tt.change(&c.User); c.Group = ldap.GroupSearch{} })
			who := login(t, c, "p7")
			if dn := who.Claims["dn"]; dn != ldaptest.PersonDN("p7") {
				t.Errorf("claims %v", who.Claims)
			}
			again, err := c.Refresh(t.Context(), who)
			if err != nil {
				t.Fatal(err)
			}
			for when, got := range map[string]connector.Identity{"login": who, "refresh": again} {
				got.Claims, got.AMR, tt.want.Claims = nil, nil, nil
				if fmt.Sprint(got) != fmt.Sprint(tt.want) {
					t.Errorf("%s: %+v", when, got)
				}
			}
		})
	}
	c := open(t, one(s), func(c *ldap.Config) { c.User.IDAttr = "employeeNumber" })
	if _, err := c.Login(t.Context(), "p7", password); !errors.Is(err, connector.ErrUpstream) || !strings.Contains(err.Error(), "employeeNumber") {
		t.Errorf("without an id: %v", err)
	}
	c = open(t, one(s), func(c *ldap.Config) { c.User.Attributes = []string{"sn", "jpegPhoto"} })
	if sn := login(t, c, "p7").Claims["sn"]; fmt.Sprint(sn) != "[P]" {
		t.Errorf("sn is %v", sn)
	}
	if claims := login(t, c, "p7").Claims; claims["userPassword"] != nil {
		t.Errorf("claims %v", claims)
	}
}

// Somebody who is not there any more, or not the same, or of another attribute.
func TestGone(t *testing.T) {
	s := ldaptest.Start(t, ldaptest.Options{})
	s.Person(t, "bob", password)
	c := open(t, one(s))
	who := login(t, c, "bob")
	for name, tt := range map[string]struct {
		id   string
		want error
	}{
		"an id of nobody": {"8a5d7c5e-0000-0000-0000-000000000000", connector.ErrGone},
		"no id":           {"", connector.ErrGone},
		"a pattern":       {"*", connector.ErrGone},
		"an injection":    {"*)(uid=*", connector.ErrGone},
	} {
		if _, err := c.Refresh(t.Context(), connector.Identity{UserID: tt.id}); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	s.Do(t, func(l *goldap.Conn) error { return l.Del(goldap.NewDelRequest(ldaptest.PersonDN("bob"), nil)) })
	if _, err := c.Refresh(t.Context(), who); !errors.Is(err, connector.ErrGone) {
		t.Errorf("after the entry was deleted: %v", err)
	}
	s.Person(t, "bob", password) // another bob
	if _, err := c.Refresh(t.Context(), who); !errors.Is(err, connector.ErrGone) {
		t.Errorf("another bob: %v", err)
	}
	// A base that is not there says nothing of people.
	lost := open(t, one(s), func(c *ldap.Config) { c.User.BaseDN = "ou=moved," + ldaptest.Base })
	if _, err := lost.Refresh(t.Context(), who); !errors.Is(err, connector.ErrUpstream) {
		t.Errorf("a base that is not there: %v", err)
	}
	guid := open(t, one(s), func(c *ldap.Config) { c.User.IDAttr = "objectGUID" })
	if _, err := guid.Refresh(t.Context(), connector.Identity{UserID: "bob"}); !errors.Is(err, connector.ErrCannotAsk) {
		t.Errorf("an id of another attribute: %v", err)
	}
}
