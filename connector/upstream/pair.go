package upstream

import (
	"crypto/tls"
	"sync"
)

// pair is our own certificate, in two files that somebody else renews.
type pair struct {
	certFile, keyFile string

	mu   sync.Mutex
	last *tls.Certificate
}

// read takes what is in the files, or leaves what was there.
func (p *pair) read() error {
	c, err := tls.LoadX509KeyPair(p.certFile, p.keyFile)
	if err != nil {
		return err
	}
	p.last = &c
	return nil
}

// certificate answers a server that asks who we are. While the files do not fit
// each other, because one of them was not replaced yet, it is the one before. To a
// server that could not accept it we say that we have none (RFC 8446 4.4.2), as
// crypto/tls does by itself.
func (p *pair) certificate(r *tls.CertificateRequestInfo) (*tls.Certificate, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = p.read()
	if r.SupportsCertificate(p.last) != nil {
		return new(tls.Certificate), nil
	}
	return p.last, nil
}
