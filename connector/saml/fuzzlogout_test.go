package saml

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"log/slog"
	mathrand "math/rand/v2"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/countersign/countersign/connector"
	"github.com/countersign/countersign/connector/saml/samltest"
)

// logoutWorld is a connector and a request that its provider has signed.
func logoutWorld(t testing.TB) (c *Connector, good string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	idp := samltest.WithKey(t, "https://idp.example", key)
	our, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	c, err = New(Config{
		ACSURL: "https://we.example/callback", SSOURL: "https://idp.example/sso", SLOURL: "https://idp.example/slo", SignOutURL: "https://we.example/logout",
		Issuer: idp.Issuer, Certificates: []*x509.Certificate{idp.Certificate}, Signing: &KeyPair{Key: our, Certificate: samltest.Certify(t, our)},
		Now: func() time.Time { return now }, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	request := idp.LogoutRequest(samltest.Logout{ID: "_request", Destination: "https://we.example/logout", Now: now, NameID: "jane", Indexes: []string{"_s"}})
	return c, idp.Query("SAMLRequest", samltest.Text(request), "state")
}

// holds: a query is refused, or says what was signed.
func (c *Connector) holds(t *testing.T, query string) {
	t.Helper()
	values, _ := url.ParseQuery(query)
	r, err := c.ReceiveSignOut(context.Background(), connector.Message{RawQuery: query, Query: values})
	if err == nil && (r.ID != "_request" || r.UserID != "jane" || r.Means("jane", nil) || values.Get("RelayState") != "state") {
		t.Errorf("%q ends sessions of %q", query, r.UserID)
	}
}

// Whatever comes in an address, it ends nothing that was not signed, and nothing
// panics.
func FuzzLogoutRequest(f *testing.F) {
	c, good := logoutWorld(f)
	f.Add(good)
	f.Add("SAMLRequest=&SigAlg=&Signature=")
	f.Fuzz(func(t *testing.T, query string) { c.holds(t, query) })
}

// The same for changes at random, a few thousand in each run of the tests.
func TestRandomLogoutRequests(t *testing.T) {
	t.Parallel()
	c, good := logoutWorld(t)
	if values, err := url.ParseQuery(good); err != nil || !c.Asks(connector.Message{Query: values}) {
		t.Fatal(err)
	}
	if _, err := c.ReceiveSignOut(t.Context(), connector.Message{RawQuery: good}); err != nil {
		t.Fatal(err)
	}
	r := mathrand.New(mathrand.NewPCG(1, 2))
	for range 2000 {
		query := []byte(good)
		for range 1 + r.IntN(3) {
			i := r.IntN(len(query) - 40)
			switch r.IntN(3) {
			case 0:
				query[i] = byte(r.IntN(256))
			case 1:
				query = slices.Delete(query, i, i+r.IntN(40))
			case 2:
				query = slices.Insert(query, i, slices.Clone(query[i:i+40])...)
			}
		}
		c.holds(t, string(query))
	}
}
