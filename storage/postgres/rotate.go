package postgres

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"

	"github.com/countersign/countersign/storage"
)

// rotate finds both rows by primary key and changes no indexed column, so that
// the new version of the row stays on its page (heap-only tuple).
const rotate = `
	UPDATE grants g SET generation = $4, refreshed_at = $5, refreshed_user_agent = $8, refreshed_ip_address = $9
	FROM identities i
	WHERE g.id = $1 AND g.client_id = $2 AND g.generation = $3
		AND g.code_redeemed_at IS NOT NULL AND g.revoked_at IS NULL AND g.expires_at > $5
		AND coalesce(g.refreshed_at, g.code_redeemed_at) > $6
		AND i.connector_id = g.connector_id AND i.user_id = g.user_id AND i.checked_at > $7
	RETURNING ` + grantColumns + `, ` + identityColumns

// RotateGrant implements storage.Grants, in one statement. Whoever waits for
// another one's rotation or revocation looks at the row again afterwards.
func (s *Store) RotateGrant(ctx context.Context, in storage.Rotation) (storage.Grant, storage.Identity, error) {
	if err := in.Check(); err != nil {
		return storage.Grant{}, storage.Identity{}, err
	}
	var rotated storage.Grant
	var person storage.Identity
	err := s.transition(ctx, "rotating a grant", func(ctx context.Context, conn *pgx.Conn) error {
		err := conn.QueryRow(ctx, rotate,
			[16]byte(in.ID), in.ClientID, in.Generation, in.Next, in.Now, in.UsedAfter, in.CheckedAfter,
			in.UserAgent, in.IPAddress).Scan(append(grant(&rotated), identity(&person)...)...)
		if errors.Is(err, pgx.ErrNoRows) {
			return storage.ErrConflict
		}
		return err
	})
	if err != nil {
		return storage.Grant{}, storage.Identity{}, err
	}
	return rotated, person, nil
}
