// Package recheck asks connectors again about people who are not there, when a
// refresh or single sign-on needs to know that they still may.
//
// It holds no connection and no transaction while an upstream thinks, asks once
// for all who wait for the same person, and leaves an upstream alone for a moment
// that has just failed. It refuses to turn an upstream's failure into a verdict
// on a person: within staleIfError the last answer stands, afterwards it is "not
// now", never "no".
//
// Threat: a disabled account that goes on refreshing; an upstream that hangs and
// takes every refresh with it, or whose answer is nonsense; one broken account
// that keeps everybody else from being asked about; a thousand refreshes that
// become a thousand questions.
package recheck

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/countersign/countersign/connector"
	"github.com/countersign/countersign/server/audit"
	"github.com/countersign/countersign/server/identity"
	"github.com/countersign/countersign/server/oauth"
	"github.com/countersign/countersign/server/revocation"
	"github.com/countersign/countersign/storage"
)

// DefaultTimeout bounds one question to an upstream.
const DefaultTimeout = 5 * time.Second

// ErrGone: the person does not exist any more at the connector, is disabled, or
// may not come in. Their sessions have ended and their grants are revoked.
var ErrGone = errors.New("recheck: the person is gone")

// ErrSignInAgain: the connector knows people only while they sign in, and for
// this one that was too long ago. Nothing has been revoked.
var ErrSignInAgain = errors.New("recheck: the person has to sign in again")

// Reasons for which grants are revoked.
const (
	reasonGone   = "identity_gone"
	reasonDenied = "identity_denied"
)

// Revoker ends what somebody has who is gone: a revocation.Revoker.
type Revoker interface {
	Person(ctx context.Context, p revocation.Person, why revocation.Cause) (revocation.Count, error)
}

// Source is a connector that can be asked.
type Source struct {
	// Refresher is nil for a connector that knows people only while they sign in:
	// what it said is good for Recheck.After.
	Refresher connector.Refresher
	Recheck   oauth.Recheck
	// Timeout bounds one question to it. Default: Config.Timeout.
	Timeout time.Duration
	// Accept applies the operator's rules to an answer; nil: there are none. Its
	// error is or wraps *connector.DeniedError or connector.ErrUpstream.
	Accept func(connector.Identity) (connector.Identity, error)
}

// Config is what New needs. Store, Revoker, Secrets, Now and Logger are required.
type Config struct {
	Store   storage.Identities
	Revoker Revoker
	Secrets *identity.Secrets
	// Sources are the connectors that can be asked, by id.
	Sources map[string]Source
	// Timeout bounds one question to an upstream that has none of its own. Default:
	// DefaultTimeout.
	Timeout time.Duration
	// Audit may be nil.
	Audit  *audit.Log
	Now    func() time.Time
	Logger *slog.Logger
}

// Rechecker is safe for concurrent use.
type Rechecker struct {
	cfg     Config
	flights singleflight.Group
	asking  asking
	answers answers
	pauses  pauses
}

// New checks the configuration.
func New(cfg Config) (*Rechecker, error) {
	if cfg.Store == nil || cfg.Revoker == nil || cfg.Secrets == nil || cfg.Now == nil || cfg.Logger == nil {
		return nil, errors.New("recheck: Store, Revoker, Secrets, Now and Logger are required")
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = DefaultTimeout
	}
	return &Rechecker{cfg: cfg}, nil
}

// timeout bounds one question to a source.
func (r *Rechecker) timeout(s Source) time.Duration { return cmp.Or(s.Timeout, r.cfg.Timeout) }

// CheckedAfter are the oldest answers at now that connectors want renewed: what
// was checked later needs no question. A connector that is not there cannot be
// asked.
func (r *Rechecker) CheckedAfter(now time.Time) []storage.CheckLimit {
	limits := make([]storage.CheckLimit, 0, len(r.cfg.Sources))
	for id, s := range r.cfg.Sources {
		if s.Recheck.After > 0 {
			limits = append(limits, storage.CheckLimit{ConnectorID: id, After: now.Add(-s.Recheck.After)})
		}
	}
	return limits
}

// Run waits until ctx ends, and then until every question has been answered, also
// those for which nobody waits any more: a process that ended in between would take
// with it what the upstream gave in exchange for what is stored.
func (r *Rechecker) Run(ctx context.Context) {
	<-ctx.Done()
	r.asking.wait()
}

// Fresh makes sure that what is stored of a person may be relied on: it asks
// their connector if the answer is too old. It returns nil when it may, ErrGone
// when the person is gone, ErrSignInAgain when nobody can be asked, ctx.Err() when
// the caller does not wait any longer, and an error that is connector.ErrUpstream or
// the store's when that cannot be known now.
func (r *Rechecker) Fresh(ctx context.Context, id storage.Identity) error {
	s, known := r.cfg.Sources[id.ConnectorID]
	if !known || !s.Recheck.Due(id.CheckedAt, r.cfg.Now()) {
		return nil
	}
	if s.Refresher == nil {
		return ErrSignInAgain
	}
	result := r.flights.DoChan(keyOf(id), func() (any, error) {
		defer r.asking.begin()()
		// Whoever asked first may hang up; the others still wait.
		return nil, r.ask(context.WithoutCancel(ctx), s, id)
	})
	select {
	case <-ctx.Done():
		return ctx.Err()
	case answer := <-result:
		return r.bear(s, id, answer.Err)
	}
}

// bear decides for one of those who waited whether the answer that they have read
// still stands although the upstream failed.
func (r *Rechecker) bear(s Source, id storage.Identity, err error) error {
	cannotAsk := errors.Is(err, connector.ErrCannotAsk)
	if (cannotAsk || errors.Is(err, connector.ErrUpstream)) && s.Recheck.Bearable(id.CheckedAt, r.cfg.Now()) {
		return nil
	}
	if cannotAsk {
		return ErrSignInAgain
	}
	return err
}

// ask puts the question and stores the answer. id is as the first of those who
// wait has read it; when that was before another flight stored an answer, that
// one will do.
func (r *Rechecker) ask(ctx context.Context, s Source, id storage.Identity) error {
	now := r.cfg.Now().UTC().Truncate(time.Microsecond)
	if at := r.answers.of(id, now); at.After(id.CheckedAt) && !s.Recheck.Due(at, now) {
		return nil
	}
	if r.pauses.paused(id, now) {
		return fmt.Errorf("rechecking a person at connector %s: %w: it failed a moment ago", id.ConnectorID, connector.ErrUpstream)
	}
	who, err := r.question(ctx, s, id)
	_, denied := errors.AsType[*connector.DeniedError](err)
	gone := errors.Is(err, connector.ErrGone)
	switch {
	case errors.Is(err, errAnswered):
		return nil
	case errors.Is(err, connector.ErrCannotAsk):
		return err
	case errors.Is(err, connector.ErrUpstream), errors.Is(err, errStore): // whatever else it wraps
	case (gone || denied) && r.seenSince(ctx, id, now):
		return nil
	case gone:
		return r.revoke(ctx, id, reasonGone)
	case denied:
		return r.revoke(ctx, id, reasonDenied)
	case err == nil:
		err = r.store(ctx, id, who, now)
	default:
		err = fmt.Errorf("%w: %w", connector.ErrUpstream, err)
	}
	if err != nil {
		return r.failed(ctx, id, err)
	}
	return nil
}

// question claims the right to ask where only one may, and asks the connector, for
// so long and no longer. A connector that panics
// over an answer has failed; it must not end the process.
func (r *Rechecker) question(ctx context.Context, s Source, id storage.Identity) (who connector.Identity, err error) {
	whole := ctx
	ctx, cancel := context.WithTimeout(ctx, r.timeout(s))
	defer cancel()
	found, before := id, identity.Known(id, nil)
	_, once := s.Refresher.(connector.SecretRefresher)
	if once {
		if found, before, err = r.claim(ctx, s, id); err != nil {
			return who, err
		}
	}
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: panic: %v\n%s", connector.ErrUpstream, p, debug.Stack())
		}
	}()
	who, err = s.Refresher.Refresh(ctx, before)
	changed := who.Secret
	if err == nil && s.Accept != nil {
		who, err = s.Accept(who)
	}
	switch {
	case !once || err == nil: // an answer ends the claim when it is stored
	case len(changed) > 0 && errors.Is(err, connector.ErrUpstream):
		err = errors.Join(err, r.keep(whole, found, changed))
	default:
		r.release(whole, found, before.Secret)
	}
	return who, err
}

// store keeps what the connector said. now is when it was asked.
func (r *Rechecker) store(ctx context.Context, id storage.Identity, who connector.Identity, now time.Time) error {
	if who.UserID != id.UserID {
		// Somebody else's answer must not become this person's.
		return fmt.Errorf("%w: it answered for another user id", connector.ErrUpstream)
	}
	sealed, err := r.cfg.Secrets.Seal(id.ConnectorID, who)
	if err != nil {
		return err
	}
	id = identity.Of(id.ConnectorID, who, now, id.ExpiresAt)
	err = r.write(ctx, id, sealed)
	switch {
	case errors.Is(err, storage.ErrInvalid):
		// The upstream's nonsense is not the client's mistake.
		return fmt.Errorf("%w: its answer cannot be kept: %v", connector.ErrUpstream, err)
	case errors.Is(err, storage.ErrNotFound):
		// The person's last grant has expired: the refresh will find that out.
		return nil
	case err != nil:
		return fmt.Errorf("storing a rechecked identity: %w", err)
	}
	r.answers.add(id)
	r.pauses.end(id)
	return nil
}

// seenSince reports whether the connector has vouched for a person since they were
// asked about: somebody who has just signed in again is not gone because the token of
// their last sign-in is. If they are, the next question will tell.
func (r *Rechecker) seenSince(ctx context.Context, id storage.Identity, asked time.Time) bool {
	found, _, err := r.cfg.Store.ClaimRecheck(ctx, storage.RecheckClaim{
		ConnectorID: id.ConnectorID, UserID: id.UserID, CheckedAfter: asked, Now: asked, Until: asked,
	})
	return err == nil && found.CheckedAt.After(asked)
}

// failed remembers that an upstream failed, and says so once. The store's failures
// are its own.
func (r *Rechecker) failed(ctx context.Context, id storage.Identity, err error) error {
	if !errors.Is(err, connector.ErrUpstream) {
		return err
	}
	if r.pauses.begin(id, r.cfg.Now()) {
		r.cfg.Logger.WarnContext(ctx, "rechecking failed", slog.String("connector", id.ConnectorID),
			slog.String("user_id", id.UserID), slog.Time("checked_at", id.CheckedAt), slog.Any("error", err))
	}
	return fmt.Errorf("rechecking a person at connector %s: %w", id.ConnectorID, err)
}

// revoke ends all of the person: their sessions too, or single sign-on would make
// the next grant at once.
func (r *Rechecker) revoke(ctx context.Context, id storage.Identity, reason string) error {
	r.pauses.end(id)
	ended, err := r.cfg.Revoker.Person(ctx, revocation.Person{ConnectorID: id.ConnectorID, UserID: id.UserID}, revocation.Cause{Reason: reason})
	if err != nil {
		return fmt.Errorf("revoking what somebody has who is gone: %w", err)
	}
	if ended != (revocation.Count{}) { // else another replica has found out first
		r.cfg.Audit.Write(ctx, audit.IdentityRefused{
			Person: audit.Person{ConnectorID: id.ConnectorID, UserID: id.UserID}, Grants: ended.Grants, Sessions: ended.Sessions, Reason: reason,
		})
	}
	r.cfg.Logger.InfoContext(ctx, "grants revoked", slog.String("reason", reason), slog.String("connector", id.ConnectorID),
		slog.String("user_id", id.UserID), slog.Int("grants", ended.Grants), slog.Int("sessions", ended.Sessions))
	return ErrGone
}

func keyOf(id storage.Identity) string { return id.ConnectorID + "\x00" + id.UserID }
