package postgres_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/countersign/countersign/storage"
	"github.com/countersign/countersign/storage/postgres"
	"github.com/countersign/countersign/storage/storagetest/pgcluster"
)

// authority signs certificates.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  string
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	a := &authority{t: t, key: key, pem: block("CERTIFICATE", der)}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return a
}

func block(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

// issue makes a certificate for 127.0.0.1 and for a client, and its key, in PEM.
func (a *authority) issue(serial int64) (cert, private string) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "postgres"}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	return block("CERTIFICATE", der), block("PRIVATE KEY", pkcs8)
}

// certify has the server speak TLS with a certificate of that authority, and ask
// clients for one of its own. The server writes the files, as whoever it runs as.
func (a *authority) certify(c *pgcluster.Cluster, serial int64) {
	a.t.Helper()
	cert, key := a.issue(serial)
	for file, content := range map[string]string{"server.crt": cert, "server.key": key, "root.crt": a.pem} {
		pgcluster.Exec(a.t, c.DSN(), `COPY (SELECT string_to_table('`+content+`', E'\n')) TO PROGRAM 'umask 077; cat >`+file+`'`)
	}
	pgcluster.Exec(a.t, c.DSN(), `ALTER SYSTEM SET ssl_ca_file = 'root.crt'`)
	pgcluster.Exec(a.t, c.DSN(), `ALTER SYSTEM SET ssl = on`)
	pgcluster.Exec(a.t, c.DSN(), `SELECT pg_reload_conf()`)
}

func put(t *testing.T, file, content string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// Whoever renews the certificates of both sides needs no restart of ours, and a
// server that the authorities do not vouch for is not talked to.
func TestCertificatesAreRenewed(t *testing.T) {
	c := cluster(t, pgcluster.Options{})
	dir := t.TempDir()
	caFile, certFile, keyFile := filepath.Join(dir, "ca"), filepath.Join(dir, "cert"), filepath.Join(dir, "key")
	first, second := newAuthority(t), newAuthority(t)
	first.certify(c, 10)
	cert, key := first.issue(20)
	put(t, caFile, first.pem)
	put(t, certFile, cert)
	put(t, keyFile, key)
	settings, err := pgx.ParseConfig(c.DSN())
	if err != nil {
		t.Fatal(err)
	}
	s, err := postgres.Open(postgres.Config{
		Host: settings.Host, Port: settings.Port, Database: settings.Database, User: settings.User, Password: settings.Password,
		SSL: postgres.SSL{CAFile: caFile, CertFile: certFile, KeyFile: keyFile}, MaxOpenConns: 1, // verify-full
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	// reaches says whether a new connection comes about, with a certificate of ours
	// of that number.
	reaches := func(serial string) bool {
		t.Helper()
		pgcluster.Exec(t, c.DSN(), `SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_ssl WHERE ssl`)
		if _, err := s.Ping(t.Context()); err != nil {
			if !errors.Is(err, storage.ErrUnavailable) {
				t.Error(err)
			}
			return false
		}
		conn := connect(t, c.DSN())
		return column(t, conn, `SELECT client_serial::text FROM pg_stat_ssl WHERE ssl`)[0] == serial
	}
	// The server takes new certificates a moment after it was told to.
	await := func(what string, met func() bool) {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); !met(); {
			if time.Now().After(deadline) {
				t.Fatal("never: " + what)
			}
		}
	}
	await("reached", func() bool { return reaches("20") })

	second.certify(c, 11)
	await("refused, by whom the authority does not vouch for", func() bool { return !reaches("20") })
	put(t, caFile, second.pem)
	cert, key = second.issue(21)
	put(t, certFile, cert)
	put(t, keyFile, key)
	await("reached by renewed files", func() bool { return reaches("21") })
	put(t, keyFile, "half of a ke")
	await("reached by the pair before, while there is none", func() bool { return reaches("21") })
}
