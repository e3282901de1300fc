// Package revocation ends what people, clients and connectors have: grants, and
// browsers' sessions with what ends with those. It is one for all who may: a
// client at /revoke, reuse of a refresh token, an upstream that disowns somebody,
// the account page, an administrator.
//
// What it has ended is dead at the very next use, on every replica: each use asks
// the row. It refuses to decide who may end what; callers know, and the functions
// that act for a person take that person into the statement itself, so that an id
// from a form reaches nobody else's.
//
// Threat: a stolen device that signs in again while it is being signed out, so
// sessions end before the grants that they could make anew; and a revocation of a
// million grants that stalls everybody, so they end in small transactions. One
// that breaks off has ended what it has ended, and is repeated as a whole. What is
// made by a sign-in that comes while it runs may stay.
package revocation

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/countersign/countersign/server/audit"
	"github.com/countersign/countersign/server/clock"
	"github.com/countersign/countersign/storage"
)

// batch is how many rows a transaction looks at. Whoever refreshes one of them
// waits for that long.
const batch = 500

// Store is what revocation needs of a storage.Store.
type Store interface {
	Grant(ctx context.Context, id storage.GrantID, now time.Time) (storage.Grant, storage.Identity, error)
	RevokeGrant(ctx context.Context, id storage.GrantID, now time.Time, reason string) (bool, error)
	RevokeGrants(ctx context.Context, in storage.Revocation) (storage.Revoked, error)
	EndSessions(ctx context.Context, in storage.SessionEnd) (storage.Revoked, error)
}

// Config is what New needs. All fields but Audit are required.
type Config struct {
	Store Store
	// Ending is what ends with a session now.
	Ending func() storage.Ending
	// Ended is called after sessions have ended, so that whoever is to be told need
	// not wait.
	Ended func()
	// Audit may be nil.
	Audit *audit.Log
	Now   func() time.Time
}

// Revoker is safe for concurrent use.
type Revoker struct{ cfg Config }

// New checks the configuration.
func New(cfg Config) (*Revoker, error) {
	if cfg.Store == nil || cfg.Ending == nil || cfg.Ended == nil || cfg.Now == nil {
		return nil, errors.New("revocation: Store, Ending, Ended and Now are required")
	}
	return &Revoker{cfg: cfg}, nil
}

// Count is how much a call has ended. An error comes with what it ended before.
type Count struct {
	// Sessions of browsers, and Grants. Grants that end with a session, because
	// their client wants that, are not counted by Session and SessionOf.
	Sessions, Grants int
}

// Person is somebody at one connector.
type Person = audit.Person

// Cause is why something ends.
type Cause struct {
	// By is who wants it. Empty: the caller keeps a record of its own.
	By audit.Actor
	// Reason is stored with the grants.
	Reason string
}

// Grant ends one grant. It reports whether this call did it: an unknown, expired
// or revoked one is no error.
func (r *Revoker) Grant(ctx context.Context, id storage.GrantID, reason string) (bool, error) {
	done, err := r.cfg.Store.RevokeGrant(ctx, id, r.now(), reason)
	if err != nil {
		return false, fmt.Errorf("revoking a grant: %w", err)
	}
	return done, nil
}

// GrantOf is Grant, if it is that person's.
func (r *Revoker) GrantOf(ctx context.Context, p Person, id storage.GrantID, why Cause) (c Count, err error) {
	if p.ConnectorID == "" || p.UserID == "" {
		return c, errNobody
	}
	g, _, err := r.cfg.Store.Grant(ctx, id, r.now()) // for the record
	if errors.Is(err, storage.ErrNotFound) {
		return c, nil
	}
	if err != nil {
		return c, fmt.Errorf("loading a grant: %w", err)
	}
	of := storage.Selector{GrantID: id, ConnectorID: p.ConnectorID, UserID: p.UserID}
	if c.Grants, err = r.revokeGrants(ctx, of, Cause{Reason: why.Reason}); c.Grants > 0 && why.By != "" {
		r.cfg.Audit.Write(ctx, audit.GrantRevoked{Grant: audit.GrantOf(g), By: why.By, Reason: why.Reason})
	}
	return c, err
}

// GrantsOf ends all grants of a person, and leaves their browsers signed in.
func (r *Revoker) GrantsOf(ctx context.Context, p Person, why Cause) (c Count, err error) {
	if p.ConnectorID == "" || p.UserID == "" {
		return c, errNobody
	}
	c.Grants, err = r.revokeGrants(ctx, storage.Selector{ConnectorID: p.ConnectorID, UserID: p.UserID}, why)
	return c, err
}

// Session ends the session of one browser, with the grants that end with it, and
// has the clients told that are to be.
func (r *Revoker) Session(ctx context.Context, sid string, why Cause) (Count, error) {
	return r.session(ctx, storage.Selector{SID: sid}, why)
}

// SessionOf is Session, if it is that person's.
func (r *Revoker) SessionOf(ctx context.Context, p Person, sid string, why Cause) (Count, error) {
	if p.ConnectorID == "" || p.UserID == "" {
		return Count{}, errNobody
	}
	return r.session(ctx, storage.Selector{SID: sid, ConnectorID: p.ConnectorID, UserID: p.UserID}, why)
}

func (r *Revoker) session(ctx context.Context, of storage.Selector, why Cause) (c Count, err error) {
	if of.SID == "" || !storage.IsText(of.SID) {
		return c, nil
	}
	with := r.cfg.Ending()
	with.Reason = why.Reason
	c.Sessions, err = r.endSessions(ctx, of, with, why)
	return c, err
}

// Person ends everything of a person: sessions, then grants.
func (r *Revoker) Person(ctx context.Context, p Person, why Cause) (Count, error) {
	if p.ConnectorID == "" || p.UserID == "" {
		return Count{}, errNobody
	}
	return r.all(ctx, storage.Selector{ConnectorID: p.ConnectorID, UserID: p.UserID}, why)
}

// Client ends all grants of a client.
func (r *Revoker) Client(ctx context.Context, clientID string, why Cause) (c Count, err error) {
	if clientID == "" {
		return c, errors.New("revocation: no client is named")
	}
	c.Grants, err = r.revokeGrants(ctx, storage.Selector{ClientID: clientID}, why)
	return c, err
}

// Connector ends everything of everybody who came by a connector.
func (r *Revoker) Connector(ctx context.Context, connectorID string, why Cause) (Count, error) {
	if connectorID == "" {
		return Count{}, errors.New("revocation: no connector is named")
	}
	return r.all(ctx, storage.Selector{ConnectorID: connectorID}, why)
}

// Everything ends all there is.
func (r *Revoker) Everything(ctx context.Context, why Cause) (Count, error) {
	return r.all(ctx, storage.Selector{Everything: true}, why)
}

var errNobody = errors.New("revocation: no person is named")

// all ends sessions and grants. The grants are left to the second step, also those
// that end with a session, so that all are counted.
func (r *Revoker) all(ctx context.Context, of storage.Selector, why Cause) (c Count, err error) {
	with := r.cfg.Ending()
	with.RevokeClientIDs = nil
	if c.Sessions, err = r.endSessions(ctx, of, with, why); err != nil {
		return c, err
	}
	c.Grants, err = r.revokeGrants(ctx, of, why)
	return c, err
}

func (r *Revoker) endSessions(ctx context.Context, of storage.Selector, with storage.Ending, why Cause) (ended int, err error) {
	defer func() {
		if ended > 0 {
			r.cfg.Ended()
		}
		if why.By != "" && (err == nil || ended > 0) {
			r.cfg.Audit.Write(ctx, audit.SessionsEnded{Of: selected(of), Sessions: ended, By: why.By, Reason: why.Reason})
		}
	}()
	in := storage.SessionEnd{Of: of, Before: before(with.Now), Limit: batch, With: with}
	for {
		done, err := r.cfg.Store.EndSessions(ctx, in)
		if ended += done.Rows; err != nil {
			return ended, fmt.Errorf("ending sessions: %w", err)
		}
		if done.Done {
			return ended, nil
		}
		in.After = done.Next
	}
}

func (r *Revoker) revokeGrants(ctx context.Context, of storage.Selector, why Cause) (revoked int, err error) {
	defer func() {
		if why.By != "" && (err == nil || revoked > 0) {
			r.cfg.Audit.Write(ctx, audit.GrantsRevoked{Of: selected(of), Grants: revoked, By: why.By, Reason: why.Reason})
		}
	}()
	now := r.now()
	in := storage.Revocation{Of: of, Now: now, Reason: why.Reason, Before: before(now), Limit: batch}
	for {
		done, err := r.cfg.Store.RevokeGrants(ctx, in)
		if revoked += done.Rows; err != nil {
			return revoked, fmt.Errorf("revoking grants: %w", err)
		}
		if done.Done {
			return revoked, nil
		}
		in.After = done.Next
	}
}

// selected is a selector as records have it.
func selected(of storage.Selector) audit.Selector {
	return audit.Selector{Person: Person{ConnectorID: of.ConnectorID, UserID: of.UserID}, ClientID: of.ClientID, SID: of.SID}
}

// before leaves room for the clock of another replica: what was made there a
// moment ago must not look as if it came later.
func before(now time.Time) time.Time { return now.Add(clock.MaxError) }

// now is the time as records keep it.
func (r *Revoker) now() time.Time { return r.cfg.Now().UTC().Truncate(time.Microsecond) }
