package recheck

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/countersign/countersign/connector"
	"github.com/countersign/countersign/server/identity"
	"github.com/countersign/countersign/storage"
)

const (
	// claimPause is the time between two looks whether another replica has an answer.
	claimPause = 100 * time.Millisecond

	// clockError is how far the clocks of two replicas may be apart before anybody is
	// told: each 30 s from the database's. The one that is ahead must not take a
	// question that is being asked for over.
	clockError = time.Minute

	// storePatience is for how long an answer that brought a secret is offered to a
	// store that is away: longer than a database takes to fail over.
	storePatience = 15 * time.Second
)

var (
	// errAnswered: there is nothing to ask any more.
	errAnswered = errors.New("recheck: answered already")
	// errStore: it was the store that failed.
	errStore = errors.New("claiming a recheck")
)

// claim waits for the right to ask about a person, and returns what is stored, and
// what the connector is to be told. The error is or wraps errAnswered, errStore or
// connector.ErrUpstream.
func (r *Rechecker) claim(ctx context.Context, s Source, id storage.Identity) (storage.Identity, connector.Identity, error) {
	var none connector.Identity
	for {
		now := r.cfg.Now().UTC().Truncate(time.Microsecond)
		found, sealed, err := r.cfg.Store.ClaimRecheck(ctx, storage.RecheckClaim{
			ConnectorID: id.ConnectorID, UserID: id.UserID,
			CheckedAfter: now.Add(-s.Recheck.After), Now: now, Until: now.Add(r.timeout(s) + clockError),
		})
		switch {
		case err == nil && !s.Recheck.Due(found.CheckedAt, now): // another replica has asked
			r.answers.add(found)
			return id, none, errAnswered
		case err == nil:
			before, err := r.known(found, sealed)
			return found, before, err
		case errors.Is(err, storage.ErrNotFound): // the last grant has expired: the refresh will find that out
			return id, none, errAnswered
		case !errors.Is(err, storage.ErrConflict) && ctx.Err() == nil:
			return id, none, fmt.Errorf("%w: %w", errStore, err)
		}
		select {
		case <-ctx.Done():
			return id, none, fmt.Errorf("%w: another replica has been asking for too long", connector.ErrUpstream)
		case <-time.After(claimPause):
		}
	}
}

// known is what the connector is told of a person, with its secret.
func (r *Rechecker) known(i storage.Identity, sealed []byte) (connector.Identity, error) {
	secret, err := r.cfg.Secrets.Open(i.ConnectorID, i.UserID, sealed)
	if err != nil {
		return connector.Identity{}, fmt.Errorf("%w: what it gave cannot be opened, our secrets have changed: %v", connector.ErrUpstream, err)
	}
	return identity.Known(i, secret), nil
}

// keep stores a secret that was changed before the upstream failed, and nothing else.
func (r *Rechecker) keep(ctx context.Context, found storage.Identity, secret []byte) error {
	sealed, err := r.cfg.Secrets.Seal(found.ConnectorID, connector.Identity{UserID: found.UserID, Secret: secret})
	if err == nil {
		err = r.write(ctx, found, sealed)
	}
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		return fmt.Errorf("keeping what the upstream gave before it failed: %w", err)
	}
	return nil
}

// release stores again what is stored, which ends the claim: the next one need not
// wait until it ends by itself, as it does when this fails.
func (r *Rechecker) release(ctx context.Context, found storage.Identity, secret []byte) {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.Timeout)
	defer cancel()
	sealed, err := r.cfg.Secrets.Seal(found.ConnectorID, connector.Identity{UserID: found.UserID, Secret: secret})
	if err == nil {
		_ = r.cfg.Store.RecheckIdentity(ctx, found, sealed)
	}
}

// write stores an answer. A secret that came with it may have taken the place of the
// one that is stored: if it were lost because the store is away for a moment, the
// upstream would take the next question for a thief's.
func (r *Rechecker) write(ctx context.Context, id storage.Identity, sealed []byte) error {
	err := r.cfg.Store.RecheckIdentity(ctx, id, sealed)
	if len(sealed) == 0 {
		return err
	}
	patience, cancel := context.WithTimeout(ctx, storePatience)
	defer cancel()
	for errors.Is(err, storage.ErrUnavailable) {
		select {
		case <-patience.Done():
			return err
		case <-time.After(claimPause):
			err = r.cfg.Store.RecheckIdentity(ctx, id, sealed)
		}
	}
	return err
}
