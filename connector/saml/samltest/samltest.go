// Package samltest is a SAML 2.0 identity provider for tests: it makes correct
// responses, signs and encrypts them, and lets tests change them at any step.
//
// It speaks for whoever its caller says. It is for tests only.
package samltest

import (
	"bytes"
	"cmp"
	"compress/flate"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/pem"
	"encoding/xml"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/beevik/etree"
	crewjam "github.com/crewjam/saml"
	"github.com/crewjam/saml/xmlenc"
	dsig "github.com/russellhaering/goxmldsig"
)

// IdP is an identity provider.
type IdP struct {
	t           testing.TB
	Issuer      string
	Key         crypto.Signer
	Certificate *x509.Certificate
}

// New makes one with a fresh RSA key.
func New(t testing.TB, issuer string) *IdP {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return WithKey(t, issuer, key)
}

// WithKey makes one.
func WithKey(t testing.TB, issuer string, key crypto.Signer) *IdP {
	t.Helper()
	return &IdP{t: t, Issuer: issuer, Key: key, Certificate: Certify(t, key)}
}

// Certify makes a certificate for a key.
func Certify(t testing.TB, key crypto.Signer) *x509.Certificate {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"},
		NotBefore: time.Now().Add(-24 * time.Hour), NotAfter: time.Now().Add(10 * 365 * 24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// PEM is a certificate as files have it.
func PEM(c *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
}

// Person is who signs in.
type Person struct {
	NameID, Format string
	Attributes     map[string][]string
}

// Answer is what a response says.
type Answer struct {
	InResponseTo, ACS, Audience string
	// Assertion is the assertion's ID. Index is the session's; empty: _s.
	Assertion, Index string
	Now              time.Time
	Person           Person
}

// Response is a response without signatures.
func (i *IdP) Response(a Answer) *etree.Element {
	return i.Parse(fmt.Sprintf(`<samlp:Response xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol" xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion" ID="_r%s" Version="2.0" IssueInstant="%s" Destination="%s" InResponseTo="%s"><saml:Issuer>%s</saml:Issuer><samlp:Status><samlp:StatusCode Value="urn:oasis:names:tc:SAML:2.0:status:Success"/></samlp:Status>%s</samlp:Response>`,
		a.Assertion, stamp(a.Now), escape(a.ACS), escape(a.InResponseTo), escape(i.Issuer), i.assertion(a)))
}

func (i *IdP) assertion(a Answer) string {
	var attributes strings.Builder
	for name, values := range a.Person.Attributes {
		fmt.Fprintf(&attributes, `<saml:Attribute Name="%s" NameFormat="urn:oasis:names:tc:SAML:2.0:attrname-format:basic">`, escape(name))
		for _, v := range values {
			fmt.Fprintf(&attributes, `<saml:AttributeValue xmlns:xs="http://www.w3.org/2001/XMLSchema" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="xs:string">%s</saml:AttributeValue>`, escape(v))
		}
		attributes.WriteString(`</saml:Attribute>`)
	}
	now, soon := stamp(a.Now), stamp(a.Now.Add(5*time.Minute))
	return fmt.Sprintf(`<saml:Assertion xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion" ID="%s" Version="2.0" IssueInstant="%s"><saml:Issuer>%s</saml:Issuer>`+
		`<saml:Subject><saml:NameID Format="%s">%s</saml:NameID><saml:SubjectConfirmation Method="urn:oasis:names:tc:SAML:2.0:cm:bearer"><saml:SubjectConfirmationData NotOnOrAfter="%s" Recipient="%s" InResponseTo="%s"/></saml:SubjectConfirmation></saml:Subject>`+
		`<saml:Conditions NotBefore="%s" NotOnOrAfter="%s"><saml:AudienceRestriction><saml:Audience>%s</saml:Audience></saml:AudienceRestriction></saml:Conditions>`+
		`<saml:AuthnStatement AuthnInstant="%s" SessionIndex="%s"><saml:AuthnContext><saml:AuthnContextClassRef>urn:oasis:names:tc:SAML:2.0:ac:classes:PasswordProtectedTransport</saml:AuthnContextClassRef></saml:AuthnContext></saml:AuthnStatement>`+
		`<saml:AttributeStatement>%s</saml:AttributeStatement></saml:Assertion>`,
		a.Assertion, now, escape(i.Issuer), escape(a.Person.Format), escape(a.Person.NameID), soon, escape(a.ACS), escape(a.InResponseTo), now, soon, escape(a.Audience), now, escape(cmp.Or(a.Index, "_s")), attributes.String())
}

// Parse reads XML.
func (i *IdP) Parse(text string) *etree.Element {
	i.t.Helper()
	doc := etree.NewDocument()
	if err := doc.ReadFromString(text); err != nil {
		i.t.Fatal(err)
	}
	return doc.Root()
}

// Sign puts a signature into an element, behind its Issuer.
func (i *IdP) Sign(el *etree.Element) { i.SignWith(el, crypto.SHA256) }

// SignWith is Sign with a hash.
func (i *IdP) SignWith(el *etree.Element, hash crypto.Hash) {
	i.t.Helper()
	el.InsertChildAt(1, i.Signature(el, hash))
}

// Signature makes one that is not put anywhere.
func (i *IdP) Signature(el *etree.Element, hash crypto.Hash) *etree.Element {
	i.t.Helper()
	s, err := dsig.NewSigningContext(i.Key, [][]byte{i.Certificate.Raw})
	if err != nil {
		i.t.Fatal(err)
	}
	s.Canonicalizer, s.Hash = dsig.MakeC14N10ExclusiveCanonicalizerWithPrefixList(""), hash
	signature, err := s.ConstructSignature(el, true)
	if err != nil {
		i.t.Fatal(err)
	}
	if key, ok := i.Key.(*ecdsa.PrivateKey); ok {
		value := signature.FindElement("./SignatureValue")
		value.SetText(i.raw(value.Text(), (key.Params().BitSize+7)/8))
	}
	return signature
}

// raw is an ECDSA signature as XML Signature has it.
func (i *IdP) raw(text string, size int) string {
	i.t.Helper()
	der, err := base64.StdEncoding.DecodeString(text)
	var v struct{ R, S *big.Int }
	if err == nil {
		_, err = asn1.Unmarshal(der, &v)
	}
	if err != nil {
		i.t.Fatal(err)
	}
	raw := make([]byte, 2*size)
	v.R.FillBytes(raw[:size])
	v.S.FillBytes(raw[size:])
	return base64.StdEncoding.EncodeToString(raw)
}

// Assertion is that of a response.
func Assertion(response *etree.Element) *etree.Element {
	return response.FindElement("./Assertion")
}

// Encrypt replaces the assertion of a response by an encrypted one.
func (i *IdP) Encrypt(response *etree.Element, to *x509.Certificate) {
	i.t.Helper()
	plain := Assertion(response)
	e := xmlenc.OAEP()
	e.BlockCipher, e.DigestMethod = xmlenc.AES256CBC, &xmlenc.SHA1
	data, err := e.Encrypt(to, []byte(Text(plain)), nil)
	if err != nil {
		i.t.Fatal(err)
	}
	data.CreateAttr("Type", "http://www.w3.org/2001/04/xmlenc#Element")
	encrypted := etree.NewElement("saml:EncryptedAssertion")
	encrypted.AddChild(data)
	response.InsertChildAt(plain.Index(), encrypted)
	response.RemoveChild(plain)
}

// Text is an element as a document.
func Text(el *etree.Element) string {
	doc := etree.NewDocument()
	doc.SetRoot(el.Copy())
	text, err := doc.WriteToString()
	if err != nil {
		panic(err)
	}
	return text
}

// Encode is a document as a form has it.
func Encode(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }

// Metadata describes a provider with these certificates.
func (i *IdP) Metadata(ssoURL string, certificates ...*x509.Certificate) string {
	var keys strings.Builder
	for _, c := range certificates {
		fmt.Fprintf(&keys, `<KeyDescriptor use="signing"><ds:KeyInfo xmlns:ds="http://www.w3.org/2000/09/xmldsig#"><ds:X509Data><ds:X509Certificate>%s</ds:X509Certificate></ds:X509Data></ds:KeyInfo></KeyDescriptor>`, base64.StdEncoding.EncodeToString(c.Raw))
	}
	return fmt.Sprintf(`<?xml version="1.0"?><EntityDescriptor xmlns="urn:oasis:names:tc:SAML:2.0:metadata" entityID="%s"><IDPSSODescriptor protocolSupportEnumeration="urn:oasis:names:tc:SAML:2.0:protocol">%s<SingleSignOnService Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST" Location="%s"/><SingleSignOnService Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect" Location="%s"/></IDPSSODescriptor></EntityDescriptor>`,
		escape(i.Issuer), keys.String(), escape(ssoURL), escape(ssoURL))
}

// Request reads the request in an address or a form.
func Request(values url.Values) (*crewjam.AuthnRequest, error) {
	raw, err := base64.StdEncoding.DecodeString(values.Get("SAMLRequest"))
	if err != nil {
		return nil, err
	}
	if !bytes.HasPrefix(raw, []byte("<")) {
		if raw, err = io.ReadAll(flate.NewReader(bytes.NewReader(raw))); err != nil {
			return nil, err
		}
	}
	var r crewjam.AuthnRequest
	return &r, xml.Unmarshal(raw, &r)
}

// Page is a provider's page at which its only person is signed in already: it
// answers every request with a form to our address.
type Page struct {
	*IdP
	Now func() time.Time

	mu     sync.Mutex
	person Person
	n      int
}

// Index is the session of the nth sign-in, from 1 on.
func (*Page) Index(n int) string { return fmt.Sprintf("_s%d", n) }

// Set says who signs in from now on.
func (p *Page) Set(person Person) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.person = person
}

// ServeHTTP implements http.Handler.
func (p *Page) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	request, err := Request(r.Form)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	p.mu.Lock()
	p.n++
	a := Answer{
		InResponseTo: request.ID, ACS: request.AssertionConsumerServiceURL, Audience: request.Issuer.Value,
		Assertion: fmt.Sprintf("_a%d", p.n), Index: p.Index(p.n), Now: p.Now(), Person: p.person,
	}
	p.mu.Unlock()
	response := p.Response(a)
	p.Sign(Assertion(response))
	w.Header().Set("Content-Type", "text/html")
	fmt.Fprintf(w, `<!DOCTYPE html><title>provider</title><form method="post" action="%s"><input type="hidden" name="SAMLResponse" value="%s"><input type="hidden" name="RelayState" value="%s"><button>Continue</button></form>`,
		escape(a.ACS), Encode(Text(response)), escape(r.Form.Get("RelayState")))
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

func escape(s string) string {
	var b strings.Builder
	if err := xml.EscapeText(&b, []byte(s)); err != nil {
		panic(err)
	}
	return b.String()
}
