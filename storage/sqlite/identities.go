package sqlite

import (
	"context"
	"time"

	"github.com/countersign/countersign/storage"
)

// RecheckIdentity implements storage.Identities.
func (s *Store) RecheckIdentity(ctx context.Context, i storage.Identity, sealedSecret []byte) error {
	if err := i.Check(); err != nil {
		return err
	}
	return s.write(ctx, "storing a rechecked identity", func(tx *tx) error {
		newest, err := tx.hit(`
			UPDATE identities SET name = ?3, preferred_username = ?4, email = ?5, email_verified = ?6,
				groups = ?7, checked_at = ?8, expires_at = max(expires_at, ?9),
				upstream_sealed = ?10, asked_until = ?11
			WHERE connector_id = ?1 AND user_id = ?2 AND checked_at <= ?8`,
			i.ConnectorID, i.UserID, i.Name, i.PreferredUsername, i.Email, i.EmailVerified,
			list(i.Groups), micros(i.CheckedAt), micros(i.ExpiresAt), blob(sealedSecret), micros(time.Time{}))
		if err != nil || newest {
			return err
		}
		var found int
		return tx.QueryRow(`SELECT 1 FROM identities WHERE connector_id = ? AND user_id = ?`,
			i.ConnectorID, i.UserID).Scan(&found)
	})
}

// ClaimRecheck implements storage.Identities.
func (s *Store) ClaimRecheck(ctx context.Context, in storage.RecheckClaim) (storage.Identity, []byte, error) {
	var person storage.Identity
	var sealed []byte
	err := s.write(ctx, "claiming a recheck", func(tx *tx) error {
		if err := tx.QueryRow(`SELECT `+identityColumns+`, i.upstream_sealed FROM identities i
			WHERE i.connector_id = ? AND i.user_id = ?`, in.ConnectorID, in.UserID).Scan(append(identity(&person), &sealed)...); err != nil {
			return err
		}
		if person.CheckedAt.After(in.CheckedAfter) {
			return nil
		}
		claimed, err := tx.hit(`
			UPDATE identities SET asked_until = ?4 WHERE connector_id = ?1 AND user_id = ?2 AND asked_until < ?3`,
			in.ConnectorID, in.UserID, micros(in.Now), micros(in.Until))
		if err == nil && !claimed {
			err = storage.ErrConflict
		}
		return err
	})
	if err != nil {
		return storage.Identity{}, nil, err
	}
	return person, full(sealed), nil
}
