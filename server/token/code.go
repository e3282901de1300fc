package token

import (
	"context"
	"errors"
	"fmt"
	"net/url"

	"github.com/countersign/countersign/server/audit"
	"github.com/countersign/countersign/server/oauth"
	"github.com/countersign/countersign/server/request"
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
	now := e.now()
	id := storage.GrantID(payload)
	g, identity, err := e.grantOf(ctx, id, now, oauth.ErrInvalidCode())
	if err != nil {
		return Response{}, err
	}
	reused, err := oauth.RedeemCode(g, client, req, now)
	if reused {
		return Response{}, e.revoke(ctx, id, reasonCodeReused, err, codeReused(g))
	}
	if err != nil {
		return Response{}, err
	}
	g.ExpiresAt = oauth.RedeemedUntil(e.cfg.Policy, client, g, now)
	err = e.cfg.Grants.RedeemCode(ctx, storage.Redemption{
		ID: id, Now: now, ExpiresAt: g.ExpiresAt,
		UserAgent: request.Agent(ctx), IPAddress: request.AddressText(ctx),
	})
	if errors.Is(err, storage.ErrConflict) {
		// Somebody else redeemed it since it was read. Whatever was issued from it
		// is dead before the refusal is sent.
		if raced, _, err := e.cfg.Grants.Grant(ctx, id, now); err == nil {
			g = raced // the audit names who it was
		}
		return Response{}, e.revoke(ctx, id, reasonCodeReused, oauth.ErrCodeReused(), codeReused(g))
	}
	if err != nil {
		return Response{}, fmt.Errorf("redeeming the code: %w", err)
	}
	e.cfg.Audit.Write(ctx, audit.CodeRedeemed{Grant: audit.GrantOf(g)})
	resp, err := e.issue(client, g, identity, oauth.NewIDToken, now)
	if oauth.IssuesRefreshToken(g) {
		resp.RefreshToken = e.refreshTokenOf(g)
	}
	return resp, err
}

func codeReused(g storage.Grant) audit.Event {
	return audit.CodeReused{Grant: audit.GrantOf(g), HeldBy: audit.HolderOf(g)}
}
