package config

import (
	"encoding/base64"
	"fmt"
	"net"
	"regexp"
	"strings"

	"github.com/countersign/countersign/connector/ldap"
	"github.com/countersign/countersign/connector/upstream"
)

// LDAP is a directory upstream. The keys are Dex's.
type LDAP struct {
	// Host is the server, with or without port; Hosts are several of one directory,
	// and Domain has them in DNS. One of the three is required.
	Host   string   `mapstructure:"host"`
	Hosts  []string `mapstructure:"hosts"`
	Domain string   `mapstructure:"domain"`

	InsecureNoSSL      bool   `mapstructure:"insecureNoSSL"`
	InsecureSkipVerify bool   `mapstructure:"insecureSkipVerify"`
	StartTLS           bool   `mapstructure:"startTLS"`
	RootCA             string `mapstructure:"rootCA"`
	// RootCAData is base64 of PEM.
	RootCAData string `mapstructure:"rootCAData"`
	ClientCert string `mapstructure:"clientCert"`
	ClientKey  string `mapstructure:"clientKey"`

	// BindDN and BindPW are the service account.
	BindDN string `mapstructure:"bindDN"`
	BindPW string `mapstructure:"bindPW" config:"env,file"`
	// UsernamePrompt is shown where people type their name.
	UsernamePrompt string `mapstructure:"usernamePrompt"`
	// MaxConnections bounds those to one host. Default: 32.
	MaxConnections int             `mapstructure:"maxConnections"`
	UserSearch     LDAPUserSearch  `mapstructure:"userSearch"`
	GroupSearch    LDAPGroupSearch `mapstructure:"groupSearch"`
}

// LDAPUserSearch says how people are found.
type LDAPUserSearch struct {
	BaseDN string `mapstructure:"baseDN"`
	Filter string `mapstructure:"filter"`
	// Username is the attribute that is compared with what was typed, or several
	// with commas between them.
	Username string `mapstructure:"username"`
	// Scope is sub (the default) or one.
	Scope string `mapstructure:"scope"`
	// IDAttr is uid by default, EmailAttr mail.
	IDAttr                string `mapstructure:"idAttr"`
	EmailAttr             string `mapstructure:"emailAttr"`
	NameAttr              string `mapstructure:"nameAttr"`
	PreferredUsernameAttr string `mapstructure:"preferredUsernameAttr"`
	EmailSuffix           string `mapstructure:"emailSuffix"`
	// Attributes are read for claims and policy.
	Attributes []string `mapstructure:"attributes"`
}

// LDAPGroupSearch says how a person's groups are found.
type LDAPGroupSearch struct {
	BaseDN       string        `mapstructure:"baseDN"`
	Filter       string        `mapstructure:"filter"`
	Scope        string        `mapstructure:"scope"`
	UserMatchers []UserMatcher `mapstructure:"userMatchers"`
	// UserAttr and GroupAttr are Dex's older way to write one matcher.
	UserAttr  string `mapstructure:"userAttr"`
	GroupAttr string `mapstructure:"groupAttr"`
	// NameAttr is cn by default.
	NameAttr string `mapstructure:"nameAttr"`
	// MemberOfAttr is the attribute of people that names their groups, instead of
	// matchers.
	MemberOfAttr string `mapstructure:"memberOfAttr"`
}

// UserMatcher finds the groups whose GroupAttr has a value of the person's UserAttr.
type UserMatcher struct {
	UserAttr           string `mapstructure:"userAttr"`
	GroupAttr          string `mapstructure:"groupAttr"`
	RecursionGroupAttr string `mapstructure:"recursionGroupAttr"`
}

// TLS is whom to believe, and who we are.
func (l LDAP) TLS() (upstream.TLS, error) {
	t := upstream.TLS{CertFile: l.ClientCert, KeyFile: l.ClientKey, InsecureSkipVerify: l.InsecureSkipVerify}
	if l.RootCAData != "" {
		data, err := base64.StdEncoding.DecodeString(l.RootCAData)
		if err != nil {
			return t, fmt.Errorf("rootCAData is not base64: %w", err)
		}
		t.RootCAData = data
	} else if l.RootCA != "" {
		t.RootCAs = []string{l.RootCA}
	}
	return t, nil
}

// Directory is what package ldap makes a connector of, without TLS, Timeout, Now and
// Logger.
func (l LDAP) Directory() ldap.Config {
	u, g := l.UserSearch, l.GroupSearch
	cfg := ldap.Config{
		Hosts: l.Hosts, Domain: l.Domain, BindDN: l.BindDN, BindPassword: l.BindPW,
		UsernamePrompt: l.UsernamePrompt, MaxConns: l.MaxConnections,
		User: ldap.UserSearch{
			BaseDN: u.BaseDN, Filter: u.Filter, Username: u.usernames(), Scope: ldapScopes[u.Scope],
			IDAttr: u.IDAttr, EmailAttr: u.EmailAttr, NameAttr: u.NameAttr, PreferredUsernameAttr: u.PreferredUsernameAttr,
			EmailSuffix: u.EmailSuffix, Attributes: u.Attributes,
		},
		Group: ldap.GroupSearch{BaseDN: g.BaseDN, Filter: g.Filter, Scope: ldapScopes[g.Scope], NameAttr: g.NameAttr, MemberOf: g.MemberOfAttr},
	}
	if l.Host != "" {
		cfg.Hosts = []string{l.Host}
	}
	if l.StartTLS {
		cfg.Security = ldap.StartTLS
	} else if l.InsecureNoSSL {
		cfg.Security = ldap.Plain
	}
	if g.BaseDN == "" && g.MemberOfAttr == "" { // as with Dex: no groups
		return cfg
	}
	for _, m := range g.UserMatchers {
		cfg.Group.Matchers = append(cfg.Group.Matchers, ldap.Matcher{UserAttr: m.UserAttr, GroupAttr: m.GroupAttr, Recursion: m.RecursionGroupAttr})
	}
	if g.UserAttr != "" {
		cfg.Group.Matchers = append(cfg.Group.Matchers, ldap.Matcher{UserAttr: g.UserAttr, GroupAttr: g.GroupAttr})
	}
	return cfg
}

func (u LDAPUserSearch) usernames() (attrs []string) {
	for attr := range strings.SplitSeq(u.Username, ",") {
		if attr = strings.TrimSpace(attr); attr != "" {
			attrs = append(attrs, attr)
		}
	}
	return attrs
}

var ldapScopes = map[string]ldap.Scope{"": ldap.Sub, "sub": ldap.Sub, "one": ldap.One}

func (c *checker) ldap(path string, l *LDAP) {
	c.ldapHosts(path, l)
	if l.InsecureNoSSL && l.StartTLS {
		c.problem(path+".startTLS", "is given beside insecureNoSSL, which means no TLS at all: keep one of them")
	} else if l.InsecureNoSSL {
		c.warn(path+".insecureNoSSL", "sends every password in the clear: use startTLS, or neither for LDAPS")
	}
	if l.BindDN != "" && !c.bad[path+".bindPW"] {
		c.required(path+".bindPW", l.BindPW, "a service account without a password is an anonymous bind; for that, remove bindDN")
	}
	if l.BindPW != "" {
		c.required(path+".bindDN", l.BindDN, "bindPW is the password of nobody; name the service account")
	}
	if c.given(path+".maxConnections") && (l.MaxConnections < 1 || l.MaxConnections > 1000) {
		c.problem(path+".maxConnections", "is %d; give 1 to 1000", l.MaxConnections)
	}
	c.required(path+".userSearch.baseDN", l.UserSearch.BaseDN, "name the entry below which people are, such as ou=people,dc=example,dc=org")
	c.required(path+".userSearch.username", strings.Join(l.UserSearch.usernames(), ","), "name the attribute that people type, such as uid")
	if strings.Contains(l.UserSearch.EmailSuffix, "@") {
		c.problem(path+".userSearch.emailSuffix", "%q has an @, which is added: write what stands behind it", clip(l.UserSearch.EmailSuffix))
	}
	for key, scope := range map[string]string{"userSearch": l.UserSearch.Scope, "groupSearch": l.GroupSearch.Scope} {
		if at := path + "." + key + ".scope"; scope != "" || c.given(at) {
			c.oneOf(at, scope, "sub", "one")
		}
	}
	for field, err := range l.Directory().Check() {
		if at := ldapKey(field, l); l.UserSearch.BaseDN != "" || at != "userSearch.baseDN" {
			c.problem(path+"."+at, "cannot be used: %v", err)
		}
	}
	c.ldapGroups(path+".groupSearch", l.GroupSearch)
	c.ldapTrust(path, l)
}

func (c *checker) ldapHosts(path string, l *LDAP) {
	if l.Host == "" && len(l.Hosts) == 0 && l.Domain == "" {
		c.required(path+".host", "", "name the server, such as ldap.example.com:636")
	}
	if l.Host != "" && len(l.Hosts) > 0 {
		c.problem(path+".hosts", "is given beside host: keep one of them")
	}
	if l.Domain != "" && (l.Host != "" || len(l.Hosts) > 0) {
		c.problem(path+".domain", "is given beside host: keep one of them")
	}
	if l.Domain != "" && !domainName.MatchString(strings.ToLower(l.Domain)) {
		c.problem(path+".domain", "%q is no domain: write the one whose DNS has _ldap._tcp", clip(l.Domain))
	}
	if l.Host != "" {
		c.ldapHost(path+".host", l.Host)
	}
	for i, host := range l.Hosts {
		if at := index(path+".hosts", i); c.required(at, host, "name a server, or remove it") {
			c.ldapHost(at, host)
		}
	}
}

func (c *checker) ldapHost(path, address string) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		host, port = strings.Trim(address, "[]"), "636"
	}
	n, portErr := net.LookupPort("tcp", port)
	if portErr != nil || n == 0 || net.ParseIP(host) == nil && !domainName.MatchString(strings.ToLower(host)) {
		c.problem(path, "%q is no server: write a name or an address, and a port if it is not the usual one, without ldap://", clip(address))
	}
}

func (c *checker) ldapTrust(path string, l *LDAP) {
	c.readable(path+".rootCA", l.RootCA)
	if l.RootCA != "" && l.RootCAData != "" {
		c.problem(path+".rootCAData", "is given beside rootCA: keep one of them")
	}
	if _, err := base64.StdEncoding.DecodeString(l.RootCAData); err != nil {
		c.problem(path+".rootCAData", "is not base64 of a PEM file")
	}
	c.trust(path, nil, l.ClientCert, l.ClientKey) // last: it may find fault with the whole
}

func (c *checker) ldapGroups(path string, g LDAPGroupSearch) {
	matchers := len(g.UserMatchers) > 0 || g.UserAttr != ""
	if (g.UserAttr == "") != (g.GroupAttr == "") {
		c.problem(path, "userAttr and groupAttr belong together: give both, or userMatchers instead")
	}
	for i, m := range g.UserMatchers {
		at := index(path+".userMatchers", i)
		c.required(at+".userAttr", m.UserAttr, "name the attribute of the person; DN is the entry's name")
		c.required(at+".groupAttr", m.GroupAttr, "name the attribute of the group, such as member")
	}
	if g.MemberOfAttr != "" && (matchers || g.Filter != "" || g.NameAttr != "") {
		c.problem(path+".memberOfAttr", "is given beside userMatchers, filter or nameAttr, which search for groups: keep one way")
	}
	if g.BaseDN != "" && !matchers && g.MemberOfAttr == "" {
		c.problem(path, "finds nothing without userMatchers or memberOfAttr: add one, or remove the block")
	}
	if g.BaseDN == "" && (matchers || g.MemberOfAttr != "") {
		c.problem(path+".baseDN", "is missing: name the entry below which groups are; those elsewhere could be called anything")
	}
}

// ldapField is a field of ldap.Config as its Check names it.
var ldapField = regexp.MustCompile(`^Group\.Matchers\[(\d+)\]\.(\w+)$`)

// ldapKey is the key that a field comes from.
func ldapKey(field string, l *LDAP) string {
	if m := ldapField.FindStringSubmatch(field); m != nil {
		key := map[string]string{"UserAttr": "userAttr", "GroupAttr": "groupAttr", "Recursion": "recursionGroupAttr"}[m[2]]
		if m[1] == fmt.Sprint(len(l.GroupSearch.UserMatchers)) {
			return "groupSearch." + key
		}
		return "groupSearch.userMatchers[" + m[1] + "]." + key
	}
	if strings.HasPrefix(field, "User.Username") {
		return "userSearch.username"
	}
	return map[string]string{
		"BindDN": "bindDN", "User.BaseDN": "userSearch.baseDN", "Group.BaseDN": "groupSearch.baseDN",
		"User.Filter": "userSearch.filter", "Group.Filter": "groupSearch.filter",
	}[field]
}
