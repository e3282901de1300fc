package postgres

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"

	"github.com/countersign/countersign/storage"
)

// RecheckIdentity implements storage.Identities, in one statement: whether there
// is such a person is one question, whether this answer is the newest another.
func (s *Store) RecheckIdentity(ctx context.Context, i storage.Identity, sealedSecret []byte) error {
	if err := i.Check(); err != nil {
		return err
	}
	err := s.hit(ctx, "storing a rechecked identity", `
		WITH found AS (SELECT 1 FROM identities WHERE connector_id = $1 AND user_id = $2),
			updated AS (UPDATE identities SET name = $3, preferred_username = $4, email = $5,
					email_verified = $6, groups = $7, checked_at = $8, expires_at = greatest(expires_at, $9),
					upstream_sealed = $10, asked_until = '0001-01-01 00:00:00+00'
				WHERE connector_id = $1 AND user_id = $2 AND checked_at <= $8)
		SELECT 1 FROM found`,
		i.ConnectorID, i.UserID, i.Name, i.PreferredUsername, i.Email,
		i.EmailVerified, list(i.Groups), i.CheckedAt, i.ExpiresAt, blob(sealedSecret))
	if errors.Is(err, storage.ErrConflict) {
		return storage.ErrNotFound
	}
	return err
}

// ClaimRecheck implements storage.Identities.
func (s *Store) ClaimRecheck(ctx context.Context, in storage.RecheckClaim) (storage.Identity, []byte, error) {
	if storage.CheckKeys(in.ConnectorID, in.UserID) != nil {
		return storage.Identity{}, nil, storage.ErrNotFound
	}
	var person storage.Identity
	var sealed []byte
	var claimed bool
	err := s.transition(ctx, "claiming a recheck", func(ctx context.Context, conn *pgx.Conn) error {
		return conn.QueryRow(ctx, `
			WITH claimed AS (UPDATE identities SET asked_until = $4
				WHERE connector_id = $1 AND user_id = $2 AND asked_until < $3 AND checked_at <= $5 RETURNING 1)
			SELECT `+identityColumns+`, i.upstream_sealed, EXISTS (SELECT FROM claimed)
			FROM identities i WHERE i.connector_id = $1 AND i.user_id = $2`,
			in.ConnectorID, in.UserID, in.Now, in.Until, in.CheckedAfter).Scan(append(identity(&person), &sealed, &claimed)...)
	})
	if err == nil && !claimed && !person.CheckedAt.After(in.CheckedAfter) {
		err = storage.ErrConflict
	}
	if err != nil {
		return storage.Identity{}, nil, err
	}
	return person, full(sealed), nil
}
