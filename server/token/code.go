package token

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/countersign/countersign/server/oauth"
	"github.com/countersign/countersign/storage"
)

// reasonCodeReused is why a grant is revoked whose code comes back.
const reasonCodeReused = "code_reused"

// authorizationCode redeems a code (RFC 6749 section 4.1.3). A forged code costs
// no query, a good one costs a read and a write.
func (e *Endpoint) authorizationCode(ctx context.Context, client storage.Client, form url.Values) (Response, error) {
	req, err := oauth.ParseCodeRequest(form)
	if err != nil {
		return Response{}, err
	}
	payload, err := e.cfg.Codes.Parse(req.Code)
	if err != nil {
		return Response{}, oauth.ErrInvalidCode()
	}
	now := e.cfg.Now().UTC().Truncate(time.Microsecond)
	id := storage.GrantID(payload)
	g, identity, err := e.grantOf(ctx, id, now, oauth.ErrInvalidCode())
	if err != nil {
		return Response{}, err
	}
	reused, err := oauth.RedeemCode(g, client, req, now)
	if reused {
		return Response{}, e.revokeReused(ctx, id, now, err)
	}
	if err != nil {
		return Response{}, err
	}
	err = e.cfg.Grants.RedeemCode(ctx, id, now, oauth.RedeemedUntil(e.cfg.Policy, client, g, now))
	if errors.Is(err, storage.ErrConflict) {
		// Somebody else redeemed it since it was read.
		return Response{}, e.revokeReused(ctx, id, now, oauth.ErrCodeReused())
	}
	if err != nil {
		return Response{}, fmt.Errorf("redeeming the code: %w", err)
	}
	resp, err := e.issue(client, g, identity, oauth.NewIDToken, now)
	if oauth.IssuesRefreshToken(g) {
		resp.RefreshToken = e.refreshTokenOf(g)
	}
	return resp, err
}

// revokeReused ends the grant of a code that was presented twice, so that
// whatever was issued from it is dead before the refusal is sent.
func (e *Endpoint) revokeReused(ctx context.Context, id storage.GrantID, now time.Time, refusal error) error {
	if _, err := e.cfg.Grants.RevokeGrant(ctx, id, now, reasonCodeReused); err != nil {
		return fmt.Errorf("revoking the grant of a reused code: %w", err)
	}
	return refusal
}
