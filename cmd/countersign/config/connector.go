package config

import (
	"regexp"
	"strings"
	"time"

	"github.com/countersign/countersign/server/flow"
)

// Connector is an upstream that knows who people are. The field of its type is
// set, the others are nil.
type Connector struct {
	// Type says what kind it is: local, ldap, saml, oidc, github.
	Type string `mapstructure:"type"`
	// ID is part of every `sub` of its people: never change it. Required.
	ID string `mapstructure:"id"`
	// Name is shown where people choose. Default: ID.
	Name string `mapstructure:"name"`
	// Hidden connectors are not shown where people choose; a client or a
	// login_hint still leads to them. Default: false.
	Hidden bool `mapstructure:"hidden"`
	// EmailDomains choose this connector for a login_hint with such an address.
	EmailDomains []string `mapstructure:"emailDomains"`
	// Recheck is how old what the connector said of a person may be when a refresh
	// token or single sign-on is used; then it is asked again. 0: never. Default: 5m.
	Recheck *time.Duration `mapstructure:"recheck" config:"zero"`
	// StaleIfError is how old it may be when the connector cannot answer. 0: not
	// older than recheck. Default: 1h.
	StaleIfError *time.Duration `mapstructure:"staleIfError" config:"zero"`
	// Timeout bounds one question to the upstream. Default: 5s.
	Timeout time.Duration `mapstructure:"timeout"`
	// AllowedGroups lets in only who is in one of them; FilterGroups drops all
	// others of their groups.
	AllowedGroups []string `mapstructure:"allowedGroups"`
	FilterGroups  bool     `mapstructure:"filterGroups"`
	// GroupsPrefix is put before the name of every group.
	GroupsPrefix string `mapstructure:"groupsPrefix"`
	// Claims and Policy are CEL: see package rules.
	Claims Claims `mapstructure:"claims"`
	Policy string `mapstructure:"policy" config:"literal"`
	// Local is config: of the type local.
	Local *Local `mapstructure:"local" config:"variant"`
	// LDAP is config: of the type ldap.
	LDAP *LDAP `mapstructure:"ldap" config:"variant"`
	// OIDC is config: of the type oidc.
	OIDC *OIDC `mapstructure:"oidc" config:"variant"`
	// GitHub is config: of the type github.
	GitHub *GitHub `mapstructure:"github" config:"variant"`
	// SAML is config: of the type saml.
	SAML *SAML `mapstructure:"saml" config:"variant"`
}

// Local is a list of people with passwords, apart from staticPasswords.
type Local struct {
	// Passwords are the people.
	Passwords []Password `mapstructure:"passwords"`
}

// What holds for connectors that say nothing else, and for enablePasswordDB.
const (
	DefaultRecheck      = 5 * time.Minute
	DefaultStaleIfError = time.Hour
)

// passwordDB is the id of the connector that enablePasswordDB adds. It is Dex's.
const passwordDB = "local"

// connectorIDs are the ids of all connectors.
func (c *checker) connectorIDs() map[string]bool {
	ids := make(map[string]bool)
	if c.cfg.EnablePasswordDB {
		ids[passwordDB] = true
	}
	for _, conn := range c.cfg.Connectors {
		ids[conn.ID] = true
	}
	return ids
}

func (c *checker) connectors() {
	if len(c.cfg.Connectors) == 0 && !c.cfg.EnablePasswordDB && !c.bad["enablePasswordDB"] && !c.given("staticPasswords") {
		c.problem("connectors", "is missing, so that nobody could sign in: add a connector, or enablePasswordDB: true with staticPasswords")
	}
	ids, domains := c.unique(), c.unique()
	if c.cfg.EnablePasswordDB {
		ids.seen[passwordDB] = "enablePasswordDB"
	}
	for i := range c.cfg.Connectors {
		c.connector(index("connectors", i), &c.cfg.Connectors[i], ids, domains)
	}
}

// connectorID is what needs no escaping in a path (RFC 3986 section 2.3).
var connectorID = regexp.MustCompile(`^[A-Za-z0-9_~-][A-Za-z0-9._~-]{0,63}$`)

func (c *checker) connector(path string, conn *Connector, ids, domains unique) {
	c.required(path+".type", conn.Type, "say what kind of connector it is")
	if c.required(path+".id", conn.ID, "every connector needs one; never change it later") && !connectorID.MatchString(conn.ID) {
		c.problem(path+".id", "%q is no id: use up to 64 letters, digits and . _ ~ -, a dot not first", clip(conn.ID))
	}
	ids.add(path+".id", conn.ID)
	if !printable(conn.Name) {
		c.problem(path+".name", "has letters that cannot be shown: remove them")
	}
	conn.Name = orElse(conn.Name, conn.ID)
	for i, domain := range conn.EmailDomains {
		at := index(path+".emailDomains", i)
		conn.EmailDomains[i] = strings.ToLower(domain)
		if !domainName.MatchString(conn.EmailDomains[i]) {
			c.problem(at, "%q is no domain: write what stands behind the @, such as example.com", clip(domain))
		}
		domains.add(at, conn.EmailDomains[i])
	}
	fill(&conn.Recheck, DefaultRecheck)
	fill(&conn.StaleIfError, DefaultStaleIfError)
	const month = 30 * 24 * time.Hour
	c.lifetime(path+".recheck", *conn.Recheck, 0, month)
	c.lifetime(path+".staleIfError", *conn.StaleIfError, 0, month)
	if conn.Timeout == 0 && !c.given(path+".timeout") {
		conn.Timeout = flow.DefaultTimeout
	}
	c.lifetime(path+".timeout", conn.Timeout, 100*time.Millisecond, time.Minute)
	if write := c.cfg.Web.Limits.WriteTimeout; conn.Local == nil && conn.Timeout >= write {
		c.warn(path+".timeout", "is %s, and web.limits.writeTimeout %s: when the provider hangs, the connection is cut before anybody can be told; make it shorter, or writeTimeout longer", short(conn.Timeout), short(write))
	}
	if conn.Local != nil {
		c.people(path+".config.passwords", conn.Local.Passwords)
	}
	if conn.LDAP != nil {
		c.ldap(path+".config", conn.LDAP)
	}
	if conn.OIDC != nil {
		c.oidc(path+".config", conn)
	}
	if conn.GitHub != nil {
		c.github(path+".config", conn)
	}
	if conn.SAML != nil {
		c.saml(path, conn)
	}
	c.rules(path, conn)
}

var domainName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$`)
