// Package upstream is what connectors share that speak HTTP to an upstream: how they
// ask it, go on asking until it answers, and read where OAuth 2.0 leads people back.
//
// It follows no redirects, reads only so much, and waits only so long. It refuses
// old TLS and, unless the operator says otherwise, certificates that no authority
// vouches for.
//
// Threat: an upstream, or whoever answers in its place, that sends without end,
// never finishes, or leads our credentials to somebody else.
package upstream

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"
)

// MaxBody is how much of a response is read, in bytes.
const MaxBody = 1 << 20

// ErrTooLarge is returned by a response's body after MaxBody bytes.
var ErrTooLarge = fmt.Errorf("the response has more than %d bytes", MaxBody)

// TLS says whom to believe, and who we are.
type TLS struct {
	// RootCAs are files with PEM certificates of the authorities to believe, and
	// RootCAData such certificates themselves. Without any, the system's.
	RootCAs    []string
	RootCAData []byte
	// CertFile and KeyFile are PEM files of our own certificate. They are read again
	// for each connection, so that a renewed one needs no restart. Optional.
	CertFile, KeyFile string
	// InsecureSkipVerify believes everybody.
	InsecureSkipVerify bool
}

// Config reads the files.
func (t TLS) Config() (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: t.InsecureSkipVerify}
	pems := [][]byte{}
	for _, file := range t.RootCAs {
		pem, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("reading a root certificate: %w", err)
		}
		pems = append(pems, pem)
	}
	if len(t.RootCAData) > 0 {
		pems = append(pems, t.RootCAData)
	}
	for i, pem := range pems {
		if c.RootCAs == nil {
			c.RootCAs = x509.NewCertPool()
		}
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("root certificates %d: there is no PEM certificate in them", i+1)
		}
	}
	if (t.CertFile == "") != (t.KeyFile == "") {
		return nil, errors.New("a client certificate needs both the certificate and the key")
	}
	if t.CertFile != "" {
		p := &pair{certFile: t.CertFile, keyFile: t.KeyFile}
		if err := p.read(); err != nil {
			return nil, fmt.Errorf("reading the client certificate: %w", err)
		}
		c.GetClientCertificate = p.certificate
	}
	return c, nil
}

// Client makes a client. Each call of its is bounded by its context, and by a
// minute in any case.
func Client(t TLS) (*http.Client, error) {
	c, err := t.Config()
	if err != nil {
		return nil, err
	}
	return &http.Client{
		Timeout: time.Minute,
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse
		},
		Transport: bounded{&http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			DialContext:            (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
			TLSClientConfig:        c,
			TLSHandshakeTimeout:    10 * time.Second,
			ResponseHeaderTimeout:  30 * time.Second,
			MaxResponseHeaderBytes: 64 << 10,
			MaxIdleConnsPerHost:    10,
			IdleConnTimeout:        90 * time.Second,
			ForceAttemptHTTP2:      true,
		}},
	}, nil
}

// bounded bounds what is read of responses.
type bounded struct{ next http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := b.next.RoundTrip(r)
	if err == nil {
		resp.Body = &body{ReadCloser: resp.Body, left: MaxBody}
	}
	return resp, err
}

// body ends with an error where others would go on.
type body struct {
	io.ReadCloser
	left int64
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	if b.left < 0 {
		return 0, ErrTooLarge
	}
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}
	n, err := b.ReadCloser.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return n - 1, ErrTooLarge
	}
	return n, err
}
