package saml

import (
	"bytes"
	"cmp"
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	crewjam "github.com/crewjam/saml"
	xrv "github.com/mattermost/xml-roundtrip-validator"

	"github.com/countersign/countersign/connector/upstream"
)

const (
	// urlInterval and fileInterval are how often the provider's metadata are read
	// again.
	urlInterval  = time.Hour
	fileInterval = time.Minute
	// askTimeout bounds one attempt.
	askTimeout = 10 * time.Second
	// maxMetadata bounds a file, as package upstream does a response.
	maxMetadata = 1 << 20
)

// provider is an identity provider that is known.
type provider struct {
	issuer       string
	certificates []*x509.Certificate
	ssoURL       string
	binding      string
	slo          slo
	// validUntil is when its metadata end; zero: never.
	validUntil time.Time
}

// slo is where people are signed out; without a url, nowhere.
type slo struct {
	// answerURL takes answers to the provider's own requests.
	url, answerURL, binding string
}

// check refuses a provider without keys, and addresses that are none.
func (p *provider) check() error {
	if len(p.certificates) == 0 {
		return errors.New("there is no certificate of the provider's: anybody could sign")
	}
	for _, c := range p.certificates {
		if err := strong(c); err != nil {
			return err
		}
	}
	addresses := []string{p.ssoURL}
	if p.slo.url != "" {
		addresses = append(addresses, p.slo.url, p.slo.answerURL)
	}
	for _, address := range addresses {
		u, err := url.Parse(address)
		if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil || u.Fragment != "" {
			return fmt.Errorf("the provider's address %.200q is none: it must be https", address)
		}
	}
	return nil
}

// known returns the provider, or why there is none.
func (c *Connector) known() (*provider, error) {
	p := c.provider.Load()
	if p == nil {
		return nil, errors.New(*c.trouble.Load())
	}
	if !p.validUntil.IsZero() && !c.cfg.Now().Before(p.validUntil) {
		return nil, fmt.Errorf("the provider's metadata were valid until %s", p.validUntil)
	}
	return p, nil
}

// Run implements connector.Background: it reads the provider's metadata until it
// has them, and then again and again, so that new certificates are believed and old
// ones no longer.
func (c *Connector) Run(ctx context.Context) {
	if !c.fromMetadata() {
		return
	}
	interval := urlInterval
	if c.cfg.MetadataFile != "" {
		interval = fileInterval
	}
	upstream.Learn(ctx, interval, c.learn, func(err error, first bool) {
		c.failed(err)
		if first {
			c.cfg.Logger.WarnContext(ctx, "the metadata of an upstream cannot be read", slog.Any("error", err))
		}
	})
}

// learn reads the metadata once.
func (c *Connector) learn(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	text, err := c.fetch(ctx)
	if err != nil {
		return fmt.Errorf("fetching the provider's metadata: %w", err)
	}
	p, err := describe(text, c.cfg.Issuer, c.cfg.Binding)
	if err != nil {
		return fmt.Errorf("reading the provider's metadata: %w", err)
	}
	if !p.validUntil.IsZero() && !c.cfg.Now().Before(p.validUntil) {
		return fmt.Errorf("the provider's metadata were valid until %s", p.validUntil)
	}
	if c.provider.Swap(p) != nil {
		return nil
	}
	c.cfg.Logger.InfoContext(ctx, "an upstream is known", slog.String("issuer", p.issuer), slog.Int("certificates", len(p.certificates)))
	if c.cfg.SignOutURL != "" && p.slo.url == "" {
		c.cfg.Logger.WarnContext(ctx, "an upstream has no SingleLogoutService: who signs out here stays signed in there", slog.String("issuer", p.issuer))
	}
	return nil
}

func (c *Connector) fetch(ctx context.Context) ([]byte, error) {
	if c.cfg.MetadataFile != "" {
		f, err := os.Open(c.cfg.MetadataFile)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		text, err := io.ReadAll(io.LimitReader(f, maxMetadata+1))
		if err == nil && len(text) > maxMetadata {
			err = fmt.Errorf("the file has more than %d bytes", maxMetadata)
		}
		return text, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, c.cfg.MetadataURL, nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Accept", "application/samlmetadata+xml, application/xml, text/xml")
	resp, err := c.cfg.Client.Do(r)
	if err != nil {
		return nil, err // it names the address
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answered %s", r.URL.Redacted(), resp.Status)
	}
	return io.ReadAll(resp.Body) // bounded by the client
}

// describe reads metadata (SAML Metadata 2.4.3). issuer chooses among several
// providers; empty: there is one.
func describe(text []byte, issuer, binding string) (*provider, error) {
	if err := checkBounds(text); err != nil { // first: the next takes the square of the attributes
		return nil, err
	}
	if err := xrv.Validate(bytes.NewReader(text)); err != nil {
		return nil, err
	}
	found, err := entities(text)
	if err != nil {
		return nil, err
	}
	var p *provider
	for _, e := range found {
		if len(e.IDPSSODescriptors) == 0 || issuer != "" && e.EntityID != issuer {
			continue
		}
		if p != nil {
			return nil, errors.New("they have several providers: set ssoIssuer")
		}
		if p, err = descriptor(e, binding); err != nil {
			return nil, err
		}
	}
	if p == nil {
		return nil, fmt.Errorf("they have no identity provider %q", issuer)
	}
	return p, p.check()
}

// unmarshal is xml.Unmarshal without cacheDuration, which is of no use to us: the
// library takes that of groups and roles for a number, and fails.
func unmarshal(text []byte, into any) error {
	return xml.NewTokenDecoder(uncached{xml.NewDecoder(bytes.NewReader(text))}).Decode(into)
}

type uncached struct{ of *xml.Decoder }

// Token implements xml.TokenReader.
func (u uncached) Token() (xml.Token, error) {
	token, err := u.of.RawToken()
	if start, ok := token.(xml.StartElement); ok {
		start.Attr = slices.DeleteFunc(start.Attr, func(a xml.Attr) bool { return a.Name.Local == "cacheDuration" })
		token = start
	}
	return token, err
}

// entities are those of an EntityDescriptor or of EntitiesDescriptors.
func entities(text []byte) ([]crewjam.EntityDescriptor, error) {
	var one crewjam.EntityDescriptor
	oneErr := unmarshal(text, &one)
	if oneErr == nil {
		return []crewjam.EntityDescriptor{one}, nil
	}
	var many crewjam.EntitiesDescriptor
	if err := unmarshal(text, &many); err != nil {
		return nil, oneErr
	}
	return contained(many, time.Time{}), nil
}

// contained are the entities in a descriptor, none of which is valid for longer than
// what it is in (SAML Metadata 2.3.1).
func contained(in crewjam.EntitiesDescriptor, until time.Time) (all []crewjam.EntityDescriptor) {
	until = earlier(until, in.ValidUntil)
	for _, e := range in.EntityDescriptors {
		e.ValidUntil = earlier(e.ValidUntil, &until)
		all = append(all, e)
	}
	for _, inner := range in.EntitiesDescriptors {
		all = append(all, contained(inner, until)...)
	}
	return all
}

// earlier is the first of two times, of which one that is missing never comes.
func earlier(a time.Time, b *time.Time) time.Time {
	if b == nil || b.IsZero() || !a.IsZero() && a.Before(*b) {
		return a
	}
	return *b
}

func descriptor(e crewjam.EntityDescriptor, binding string) (*provider, error) {
	p := &provider{issuer: e.EntityID, validUntil: e.ValidUntil}
	if p.issuer == "" {
		return nil, errors.New("they have no entityID")
	}
	addresses, ends := make(map[string]string), make(map[string]slo)
	for _, d := range e.IDPSSODescriptors {
		p.validUntil = earlier(p.validUntil, d.ValidUntil) // SAML Metadata 2.4.1
		for _, s := range d.SingleSignOnServices {
			if addresses[s.Binding] == "" {
				addresses[s.Binding] = s.Location
			}
		}
		for _, s := range d.SingleLogoutServices {
			if ends[s.Binding].url == "" {
				ends[s.Binding] = slo{url: s.Location, answerURL: cmp.Or(s.ResponseLocation, s.Location)}
			}
		}
		for _, k := range d.KeyDescriptors {
			if k.Use != "" && k.Use != "signing" {
				continue
			}
			for _, data := range k.KeyInfo.X509Data.X509Certificates {
				c, err := certificate(data.Data)
				if err != nil {
					return nil, err
				}
				p.certificates = append(p.certificates, c)
			}
		}
	}
	for _, b := range []struct{ name, urn string }{{Redirect, crewjam.HTTPRedirectBinding}, {Post, crewjam.HTTPPostBinding}} {
		if p.ssoURL == "" && (binding == "" || binding == b.name) {
			p.ssoURL, p.binding = addresses[b.urn], b.name
		}
		if p.slo.url == "" { // Redirect, unless there is only Post
			p.slo, p.slo.binding = ends[b.urn], b.name
		}
	}
	return p, nil
}

func certificate(text string) (*x509.Certificate, error) {
	der, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(text), ""))
	if err != nil {
		return nil, fmt.Errorf("decoding a certificate: %w", err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("reading a certificate: %w", err)
	}
	return c, nil
}
