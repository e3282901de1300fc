// Package simplesamlphp starts a SimpleSAMLphp as an identity provider, from
// Debian's package, under PHP's own web server.
//
// It keeps everything in a folder of the test's. It is for tests: its people have
// well-known passwords, and it speaks plain HTTP to this host only.
package simplesamlphp

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/countersign/countersign/storage/storagetest/freeport"
)

const (
	www     = "/usr/share/simplesamlphp/www"
	example = "/usr/share/doc/simplesamlphp/examples/config-templates/config.php"
)

// The people: the password of each is Password.
const (
	Alice    = "alice"
	Bob      = "bob"
	Password = "password"
)

// Server is a running SimpleSAMLphp.
type Server struct {
	t testing.TB
	// Metadata is the address of its metadata, which is its entity id, too.
	Metadata string
	dir      string
	known    strings.Builder
}

// Start starts one, which ends with the test.
func Start(t testing.TB) *Server {
	t.Helper()
	address := free(t)
	s := &Server{t: t, dir: t.TempDir()}
	base := "http://" + address
	s.Metadata = base + "/saml2/idp/metadata.php"
	for _, dir := range []string{"config", "metadata", "cert", "log", "data", "tmp", "sessions"} {
		if err := os.Mkdir(filepath.Join(s.dir, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	s.certify("idp")
	s.write("config/config.php", s.config(base))
	s.write("config/authsources.php", `<?php
$config = ['users' => ['exampleauth:UserPass',
  'alice:password' => ['uid' => ['alice'], 'mail' => ['alice@example.org'], 'displayName' => ['Alice Example'], 'groups' => ['devs', 'k8s-admins']],
  'bob:password' => ['uid' => ['bob'], 'mail' => ['bob@example.org'], 'displayName' => ['Bob Müller'], 'groups' => ['devs']]]];
`)
	s.write("metadata/saml20-idp-hosted.php", fmt.Sprintf(`<?php
$metadata['%s'] = ['host' => '__DEFAULT__', 'privatekey' => 'idp.pem', 'certificate' => 'idp.crt', 'auth' => 'users',
  'signature.algorithm' => 'http://www.w3.org/2001/04/xmldsig-more#rsa-sha256', 'userid.attribute' => 'uid',
  'authproc' => [1 => ['class' => 'saml:PersistentNameID', 'attribute' => 'uid']]];
`, s.Metadata))
	s.write("metadata/saml20-sp-remote.php", "<?php\n")
	s.run(address)
	return s
}

// config is Debian's example, changed.
func (s *Server) config(base string) string {
	text, err := os.ReadFile(example)
	if err != nil {
		zipped, err := os.ReadFile(example + ".gz")
		if err != nil {
			s.t.Fatalf("SimpleSAMLphp is not installed: %v", err)
		}
		r, err := gzip.NewReader(bytes.NewReader(zipped))
		if err != nil {
			s.t.Fatal(err)
		}
		if text, err = io.ReadAll(r); err != nil {
			s.t.Fatal(err)
		}
	}
	return string(text) + fmt.Sprintf(`
$config = array_merge($config, [
  'baseurlpath' => '%[1]s/', 'certdir' => '%[2]s/cert/', 'loggingdir' => '%[2]s/log/', 'datadir' => '%[2]s/data/', 'tempdir' => '%[2]s/tmp',
  'metadatadir' => '%[2]s/metadata', 'metadata.sources' => [['type' => 'flatfile', 'directory' => '%[2]s/metadata']],
  'secretsalt' => 'tests', 'auth.adminpassword' => 'tests', 'technicalcontact_email' => 'na@example.org', 'timezone' => 'UTC',
  'logging.handler' => 'file', 'enable.saml20-idp' => true, 'session.cookie.secure' => false, 'session.cookie.samesite' => 'Lax', 'session.phpsession.savepath' => '%[2]s/sessions',
  'store.type' => 'phpsession', 'module.enable' => ['exampleauth' => true, 'core' => true, 'saml' => true], 'theme.use' => 'default',
]);
`, base, s.dir)
}

// Register tells it of a service provider. more are settings of its
// saml20-sp-remote, as PHP writes them; they replace the defaults, which sign the
// assertion only.
func (s *Server) Register(entityID, acs, more string) {
	s.t.Helper()
	fmt.Fprintf(&s.known, `
$metadata['%s'] = array_merge(['AssertionConsumerService' => '%s', 'saml20.sign.response' => false, 'saml20.sign.assertion' => true,
  'NameIDFormat' => 'urn:oasis:names:tc:SAML:2.0:nameid-format:persistent'], [%s]);
`, entityID, acs, more)
	s.write("metadata/saml20-sp-remote.php", "<?php\n"+s.known.String())
}

// Certificate copies a service provider's certificate to where settings find it by
// its name.
func (s *Server) Certificate(name string, text []byte) {
	s.t.Helper()
	s.write("cert/"+name, string(text))
}

// Log is what it wrote.
func (s *Server) Log() string {
	var all strings.Builder
	files, _ := filepath.Glob(filepath.Join(s.dir, "log", "*"))
	for _, file := range append(files, filepath.Join(s.dir, "php.log")) {
		text, _ := os.ReadFile(file)
		all.Write(text)
	}
	return all.String()
}

func (s *Server) write(name, text string) {
	s.t.Helper()
	// PHP keeps what it has compiled until a file is another one.
	if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// certify makes a key and a certificate.
func (s *Server) certify(name string) {
	s.t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		s.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		s.t.Fatal(err)
	}
	s.write("cert/"+name+".crt", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	s.write("cert/"+name+".pem", string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})))
}

// run starts PHP, and waits until it answers.
func (s *Server) run(address string) {
	s.t.Helper()
	output, err := os.Create(filepath.Join(s.dir, "php.log"))
	if err != nil {
		s.t.Fatal(err)
	}
	cmd := exec.Command("php", "-d", "session.save_path="+filepath.Join(s.dir, "sessions"), "-d", "opcache.enable=0", "-S", address, "-t", www)
	cmd.Env = append(os.Environ(), "SIMPLESAMLPHP_CONFIG_DIR="+filepath.Join(s.dir, "config"))
	cmd.Stdout, cmd.Stderr = output, output
	if err := cmd.Start(); err != nil {
		s.t.Fatalf("starting PHP: %v", err)
	}
	s.t.Cleanup(func() {
		_ = cmd.Process.Kill() // it keeps nothing
		_ = cmd.Wait()
		output.Close()
	})
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	defer cancel()
	for {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.Metadata, nil)
		if err != nil {
			s.t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(r)
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return
			}
		}
		select {
		case <-ctx.Done():
			s.t.Fatalf("SimpleSAMLphp does not answer:\n%s", s.Log())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func free(t testing.TB) string {
	t.Helper()
	port, err := freeport.Find()
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint("127.0.0.1:", port)
}
