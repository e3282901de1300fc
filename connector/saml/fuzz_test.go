package saml

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"testing"
	"time"

	"github.com/countersign/countersign/connector/saml/samltest"
)

// Whatever is posted, nobody is signed in by it who was not in what was signed,
// and nothing panics.
func FuzzResponse(f *testing.F) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	idp := samltest.WithKey(f, "https://idp.example", key)
	now := time.Now()
	answer := samltest.Answer{
		InResponseTo: "id-1", ACS: "https://we.example/callback", Audience: "us", Assertion: "_a", Now: now,
		Person: samltest.Person{NameID: "jane", Attributes: map[string][]string{"groups": {"dev"}}},
	}
	signed := idp.Response(answer)
	idp.Sign(samltest.Assertion(signed))
	f.Add([]byte(samltest.Text(signed)))
	idp.Sign(signed)
	f.Add([]byte(samltest.Text(signed)))
	f.Add([]byte(`<a:b xmlns:a="c"/>`))
	want := expected{acs: answer.ACS, entityID: "us", issuer: idp.Issuer, now: now}
	want.certificates = append(want.certificates, idp.Certificate)
	f.Fuzz(func(t *testing.T, text []byte) {
		a, err := read(text, want)
		if err == nil && (a.NameID != "jane" || a.InResponseTo != "id-1" || len(a.Attributes["groups"]) != 1 || a.Attributes["groups"][0] != "dev") {
			t.Errorf("signed in as %q by %q", a.NameID, text)
		}
	})
}
