// Package ldaptest runs real directories for tests: OpenLDAP's slapd, with data of their own
// and a certificate authority of their own.
//
// It refuses to listen anywhere but on loopback, and its server ends with the test.
package ldaptest

import (
	"bytes"
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

	"github.com/go-ldap/ldap/v3"

	"github.com/countersign/countersign/storage/storagetest/freeport"
)

// What every server has.
const (
	Base = "dc=example,dc=org"
	// Admin may do everything, Reader may read everything.
	Admin          = "cn=admin," + Base
	AdminPassword  = "admin"
	Reader         = "cn=reader," + Base
	ReaderPassword = "reader"
)

// config is slapd.conf: the folder, then more.
const config = `include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
pidfile %[1]s/slapd.pid
modulepath /usr/lib/ldap
moduleload back_mdb
moduleload memberof
TLSCACertificateFile %[1]s/ca.crt
TLSCertificateFile %[1]s/tls.crt
TLSCertificateKeyFile %[1]s/tls.key
%[2]s
database mdb
maxsize 268435456
dbnosync
suffix dc=example,dc=org
rootdn cn=admin,dc=example,dc=org
rootpw admin
directory %[1]s/db
index objectClass,uid,mail,member,memberOf,entryUUID eq
limits dn.exact="cn=reader,dc=example,dc=org" size.soft=500 size.hard=500 size.pr=500 size.prtotal=unlimited
access to attrs=userPassword by anonymous auth by self write by * none
access to * by users read by anonymous read
overlay memberof
memberof-group-oc groupOfNames
memberof-member-ad member
memberof-memberof-ad memberOf
database monitor
access to * by * read
`

const base = `dn: dc=example,dc=org
objectClass: dcObject
objectClass: organization
o: Example
dc: example

dn: cn=reader,dc=example,dc=org
objectClass: organizationalRole
objectClass: simpleSecurityObject
cn: reader
userPassword: reader

dn: ou=people,dc=example,dc=org
objectClass: organizationalUnit
ou: people

dn: ou=groups,dc=example,dc=org
objectClass: organizationalUnit
ou: groups

`

// Options are what a test wants.
type Options struct {
	// LDIF is loaded before the server starts, below ou=people and ou=groups. The
	// memberOf overlay does not see it.
	LDIF string
	// Config stands before the database in slapd.conf.
	Config string
	// CA signs the server's certificate. Default: one of its own.
	CA *CA
}

// Server is a slapd.
type Server struct {
	// Address and TLSAddress are host:port, plain with StartTLS and LDAPS.
	Address, TLSAddress string
	CA                  *CA

	dir   string
	cmd   *exec.Cmd
	ended chan error
}

// Start runs a server until the test ends.
func Start(t testing.TB, o Options) *Server {
	t.Helper()
	s, err := New(t.TempDir(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// New runs a server in a folder until Close.
func New(dir string, o Options) (*Server, error) {
	s := &Server{CA: o.CA, dir: dir}
	var err error
	if s.CA == nil {
		if s.CA, err = NewCA(); err != nil {
			return nil, err
		}
	}
	if err := s.CA.Write(dir); err != nil {
		return nil, err
	}
	if err := os.Mkdir(filepath.Join(dir, "db"), 0o700); err != nil {
		return nil, err
	}
	conf := filepath.Join(dir, "slapd.conf")
	if err := os.WriteFile(conf, fmt.Appendf(nil, config, dir, o.Config), 0o600); err != nil {
		return nil, err
	}
	add := exec.Command(program("slapadd"), "-q", "-f", conf, "-b", Base)
	add.Stdin = bytes.NewReader([]byte(base + o.LDIF))
	if out, err := add.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("slapadd: %w\n%s", err, out)
	}
	return s, s.listen()
}

func program(name string) string {
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	return "/usr/sbin/" + name
}

// listen starts the program on ports that stay its own while it is down.
func (s *Server) listen() (err error) {
	if s.Address, err = free(); err != nil {
		return err
	}
	if s.TLSAddress, err = free(); err != nil {
		return err
	}
	return s.Restart()
}

func free() (string, error) {
	port, err := freeport.Find()
	return fmt.Sprint("127.0.0.1:", port), err
}

// Restart starts the server again, where it was.
func (s *Server) Restart() error {
	log, err := os.OpenFile(filepath.Join(s.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(program("slapd"), "-d", "0", "-f", filepath.Join(s.dir, "slapd.conf"),
		"-h", "ldap://"+s.Address+" ldaps://"+s.TLSAddress)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait(); close(ended) }()
	deadline := time.After(time.Minute)
	for {
		if c, err := net.Dial("tcp", s.Address); err == nil {
			_ = c.Close()
			s.cmd, s.ended = cmd, ended
			return nil
		}
		select {
		case err := <-ended:
			out, _ := os.ReadFile(log.Name())
			return fmt.Errorf("slapd ended: %w\n%s", err, out)
		case <-deadline:
			_ = cmd.Process.Kill()
			return fmt.Errorf("slapd does not listen on %s", s.Address)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// Kill ends the server at once.
func (s *Server) Kill() {
	_ = s.cmd.Process.Kill()
	<-s.ended
}

// Freeze stops the server without ending it: connections stay, answers do not come.
func (s *Server) Freeze() {
	_ = s.cmd.Process.Signal(syscall.SIGSTOP)
	for !s.frozen() {
		time.Sleep(time.Millisecond)
	}
}

// frozen: all of its threads have stopped, which takes a moment.
func (s *Server) frozen() bool {
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", s.cmd.Process.Pid))
	for _, file := range threads {
		stat, err := os.ReadFile(file)
		if _, state, ok := strings.Cut(string(stat), ") "); err != nil || !ok || state[0] != 'T' {
			return false
		}
	}
	return true
}

// Thaw goes on.
func (s *Server) Thaw() { _ = s.cmd.Process.Signal(syscall.SIGCONT) }

// Close ends the server.
func (s *Server) Close() {
	if s.cmd != nil {
		s.Kill()
	}
}

// Do does something as the administrator.
func (s *Server) Do(t testing.TB, do func(*ldap.Conn) error) {
	t.Helper()
	c, err := ldap.DialURL("ldap://" + s.Address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Bind(Admin, AdminPassword); err != nil {
		t.Fatal(err)
	}
	if err := do(c); err != nil {
		t.Fatal(err)
	}
}

// Operations is how many operations of a kind, such as Bind or Search, the server
// has seen, this question's own included.
func (s *Server) Operations(t testing.TB, kind string) int {
	t.Helper()
	return s.monitor(t, "cn="+kind+",cn=Operations,cn=Monitor", "monitorOpInitiated")
}

// Connections is how many there are, this question's own included.
func (s *Server) Connections(t testing.TB) int {
	t.Helper()
	return s.monitor(t, "cn=Current,cn=Connections,cn=Monitor", "monitorCounter")
}

func (s *Server) monitor(t testing.TB, dn, attribute string) (n int) {
	t.Helper()
	s.Do(t, func(c *ldap.Conn) error {
		found, err := c.Search(ldap.NewSearchRequest(dn, ldap.ScopeBaseObject, ldap.NeverDerefAliases, 0, 0, false, "(objectClass=*)", []string{attribute}, nil))
		if err == nil && len(found.Entries) == 1 {
			n, err = strconv.Atoi(found.Entries[0].GetAttributeValue(attribute))
		}
		return err
	})
	return n
}

// Group adds a groupOfNames below ou=groups. The overlay sees it.
func (s *Server) Group(t testing.TB, name string, members ...string) {
	t.Helper()
	add := ldap.NewAddRequest(GroupDN(name), nil)
	add.Attribute("objectClass", []string{"groupOfNames"})
	add.Attribute("cn", []string{name})
	add.Attribute("member", members)
	s.Do(t, func(c *ldap.Conn) error { return c.Add(add) })
}

// Person adds an inetOrgPerson below ou=people.
func (s *Server) Person(t testing.TB, uid, password string) {
	t.Helper()
	add := ldap.NewAddRequest(PersonDN(uid), nil)
	add.Attribute("objectClass", []string{"inetOrgPerson"})
	add.Attribute("uid", []string{uid})
	add.Attribute("cn", []string{uid})
	add.Attribute("sn", []string{"Example"})
	add.Attribute("mail", []string{Mail(uid)})
	add.Attribute("userPassword", []string{password})
	s.Do(t, func(c *ldap.Conn) error { return c.Add(add) })
}

// PersonDN, GroupDN and Mail are what Person and Group make of a name.
func PersonDN(uid string) string { return "uid=" + ldap.EscapeDN(uid) + ",ou=people," + Base }

// GroupDN: see PersonDN.
func GroupDN(name string) string { return "cn=" + ldap.EscapeDN(name) + ",ou=groups," + Base }

// Mail: see PersonDN.
func Mail(uid string) string { return fmt.Sprintf("%x@example.org", uid) }
