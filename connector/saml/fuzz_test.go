package saml

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	mathrand "math/rand/v2"
	"slices"
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

// The same for changes at random, a few thousand in each run of the tests.
func TestRandomChanges(t *testing.T) {
	t.Parallel()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	idp := samltest.WithKey(t, "https://idp.example", key)
	response := idp.Response(samltest.Answer{InResponseTo: "id-1", ACS: "acs", Audience: "us", Assertion: "_a", Now: time.Now(), Person: samltest.Person{NameID: "jane"}})
	idp.Sign(samltest.Assertion(response))
	good := []byte(samltest.Text(response))
	want := expected{acs: "acs", entityID: "us", issuer: idp.Issuer, now: time.Now(), certificates: []*x509.Certificate{idp.Certificate}}
	if _, err := read(good, want); err != nil {
		t.Fatal(err)
	}
	r := mathrand.New(mathrand.NewPCG(1, 2))
	for range 2000 {
		text := slices.Clone(good)
		for range 1 + r.IntN(3) {
			i := r.IntN(len(text) - 40)
			switch r.IntN(3) {
			case 0:
				text[i] = byte(r.IntN(256))
			case 1:
				text = slices.Delete(text, i, i+r.IntN(40))
			case 2:
				text = slices.Insert(text, i, slices.Clone(text[i:i+40])...)
			}
		}
		if a, err := read(text, want); err == nil && a.NameID != "jane" {
			t.Errorf("signed in as %q by %q", a.NameID, text)
		}
	}
}
