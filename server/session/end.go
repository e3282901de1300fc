package session

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/countersign/countersign/storage"
)

const (
	// reasonEnded is why a grant is revoked that ends with its session.
	reasonEnded = "session_ended"

	// tellFor is how long it is tried to tell a client of the end of a session.
	tellFor = 24 * time.Hour
)

// Ending is what ends with a session of a browser, now.
func (b *Browsers) Ending() storage.Ending {
	now := b.cfg.Now().UTC().Truncate(time.Microsecond)
	return storage.Ending{
		Now: now, RevokeClientIDs: b.cfg.BoundClientIDs, Reason: reasonEnded,
		TellClientIDs: b.cfg.ToldClientIDs, TellUntil: now.Add(tellFor),
	}
}

// Ended says that a session has ended: by End, or replaced by a sign-in.
func (b *Browsers) Ended() {
	if b.cfg.Ended != nil {
		b.cfg.Ended()
	}
}

// End deletes the session of the browser that sent the request, dead or alive,
// with what ends with it, and its cookie. It reports whether this call ended one.
func (b *Browsers) End(ctx context.Context, w http.ResponseWriter, r *http.Request) (ended bool, err error) {
	if hash := b.Presented(r); hash != ([32]byte{}) {
		if ended, err = b.cfg.Store.EndSession(ctx, hash, b.Ending()); err != nil {
			return false, fmt.Errorf("ending the session: %w", err)
		}
		b.Ended()
	}
	b.clearCookie(w)
	return ended, nil
}

// UsedAfter is the idle limit now, for sessions whose person did not ask to stay
// signed in: one that was last used then or before is over.
func (b *Browsers) UsedAfter() time.Time { return b.cfg.Now().Add(-b.cfg.IdleTimeout) }
