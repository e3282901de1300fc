// Package recheck asks connectors again about people who are not there, when a
// refresh needs to know that they still may.
//
// It holds no connection and no transaction while an upstream thinks, asks once
// for all who wait for the same person, and leaves an upstream alone for a moment
// that has just failed. It refuses to turn an upstream's failure into a verdict
// on a person: within staleIfError the last answer stands, afterwards it is
// storage.ErrUnavailable's kind of "not now".
//
// Threat: a disabled account that goes on refreshing; an upstream that hangs and
// takes every refresh with it; a thousand refreshes that become a thousand
// questions.
package recheck

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/countersign/countersign/connector"
	"github.com/countersign/countersign/server/oauth"
	"github.com/countersign/countersign/storage"
)

const (
	// timeout bounds one question to an upstream.
	timeout = 5 * time.Second
	// failurePause is how long an upstream is not asked again about anybody after
	// it failed.
	failurePause = 5 * time.Second
)

// ErrGone: the person does not exist any more at the connector, is disabled, or
// may not come in. Their grants have been revoked.
var ErrGone = errors.New("recheck: the person is gone")

// Reasons for which grants are revoked.
const (
	reasonGone   = "identity_gone"
	reasonDenied = "identity_denied"
)

// Store is what rechecking writes.
type Store interface {
	storage.Identities
	RevokeGrantsOf(ctx context.Context, connectorID, userID string, now time.Time, reason string) (int, error)
}

// Source is a connector that can be asked.
type Source struct {
	Refresher connector.Refresher
	Recheck   oauth.Recheck
}

// Config is what New needs; every field is required.
type Config struct {
	Store Store
	// Sources are the connectors that can be asked, by id.
	Sources map[string]Source
	Now     func() time.Time
	Logger  *slog.Logger
}

// Rechecker is safe for concurrent use.
type Rechecker struct {
	cfg     Config
	flights singleflight.Group

	mu sync.Mutex
	// paused is until when a connector is left alone.
	paused map[string]time.Time
}

// New checks the configuration.
func New(cfg Config) (*Rechecker, error) {
	if cfg.Store == nil || cfg.Now == nil || cfg.Logger == nil {
		return nil, errors.New("recheck: Store, Now and Logger are required")
	}
	return &Rechecker{cfg: cfg, paused: make(map[string]time.Time)}, nil
}

// CheckedAfter is the oldest answer at now that no connector wants renewed: what
// was checked later needs no question.
func (r *Rechecker) CheckedAfter(now time.Time) time.Time {
	var latest time.Time
	for _, s := range r.cfg.Sources {
		if s.Recheck.After > 0 {
			if at := now.Add(-s.Recheck.After); at.After(latest) {
				latest = at
			}
		}
	}
	return latest
}

// Fresh makes sure that what is stored of a person may be relied on: it asks
// their connector if the answer is too old. It returns nil when it may, ErrGone
// when the person is gone, and an error that is storage.ErrUnavailable or
// connector.ErrUpstream when that cannot be known now.
func (r *Rechecker) Fresh(ctx context.Context, id storage.Identity) error {
	s, known := r.cfg.Sources[id.ConnectorID]
	if !known || !s.Recheck.Due(id.CheckedAt, r.cfg.Now()) {
		return nil
	}
	result := r.flights.DoChan(id.ConnectorID+"\x00"+id.UserID, func() (any, error) {
		// Whoever asked first may hang up; the others still wait.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
		defer cancel()
		return nil, r.ask(ctx, s, id)
	})
	select {
	case <-ctx.Done():
		return ctx.Err()
	case answer := <-result:
		return answer.Err
	}
}

// ask puts the question and stores the answer.
func (r *Rechecker) ask(ctx context.Context, s Source, id storage.Identity) error {
	if r.isPaused(id.ConnectorID) {
		return r.failed(s, id, fmt.Errorf("%w: it failed a moment ago", connector.ErrUpstream))
	}
	now := r.cfg.Now().UTC().Truncate(time.Microsecond)
	who, err := s.Refresher.Refresh(ctx, connector.Identity{
		UserID: id.UserID, Name: id.Name, PreferredUsername: id.PreferredUsername,
		Email: id.Email, EmailVerified: id.EmailVerified, Groups: id.Groups,
	})
	_, denied := errors.AsType[*connector.DeniedError](err)
	switch {
	case errors.Is(err, connector.ErrGone):
		return r.revoke(ctx, id, reasonGone)
	case denied:
		return r.revoke(ctx, id, reasonDenied)
	case err != nil:
		r.pause(id.ConnectorID)
		return r.failed(s, id, err)
	case who.UserID != id.UserID:
		// Somebody else's answer must not become this person's.
		return r.failed(s, id, fmt.Errorf("%w: it answered for another user id", connector.ErrUpstream))
	}
	id.Name, id.PreferredUsername, id.Email = who.Name, who.PreferredUsername, who.Email
	id.EmailVerified, id.Groups, id.CheckedAt = who.EmailVerified, who.Groups, now
	if err := r.cfg.Store.RecheckIdentity(ctx, id); err != nil {
		return fmt.Errorf("storing a rechecked identity: %w", err)
	}
	return nil
}

// failed decides whether the last answer still stands.
func (r *Rechecker) failed(s Source, id storage.Identity, cause error) error {
	if s.Recheck.Bearable(id.CheckedAt, r.cfg.Now()) {
		return nil
	}
	return fmt.Errorf("rechecking a person at connector %s: %w", id.ConnectorID, cause)
}

// revoke ends all grants of the person.
func (r *Rechecker) revoke(ctx context.Context, id storage.Identity, reason string) error {
	n, err := r.cfg.Store.RevokeGrantsOf(ctx, id.ConnectorID, id.UserID, r.cfg.Now(), reason)
	if err != nil {
		return fmt.Errorf("revoking the grants of somebody who is gone: %w", err)
	}
	r.cfg.Logger.InfoContext(ctx, "grants revoked",
		slog.String("reason", reason), slog.String("connector", id.ConnectorID), slog.String("user_id", id.UserID), slog.Int("grants", n))
	return ErrGone
}

// isPaused reports whether a connector is to be left alone.
func (r *Rechecker) isPaused(connectorID string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.cfg.Now().Before(r.paused[connectorID])
}

// pause leaves a connector alone for a while, and says so once.
func (r *Rechecker) pause(connectorID string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.paused[connectorID] = r.cfg.Now().Add(failurePause)
}
