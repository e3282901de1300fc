package listen

import (
	"crypto/tls"
	"fmt"
)

// Version returns the TLS version of its name in the configuration: "1.2" or
// "1.3", and 0 for "" (the default).
func Version(name string) (uint16, error) {
	switch name {
	case "":
		return 0, nil
	case "1.2":
		return tls.VersionTLS12, nil
	case "1.3":
		return tls.VersionTLS13, nil
	}
	return 0, fmt.Errorf("TLS version %q is neither 1.2 nor 1.3", name)
}

// tlsConfig is made once per listener. A reload replaces only what
// GetCertificate returns, never the configuration, so that no policy can get
// lost on the way (CVE-2024-23656).
//
// Certificates stays empty on purpose: crypto/tls asks GetCertificate for
// clients without SNI only then.
func (c Config) tlsConfig(pair *certificate) *tls.Config {
	return &tls.Config{
		MinVersion: c.MinVersion,
		MaxVersion: c.MaxVersion,
		// RFC 9325 4.2: forward secrecy and AEAD. TLS 1.3 has nothing else, and
		// does not read this list.
		CipherSuites: []uint16{
			tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
			tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
			tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
			tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
			tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
			tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
		},
		GetCertificate: pair.get,
	}
}
