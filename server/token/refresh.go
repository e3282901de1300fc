package token

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"github.com/countersign/countersign/server/oauth"
	"github.com/countersign/countersign/server/recheck"
	"github.com/countersign/countersign/server/request"
	"github.com/countersign/countersign/storage"
)

// Reasons for which a refresh revokes a grant.
const (
	reasonReused     = "refresh_token_reused"
	reasonNotAllowed = "connector_not_allowed"
)

// maxTurns bounds how often a refresh looks again: once after a recheck, and
// once more for each race that it lost.
const maxTurns = 4

// refreshToken redeems a refresh token (RFC 6749 section 6). A forged one costs
// no query, a good one exactly one statement; whatever is not plain costs a read
// more, and the connector is asked while nothing is held.
func (e *Endpoint) refreshToken(r *http.Request, client storage.Client, form url.Values) (Response, error) {
	req, err := oauth.ParseRefreshRequest(form)
	if err != nil {
		return Response{}, err
	}
	payload, err := e.cfg.RefreshTokens.Parse(req.Token)
	if err != nil {
		return Response{}, oauth.ErrInvalidRefreshToken()
	}
	t, err := oauth.DecodeRefreshToken(payload)
	if err != nil {
		return Response{}, err
	}
	now := e.cfg.Now().UTC().Truncate(time.Microsecond)
	if err := e.checkScope(r.Context(), client, t, req.Scope, now); err != nil {
		return Response{}, err
	}
	g, id, err := e.rotate(r, client, t, now)
	if err != nil {
		return Response{}, err
	}
	if err := oauth.CheckRefreshed(g, client, e.cfg.Connectors); err != nil {
		return Response{}, e.revoke(r.Context(), g.ID, reasonNotAllowed, now, err)
	}
	// The new refresh token keeps all that was granted (RFC 6749 section 6).
	next := e.refreshTokenOf(g)
	if g.Scopes, err = oauth.Narrow(g.Scopes, req.Scope); err != nil {
		return Response{}, err
	}
	resp, err := e.issue(client, g, id, oauth.NewRefreshedIDToken, now)
	resp.RefreshToken = next
	return resp, err
}

// refreshTokenOf is the newest refresh token of a grant: always the same one.
func (e *Endpoint) refreshTokenOf(g storage.Grant) string {
	t := oauth.RefreshToken{GrantID: g.ID, Generation: g.Generation}
	return e.cfg.RefreshTokens.Make(t.Encode())
}

// checkScope refuses a scope that is too wide before anything is rotated, so that
// a client's mistake does not cost it its token. Most requests name none.
func (e *Endpoint) checkScope(ctx context.Context, client storage.Client, t oauth.RefreshToken, scope string, now time.Time) error {
	if scope == "" {
		return nil
	}
	g, _, err := e.grantOf(ctx, t.GrantID, now, oauth.ErrInvalidRefreshToken())
	if err != nil {
		return err
	}
	if g.ClientID != client.ID {
		return oauth.ErrInvalidRefreshToken()
	}
	_, err = oauth.Narrow(g.Scopes, scope)
	return err
}

// rotate moves the grant to its next refresh token, or finds that it was moved a
// moment ago.
func (e *Endpoint) rotate(r *http.Request, client storage.Client, t oauth.RefreshToken, now time.Time) (storage.Grant, storage.Identity, error) {
	ctx := r.Context()
	checkedAfter := e.cfg.Rechecker.CheckedAfter(now)
	for range maxTurns {
		step := oauth.NewRotation(t, client, e.cfg.Policy, checkedAfter, request.UserAgent(r), request.AddressText(ctx), now)
		g, id, err := e.cfg.Grants.RotateGrant(ctx, step)
		if err == nil {
			return g, id, nil
		}
		if !errors.Is(err, storage.ErrConflict) {
			return g, id, fmt.Errorf("rotating a refresh token: %w", err)
		}
		if g, id, err = e.grantOf(ctx, t.GrantID, now, oauth.ErrInvalidRefreshToken()); err != nil {
			return g, id, err
		}
		switch verdict, err := oauth.Refresh(g, client, t, e.cfg.Policy, now); verdict {
		case oauth.RefreshRepeat:
			request.Note(ctx, slog.Bool("refresh_repeated", true))
			return g, id, nil
		case oauth.RefreshReuse:
			return g, id, e.revoke(ctx, g.ID, reasonReused, now, err)
		case oauth.RefreshRefuse:
			return g, id, err
		}
		if err := e.fresh(ctx, id); err != nil {
			return g, id, err
		}
		// The identity is as fresh as it can be: only the grant decides now.
		checkedAfter = time.Time{}
	}
	return storage.Grant{}, storage.Identity{}, fmt.Errorf("%w: a refresh lost %d races in a row", storage.ErrUnavailable, maxTurns)
}

// fresh rechecks the person of a grant.
func (e *Endpoint) fresh(ctx context.Context, id storage.Identity) error {
	err := e.cfg.Rechecker.Fresh(ctx, id)
	if errors.Is(err, recheck.ErrGone) {
		return oauth.ErrInvalidRefreshToken()
	}
	return err
}

// revoke ends a grant before the refusal is sent.
func (e *Endpoint) revoke(ctx context.Context, id storage.GrantID, reason string, now time.Time, refusal error) error {
	request.Note(ctx, slog.String("grant", id.String()), slog.String("revoked", reason))
	if _, err := e.cfg.Grants.RevokeGrant(ctx, id, now, reason); err != nil {
		return fmt.Errorf("revoking a grant: %w", err)
	}
	return refusal
}
