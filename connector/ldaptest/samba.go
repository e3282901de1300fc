package ldaptest

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf16"

	"github.com/go-ldap/ldap/v3"
)

// What every domain has.
const (
	Domain         = "ad.example.org"
	DomainBase     = "DC=ad,DC=example,DC=org"
	DomainAdmin    = "CN=Administrator,CN=Users," + DomainBase
	DomainPassword = "Passw0rd!"
	domainUsers    = ",CN=Users," + DomainBase
	accountNormal  = "512"
	skipAD         = "COUNTERSIGN_TEST_NO_AD"
)

// AD is an Active Directory domain controller: Samba's.
type AD struct {
	// Host is an address of this machine's own, with LDAP and LDAPS at their usual
	// ports.
	Host string
	CA   *CA
}

// StartAD provisions and runs one until the test ends. Its ports are fixed, so that
// it needs root; the test is skipped where COUNTERSIGN_TEST_NO_AD is set.
func StartAD(t testing.TB) *AD {
	t.Helper()
	if os.Getenv(skipAD) != "" {
		t.Skip(skipAD + " is set")
	}
	if os.Geteuid() != 0 {
		t.Fatal("a domain controller needs root for its ports; set " + skipAD + "=1 to do without")
	}
	ca, err := NewCA()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	a := &AD{Host: loopback(), CA: ca}
	if err := ca.Write(dir); err != nil {
		t.Fatal(err)
	}
	a.provision(t, dir)
	a.start(t, dir)
	return a
}

// loopback is an address that another run of the tests does not have.
func loopback() string {
	pid := os.Getpid()
	return net.IPv4(127, 89, byte(pid>>8), byte(pid)|1).String()
}

func (a *AD) provision(t testing.TB, dir string) {
	t.Helper()
	dc := filepath.Join(dir, "dc")
	out, err := exec.Command("samba-tool", "domain", "provision", "--targetdir="+dc, "--realm="+strings.ToUpper(Domain), "--domain=AD",
		"--server-role=dc", "--dns-backend=NONE", "--host-name=dc1", "--host-ip="+a.Host, "--adminpass="+DomainPassword,
		"--option=interfaces="+a.Host+"/8", "--option=bind interfaces only=yes", "--option=server services=ldap").CombinedOutput()
	if err != nil {
		t.Fatalf("samba-tool domain provision: %v\n%s", err, out)
	}
	conf := filepath.Join(dc, "etc", "smb.conf")
	text, err := os.ReadFile(conf)
	if err != nil {
		t.Fatal(err)
	}
	more := fmt.Sprintf("[global]\n\tldap server require strong auth = no\n\ttls cafile = %[1]s/ca.crt\n\ttls certfile = %[1]s/tls.crt\n\ttls keyfile = %[1]s/tls.key\n", dir)
	if err := os.WriteFile(conf, []byte(strings.Replace(string(text), "[global]\n", more, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (a *AD) start(t testing.TB, dir string) {
	t.Helper()
	cmd := exec.Command(program("samba"), "-s", filepath.Join(dir, "dc", "etc", "smb.conf"), "-F", "--no-process-group", "-M", "single", "--debug-stdout")
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait(); close(ended) }()
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		<-ended
		_ = log.Close()
	})
	deadline := time.After(2 * time.Minute)
	for {
		if c, err := a.dial(); err == nil {
			_ = c.Close()
			return
		}
		select {
		case err := <-ended:
			out, _ := os.ReadFile(log.Name())
			t.Fatalf("samba ended: %v\n%s", err, out)
		case <-deadline:
			t.Fatal("samba does not listen")
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (a *AD) dial() (*ldap.Conn, error) {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(a.CA.PEM)
	c, err := ldap.DialURL("ldaps://"+a.Host+":636", ldap.DialWithTLSConfig(&tls.Config{RootCAs: roots, ServerName: "dc1." + Domain}))
	if err != nil {
		return nil, err
	}
	if err := c.Bind(DomainAdmin, DomainPassword); err != nil {
		_ = c.Close()
		return nil, err
	}
	return c, nil
}

// Do does something as the administrator.
func (a *AD) Do(t testing.TB, do func(*ldap.Conn) error) {
	t.Helper()
	c, err := a.dial()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := do(c); err != nil {
		t.Fatal(err)
	}
}

// User adds somebody, with attributes (name, value, …) besides.
func (a *AD) User(t testing.TB, name string, attributes ...string) {
	t.Helper()
	add := ldap.NewAddRequest(UserDN(name), nil)
	add.Attribute("objectClass", []string{"user"})
	add.Attribute("sAMAccountName", []string{name})
	add.Attribute("userPrincipalName", []string{name + "@" + Domain})
	add.Attribute("displayName", []string{name + " Example"})
	add.Attribute("mail", []string{name + "@example.org"})
	add.Attribute("unicodePwd", []string{UnicodePassword(DomainPassword)})
	if len(attributes) == 0 || attributes[0] != "userAccountControl" {
		add.Attribute("userAccountControl", []string{accountNormal})
	}
	for i := 0; i+1 < len(attributes); i += 2 {
		add.Attribute(attributes[i], attributes[i+1:i+2])
	}
	a.Do(t, func(c *ldap.Conn) error { return c.Add(add) })
}

// Group adds a group.
func (a *AD) Group(t testing.TB, name string, members ...string) {
	t.Helper()
	add := ldap.NewAddRequest(UserDN(name), nil)
	add.Attribute("objectClass", []string{"group"})
	add.Attribute("sAMAccountName", []string{name})
	add.Attribute("member", members)
	a.Do(t, func(c *ldap.Conn) error { return c.Add(add) })
}

// Set changes an attribute of a user or a group.
func (a *AD) Set(t testing.TB, name, attribute string, values ...string) {
	t.Helper()
	change := ldap.NewModifyRequest(UserDN(name), nil)
	change.Replace(attribute, values)
	a.Do(t, func(c *ldap.Conn) error { return c.Modify(change) })
}

// Lock makes the domain lock accounts after so many wrong passwords, for half an
// hour.
func (a *AD) Lock(t testing.TB, after int) {
	t.Helper()
	const halfAnHour = "-18000000000"
	change := ldap.NewModifyRequest(DomainBase, nil)
	change.Replace("lockoutThreshold", []string{strconv.Itoa(after)})
	change.Replace("lockoutDuration", []string{halfAnHour})
	change.Replace("lockOutObservationWindow", []string{halfAnHour})
	a.Do(t, func(c *ldap.Conn) error { return c.Modify(change) })
}

// UserDN is the entry of a user or a group.
func UserDN(name string) string { return "CN=" + ldap.EscapeDN(name) + domainUsers }

// UnicodePassword is a value of unicodePwd ([MS-ADTS] section 3.1.1.3.1.5.1).
func UnicodePassword(password string) string {
	var b []byte
	for _, unit := range utf16.Encode([]rune(`"` + password + `"`)) {
		b = binary.LittleEndian.AppendUint16(b, unit)
	}
	return string(b)
}
