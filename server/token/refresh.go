package token

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"

	"github.com/countersign/countersign/server/audit"
	"github.com/countersign/countersign/server/clients"
	"github.com/countersign/countersign/server/oauth"
	"github.com/countersign/countersign/server/recheck"
	"github.com/countersign/countersign/server/request"
	"github.com/countersign/countersign/storage"
)

// Reasons for which a refresh revokes a grant.
const (
	reasonReused     = "refresh_token_reused"
	reasonNotAllowed = "not_allowed"
)

// maxTurns bounds how often a refresh looks again: once after a recheck, and
// once more for each race that it lost.
const maxTurns = 4

// refreshToken redeems a refresh token (RFC 6749 section 6). A forged one or
// another client's costs no query, a good one exactly one statement; whatever is
// not plain costs a read more, a repeat also a write, and the connector is asked
// while nothing is held.
func (e *Endpoint) refreshToken(r *http.Request, client storage.Client, form url.Values) (Response, error) {
	req, err := oauth.ParseRefreshRequest(form)
	if err != nil {
		return Response{}, err
	}
	t, err := e.parseRefreshToken(req.Token)
	if err != nil {
		return Response{}, err
	}
	if !t.IssuedTo(client) {
		return Response{}, oauth.ErrInvalidRefreshToken()
	}
	if err := e.checkScope(r.Context(), client, t, req.Scope); err != nil {
		return Response{}, err
	}
	g, id, err := e.rotate(r, client, t)
	if err != nil {
		return Response{}, err
	}
	if err := e.checkRefreshed(r.Context(), client, g); err != nil {
		return Response{}, err
	}
	// The new refresh token keeps all that was granted (RFC 6749 section 6).
	next := e.refreshTokenOf(g)
	if g.Scopes, err = oauth.Narrow(g.Scopes, req.Scope); err != nil {
		return Response{}, err
	}
	resp, err := e.issue(client, g, id, oauth.NewRefreshedIDToken, e.now())
	resp.RefreshToken = next
	return resp, err
}

// parseRefreshToken reads a token that we made.
func (e *Endpoint) parseRefreshToken(token string) (oauth.RefreshToken, error) {
	payload, err := e.cfg.RefreshTokens.Parse(token)
	if err != nil {
		return oauth.RefreshToken{}, oauth.ErrInvalidRefreshToken()
	}
	return oauth.DecodeRefreshToken(payload)
}

// checkRefreshed ends a grant that the configuration does not allow any more.
func (e *Endpoint) checkRefreshed(ctx context.Context, client storage.Client, g storage.Grant) error {
	refusal, err := e.notAllowed(ctx, client, g)
	if err != nil || refusal == nil {
		return err
	}
	return e.revoke(ctx, g.ID, reasonNotAllowed, refusal,
		audit.GrantRevoked{Grant: audit.GrantOf(g), By: audit.ByConfiguration, Reason: reasonNotAllowed})
}

// notAllowed says why the configuration does not let a grant go on, or nil.
func (e *Endpoint) notAllowed(ctx context.Context, client storage.Client, g storage.Grant) (refusal, err error) {
	peers, err := clients.Find(ctx, e.cfg.Clients, oauth.Audiences(g.Scopes))
	if err != nil {
		return nil, fmt.Errorf("loading the audiences: %w", err)
	}
	return oauth.CheckRefreshed(e.cfg.Policy, g, client, peers, e.cfg.Connectors, e.now()), nil
}

// refreshTokenOf is the newest refresh token of a grant: always the same one.
func (e *Endpoint) refreshTokenOf(g storage.Grant) string {
	return e.cfg.RefreshTokens.Make(oauth.NewestRefreshToken(g).Encode())
}

// checkScope refuses a scope that is too wide before anything is rotated, so that
// a client's mistake does not cost it its token. Most requests name none.
func (e *Endpoint) checkScope(ctx context.Context, client storage.Client, t oauth.RefreshToken, scope string) error {
	if scope == "" {
		return nil
	}
	g, _, err := e.grantOf(ctx, t.GrantID, e.now(), oauth.ErrInvalidRefreshToken())
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
// moment ago. Each turn reads the clock: the time in which a lost response may be
// repeated begins with the rotation, not with a request that waited for an
// upstream.
func (e *Endpoint) rotate(r *http.Request, client storage.Client, t oauth.RefreshToken) (storage.Grant, storage.Identity, error) {
	ctx := r.Context()
	checkedAfter := e.cfg.Rechecker.CheckedAfter(e.now())
	for range maxTurns {
		now := e.now()
		step := oauth.NewRotation(t, client, e.cfg.Policy, checkedAfter, request.UserAgent(r), request.AddressText(ctx), now)
		g, id, err := e.cfg.Grants.RotateGrant(ctx, step)
		if err == nil {
			e.cfg.Audit.Write(ctx, audit.TokenRefreshed{Grant: audit.GrantOf(g), Generation: g.Generation})
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
			if g, id, err = e.cfg.Grants.RotateGrant(ctx, oauth.NewRepeat(g)); errors.Is(err, storage.ErrConflict) {
				continue // it was moved or revoked just now
			}
			if err != nil {
				return g, id, fmt.Errorf("repeating a rotation: %w", err)
			}
			request.Note(ctx, slog.Bool("refresh_repeated", true))
			e.cfg.Audit.Write(ctx, audit.TokenRepeated{Grant: audit.GrantOf(g), Generation: g.Generation, HeldBy: audit.HolderOf(g)})
			return g, id, nil
		case oauth.RefreshReuse:
			return g, id, e.revoke(ctx, g.ID, reasonReused, err, audit.TokenReused{
				Grant: audit.GrantOf(g), Generation: g.Generation, Presented: t.Generation, HeldBy: audit.HolderOf(g),
			})
		case oauth.RefreshRefuse:
			return g, id, err
		}
		if err := e.fresh(ctx, id); err != nil {
			return g, id, err
		}
		// The identity is as fresh as it can be: only the grant decides now.
		checkedAfter = nil
	}
	return storage.Grant{}, storage.Identity{}, fmt.Errorf("%w: a refresh lost %d races in a row", storage.ErrUnavailable, maxTurns)
}

// fresh rechecks the person of a grant.
func (e *Endpoint) fresh(ctx context.Context, id storage.Identity) error {
	err := e.cfg.Rechecker.Fresh(ctx, id)
	if errors.Is(err, recheck.ErrGone) || errors.Is(err, recheck.ErrSignInAgain) {
		return oauth.ErrInvalidRefreshToken()
	}
	return err
}

// revoke ends a grant before the refusal is sent, also when the client has hung up:
// whoever replays a token could do that to escape. The record is written if it was
// this call that ended the grant.
func (e *Endpoint) revoke(ctx context.Context, id storage.GrantID, reason string, refusal error, record audit.Event) error {
	request.Note(ctx, slog.String("grant", id.String()), slog.String("revoked", reason))
	ended, err := e.cfg.Revoker.Grant(context.WithoutCancel(ctx), id, reason)
	if err != nil {
		return err
	}
	if ended {
		e.cfg.Audit.Write(ctx, record)
	}
	return refusal
}
