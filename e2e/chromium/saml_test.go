package chromium_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/countersign/countersign/e2e/simplesamlphp"
)

// samlUpstream signs people in at a SimpleSAMLphp that knows us by three names: it
// signs assertions for the first; it wants signed requests and signs responses for
// the second; it encrypts what it signs for the third.
func samlUpstream(w *world) {
	idp := simplesamlphp.Start(w.t)
	pair, certificate := keyPair(w)
	connectors := "connectors:\n"
	for _, c := range []struct{ id, more string }{
		{"plain", ""},
		{"signed", fmt.Sprintf(", signingKey: '%[1]s', signingCert: '%[1]s', binding: redirect", pair)},
		{"encrypted", fmt.Sprintf(", encryptionKey: '%[1]s', encryptionCert: '%[1]s', requestedAuthnContext: ['urn:oasis:names:tc:SAML:2.0:ac:classes:Password']", pair)},
	} {
		connectors += fmt.Sprintf("- {type: saml, id: %[1]s, config: {metadataURL: '%[2]s', entityIssuer: 'urn:%[1]s', usernameAttr: displayName, emailAttr: mail, groupsAttr: groups%[3]s}}\n", c.id, idp.Metadata, c.more)
	}
	w.serve(people, connectors)
	idp.Certificate("sp.crt", certificate)
	acs := w.issuer + "/callback"
	idp.Register("urn:plain", acs, "")
	idp.Register("urn:signed", acs, "'saml20.sign.response' => true, 'saml20.sign.assertion' => false, 'validate.authnrequest' => true, 'certificate' => 'sp.crt'")
	idp.Register("urn:encrypted", acs, "'assertion.encryption' => true, 'certificate' => 'sp.crt'")
	w.t.Cleanup(func() {
		if w.t.Failed() {
			w.t.Logf("%s\n%s", idp.Log(), w.server.Log())
		}
	})
	for deadline := time.Now().Add(30 * time.Second); strings.Count(w.server.Log(), "an upstream is known") < 3; {
		if time.Now().After(deadline) {
			w.t.Fatal("the provider's metadata were not read")
		}
		time.Sleep(20 * time.Millisecond)
	}
	subjects := make(map[any]bool)
	for _, id := range []string{"plain", "signed", "encrypted"} {
		b := w.stranger()
		b.elsewhere = true
		b.open(w.app.address("/login?connector_id=" + id))
		b.see("#username")
		b.do("signing in at the provider",
			chromedp.SetValue(chromedp.CSS("#username"), simplesamlphp.Alice), chromedp.SetValue(chromedp.CSS("#password"), simplesamlphp.Password))
		b.click("[type=submit]")
		b.approve()
		b.wants(map[string]any{"iss": w.issuer, "email": "alice@example.org", "email_verified": true, "name": "Alice Example"})
		claims := b.claims()
		if groups := fmt.Sprint(claims["groups"]); groups != "[devs k8s-admins]" {
			w.t.Errorf("%s: groups %s", id, groups)
		}
		subjects[claims["sub"]] = true
	}
	if len(subjects) != 3 {
		w.t.Errorf("one person at three connectors is %d people", len(subjects))
	}
	if log := w.server.Log(); strings.Contains(log, "SAMLResponse") || strings.Contains(log, "alice@example.org") {
		w.t.Error("an assertion is in the log")
	}
}

// keyPair is a file with a key of ours and its certificate.
func keyPair(w *world) (file string, certificate []byte) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		w.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "countersign"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		w.t.Fatal(err)
	}
	certificate = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	file = filepath.Join(w.t.TempDir(), "saml.pem")
	text := append(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}), certificate...)
	if err := os.WriteFile(file, text, 0o600); err != nil {
		w.t.Fatal(err)
	}
	return file, certificate
}
