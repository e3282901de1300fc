package oidc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"golang.org/x/oauth2"

	"github.com/countersign/countersign/connector"
	"github.com/countersign/countersign/connector/upstream"
)

// kept is the Secret of an Identity.
type kept struct {
	RefreshToken string `json:"r"`
	// Subject is the sub, also where another claim is the user's id.
	Subject string `json:"s"`
	// Lost: an answer that may have brought the next RefreshToken never came.
	Lost bool `json:"l,omitempty"`
}

// SecretIsGoodForOneUse implements connector.SecretRefresher: providers may rotate
// refresh tokens (RFC 9700 section 4.14.2).
func (*Connector) SecretIsGoodForOneUse() {}

// Refresh implements connector.Refresher with the provider's own refresh token.
func (c *Connector) Refresh(ctx context.Context, before connector.Identity) (connector.Identity, error) {
	p, err := c.ready()
	if err != nil {
		return connector.Identity{}, err
	}
	var k kept
	if len(before.Secret) == 0 {
		return connector.Identity{}, fmt.Errorf("%w: the provider gave no refresh token", connector.ErrCannotAsk)
	}
	if err := json.Unmarshal(before.Secret, &k); err != nil {
		return connector.Identity{}, fmt.Errorf("%w: reading what was kept: %w", connector.ErrUpstream, err)
	}
	tokens, err := c.oauth2(p).TokenSource(c.context(ctx), &oauth2.Token{RefreshToken: k.RefreshToken}).Token()
	if err != nil {
		return c.notRefreshed(before, k, err)
	}
	who, err := c.refreshed(ctx, p, k, tokens)
	if err != nil && tokens.RefreshToken != "" && len(tokens.RefreshToken) <= maxToken {
		// The provider has rotated its token already: what failed may be tried again
		// with the new one, and not with the old.
		k.RefreshToken, k.Lost = tokens.RefreshToken, false
		if who.Secret, _ = json.Marshal(k); who.UserID == "" {
			who.UserID = before.UserID
		}
	}
	return who, err
}

// refreshed is who a person is by the tokens of a refresh.
func (c *Connector) refreshed(ctx context.Context, p *provider, k kept, tokens *oauth2.Token) (connector.Identity, error) {
	claims := map[string]any{"sub": k.Subject}
	if raw, _ := tokens.Extra("id_token").(string); raw != "" {
		t, all, err := c.verify(ctx, p, raw)
		if err != nil {
			return connector.Identity{}, fmt.Errorf("%w: %w", connector.ErrUpstream, err)
		}
		// OpenID Connect Core 1.0 section 12.2.
		if t.Subject != k.Subject {
			return connector.Identity{}, fmt.Errorf("%w: it refreshed somebody else", connector.ErrUpstream)
		}
		claims = all
	} else if !c.cfg.UserInfo {
		// A refresh without an id_token: only the userinfo endpoint can say more.
		if err := c.userinfo(ctx, p, k.Subject, claims, tokens); err != nil {
			return connector.Identity{}, err
		}
	}
	return c.identity(ctx, p, k.Subject, claims, tokens, k.RefreshToken)
}

// notRefreshed tells a person who is gone from a provider that fails: with
// invalid_grant the refresh token is over (RFC 6749 section 5.2), for whatever reason.
// But when an answer was lost, the reason may be that: then nobody is gone, and they
// sign in again. That it was lost is kept.
func (c *Connector) notRefreshed(before connector.Identity, k kept, err error) (who connector.Identity, _ error) {
	if e, ok := errors.AsType[*oauth2.RetrieveError](err); ok && e.ErrorCode == "invalid_grant" {
		over := connector.ErrGone
		if k.Lost {
			over = connector.ErrCannotAsk
		}
		return who, fmt.Errorf("%w: the provider does not take the refresh token any more: %.300q", over, e.ErrorDescription)
	}
	if upstream.Lost(err) && !k.Lost {
		k.Lost, who.UserID = true, before.UserID
		who.Secret, _ = json.Marshal(k)
	}
	return who, fmt.Errorf("%w: refreshing: %w", connector.ErrUpstream, upstream.Quiet(err))
}
