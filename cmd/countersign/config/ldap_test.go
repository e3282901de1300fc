package config

import (
	"io/fs"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/countersign/countersign/connector/ldap"
)

// parseConnectors loads a file with these connectors; every file and variable that
// it names is there.
func parseConnectors(t *testing.T, connectors string) []Connector {
	t.Helper()
	cfg, err := Parse("FILE", []byte("issuer: https://login.example.com\nweb: {http: 127.0.0.1:5556}\nconnectors:\n"+connectors), Outside{
		Env:      func(string) (string, bool) { return "secret", true },
		ReadFile: func(string) ([]byte, error) { return []byte("secret"), nil },
		Stat:     func(string) (fs.FileInfo, error) { return nil, fs.ErrNotExist },
	})
	if err != nil {
		t.Fatal(err)
	}
	return cfg.Connectors
}

// The sections of the README, and what they become.
func TestREADMELDAP(t *testing.T) {
	text, err := os.ReadFile("../../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	sections := regexp.MustCompile(`(?m)^    - type: ldap\n(?:      .*\n)+`).FindAllString(string(text), -1)
	if len(sections) != 2 {
		t.Fatalf("found %d sections", len(sections))
	}
	for i, section := range sections {
		c := parseConnectors(t, regexp.MustCompile(`(?m)^    `).ReplaceAllString(section, ""))[0]
		cfg := c.LDAP.Directory()
		if cfg.BindPassword != "secret" || cfg.Security == ldap.Plain || len(cfg.Group.Matchers) != 1 {
			t.Errorf("%s: %+v", c.ID, cfg)
		}
		if want := []string{"entryUUID", "objectGUID"}[i]; cfg.User.IDAttr != want {
			t.Errorf("%s: the id is %s", c.ID, cfg.User.IDAttr)
		}
	}
}

// A section of Dex's documentation is taken as it is.
func TestDexLDAP(t *testing.T) {
	c := parseConnectors(t, `
- type: ldap
  id: ldap
  name: OpenLDAP
  config:
    host: localhost:389
    insecureNoSSL: true
    bindDN: cn=admin,dc=example,dc=org
    bindPW: admin
    usernamePrompt: Email Address
    userSearch:
      baseDN: ou=People,dc=example,dc=org
      filter: "(objectClass=person)"
      username: mail
      # "DN" (case sensitive) is a special attribute name.
      idAttr: DN
      emailAttr: mail
      nameAttr: cn
    groupSearch:
      baseDN: ou=Groups,dc=example,dc=org
      filter: "(objectClass=groupOfNames)"
      userMatchers:
        - userAttr: DN
          groupAttr: member
      nameAttr: cn
- type: ldap
  id: older
  config:
    host: ldap.example.com
    rootCAData: c2VjcmV0
    userSearch: {baseDN: "dc=example,dc=org", username: "uid,mail", scope: one}
    groupSearch: {baseDN: "dc=example,dc=org", userAttr: uid, groupAttr: memberUid}
`)
	if cfg := c[0].LDAP.Directory(); cfg.Hosts[0] != "localhost:389" || cfg.Security != ldap.Plain || cfg.UsernamePrompt != "Email Address" || cfg.Group.Matchers[0].UserAttr != "DN" {
		t.Errorf("%+v", cfg)
	}
	cfg := c[1].LDAP.Directory()
	if len(cfg.User.Username) != 2 || cfg.User.Scope != ldap.One || cfg.Security != ldap.LDAPS || len(cfg.Group.Matchers) != 1 || cfg.Group.Matchers[0].GroupAttr != "memberUid" {
		t.Errorf("%+v", cfg)
	}
	trust, err := c[1].LDAP.TLS()
	if err != nil || strings.TrimSpace(string(trust.RootCAData)) != "secret" {
		t.Errorf("%q, %v", trust.RootCAData, err)
	}
}
