package oidc

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	goidc "github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/countersign/countersign/connector"
	"github.com/countersign/countersign/connector/upstream"
)

// maxToken bounds each token that is looked at or kept, in bytes.
const maxToken = 256 << 10

// Arrive implements connector.RedirectConnector.
func (c *Connector) Arrive(ctx context.Context, a connector.Arrival) (connector.Identity, error) {
	p, err := c.ready()
	if err != nil {
		return connector.Identity{}, err
	}
	since, ok := upstream.KeptSince(a.Kept, secretBytes)
	if !ok || a.Received != nil {
		return connector.Identity{}, fmt.Errorf("%w: there was no such departure", connector.ErrUpstream)
	}
	code, err := upstream.Code(a.Query, func(iss string) bool { return c.issued(p, iss) })
	if err != nil {
		return connector.Identity{}, err
	}
	s := secrets(a.Kept[:secretBytes])
	tokens, err := c.oauth2(p).Exchange(c.context(ctx), code, oauth2.VerifierOption(s.verifier()))
	if err != nil {
		return connector.Identity{}, fmt.Errorf("%w: redeeming the code: %w", connector.ErrUpstream, upstream.Quiet(err))
	}
	raw, _ := tokens.Extra("id_token").(string)
	t, claims, err := c.verify(ctx, p, raw)
	if err != nil {
		return connector.Identity{}, fmt.Errorf("%w: %w", connector.ErrUpstream, err)
	}
	// OpenID Connect Core 1.0 section 3.1.3.7, 11.
	if subtle.ConstantTimeCompare([]byte(t.Nonce), []byte(s.nonce())) != 1 {
		return connector.Identity{}, fmt.Errorf("%w: the id_token has another nonce: it was made for another sign-in", connector.ErrUpstream)
	}
	if err := seen(claims, since); err != nil {
		return connector.Identity{}, fmt.Errorf("%w: %w", connector.ErrUpstream, err)
	}
	if t.AccessTokenHash != "" {
		if err := t.VerifyAccessToken(tokens.AccessToken); err != nil {
			return connector.Identity{}, fmt.Errorf("%w: %w", connector.ErrUpstream, err)
		}
	}
	who, err := c.identity(ctx, p, t.Subject, claims, tokens, "")
	if err == nil && c.cfg.SignOutURL != "" {
		who.Session = []byte(raw)
	}
	return who, err
}

// skew is how far the provider's clock may be from ours.
const skew = time.Minute

// seen checks that a person who had to authenticate anew did (OpenID Connect Core 1.0
// section 3.1.3.7, 13), as far as the provider says.
func seen(claims map[string]any, since time.Time) error {
	at, said := claims["auth_time"].(float64)
	if said && !since.IsZero() && at < float64(since.Add(-skew).Unix()) {
		return fmt.Errorf("the person had to authenticate anew, and did not since %s", time.Unix(int64(at), 0).UTC().Format(time.RFC3339))
	}
	return nil
}

// issued reports whether an authorization response that names this issuer, or none,
// is of the provider (RFC 9207 section 2.4).
func (c *Connector) issued(p *provider, iss string) bool {
	if iss == "" {
		return !p.IssInResponse
	}
	return iss == c.cfg.Issuer || iss == c.cfg.IssuerAlias
}

// context makes the libraries use our client.
func (c *Connector) context(ctx context.Context) context.Context {
	return context.WithValue(ctx, oauth2.HTTPClient, c.cfg.Client)
}

// verify checks an id_token (OpenID Connect Core 1.0 section 3.1.3.7), and returns
// all its claims.
func (c *Connector) verify(ctx context.Context, p *provider, raw string) (*goidc.IDToken, map[string]any, error) {
	if raw == "" || len(raw) > maxToken {
		return nil, nil, fmt.Errorf("there is no id_token, or one of %d bytes", len(raw))
	}
	t, err := p.verifier.Verify(ctx, raw)
	if err != nil {
		return nil, nil, fmt.Errorf("verifying the id_token: %w", err)
	}
	var claims map[string]any
	if err := t.Claims(&claims); err != nil {
		return nil, nil, fmt.Errorf("reading the id_token: %w", err)
	}
	// 3.1.3.7, 4 and 5: a token for several must say that it was made for us.
	if azp, ok := claims["azp"]; (ok || len(t.Audience) > 1) && azp != c.cfg.ClientID {
		return nil, nil, fmt.Errorf("the id_token was made for azp %.100q", fmt.Sprint(azp))
	}
	if t.Subject == "" || t.IssuedAt.IsZero() {
		return nil, nil, errors.New("the id_token has no sub or no iat")
	}
	return t, claims, nil
}

// identity makes an Identity of what the provider says. secret is the refresh
// token so far.
func (c *Connector) identity(ctx context.Context, p *provider, subject string, claims map[string]any, tokens *oauth2.Token, secret string) (connector.Identity, error) {
	if c.cfg.UserInfo {
		if err := c.userinfo(ctx, p, subject, claims, tokens); err != nil {
			return connector.Identity{}, err
		}
	}
	who, err := c.mapped(claims)
	if err != nil {
		return connector.Identity{}, err
	}
	if who.Groups, err = c.groups(ctx, claims, tokens); err != nil {
		return connector.Identity{}, err
	}
	if tokens.RefreshToken != "" {
		secret = tokens.RefreshToken
	}
	if len(secret) > maxToken {
		return connector.Identity{}, fmt.Errorf("%w: its refresh token has %d bytes", connector.ErrUpstream, len(secret))
	}
	if secret != "" {
		if who.Secret, err = json.Marshal(kept{RefreshToken: secret, Subject: subject}); err != nil {
			return connector.Identity{}, fmt.Errorf("encoding what is kept: %w", err)
		}
	}
	return who, nil
}

// userinfo puts the claims of the userinfo endpoint on top (OpenID Connect Core 1.0
// section 5.3).
func (c *Connector) userinfo(ctx context.Context, p *provider, subject string, claims map[string]any, tokens *oauth2.Token) error {
	if p.UserInfoURL == "" {
		return fmt.Errorf("%w: it has no userinfo endpoint", connector.ErrUpstream)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, p.UserInfoURL, nil)
	if err != nil {
		return fmt.Errorf("asking the userinfo endpoint: %w", err)
	}
	r.Header.Set("Authorization", "Bearer "+tokens.AccessToken)
	var more map[string]any
	if err := c.do(r, &more); err != nil {
		return fmt.Errorf("%w: asking the userinfo endpoint: %w", connector.ErrUpstream, err)
	}
	// 5.3.2: of somebody else, they must not be used.
	if more["sub"] != subject {
		return fmt.Errorf("%w: its userinfo endpoint speaks of somebody else", connector.ErrUpstream)
	}
	if _, ok := more["email"]; ok && text(more, "email") != text(claims, "email") {
		delete(claims, "email_verified") // the id_token's, of another address
	}
	for name, value := range more {
		if !slices.Contains([]string{"iss", "aud", "exp", "iat", "nonce", "azp"}, name) {
			claims[name] = value
		}
	}
	return nil
}
