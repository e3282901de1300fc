package saml

import (
	"bytes"
	"compress/flate"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/url"
	"strings"
	"time"

	"github.com/beevik/etree"
	dsig "github.com/russellhaering/goxmldsig"

	"github.com/countersign/countersign/connector"
)

// The parameters of a message.
const (
	samlRequest  = "SAMLRequest"
	samlResponse = "SAMLResponse"
)

// maxLogout bounds a message of single logout, in bytes: it has no attributes.
const maxLogout = 32 << 10

// deflate is the only encoding of redirects (SAML Bindings 3.4.4).
const deflate = "urn:oasis:names:tc:SAML:2.0:bindings:URL-Encoding:DEFLATE"

// receive returns the message of a redirect or a form, and its RelayState. It was
// signed by the provider, or it is refused.
func (c *Connector) receive(ctx context.Context, p *provider, parameter string, m connector.Message) (root *etree.Element, state string, err error) {
	if m.Form != nil {
		err = c.read(ctx, func() (err error) {
			root, err = c.posted(p, parameter, m.Form)
			return err
		})
		return root, m.Form.Get("RelayState"), err
	}
	deflated, state, err := signedRedirect(m.RawQuery, parameter, p.certificates, c.cfg.Now())
	if err != nil {
		return nil, "", err
	}
	// The provider itself has made it, and still it may not be without end.
	raw, err := io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(deflated)), maxLogout+1))
	if err != nil {
		return nil, "", fmt.Errorf("inflating it: %w", err)
	}
	if len(raw) > maxLogout {
		return nil, "", fmt.Errorf("it has more than %d bytes", maxLogout)
	}
	root, err = parse(raw)
	return root, state, err
}

// posted reads the message of a form (SAML Bindings 3.5), from the very bytes that
// were signed.
func (c *Connector) posted(p *provider, parameter string, form url.Values) (*etree.Element, error) {
	values := form[parameter]
	if len(values) != 1 || len(form["RelayState"]) > 1 || len(values[0]) > base64.StdEncoding.EncodedLen(maxLogout) {
		return nil, fmt.Errorf("there are %d of them, or it is too long", len(values))
	}
	raw, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(values[0]), ""))
	if err != nil {
		return nil, fmt.Errorf("it is not base64: %w", err)
	}
	root, err := parse(raw)
	if err != nil {
		return nil, err
	}
	signed, err := verified(root, p.certificates, c.cfg.Now())
	if err == nil && signed == nil {
		err = errors.New("it is not signed")
	}
	return signed, err
}

// signedRedirect returns the message of an address, still deflated, if one of the
// keys has signed it (SAML Bindings 3.4.4.1). What is signed are the octets of the
// query as they came, so that nobody has to agree on how to escape.
func signedRedirect(query, parameter string, trusted []*x509.Certificate, now time.Time) (deflated []byte, state string, err error) {
	values, err := url.ParseQuery(query)
	if err != nil {
		return nil, "", errors.New("its query is malformed")
	}
	octets, err := signedOctets(query, parameter, values)
	if err != nil {
		return nil, "", err
	}
	signature, err := decode(values.Get("Signature"))
	if err != nil {
		return nil, "", fmt.Errorf("its signature: %w", err)
	}
	if err := verifyOctets(values.Get("SigAlg"), octets, signature, trusted, now); err != nil {
		return nil, "", err
	}
	deflated, err = decode(values.Get(parameter))
	return deflated, values.Get("RelayState"), err
}

// signedOctets are the parameters that are signed, in the order of the standard.
// Each is there once, by its plain name: what the signature is over and what is
// read are the same.
func signedOctets(query, parameter string, values url.Values) ([]byte, error) {
	if len(values[samlRequest])+len(values[samlResponse]) != 1 || len(values["SigAlg"]) != 1 || len(values["Signature"]) != 1 || len(values["RelayState"]) > 1 {
		return nil, errors.New("it is not signed, or something is there twice")
	}
	if e := values.Get("SAMLEncoding"); e != "" && e != deflate {
		return nil, fmt.Errorf("its encoding is %.100q", e)
	}
	raw := make(map[string]string)
	for _, pair := range strings.Split(query, "&") {
		name, _, _ := strings.Cut(pair, "=")
		raw[name] = pair
	}
	var signed []string
	for _, name := range []string{parameter, "RelayState", "SigAlg"} {
		if !values.Has(name) && name == "RelayState" {
			continue
		}
		if raw[name] == "" {
			return nil, fmt.Errorf("there is no %s", name)
		}
		signed = append(signed, raw[name])
	}
	return []byte(strings.Join(signed, "&")), nil
}

func decode(value string) ([]byte, error) {
	raw, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(value), ""))
	if err != nil {
		return nil, fmt.Errorf("it is not base64: %w", err)
	}
	return raw, nil
}

// hashes are those of signatureMethods.
var hashes = map[string]crypto.Hash{
	dsig.RSASHA256SignatureMethod: crypto.SHA256, dsig.RSASHA384SignatureMethod: crypto.SHA384, dsig.RSASHA512SignatureMethod: crypto.SHA512,
	dsig.ECDSASHA256SignatureMethod: crypto.SHA256, dsig.ECDSASHA384SignatureMethod: crypto.SHA384, dsig.ECDSASHA512SignatureMethod: crypto.SHA512,
}

// verifyOctets checks a signature by any of the keys.
func verifyOctets(method string, octets, signature []byte, trusted []*x509.Certificate, now time.Time) error {
	hash, ok := hashes[method]
	if !ok {
		return fmt.Errorf("SigAlg %.100q is not accepted", method)
	}
	h := hash.New()
	h.Write(octets)
	digest := h.Sum(nil)
	for _, certificate := range trusted {
		if now.Before(certificate.NotBefore) || now.After(certificate.NotAfter) {
			continue
		}
		switch key := certificate.PublicKey.(type) {
		case *rsa.PublicKey:
			if strings.Contains(method, "#rsa-") && rsa.VerifyPKCS1v15(key, hash, digest, signature) == nil {
				return nil
			}
		case *ecdsa.PublicKey:
			if strings.Contains(method, "#ecdsa-") && verifyECDSA(key, digest, signature) {
				return nil
			}
		}
	}
	return errors.New("none of the provider's keys has signed it")
}

// verifyECDSA takes r and s one after the other (XML Signature 1.1 section 6.4.3).
func verifyECDSA(key *ecdsa.PublicKey, digest, signature []byte) bool {
	size := (key.Params().BitSize + 7) / 8
	if len(signature) != 2*size {
		return false
	}
	return ecdsa.Verify(key, digest, new(big.Int).SetBytes(signature[:size]), new(big.Int).SetBytes(signature[size:]))
}
