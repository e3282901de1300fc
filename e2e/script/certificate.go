package script

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"strconv"
	"time"
)

// authority signs the certificates of one script.
type authority struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

func newAuthority() (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority of a script"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	return &authority{key, cert}, err
}

func (w *world) certificate(args []string) error {
	if len(args) != 2 {
		return usageError{}
	}
	serial, err := strconv.ParseInt(args[1], 16, 64)
	if err != nil {
		return usageError{}
	}
	if w.authority == nil {
		if w.authority, err = newAuthority(); err != nil {
			return err
		}
		if err := os.WriteFile(w.path("ca.crt"), pemOf("CERTIFICATE", w.authority.cert.Raw), 0o600); err != nil {
			return err
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(serial), DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, w.authority.cert, key.Public(), w.authority.key)
	if err != nil {
		return err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(w.path(args[0]+".crt"), pemOf("CERTIFICATE", der), 0o600),
		os.WriteFile(w.path(args[0]+".key"), pemOf("PRIVATE KEY", private), 0o600))
}

func pemOf(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// clientTLS trusts the authority of the script, which comes into being later.
func (w *world) clientTLS() *tls.Config {
	return &tls.Config{
		InsecureSkipVerify: true, // VerifyConnection does it
		VerifyConnection:   w.trust,
	}
}

func (w *world) trust(state tls.ConnectionState) error {
	if w.authority == nil {
		return errors.New("the script has no authority to trust")
	}
	roots := x509.NewCertPool()
	roots.AddCert(w.authority.cert)
	_, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: roots, DNSName: state.ServerName})
	return err
}

// tls opens a new connection and says what it was given.
func (w *world) tls(args []string) error {
	set, args := options(args)
	if len(args) != 1 {
		return usageError{}
	}
	versions := map[string]uint16{"1.0": tls.VersionTLS10, "1.1": tls.VersionTLS11, "1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13}
	highest, ok := versions[one(set, "-max", "1.3")]
	if !ok {
		return usageError{}
	}
	config := w.clientTLS()
	config.ServerName, config.MinVersion, config.MaxVersion = "localhost", tls.VersionTLS10, highest
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: answerWithin}, "tcp", args[0], config)
	if err != nil {
		return err
	}
	defer conn.Close()
	state := conn.ConnectionState()
	_, err = fmt.Fprintf(w.ts.Stdout(), "%s serial %x\n", tls.VersionName(state.Version), state.PeerCertificates[0].SerialNumber)
	return err
}
