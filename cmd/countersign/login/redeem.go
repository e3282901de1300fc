package login

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

// maxAnswerBytes bounds each answer of the provider.
const maxAnswerBytes = 1 << 20

// redeem exchanges the code and verifies the id_token (OpenID Connect Core
// section 3.1.3.7).
func (a *attempt) redeem(ctx context.Context, code string) (*Result, error) {
	token, err := a.oauth.Exchange(ctx, code, oauth2.VerifierOption(a.verifier))
	if refused := (*oauth2.RetrieveError)(nil); errors.As(err, &refused) && refused.ErrorCode != "" {
		return nil, refusal(refused.ErrorCode, refused.ErrorDescription)
	}
	if err != nil {
		return nil, fmt.Errorf("redeeming the code: %w", cleanError(ctx, err))
	}
	raw, _ := token.Extra("id_token").(string)
	if raw == "" {
		return nil, errors.New("the provider sent no id_token")
	}
	verified, err := a.verify(ctx, raw, token.AccessToken)
	if err != nil {
		return nil, fmt.Errorf("verifying the id_token: %w", cleanError(ctx, err))
	}
	result := &Result{IDToken: raw}
	if err := verified.Claims(&result.Claims); err != nil {
		return nil, fmt.Errorf("reading the id_token: %w", cleanError(ctx, err))
	}
	return result, nil
}

func (a *attempt) verify(ctx context.Context, raw, accessToken string) (*oidc.IDToken, error) {
	verifier := a.provider.VerifierContext(ctx, &oidc.Config{ClientID: a.options.ClientID, Now: a.options.Now})
	token, err := verifier.Verify(ctx, raw)
	if err != nil {
		return nil, err
	}
	if subtle.ConstantTimeCompare([]byte(token.Nonce), []byte(a.nonce)) != 1 {
		return nil, errors.New("its nonce is not the one that was sent: it belongs to another login")
	}
	var azp struct {
		AuthorizedParty string `json:"azp"`
	}
	if err := token.Claims(&azp); err != nil {
		return nil, err
	}
	if azp.AuthorizedParty != "" && azp.AuthorizedParty != a.options.ClientID {
		return nil, errors.New("its azp is another client: it was made for somebody else")
	}
	// at_hash is optional in this flow, but has to be right when it is there.
	if token.AccessTokenHash != "" {
		if err := token.VerifyAccessToken(accessToken); err != nil {
			return nil, err
		}
	}
	return token, nil
}

// bounded is the client with every answer cut off at maxAnswerBytes.
func bounded(client *http.Client) *http.Client {
	c := *client
	c.Transport = limit{c.Transport}
	return &c
}

type limit struct{ http.RoundTripper }

func (l limit) RoundTrip(r *http.Request) (*http.Response, error) {
	next := l.RoundTripper
	if next == nil {
		next = http.DefaultTransport
	}
	resp, err := next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	resp.Body = struct {
		io.Reader
		io.Closer
	}{io.LimitReader(resp.Body, maxAnswerBytes), resp.Body}
	return resp, nil
}
