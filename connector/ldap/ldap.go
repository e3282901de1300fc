// Package ldap is the connector to LDAP directories: OpenLDAP, Active Directory,
// 389 Directory Server and their like.
//
// A service account finds the person's entry by what they typed; binding as that
// entry with the password they typed proves who they are; their groups are searched
// with the service account again. It refuses to follow referrals, to take one of
// several entries that match, and to name groups when it could not read all of them.
//
// Threat: what is typed is written into filters, and an empty password is an
// anonymous bind that succeeds (RFC 4513 section 5.1.2): both never happen. A
// directory that is slow, dead or lies without end takes no more time and memory
// than the limits here. Strangers must not learn who exists.
package ldap

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"time"

	goldap "github.com/go-ldap/ldap/v3"

	"github.com/countersign/countersign/connector"
)

// Config is what New needs. Hosts or Domain, TLS, User.BaseDN, User.Username, Now
// and Logger are required.
type Config struct {
	// Hosts are the servers of one directory, host:port or host. The first that
	// answers is asked.
	Hosts []string
	// Domain has the hosts in its DNS service records instead (RFC 2782). Hosts
	// outside of the domain are not asked.
	Domain string
	// Security says how connections are protected.
	Security Security
	// TLS says whom to believe and who we are. ServerName is set for each host.
	TLS *tls.Config
	// BindDN and BindPassword are the service account; without it, everything is
	// searched anonymously.
	BindDN, BindPassword string
	// UsernamePrompt is connector.PasswordConnector's Prompt.
	UsernamePrompt string
	User           UserSearch
	// Group says how groups are found; the zero value: nobody has any.
	Group GroupSearch

	// Timeout bounds each Login and Refresh in any case. Default: 5 s.
	Timeout time.Duration
	// MaxConns bounds the connections to one host that are used at once. Default:
	// 32.
	MaxConns int
	// MaxIdle is how many connections to one host are kept for searches, and as
	// many for binds. Default: 8; negative: none.
	MaxIdle int

	// Resolver finds Domain's records and the hosts' addresses. Default: net.DefaultResolver.
	Resolver *net.Resolver
	Now      func() time.Time
	Logger   *slog.Logger
}

// Security is how a connection is protected.
type Security int

const (
	// LDAPS is TLS from the first byte.
	LDAPS Security = iota
	// StartTLS asks for TLS before anything else (RFC 4511 section 4.14).
	StartTLS
	// Plain is nothing: passwords can be read on the way.
	Plain
)

// Scope is how far below a base a search goes.
type Scope int

const (
	// Sub is all below the base. One is its direct children.
	Sub Scope = iota
	One
)

func (s Scope) of() int {
	if s == One {
		return goldap.ScopeSingleLevel
	}
	return goldap.ScopeWholeSubtree
}

// UserSearch says how people are found and what their attributes mean.
type UserSearch struct {
	BaseDN string
	// Filter has to match, too. Optional.
	Filter string
	// Username are the attributes that what was typed is compared with.
	Username []string
	Scope    Scope
	// IDAttr is the stable id: uid by default; DN is the entry's name. objectGUID
	// and objectSid are written as Windows writes them.
	IDAttr string
	// EmailAttr is mail by default.
	EmailAttr                       string
	NameAttr, PreferredUsernameAttr string
	// EmailSuffix makes the address of the id instead: id@EmailSuffix.
	EmailSuffix string
	// Attributes are read besides, for the operator's rules.
	Attributes []string
}

// GroupSearch says how the groups of a person are found: by Matchers, or by
// MemberOf.
type GroupSearch struct {
	BaseDN string
	// Filter has to match, too. Optional; not with MemberOf.
	Filter   string
	Scope    Scope
	Matchers []Matcher
	// NameAttr is a group's name: cn by default.
	NameAttr string
	// MemberOf is the attribute of people that has the names (DN) of their groups.
	// A group is called by the first part of its DN, and counts if it is below
	// BaseDN.
	MemberOf string
}

// Matcher matches groups whose GroupAttr has a value of the person's UserAttr.
type Matcher struct {
	// UserAttr may be DN.
	UserAttr string
	// GroupAttr may be followed by a matching rule, such as Active Directory's
	// member:1.2.840.113556.1.4.1941: which finds the groups of groups.
	GroupAttr string
	// Recursion is the attribute of groups that has the DN of the groups within
	// them. Empty: groups of groups are not searched.
	Recursion string
}

// Connector is safe for concurrent use.
type Connector struct {
	cfg        Config
	directory  *directory
	attributes []string
	groupBase  *goldap.DN
}

var (
	_ connector.PasswordConnector = (*Connector)(nil)
	_ connector.Refresher         = (*Connector)(nil)
	_ connector.Background        = (*Connector)(nil)
)

// New checks the configuration. It asks nobody.
func New(cfg Config) (*Connector, error) {
	if (len(cfg.Hosts) == 0) == (cfg.Domain == "") || cfg.TLS == nil || cfg.User.BaseDN == "" || len(cfg.User.Username) == 0 || cfg.Now == nil || cfg.Logger == nil {
		return nil, errors.New("ldap: one of Hosts and Domain, and TLS, User.BaseDN, User.Username, Now and Logger are required")
	}
	if cfg.BindDN != "" && empty(cfg.BindPassword) {
		return nil, errors.New("ldap: the service account has no password: directories take that for an anonymous bind")
	}
	defaults(&cfg)
	if err := cfg.check(); err != nil {
		return nil, err
	}
	c := &Connector{cfg: cfg, attributes: cfg.wanted()}
	c.groupBase, _ = goldap.ParseDN(cfg.Group.BaseDN) // checked
	c.directory = newDirectory(&c.cfg)
	return c, nil
}

func defaults(cfg *Config) {
	for field, value := range map[*string]string{
		&cfg.User.IDAttr: "uid", &cfg.User.EmailAttr: "mail", &cfg.Group.NameAttr: "cn",
	} {
		if *field == "" {
			*field = value
		}
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = 5 * time.Second
	}
	if cfg.MaxConns == 0 {
		cfg.MaxConns = 32
	}
	if cfg.MaxIdle == 0 {
		cfg.MaxIdle = 8
	}
	if cfg.Resolver == nil {
		cfg.Resolver = net.DefaultResolver
	}
}

// Check reports what is written wrongly: names, filters, attributes. The keys of
// the map are the names of fields.
func (cfg Config) Check() map[string]error {
	wrong := make(map[string]error)
	note := func(field string, err error) {
		if err != nil {
			wrong[field] = err
		}
	}
	for field, dn := range map[string]string{"BindDN": cfg.BindDN, "User.BaseDN": cfg.User.BaseDN, "Group.BaseDN": cfg.Group.BaseDN} {
		if field != "BindDN" || strings.Contains(dn, "=") { // Active Directory takes user names, too
			_, err := goldap.ParseDN(dn)
			note(field, err)
		}
	}
	for field, filter := range map[string]string{"User.Filter": cfg.User.Filter, "Group.Filter": cfg.Group.Filter} {
		if filter != "" {
			note(field, checkFilter(filter))
		}
	}
	for i, attr := range cfg.User.Username {
		note(fmt.Sprintf("User.Username[%d]", i), attribute(attr))
	}
	for i, m := range cfg.Group.Matchers {
		note(fmt.Sprintf("Group.Matchers[%d].UserAttr", i), attribute(m.UserAttr))
		note(fmt.Sprintf("Group.Matchers[%d].GroupAttr", i), matching(m.GroupAttr))
		if m.Recursion != "" {
			note(fmt.Sprintf("Group.Matchers[%d].Recursion", i), matching(m.Recursion))
		}
	}
	return wrong
}

func (cfg Config) check() error {
	var all []error
	for field, err := range cfg.Check() {
		all = append(all, fmt.Errorf("ldap: %s: %w", field, err))
	}
	return errors.Join(all...)
}

// wanted are the attributes to ask for.
func (cfg Config) wanted() []string {
	u := cfg.User
	all := append([]string{u.IDAttr, u.EmailAttr, u.NameAttr, u.PreferredUsernameAttr, cfg.Group.MemberOf}, u.Attributes...)
	all = append(all, accountAttributes...)
	for _, m := range cfg.Group.Matchers {
		all = append(all, m.UserAttr)
	}
	all = slices.DeleteFunc(all, func(a string) bool { return a == "" || a == entryDN })
	slices.Sort(all)
	return slices.Compact(all)
}

// Prompt implements connector.PasswordConnector.
func (c *Connector) Prompt() string { return c.cfg.UsernamePrompt }

// Run implements connector.Background: it looks after the hosts and the connections
// to them until ctx is done, and closes them then.
func (c *Connector) Run(ctx context.Context) { c.directory.run(ctx) }

// Ready implements connector.Background: a host answers the service account.
func (c *Connector) Ready() error { return c.directory.ready() }
