package saml

import (
	"bytes"
	"compress/flate"
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"net/url"
	"time"

	"github.com/beevik/etree"
	crewjam "github.com/crewjam/saml"
	dsig "github.com/russellhaering/goxmldsig"

	"github.com/countersign/countersign/connector"
	"github.com/countersign/countersign/connector/upstream"
)

// idBytes is the size of what a departure keeps: the random part of the request's ID.
const idBytes = 20

// requestID is the ID of a departure's request.
func requestID(kept []byte) string { return "id-" + hex.EncodeToString(kept[:idBytes]) }

// Depart implements connector.RedirectConnector.
func (c *Connector) Depart(_ context.Context, d connector.Departure) (connector.Away, error) {
	p, err := c.known()
	if err != nil {
		return connector.Away{}, fmt.Errorf("%w: %w", connector.ErrUpstream, err)
	}
	kept := make([]byte, idBytes)
	if _, err := io.ReadFull(c.cfg.Random, kept); err != nil {
		return connector.Away{}, fmt.Errorf("making the id of a request: %w", err)
	}
	request := c.request(p, requestID(kept), d.Asks(), c.cfg.Now().UTC())
	away, err := c.send(message{parameter: samlRequest, binding: p.binding, to: p.ssoURL, root: request, state: d.State})
	if err != nil {
		return connector.Away{}, fmt.Errorf("%w: making the request: %w", connector.ErrUpstream, err)
	}
	away.Kept = upstream.KeepSince(kept, d.SeenSince)
	return away, nil
}

// request is an AuthnRequest (SAML Core 3.4.1, Profiles 4.1.4.1).
func (c *Connector) request(p *provider, id string, fresh bool, now time.Time) *etree.Element {
	r := crewjam.AuthnRequest{
		ID: id, Version: "2.0", IssueInstant: now, Destination: p.ssoURL, Issuer: &crewjam.Issuer{Value: c.cfg.EntityID},
		AssertionConsumerServiceURL: c.cfg.ACSURL, ProtocolBinding: crewjam.HTTPPostBinding,
	}
	if fresh {
		r.ForceAuthn = &fresh
	}
	if name := format(c.cfg.NameIDFormat); name != "" {
		create := true
		r.NameIDPolicy = &crewjam.NameIDPolicy{Format: &name, AllowCreate: &create}
	}
	el := r.Element()
	if len(c.cfg.AuthnContexts) > 0 {
		context := el.CreateElement("samlp:RequestedAuthnContext")
		context.CreateAttr("Comparison", "exact")
		for _, class := range c.cfg.AuthnContexts {
			context.CreateElement("saml:AuthnContextClassRef").SetText(class)
		}
	}
	return el
}

// message is a document on its way to the provider.
type message struct {
	// parameter is samlRequest or samlResponse.
	parameter, binding, to string
	root                   *etree.Element
	// state is the RelayState; may be empty.
	state string
}

// send encodes a message for its binding.
func (c *Connector) send(m message) (connector.Away, error) {
	if m.binding == Redirect {
		address, err := c.redirect(m)
		return connector.Away{URL: address}, err
	}
	if c.cfg.Signing != nil {
		if err := c.sign(m.root); err != nil {
			return connector.Away{}, err
		}
	}
	text, err := document(m.root)
	if err != nil {
		return connector.Away{}, err
	}
	// SAML Bindings 3.5.4.
	form := url.Values{m.parameter: {base64.StdEncoding.EncodeToString(text)}}
	if m.state != "" {
		form.Set("RelayState", m.state)
	}
	return connector.Away{URL: m.to, Form: form}, nil
}

// redirect makes the address of SAML Bindings 3.4.4.1: what is signed is the octets
// of the query in this order.
func (c *Connector) redirect(m message) (string, error) {
	text, err := document(m.root)
	if err != nil {
		return "", err
	}
	var deflated bytes.Buffer
	w, err := flate.NewWriter(&deflated, flate.BestCompression)
	if err != nil {
		return "", fmt.Errorf("deflating: %w", err)
	}
	if _, err := w.Write(text); err != nil {
		return "", fmt.Errorf("deflating: %w", err)
	}
	if err := w.Close(); err != nil {
		return "", fmt.Errorf("deflating: %w", err)
	}
	query := m.parameter + "=" + url.QueryEscape(base64.StdEncoding.EncodeToString(deflated.Bytes()))
	if m.state != "" {
		query += "&RelayState=" + url.QueryEscape(m.state)
	}
	if c.cfg.Signing != nil {
		query += "&SigAlg=" + url.QueryEscape(dsig.RSASHA256SignatureMethod)
		digest := sha256.Sum256([]byte(query))
		signature, err := rsa.SignPKCS1v15(c.cfg.Random, c.cfg.Signing.Key, crypto.SHA256, digest[:])
		if err != nil {
			return "", fmt.Errorf("signing: %w", err)
		}
		query += "&Signature=" + url.QueryEscape(base64.StdEncoding.EncodeToString(signature))
	}
	u, err := url.Parse(m.to)
	if err != nil {
		return "", fmt.Errorf("reading the provider's address: %w", err)
	}
	if u.RawQuery != "" {
		query = u.RawQuery + "&" + query
	}
	u.RawQuery = query
	return u.String(), nil
}

// sign puts a signature into a request, behind its Issuer (SAML Core 5.4).
func (c *Connector) sign(request *etree.Element) error {
	s, err := dsig.NewSigningContext(c.cfg.Signing.Key, [][]byte{c.cfg.Signing.Certificate.Raw})
	if err != nil {
		return fmt.Errorf("signing: %w", err)
	}
	s.Canonicalizer = dsig.MakeC14N10ExclusiveCanonicalizerWithPrefixList("")
	signature, err := s.ConstructSignature(request, true)
	if err != nil {
		return fmt.Errorf("signing: %w", err)
	}
	request.InsertChildAt(1, signature)
	return nil
}

func document(root *etree.Element) ([]byte, error) {
	doc := etree.NewDocument()
	doc.SetRoot(root)
	text, err := doc.WriteToBytes()
	if err != nil {
		return nil, fmt.Errorf("writing a document: %w", err)
	}
	return text, nil
}
