package sqlite

import (
	"context"

	"github.com/countersign/countersign/storage"
)

// RecheckIdentity implements storage.Identities.
func (s *Store) RecheckIdentity(ctx context.Context, i storage.Identity) error {
	if err := i.Check(); err != nil {
		return err
	}
	return s.write(ctx, "storing a rechecked identity", func(tx *tx) error {
		newest, err := tx.hit(`
			UPDATE identities SET name = ?3, preferred_username = ?4, email = ?5, email_verified = ?6,
				groups = ?7, checked_at = ?8, expires_at = max(expires_at, ?9)
			WHERE connector_id = ?1 AND user_id = ?2 AND checked_at <= ?8`,
			i.ConnectorID, i.UserID, i.Name, i.PreferredUsername, i.Email, i.EmailVerified,
			list(i.Groups), micros(i.CheckedAt), micros(i.ExpiresAt))
		if err != nil || newest {
			return err
		}
		var found int
		return tx.QueryRow(`SELECT 1 FROM identities WHERE connector_id = ? AND user_id = ?`,
			i.ConnectorID, i.UserID).Scan(&found)
	})
}
