package ldap_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/countersign/countersign/connector"
	"github.com/countersign/countersign/connector/ldap"
	"github.com/countersign/countersign/connector/ldaptest"
	"github.com/countersign/countersign/connector/upstream"
)

// trust replaces what is believed.
func trust(t *testing.T, u upstream.TLS) option {
	t.Helper()
	c, err := u.Config()
	if err != nil {
		t.Fatal(err)
	}
	return func(cfg *ldap.Config) { cfg.TLS = c }
}

// client writes a certificate of an authority for us.
func client(t *testing.T, ca *ldaptest.CA) (certFile, keyFile string) {
	t.Helper()
	cert, key, err := ca.Issue("countersign")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	if err := errors.Join(os.WriteFile(certFile, cert, 0o600), os.WriteFile(keyFile, key, 0o600)); err != nil {
		t.Fatal(err)
	}
	return certFile, keyFile
}

// ldaps and startTLS are the two ways to TLS.
func ldaps(s *ldaptest.Server) option {
	return func(c *ldap.Config) { c.Security, c.Hosts = ldap.LDAPS, []string{s.TLSAddress} }
}

func startTLS(*ldaptest.Server) option {
	return func(c *ldap.Config) { c.Security = ldap.StartTLS }
}

func TestTLS(t *testing.T) {
	ca, err := ldaptest.NewCA()
	if err != nil {
		t.Fatal(err)
	}
	other, err := ldaptest.NewCA()
	if err != nil {
		t.Fatal(err)
	}
	s := ldaptest.Start(t, ldaptest.Options{CA: ca})
	s.Person(t, "bob", password)
	strict := ldaptest.Start(t, ldaptest.Options{CA: ca, Config: "TLSVerifyClient demand\nsecurity tls=1"})
	cert, key := client(t, ca)
	foreignCert, foreignKey := client(t, other)
	for way, protected := range map[string]func(*ldaptest.Server) option{"LDAPS": ldaps, "StartTLS": startTLS} {
		for name, tt := range map[string]struct {
			s       *ldaptest.Server
			trust   upstream.TLS
			host    string
			trouble string // of the upstream; empty: none
		}{
			"the right authority":      {s, upstream.TLS{RootCAData: ca.PEM}, "", ""},
			"by name":                  {s, upstream.TLS{RootCAData: ca.PEM}, "localhost", ""},
			"another authority":        {s, upstream.TLS{RootCAData: other.PEM}, "", "certificate"},
			"the system's authorities": {s, upstream.TLS{}, "", "certificate"},
			"another name":             {s, upstream.TLS{RootCAData: ca.PEM}, "127.0.0.2", "127.0.0.2"},
			"everybody":                {s, upstream.TLS{InsecureSkipVerify: true}, "", ""},
			"our certificate":          {strict, upstream.TLS{RootCAData: ca.PEM, CertFile: cert, KeyFile: key}, "", ""},
			"no certificate of ours":   {strict, upstream.TLS{RootCAData: ca.PEM}, "", "upstream failed"},
			"a foreign certificate":    {strict, upstream.TLS{RootCAData: ca.PEM, CertFile: foreignCert, KeyFile: foreignKey}, "", "upstream failed"},
		} {
			t.Run(way+"/"+name, func(t *testing.T) {
				c := open(t, one(tt.s), protected(tt.s), trust(t, tt.trust), func(c *ldap.Config) {
					if tt.host != "" {
						c.Hosts[0] = tt.host + c.Hosts[0][strings.LastIndex(c.Hosts[0], ":"):]
					}
				})
				_, err := c.Login(t.Context(), "bob", password)
				switch {
				case tt.trouble != "" && (!errors.Is(err, connector.ErrUpstream) || !strings.Contains(err.Error(), tt.trouble)):
					t.Errorf("got %v", err)
				case tt.trouble == "" && tt.s == s && err != nil:
					t.Errorf("got %v", err)
				case tt.trouble == "" && tt.s == strict && !errors.Is(err, connector.ErrInvalidCredentials): // nobody is there
					t.Errorf("got %v", err)
				}
			})
		}
	}
	// Without TLS this server takes no password; nobody falls back to that.
	c := open(t, one(strict))
	if _, err := c.Login(t.Context(), "bob", password); !errors.Is(err, connector.ErrUpstream) {
		t.Errorf("plain: %v", err)
	}
}
