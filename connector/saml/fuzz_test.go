package saml

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"math/big"
	mathrand "math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/countersign/countersign/connector/saml/samltest"
	"github.com/countersign/countersign/e2e/fuzz"
)

// Whatever is posted, nobody is signed in by it who was not in what was signed,
// and nothing panics.
func FuzzResponse(f *testing.F) {
	fuzz.Widely(f)
	// The workers are processes of their own: what one of them signs all have to
	// believe, also in the next run.
	now := time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC)
	idp := fixed(f, now)
	answer := samltest.Answer{
		InResponseTo: "id-1", ACS: "https://we.example/callback", Audience: "us", Assertion: "_a", Now: now,
		Person: samltest.Person{NameID: "jane", Attributes: map[string][]string{"groups": {"dev"}}},
	}
	want := expected{acs: answer.ACS, entityID: "us", issuer: idp.Issuer, now: now, certificates: []*x509.Certificate{idp.Certificate}}
	signed := idp.Response(answer)
	idp.Sign(samltest.Assertion(signed))
	for range 2 { // the assertion alone, and both
		text := []byte(samltest.Text(signed))
		if _, err := read(text, want); err != nil {
			f.Fatal(err)
		}
		f.Add(text)
		idp.Sign(signed)
	}
	f.Add([]byte(`<a:b xmlns:a="c"/>`))
	f.Fuzz(func(t *testing.T, text []byte) {
		a, err := read(text, want)
		if err == nil && (a.NameID != "jane" || a.InResponseTo != "id-1" || len(a.Attributes["groups"]) != 1 || a.Attributes["groups"][0] != "dev") {
			t.Errorf("signed in as %q by %q", a.NameID, text)
		}
	})
}

// Whatever the metadata are, they describe a provider that has a key and an address,
// and is the one that was asked for, or are refused.
func FuzzMetadata(f *testing.F) {
	fuzz.Widely(f)
	now := time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC)
	idp := fixed(f, now)
	one := idp.Metadata("https://idp.example/sso", idp.Certificate)
	_, inside, _ := strings.Cut(one, "?>")
	for _, text := range []string{one, `<EntitiesDescriptor xmlns="urn:oasis:names:tc:SAML:2.0:metadata">` + inside + `</EntitiesDescriptor>`} {
		if _, err := describe([]byte(text), idp.Issuer, ""); err != nil {
			f.Fatal(err)
		}
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := describe(text, idp.Issuer, "")
		if err == nil && (p.check() != nil || p.issuer != idp.Issuer) {
			t.Errorf("accepted %q: %+v", text, p)
		}
	})
}

// fixed is a provider with the same key each time.
func fixed(f *testing.F, now time.Time) *samltest.IdP {
	f.Helper()
	key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), bytes.Repeat([]byte{1}, 32))
	if err != nil {
		f.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		f.Fatal(err)
	}
	idp := samltest.WithKey(f, "https://idp.example", key)
	if idp.Certificate, err = x509.ParseCertificate(der); err != nil {
		f.Fatal(err)
	}
	return idp
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
