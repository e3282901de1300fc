package listen

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"time"
)

// certificate is a certificate and private key that follow their files.
//
// The files are compared by content and at intervals, not watched: a mounted
// Kubernetes secret changes by the swap of a symlink two directories up, other
// tools write in place or rename, and some file systems notify nobody.
type certificate struct {
	certFile, keyFile string
	logger            *slog.Logger

	current atomic.Pointer[tls.Certificate]

	// loaded is the content of current; reported is the last problem that was
	// logged. Only follow, in one goroutine, uses them.
	loaded   [sha256.Size]byte
	reported string
}

// newCertificate loads the pair, which must be good to start with.
func newCertificate(certFile, keyFile string, logger *slog.Logger) (*certificate, error) {
	c := &certificate{certFile: certFile, keyFile: keyFile, logger: logger}
	certPEM, keyPEM, err := c.read()
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, fmt.Errorf("loading the certificate %s with the key %s: %w", certFile, keyFile, err)
	}
	c.current.Store(&pair)
	c.loaded = digest(certPEM, keyPEM)
	return c, nil
}

// get answers crypto/tls, whatever name the client asked for.
func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return c.current.Load(), nil
}

// follow looks at the files until ctx ends.
func (c *certificate) follow(ctx context.Context, interval time.Duration) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			c.look()
		}
	}
}

// look takes the pair in the files if it is new and good. If it is bad the old
// one stays, and each different problem is logged once.
func (c *certificate) look() {
	certPEM, keyPEM, err := c.read()
	if err != nil {
		c.report(err.Error(), err)
		return
	}
	content := digest(certPEM, keyPEM)
	if content == c.loaded {
		c.reported = ""
		return
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		c.report(string(content[:]), err)
		return
	}
	c.current.Store(&pair)
	c.loaded, c.reported = content, ""
	c.logger.Info("certificate replaced", "file", c.certFile,
		"serial", pair.Leaf.SerialNumber.Text(16), "not_after", pair.Leaf.NotAfter)
}

// report logs a problem unless it is the one already logged.
func (c *certificate) report(problem string, err error) {
	if problem == c.reported {
		return
	}
	c.reported = problem
	c.logger.Error("new certificate is not usable, keeping the old one",
		"cert", c.certFile, "key", c.keyFile, "error", err)
}

// read returns the contents of both files.
func (c *certificate) read() (certPEM, keyPEM []byte, err error) {
	if certPEM, err = os.ReadFile(c.certFile); err != nil {
		return nil, nil, fmt.Errorf("reading the certificate: %w", err)
	}
	if keyPEM, err = os.ReadFile(c.keyFile); err != nil {
		return nil, nil, fmt.Errorf("reading the private key: %w", err)
	}
	return certPEM, keyPEM, nil
}

// digest identifies the contents of a pair. Each file is hashed on its own, so
// that bytes moved from one to the other are a change.
func digest(certPEM, keyPEM []byte) [sha256.Size]byte {
	cert, key := sha256.Sum256(certPEM), sha256.Sum256(keyPEM)
	return sha256.Sum256(append(cert[:], key[:]...))
}
