package oidc

import (
	"context"
	"fmt"

	"golang.org/x/oauth2"

	"github.com/countersign/countersign/connector"
	"github.com/countersign/countersign/connector/oidc/groups"
)

// Directory knows the groups of people where the tokens of their provider do not say
// them, or not all. It is safe for concurrent use.
type Directory interface {
	// Groups returns the groups of the person that claims are about and accessToken
	// speaks for; ok is false if the claims say them already. It says that there are
	// none only when it was told so. Its error is or wraps *connector.DeniedError or
	// connector.ErrUpstream.
	Groups(ctx context.Context, claims map[string]any, accessToken string) (all []string, ok bool, err error)
}

var (
	_ Directory = (*groups.Google)(nil)
	_ Directory = (*groups.Microsoft)(nil)
)

// groups are those of a person.
func (c *Connector) groups(ctx context.Context, claims map[string]any, tokens *oauth2.Token) ([]string, error) {
	said, err := c.said(ctx, claims, tokens)
	if err != nil {
		return nil, err
	}
	return c.modified(said, claims), nil
}

// said are the groups that the provider says. Those that it keeps elsewhere, where
// nobody asks, are a failure: it would look as if there were none.
func (c *Connector) said(ctx context.Context, claims map[string]any, tokens *oauth2.Token) ([]string, error) {
	if c.cfg.Directory != nil {
		all, ok, err := c.cfg.Directory.Groups(ctx, claims, tokens.AccessToken)
		if ok || err != nil {
			return all, err
		}
	}
	if !c.cfg.Groups {
		return nil, nil
	}
	key := c.key(claims, "groups", c.cfg.Keys.Groups)
	_, said := claims[key]
	if !said && key == "groups" && groups.Elsewhere(claims) {
		return nil, fmt.Errorf("%w: there are more groups than its tokens hold", connector.ErrUpstream)
	}
	// The sign-in has read them of the id_token, which a refresh may be without (OpenID
	// Connect Core 1.0 section 12.2). Both errors: what was rotated has to be kept.
	if raw, _ := tokens.Extra("id_token").(string); raw == "" && !said && !c.cfg.UserInfo {
		return nil, fmt.Errorf("%w: %w: it refreshed without an id_token, and its userinfo endpoint says no groups",
			connector.ErrCannotAsk, connector.ErrUpstream)
	}
	return texts(claims[key]), nil
}
