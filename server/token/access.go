package token

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/countersign/countersign/server/clients"
	"github.com/countersign/countersign/server/oauth"
	"github.com/countersign/countersign/storage"
)

// accessToken makes the access token of a grant, in the format of the client.
func (e *Endpoint) accessToken(client storage.Client, g storage.Grant, now time.Time) (string, error) {
	if oauth.AccessTokenFormat(e.cfg.Policy, client) != oauth.FormatJWT {
		t := oauth.AccessToken{GrantID: g.ID, ExpiresAt: oauth.AccessTokenUntil(e.cfg.Policy, g, now), Scopes: g.Scopes}
		return e.cfg.AccessTokens.Make(t.Encode()), nil
	}
	var unique [16]byte
	if _, err := io.ReadFull(e.cfg.Random, unique[:]); err != nil {
		return "", fmt.Errorf("reading randomness: %w", err)
	}
	claims := oauth.NewJWTAccessToken(e.cfg.Policy, g, g.Scopes, unique, now)
	compact, _, err := e.cfg.Sign(oauth.SigningAlg(e.cfg.Policy, client), oauth.JWTTypeAccessToken, claims)
	if err != nil {
		return "", fmt.Errorf("signing an access token: %w", err)
	}
	return compact, nil
}

// verifyAccessToken returns the grant that a live access token stands for. The
// grant is looked at each time, so that revocation is immediate; a forged or
// expired token never gets that far.
func (e *Endpoint) verifyAccessToken(ctx context.Context, token string, now time.Time) (t oauth.AccessToken, g storage.Grant, id storage.Identity, err error) {
	if t, err = e.parseAccessToken(token); err == nil {
		err = oauth.CheckAccessToken(t, now)
	}
	if err != nil {
		return t, g, id, err
	}
	if g, id, err = e.grantOf(ctx, t.GrantID, now, oauth.ErrInvalidToken()); err == nil {
		err = oauth.CheckAccessGrant(g, now)
	}
	if err != nil {
		return t, g, id, err
	}
	// A client that was removed has nothing to ask any more.
	client, err := clients.Lookup(ctx, e.cfg.Clients, g.ClientID)
	if err == nil && client == nil {
		err = oauth.ErrInvalidToken()
	}
	return t, g, id, err
}

// parseAccessToken accepts both formats: a client's may have been changed while
// its tokens live. An id_token is neither: its `typ` differs.
func (e *Endpoint) parseAccessToken(token string) (oauth.AccessToken, error) {
	if e.cfg.AccessTokens.Is(token) {
		payload, err := e.cfg.AccessTokens.Parse(token)
		if err != nil {
			return oauth.AccessToken{}, oauth.ErrInvalidToken()
		}
		return oauth.DecodeAccessToken(payload)
	}
	payload, err := e.cfg.Verify(token, oauth.JWTTypeAccessToken)
	if err != nil {
		return oauth.AccessToken{}, oauth.ErrInvalidToken()
	}
	return oauth.ParseJWTAccessToken(e.cfg.Policy, payload)
}
