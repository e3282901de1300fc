package postgres

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/countersign/countersign/storage"
)

// rotate finds both rows by primary key. The limit of the person's connector is
// looked up in the arguments, so that one strict connector costs the people of
// others nothing; where its name is not, there is no limit. No indexed column
// changes, so that the new version of the row stays on its page (heap-only
// tuple).
const rotate = `
	UPDATE grants g SET generation = $4, refreshed_at = $5, refreshed_user_agent = $7, refreshed_ip_address = $8
	FROM identities i
	WHERE g.id = $1 AND g.client_id = $2 AND g.generation = $3
		AND g.code_redeemed_at IS NOT NULL AND g.revoked_at IS NULL AND g.expires_at > $5
		AND coalesce(g.refreshed_at, g.code_redeemed_at) > $6
		AND i.connector_id = g.connector_id AND i.user_id = g.user_id
		AND i.checked_at > coalesce(($10::timestamptz[])[array_position($9::text[], i.connector_id)], '-infinity')
	RETURNING ` + grantColumns + `, ` + identityColumns

// RotateGrant implements storage.Grants, in one statement. Whoever waits for
// another one's rotation or revocation looks at the row again afterwards.
func (s *Store) RotateGrant(ctx context.Context, in storage.Rotation) (storage.Grant, storage.Identity, error) {
	if err := in.Check(); err != nil {
		return storage.Grant{}, storage.Identity{}, err
	}
	connectors, checkedAfter := make([]string, len(in.CheckedAfter)), make([]time.Time, len(in.CheckedAfter))
	for i, limit := range in.CheckedAfter {
		connectors[i], checkedAfter[i] = limit.ConnectorID, limit.After
	}
	var rotated storage.Grant
	var person storage.Identity
	err := s.transition(ctx, "rotating a grant", func(ctx context.Context, conn *pgx.Conn) error {
		err := conn.QueryRow(ctx, rotate,
			[16]byte(in.ID), in.ClientID, in.Generation, in.Next, in.Now, in.UsedAfter,
			in.UserAgent, in.IPAddress, connectors, checkedAfter).Scan(append(grant(&rotated), identity(&person)...)...)
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
