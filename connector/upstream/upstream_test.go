package upstream_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/countersign/countersign/connector/upstream"
)

func client(t *testing.T, c upstream.TLS) *http.Client {
	t.Helper()
	got, err := upstream.Client(c)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func get(t *testing.T, c *http.Client, address string) (*http.Response, []byte, error) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.Do(r)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp, body, err
}

func TestBodiesAreBounded(t *testing.T) {
	t.Parallel()
	for size, want := range map[int]error{0: nil, upstream.MaxBody: nil, upstream.MaxBody + 1: upstream.ErrTooLarge, 10 << 20: upstream.ErrTooLarge} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, size)) }))
		_, body, err := get(t, client(t, upstream.TLS{}), s.URL)
		if !errors.Is(err, want) || len(body) != min(size, upstream.MaxBody) {
			t.Errorf("%d bytes: read %d, %v", size, len(body), err)
		}
		s.Close()
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(http.RedirectHandler("http://127.0.0.1:1/elsewhere", http.StatusTemporaryRedirect))
	defer s.Close()
	resp, _, err := get(t, client(t, upstream.TLS{}), s.URL)
	if err != nil || resp.StatusCode != http.StatusTemporaryRedirect {
		t.Errorf("%v, %v", resp, err)
	}
}

// pemOf writes a certificate to a file.
func pemOf(t *testing.T, kind string, der []byte) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "x.pem")
	replace(t, file, kind, der)
	return file
}

func replace(t *testing.T, file, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestTrust(t *testing.T) {
	t.Parallel()
	s := httptest.NewTLSServer(http.NotFoundHandler())
	defer s.Close()
	root := pemOf(t, "CERTIFICATE", s.Certificate().Raw)
	data, err := os.ReadFile(root)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		tls  upstream.TLS
		good bool
	}{
		"the system's":       {upstream.TLS{}, false},
		"ours, in a file":    {upstream.TLS{RootCAs: []string{root}}, true},
		"ours, as data":      {upstream.TLS{RootCAData: data}, true},
		"everybody":          {upstream.TLS{InsecureSkipVerify: true}, true},
		"ours and another's": {upstream.TLS{RootCAs: []string{root}, RootCAData: bytes.Repeat(data, 2)}, true},
	} {
		if _, _, err := get(t, client(t, c.tls), s.URL); (err == nil) != c.good {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestOldTLSIsRefused(t *testing.T) {
	t.Parallel()
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.TLS = &tls.Config{MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10}
	s.StartTLS()
	defer s.Close()
	if _, _, err := get(t, client(t, upstream.TLS{InsecureSkipVerify: true}), s.URL); err == nil {
		t.Error("TLS 1.1 is accepted")
	}
}

// certified is a new certificate of that serial number, and its key, in DER.
func certified(t *testing.T, serial int64) (cert, private []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), NotAfter: time.Now().Add(time.Hour)}
	if cert, err = x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key); err != nil {
		t.Fatal(err)
	}
	if private, err = x509.MarshalPKCS8PrivateKey(key); err != nil {
		t.Fatal(err)
	}
	return cert, private
}

// A certificate that was renewed is shown at the next connection; while only one of
// its files is there, and when they are nonsense, it is the one before.
func TestClientCertificate(t *testing.T) {
	t.Parallel()
	seen := make(chan int64, 1)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Connection", "close") // the next request is a connection of its own
		seen <- r.TLS.PeerCertificates[0].SerialNumber.Int64()
	}))
	s.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert}
	s.StartTLS()
	defer s.Close()
	cert, private := certified(t, 7)
	certFile, keyFile := pemOf(t, "CERTIFICATE", cert), pemOf(t, "PRIVATE KEY", private)
	c := client(t, upstream.TLS{InsecureSkipVerify: true, CertFile: certFile, KeyFile: keyFile})
	shows := func(serial int64) {
		t.Helper()
		if _, _, err := get(t, c, s.URL); err != nil {
			t.Fatal(err)
		}
		if got := <-seen; got != serial {
			t.Errorf("certificate %d is shown, not %d", got, serial)
		}
	}
	shows(7)
	renewed, newKey := certified(t, 8)
	replace(t, certFile, "CERTIFICATE", renewed)
	shows(7)
	replace(t, keyFile, "PRIVATE KEY", newKey)
	shows(8)
	replace(t, keyFile, "JUNK", nil)
	shows(8)
}

// A server that names authorities of which ours is none is told of no certificate.
func TestClientCertificateIsShownToNobodyElse(t *testing.T) {
	t.Parallel()
	seen := make(chan int, 1)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { seen <- len(r.TLS.PeerCertificates) }))
	other := x509.NewCertPool()
	other.AddCert(&x509.Certificate{Raw: []byte("c"), RawSubject: []byte("another authority")})
	s.TLS = &tls.Config{ClientAuth: tls.RequestClientCert, ClientCAs: other}
	s.StartTLS()
	defer s.Close()
	cert, private := certified(t, 7)
	c := client(t, upstream.TLS{InsecureSkipVerify: true, CertFile: pemOf(t, "CERTIFICATE", cert), KeyFile: pemOf(t, "PRIVATE KEY", private)})
	if _, _, err := get(t, c, s.URL); err != nil {
		t.Fatal(err)
	}
	if n := <-seen; n != 0 {
		t.Errorf("%d certificates are shown to a server that does not want them", n)
	}
}

func TestBadFiles(t *testing.T) {
	t.Parallel()
	junk := pemOf(t, "JUNK", []byte("x"))
	for name, c := range map[string]upstream.TLS{
		"a missing root":      {RootCAs: []string{"/nonexistent"}},
		"a root that is none": {RootCAs: []string{junk}},
		"data that is none":   {RootCAData: []byte("x")},
		"a key alone":         {KeyFile: junk},
		"no pair":             {CertFile: junk, KeyFile: junk},
	} {
		if _, err := upstream.Client(c); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}
