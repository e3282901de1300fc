package listen_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/countersign/countersign/server/listen"
)

// pair is a certificate and key in files, and their contents.
type pair struct {
	cert, key       string
	certPEM, keyPEM []byte
	serial          *big.Int
}

// generate makes a self-signed pair that is in no file yet.
func generate(t *testing.T) pair {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<60))
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{"auth.example.com"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pair{
		certPEM: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		keyPEM:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}),
		serial:  serial,
	}
}

// newPair makes a pair in files of their own.
func newPair(t *testing.T) pair {
	t.Helper()
	p, dir := generate(t), t.TempDir()
	p.cert, p.key = filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	write(t, p.cert, p.certPEM)
	write(t, p.key, p.keyPEM)
	return p
}

func write(t *testing.T, file string, content []byte) {
	t.Helper()
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// serial returns which certificate a client is shown.
func serial(t *testing.T, addr net.Addr, c *tls.Config) *big.Int {
	t.Helper()
	c.InsecureSkipVerify = true
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: deadline}, "tcp", addr.String(), c)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0].SerialNumber
}

// policyHolds checks everything the TLS configuration promises.
func policyHolds(t *testing.T, addr net.Addr, want *big.Int) {
	t.Helper()
	for name, c := range map[string]*tls.Config{
		"SNI":         {ServerName: "auth.example.com"},
		"foreign SNI": {ServerName: "other.example.org"},
		"no SNI":      {},
		"TLS 1.2":     {MaxVersion: tls.VersionTLS12},
		"h2":          {NextProtos: []string{"h2"}},
	} {
		if got := serial(t, addr, c); got.Cmp(want) != 0 {
			t.Errorf("%s: got certificate %x, want %x", name, got, want)
		}
	}
	for name, c := range map[string]*tls.Config{
		"TLS 1.0": {MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS10},
		"TLS 1.1": {MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11},
		"CBC":     {MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA}},
	} {
		c.InsecureSkipVerify = true
		conn, err := tls.Dial("tcp", addr.String(), c)
		if err == nil {
			conn.Close()
			t.Errorf("%s is accepted", name)
		}
	}
}

// CVE-2024-23656 in this field: a reload that dropped the TLS policy.
func TestPolicySurvivesReload(t *testing.T) {
	old, renewed := newPair(t), generate(t)
	s := start(t, listen.Config{
		HTTPS: "127.0.0.1:0", CertFile: old.cert, KeyFile: old.key, CertInterval: 5 * time.Millisecond,
	})
	policyHolds(t, s.HTTPSAddr(), old.serial)
	write(t, old.cert, renewed.certPEM)
	write(t, old.key, renewed.keyPEM)
	await(t, "the new certificate is served", func() bool {
		return serial(t, s.HTTPSAddr(), &tls.Config{}).Cmp(renewed.serial) == 0
	})
	policyHolds(t, s.HTTPSAddr(), renewed.serial)
}

func TestMinimumVersionIsKept(t *testing.T) {
	p := newPair(t)
	s := start(t, listen.Config{HTTPS: "127.0.0.1:0", CertFile: p.cert, KeyFile: p.key, MinVersion: tls.VersionTLS13})
	conn, err := tls.Dial("tcp", s.HTTPSAddr().String(), &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12})
	if err == nil {
		conn.Close()
		t.Error("TLS 1.2 is accepted although 1.3 is the minimum")
	}
}

// A Kubernetes secret changes by the swap of the symlink "..data".
func TestSymlinkSwap(t *testing.T) {
	old, renewed, dir := generate(t), generate(t), t.TempDir()
	for name, p := range map[string]pair{"v1": old, "v2": renewed} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, name, "tls.crt"), p.certPEM)
		write(t, filepath.Join(dir, name, "tls.key"), p.keyPEM)
	}
	point := func(to string) {
		next := filepath.Join(dir, "..data_tmp")
		if err := os.Symlink(to, next); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(next, filepath.Join(dir, "..data")); err != nil {
			t.Fatal(err)
		}
	}
	point("v1")
	s := start(t, listen.Config{
		HTTPS:        "127.0.0.1:0",
		CertFile:     filepath.Join(dir, "..data", "tls.crt"),
		KeyFile:      filepath.Join(dir, "..data", "tls.key"),
		CertInterval: 5 * time.Millisecond,
	})
	if got := serial(t, s.HTTPSAddr(), &tls.Config{}); got.Cmp(old.serial) != 0 {
		t.Fatalf("got certificate %x", got)
	}
	point("v2")
	await(t, "the new certificate is served", func() bool {
		return serial(t, s.HTTPSAddr(), &tls.Config{}).Cmp(renewed.serial) == 0
	})
}

// Whatever is wrong with the new files, the old pair serves on, the problem is
// said once, and the next good pair is taken.
func TestBadCertificateKeepsTheOldOne(t *testing.T) {
	other := generate(t)
	for name, spoil := range map[string]func(t *testing.T, p pair){
		"unparsable": func(t *testing.T, p pair) {
			write(t, p.cert, []byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"))
		},
		"empty":        func(t *testing.T, p pair) { write(t, p.cert, nil) },
		"key mismatch": func(t *testing.T, p pair) { write(t, p.key, other.keyPEM) },
		"truncated":    func(t *testing.T, p pair) { write(t, p.cert, p.certPEM[:len(p.certPEM)/2]) },
		"swapped":      func(t *testing.T, p pair) { write(t, p.cert, p.keyPEM); write(t, p.key, p.certPEM) },
		"missing":      func(t *testing.T, p pair) { os.Remove(p.cert) },
		"key missing":  func(t *testing.T, p pair) { os.Remove(p.key) },
	} {
		t.Run(name, func(t *testing.T) {
			p, renewed := newPair(t), generate(t)
			s := start(t, listen.Config{
				HTTPS: "127.0.0.1:0", CertFile: p.cert, KeyFile: p.key, CertInterval: 5 * time.Millisecond,
			})
			spoil(t, p)
			await(t, "the problem is logged", func() bool { return s.log.count("keeping the old one") > 0 })
			policyHolds(t, s.HTTPSAddr(), p.serial)
			write(t, p.key, renewed.keyPEM)
			write(t, p.cert, renewed.certPEM)
			await(t, "the next good certificate is served", func() bool {
				return serial(t, s.HTTPSAddr(), &tls.Config{}).Cmp(renewed.serial) == 0
			})
		})
	}
}
