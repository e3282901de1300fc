package postgres

import (
	"context"
	"errors"

	"github.com/countersign/countersign/storage"
)

// RecheckIdentity implements storage.Identities, in one statement: whether there
// is such a person is one question, whether this answer is the newest another.
func (s *Store) RecheckIdentity(ctx context.Context, i storage.Identity) error {
	if err := i.Check(); err != nil {
		return err
	}
	err := s.hit(ctx, "storing a rechecked identity", `
		WITH found AS (SELECT 1 FROM identities WHERE connector_id = $1 AND user_id = $2),
			updated AS (UPDATE identities SET name = $3, preferred_username = $4, email = $5,
					email_verified = $6, groups = $7, checked_at = $8, expires_at = greatest(expires_at, $9)
				WHERE connector_id = $1 AND user_id = $2 AND checked_at <= $8)
		SELECT 1 FROM found`,
		i.ConnectorID, i.UserID, i.Name, i.PreferredUsername, i.Email,
		i.EmailVerified, list(i.Groups), i.CheckedAt, i.ExpiresAt)
	if errors.Is(err, storage.ErrConflict) {
		return storage.ErrNotFound
	}
	return err
}
