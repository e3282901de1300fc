package saml_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"log/slog"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/beevik/etree"

	"github.com/countersign/countersign/connector"
	"github.com/countersign/countersign/connector/saml"
	"github.com/countersign/countersign/connector/saml/samltest"
)

const (
	acs    = "https://we.example/callback"
	issuer = "https://idp.example/metadata"
	ssoURL = "https://idp.example/sso"
)

// Keys take long to make: one of each does for all tests.
var (
	rsaKey, otherKey, ourKey = lazyRSA(), lazyRSA(), lazyRSA()
	ecKey                    = sync.OnceValue(func() crypto.Signer {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			panic(err)
		}
		return key
	})
)

func lazyRSA() func() crypto.Signer {
	return sync.OnceValue(func() crypto.Signer {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			panic(err)
		}
		return key
	})
}

var now = time.Now().UTC().Truncate(time.Second)

// world is a connector and its provider.
type world struct {
	*testing.T
	idp  *samltest.IdP
	conn *saml.Connector
	kept []byte
	// left is what is kept of a departure to sign out.
	left []byte
	// answer is what a correct response says.
	answer samltest.Answer
}

type change func(*saml.Config)

func newWorld(t *testing.T, changes ...change) *world {
	t.Helper()
	w := &world{T: t, idp: samltest.WithKey(t, issuer, rsaKey())}
	w.conn = connect(t, append([]change{func(c *saml.Config) { c.Certificates = certificates(w.idp) }}, changes...)...)
	w.depart(connector.Departure{State: "flow"})
	return w
}

func certificates(idps ...*samltest.IdP) (all []*x509.Certificate) {
	for _, i := range idps {
		all = append(all, i.Certificate)
	}
	return all
}

func config(changes ...change) saml.Config {
	c := saml.Config{
		ACSURL: acs, SSOURL: ssoURL, Issuer: issuer,
		Attributes: saml.Attributes{Name: "name", Email: "mail", Groups: "groups"},
		Now:        func() time.Time { return now }, Logger: slog.New(slog.DiscardHandler),
	}
	for _, change := range changes {
		change(&c)
	}
	return c
}

func connect(t *testing.T, changes ...change) *saml.Connector {
	t.Helper()
	conn, err := saml.New(config(changes...))
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// ours is a key pair of ours.
func ours(t *testing.T) *saml.KeyPair {
	t.Helper()
	return &saml.KeyPair{Key: ourKey().(*rsa.PrivateKey), Certificate: samltest.Certify(t, ourKey())}
}

// depart sends a browser away, and expects it back.
func (w *world) depart(d connector.Departure) connector.Away {
	w.Helper()
	away, err := w.conn.Depart(w.Context(), d)
	if err != nil {
		w.Fatal(err)
	}
	values := away.Form
	if values == nil {
		u, err := url.Parse(away.URL)
		if err != nil {
			w.Fatal(err)
		}
		values = u.Query()
	}
	request, err := samltest.Request(values)
	if err != nil {
		w.Fatal(err)
	}
	w.kept = away.Kept
	w.answer = samltest.Answer{
		InResponseTo: request.ID, ACS: acs, Audience: request.Issuer.Value, Assertion: "_assertion", Now: now,
		Person: samltest.Person{
			NameID: "jane-1", Format: "urn:oasis:names:tc:SAML:2.0:nameid-format:persistent",
			Attributes: map[string][]string{"name": {"Jane"}, "mail": {"jane@example.com"}, "groups": {"dev", "ops"}},
		},
	}
	return away
}

// signed is a correct response whose assertion is signed, after a change that the
// provider itself has made.
func (w *world) signed(changes ...func(*etree.Element)) *etree.Element {
	response := w.idp.Response(w.answer)
	for _, change := range changes {
		change(response)
	}
	w.idp.Sign(samltest.Assertion(response))
	return response
}

// post lets the connector receive a document.
func (w *world) post(text string) (connector.Receipt, error) {
	return w.conn.Receive(w.Context(), url.Values{"SAMLResponse": {samltest.Encode(text)}, "RelayState": {"flow"}})
}

// signIn goes the whole way with a document.
func (w *world) signIn(text string) (connector.Identity, error) {
	receipt, err := w.post(text)
	if err != nil {
		return connector.Identity{}, err
	}
	return w.conn.Arrive(w.Context(), connector.Arrival{Kept: w.kept, Received: receipt.Content})
}
