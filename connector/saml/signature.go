package saml

import (
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/beevik/etree"
	dsig "github.com/russellhaering/goxmldsig"
)

// What a signature may be made with. SHA-1 is not among it, and no transform that
// could choose what is signed.
var (
	signatureMethods = []string{
		dsig.RSASHA256SignatureMethod, dsig.RSASHA384SignatureMethod, dsig.RSASHA512SignatureMethod,
		dsig.ECDSASHA256SignatureMethod, dsig.ECDSASHA384SignatureMethod, dsig.ECDSASHA512SignatureMethod,
	}
	digestMethods = []string{
		"http://www.w3.org/2001/04/xmlenc#sha256", "http://www.w3.org/2001/04/xmldsig-more#sha384", "http://www.w3.org/2001/04/xmlenc#sha512",
	}
	exclusive  = string(dsig.CanonicalXML10ExclusiveAlgorithmId)
	enveloped  = string(dsig.EnvelopedSignatureAltorithmId)
	transforms = []string{enveloped, exclusive}
)

// verified returns what the signature of an element has signed, read again from
// the very bytes that were digested: nothing else of it may be used. An element
// without a signature of its own is nil.
//
// A certificate in the message is never looked at: any of the trusted ones has to
// have made the signature.
func verified(el *etree.Element, trusted []*x509.Certificate, now time.Time) (*etree.Element, error) {
	signature, err := optional(el, nsSignature, dsig.SignatureTag)
	if signature == nil || err != nil {
		return nil, err
	}
	if err := checkSignature(el, signature); err != nil {
		return nil, err
	}
	el = detached(el)
	if signature, err = child(el, nsSignature, dsig.SignatureTag); err != nil {
		return nil, err
	}
	for _, info := range children(signature, nsSignature, dsig.KeyInfoTag) {
		signature.RemoveChild(info)
	}
	for _, certificate := range trusted {
		var signed *etree.Element
		if signed, err = verifiedBy(el, certificate, now); err == nil {
			return signed, nil
		}
	}
	return nil, fmt.Errorf("the signature of the %s: %w: %w", el.Tag, errUnknownKey, err)
}

// verifiedBy is verified for one certificate.
func verifiedBy(el *etree.Element, certificate *x509.Certificate, now time.Time) (*etree.Element, error) {
	el = el.Copy()
	if key, ok := certificate.PublicKey.(*ecdsa.PublicKey); ok {
		if err := toASN1(el, key); err != nil {
			return nil, err
		}
	}
	c := dsig.ValidationContext{
		CertificateStore: &dsig.MemoryX509CertificateStore{Roots: []*x509.Certificate{certificate}},
		IdAttribute:      dsig.DefaultIdAttr,
		Clock:            dsig.NewFakeClockAt(now),
	}
	signed, err := c.Validate(el)
	if err != nil {
		return nil, err
	}
	if signed == nil || signed.Tag != el.Tag || signed.NamespaceURI() != el.NamespaceURI() || attribute(signed, "ID") != attribute(el, "ID") {
		return nil, errors.New("something else is signed")
	}
	return signed, nil
}

// checkSignature holds a signature to SAML Core 5.4: one reference, to the element
// that it is in, with known algorithms and transforms.
func checkSignature(el, signature *etree.Element) error {
	for _, part := range signature.ChildElements() {
		// What else there could be, such as Object, is a place to hide things in.
		if part.NamespaceURI() != nsSignature || !slices.Contains([]string{dsig.SignedInfoTag, dsig.SignatureValueTag, dsig.KeyInfoTag}, part.Tag) {
			return fmt.Errorf("the signature has a part %.50q", part.Tag)
		}
	}
	info, err := child(signature, nsSignature, dsig.SignedInfoTag)
	if err != nil {
		return err
	}
	if err := algorithm(info, dsig.CanonicalizationMethodTag, exclusive); err != nil { // SAML Core 5.4.3
		return err
	}
	if err := algorithm(info, dsig.SignatureMethodTag, signatureMethods...); err != nil {
		return err
	}
	reference, err := child(info, nsSignature, dsig.ReferenceTag) // SAML Core 5.4.2: a single one
	if err != nil {
		return err
	}
	if len(info.ChildElements()) != 3 {
		return errors.New("SignedInfo has more in it than it may")
	}
	id := attribute(el, "ID")
	if id == "" || attribute(reference, dsig.URIAttr) != "#"+id {
		return fmt.Errorf("the signature is for %.100q, not for the %s that it is in", attribute(reference, dsig.URIAttr), el.Tag)
	}
	return checkReference(reference)
}

func checkReference(reference *etree.Element) error {
	if err := algorithm(reference, dsig.DigestMethodTag, digestMethods...); err != nil {
		return err
	}
	value, err := child(reference, nsSignature, dsig.DigestValueTag)
	if err != nil {
		return err
	}
	digest, err := text(value)
	if err != nil {
		return err
	}
	if strings.TrimSpace(digest) == "" {
		return errors.New("the digest is empty")
	}
	list, err := child(reference, nsSignature, dsig.TransformsTag)
	if err != nil {
		return err
	}
	if len(reference.ChildElements()) != 3 {
		return errors.New("the reference has more in it than it may")
	}
	var used []string // SAML Core 5.4.4
	for _, t := range list.ChildElements() {
		used = append(used, attribute(t, dsig.AlgorithmAttr))
	}
	if !slices.Equal(used, transforms) {
		return fmt.Errorf("the transforms %.300q are not accepted", used)
	}
	return nil
}

// algorithm checks the one that a child names.
func algorithm(el *etree.Element, tag string, allowed ...string) error {
	method, err := child(el, nsSignature, tag)
	if err != nil {
		return err
	}
	if used := attribute(method, dsig.AlgorithmAttr); !slices.Contains(allowed, used) {
		return fmt.Errorf("%s %.100q is not accepted", tag, used)
	}
	return nil
}

// detached is a copy of an element that stands alone: with the namespaces that its
// ancestors declare.
func detached(el *etree.Element) *etree.Element {
	alone := el.Copy()
	declared := make(map[string]bool)
	add := func(from *etree.Element, to func(etree.Attr)) {
		for _, a := range from.Attr {
			name := a.Space + ":" + a.Key
			if (a.Space == "xmlns" || name == ":xmlns") && !declared[name] {
				declared[name] = true
				to(a)
			}
		}
	}
	add(el, func(etree.Attr) {})
	for up := el.Parent(); up != nil; up = up.Parent() {
		add(up, func(a etree.Attr) {
			alone.Attr = append(alone.Attr, etree.Attr{Space: a.Space, Key: a.Key, Value: a.Value})
		})
	}
	return alone
}

// toASN1 rewrites an ECDSA signature value from the form of XML Signature 1.1
// section 6.4.3, r and s one after the other, to the one that crypto/x509 takes.
func toASN1(el *etree.Element, key *ecdsa.PublicKey) error {
	signature, err := child(el, nsSignature, dsig.SignatureTag)
	if err != nil {
		return err
	}
	value, err := child(signature, nsSignature, dsig.SignatureValueTag)
	if err != nil {
		return err
	}
	encoded, err := text(value)
	if err != nil {
		return err
	}
	raw, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(encoded), ""))
	size := (key.Params().BitSize + 7) / 8
	if err != nil || len(raw) != 2*size {
		return errors.New("it has no ECDSA signature value")
	}
	der, err := asn1.Marshal(struct{ R, S *big.Int }{new(big.Int).SetBytes(raw[:size]), new(big.Int).SetBytes(raw[size:])})
	if err != nil {
		return fmt.Errorf("encoding the signature value: %w", err)
	}
	value.SetText(base64.StdEncoding.EncodeToString(der))
	return nil
}
