package oidc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	goidc "github.com/coreos/go-oidc/v3/oidc"

	"github.com/countersign/countersign/connector"
	"github.com/countersign/countersign/connector/upstream"
)

const (
	// refreshInterval is how often the provider's metadata are learnt again.
	refreshInterval = time.Hour
	// askTimeout bounds one attempt.
	askTimeout = 10 * time.Second
)

// metadata is what is read of the discovery document (OpenID Connect Discovery 1.0
// section 3).
type metadata struct {
	Issuer      string   `json:"issuer"`
	AuthURL     string   `json:"authorization_endpoint"`
	TokenURL    string   `json:"token_endpoint"`
	JWKSURL     string   `json:"jwks_uri"`
	UserInfoURL string   `json:"userinfo_endpoint"`
	LogoutURL   string   `json:"end_session_endpoint"`
	Scopes      []string `json:"scopes_supported"`
	Algorithms  []string `json:"id_token_signing_alg_values_supported"`
	// IssInResponse: answers always say who gives them (RFC 9207 section 3).
	IssInResponse bool `json:"authorization_response_iss_parameter_supported"`
}

// provider is a provider that is known.
type provider struct {
	metadata
	keys     *keySet
	verifier *goidc.IDTokenVerifier
}

// ready returns the provider, or why there is none.
func (c *Connector) ready() (*provider, error) {
	if p := c.provider.Load(); p != nil {
		return p, nil
	}
	return nil, fmt.Errorf("%w: %w", connector.ErrUpstream, c.Ready())
}

// Run implements connector.Background: it learns the provider's metadata until it
// has them, and again every hour.
func (c *Connector) Run(ctx context.Context) {
	upstream.Learn(ctx, refreshInterval, c.learn, func(err error, first bool) {
		if c.provider.Load() == nil {
			c.failed(err)
		}
		if first {
			c.cfg.Logger.WarnContext(ctx, "an upstream does not answer as it should, people cannot sign in there until it does",
				slog.String("issuer", c.cfg.Issuer), slog.Any("error", err))
		}
	})
}

// learn fetches the metadata.
func (c *Connector) learn(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	var m metadata
	if err := c.get(ctx, strings.TrimSuffix(c.cfg.Issuer, "/")+"/.well-known/openid-configuration", &m); err != nil {
		return fmt.Errorf("reading the discovery document: %w", err)
	}
	for value, override := range map[*string]string{
		&m.AuthURL: c.cfg.Override.AuthURL, &m.TokenURL: c.cfg.Override.TokenURL, &m.JWKSURL: c.cfg.Override.JWKSURL,
	} {
		if override != "" {
			*value = override
		}
	}
	if err := c.check(m); err != nil {
		return err
	}
	p := &provider{metadata: m}
	if old := c.provider.Load(); old != nil && old.JWKSURL == m.JWKSURL {
		p.keys = old.keys
	} else {
		p.keys = newKeySet(m.JWKSURL, c.get, c.cfg.Now)
	}
	p.verifier = goidc.NewVerifier(c.cfg.IssuerAlias, p.keys, &goidc.Config{
		ClientID: c.cfg.ClientID, SupportedSigningAlgs: algorithms(m.Algorithms), Now: c.cfg.Now,
	})
	if c.provider.Swap(p) != nil {
		return nil
	}
	c.cfg.Logger.InfoContext(ctx, "an upstream is known", slog.String("issuer", c.cfg.Issuer))
	if c.cfg.SignOutURL != "" && m.LogoutURL == "" {
		c.cfg.Logger.WarnContext(ctx, "an upstream has no end_session_endpoint: who signs out here stays signed in there",
			slog.String("issuer", c.cfg.Issuer))
	}
	return nil
}

// check refuses metadata of somebody else, and addresses that lead nowhere or give
// our secret away.
func (c *Connector) check(m metadata) error {
	if m.Issuer != c.cfg.Issuer && m.Issuer != c.cfg.IssuerAlias {
		return fmt.Errorf("the discovery document is of issuer %q, not %q (OpenID Connect Discovery 1.0 section 4.3)", m.Issuer, c.cfg.Issuer)
	}
	secure := strings.HasPrefix(c.cfg.Issuer, "https:")
	for name, address := range map[string]string{
		"authorization_endpoint": m.AuthURL, "token_endpoint": m.TokenURL, "jwks_uri": m.JWKSURL,
		"userinfo_endpoint": m.UserInfoURL, "end_session_endpoint": m.LogoutURL,
	} {
		optional := name == "userinfo_endpoint" || name == "end_session_endpoint"
		if address == "" && optional {
			continue
		}
		u, err := url.Parse(address)
		if err != nil || u.Host == "" || u.User != nil || u.Scheme != "https" && (secure || u.Scheme != "http") {
			return fmt.Errorf("%s is %q: it must be an https address", name, address)
		}
	}
	if len(algorithms(m.Algorithms)) == 0 {
		return fmt.Errorf("id_token_signing_alg_values_supported is %q: none of them is asymmetric", m.Algorithms)
	}
	return nil
}

// asymmetric are the algorithms that a token may be signed with (RFC 8725 section
// 3.1). What else a provider offers is not looked at.
var asymmetric = []string{
	goidc.RS256, goidc.RS384, goidc.RS512, goidc.ES256, goidc.ES384, goidc.ES512,
	goidc.PS256, goidc.PS384, goidc.PS512, goidc.EdDSA,
}

// algorithms are those of a provider that are accepted; RS256 if it names none
// (OpenID Connect Discovery 1.0 section 3 says that it must).
func algorithms(supported []string) (accepted []string) {
	if len(supported) == 0 {
		return []string{goidc.RS256}
	}
	for _, alg := range asymmetric {
		if slices.Contains(supported, alg) {
			accepted = append(accepted, alg)
		}
	}
	return accepted
}

// get reads a JSON document.
func (c *Connector) get(ctx context.Context, address string, into any) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return fmt.Errorf("asking for %s: %w", address, err)
	}
	r.Header.Set("Accept", "application/json")
	return c.do(r, into)
}

// do reads the JSON document that answers a request.
func (c *Connector) do(r *http.Request, into any) error {
	resp, err := c.cfg.Client.Do(r)
	if err != nil {
		return err // it names the address
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answered %s", r.URL.Redacted(), resp.Status)
	}
	if kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); strings.HasPrefix(kind, "text/") || kind == "application/jwt" {
		return fmt.Errorf("%s answered with %s, not JSON", r.URL.Redacted(), kind)
	}
	d := json.NewDecoder(resp.Body)
	if err := d.Decode(into); err != nil {
		return fmt.Errorf("reading the answer of %s: %w", r.URL.Redacted(), err)
	}
	if d.More() {
		return errors.New("there is more than one document in the answer of " + r.URL.Redacted())
	}
	return nil
}
