package sqlite

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/countersign/countersign/storage"
)

// RotateGrant implements storage.Grants. (RETURNING knows nothing of the
// identity, hence the second statement.)
func (s *Store) RotateGrant(ctx context.Context, in storage.Rotation) (storage.Grant, storage.Identity, error) {
	if err := in.Check(); err != nil {
		return storage.Grant{}, storage.Identity{}, err
	}
	limits, err := checkLimits(in.CheckedAfter)
	if err != nil {
		return storage.Grant{}, storage.Identity{}, err
	}
	var rotated storage.Grant
	var person storage.Identity
	err = s.write(ctx, "rotating a grant", func(tx *tx) error {
		won, err := tx.hit(`
			UPDATE grants SET generation = ?4, refreshed_at = ?5, refreshed_user_agent = ?8, refreshed_ip_address = ?9
			FROM identities i
			WHERE grants.id = ?1 AND grants.client_id = ?2 AND grants.generation = ?3
				AND grants.code_redeemed_at IS NOT NULL AND grants.revoked_at IS NULL AND grants.expires_at > ?5
				AND coalesce(grants.refreshed_at, grants.code_redeemed_at) > ?6
				AND i.connector_id = grants.connector_id AND i.user_id = grants.user_id
				AND NOT EXISTS (SELECT 1 FROM json_each(?7) WHERE value ->> 0 = i.connector_id AND value ->> 1 >= i.checked_at)`,
			in.ID[:], in.ClientID, in.Generation, in.Next, micros(in.Now), micros(in.UsedAfter), limits,
			in.UserAgent, in.IPAddress)
		if err != nil {
			return err
		}
		if !won {
			return storage.ErrConflict
		}
		return readGrant(tx, in.ID, in.Now, &rotated, &person)
	})
	if err != nil {
		return storage.Grant{}, storage.Identity{}, err
	}
	return rotated.Rotated(), person, nil
}

// checkLimits is the JSON that the statement looks limits up in: pairs of a
// connector and a time.
func checkLimits(limits []storage.CheckLimit) (string, error) {
	pairs := make([][2]any, len(limits))
	for i, limit := range limits {
		pairs[i] = [2]any{limit.ConnectorID, micros(limit.After)}
	}
	text, err := json.Marshal(pairs)
	if err != nil {
		return "", fmt.Errorf("encoding the recheck limits: %w", err)
	}
	return string(text), nil
}
