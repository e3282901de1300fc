package storagetest

import (
	"context"
	"time"

	"github.com/countersign/countersign/storage"
)

// revoke ends a selection of grants, in batches of so many rows.
func revoke(ctx context.Context, s storage.Store, of storage.Selector, now time.Time, reason string, limit int) (revoked int, err error) {
	in := storage.Revocation{Of: of, Now: now, Before: epoch.AddDate(1, 0, 0), Reason: reason, Limit: limit}
	for {
		done, err := s.RevokeGrants(ctx, in)
		revoked += done.Rows
		if err != nil || done.Done {
			return revoked, err
		}
		in.After = done.Next
	}
}

// revokeOf ends all live grants of one person.
func revokeOf(ctx context.Context, s storage.Store, connectorID, userID string, now time.Time, reason string) (int, error) {
	return revoke(ctx, s, storage.Selector{ConnectorID: connectorID, UserID: userID}, now, reason, 3)
}

// endAll ends a selection of sessions, in batches of so many.
func endAll(ctx context.Context, s storage.Store, of storage.Selector, limit int, with storage.Ending) (ended int, err error) {
	in := storage.SessionEnd{Of: of, Before: epoch.AddDate(1, 0, 0), Limit: limit, With: with}
	for {
		done, err := s.EndSessions(ctx, in)
		ended += done.Rows
		if err != nil || done.Done {
			return ended, err
		}
		in.After = done.Next
	}
}
