package sqlite

import (
	"context"
	"fmt"

	"github.com/countersign/countersign/storage"
)

// primaryKeys are the primary keys of the tables whose rows expire.
var primaryKeys = map[storage.Table]string{
	storage.TableSessions:         "id_hash",
	storage.TableGrants:           "id",
	storage.TableConsents:         "connector_id, user_id, client_id",
	storage.TableLoginFailures:    "key",
	storage.TableLogoutDeliveries: "sid, client_id",
	storage.TableArrivals:         "id",
	storage.TableIdentities:       "connector_id, user_id",
}

// DeleteExpired implements storage.Garbage.
func (s *Store) DeleteExpired(ctx context.Context, in storage.Expired) (storage.Deleted, error) {
	if err := in.Check(); err != nil {
		return storage.Deleted{}, err
	}
	deleted := storage.Deleted{UpTo: in.From.UTC()}
	err := s.write(ctx, "deleting what has expired", func(tx *tx) error {
		if in.Table == storage.TableSessions {
			ended, err := endFound(tx, `
				SELECT id_hash, expires_at FROM sessions
				WHERE expires_at >= ?1 AND expires_at <= ?2 ORDER BY expires_at LIMIT ?3`,
				[]any{micros(in.From), micros(in.Now), in.Limit}, instant{&deleted.UpTo}, ending{Ending: in.Ending, lapsed: true})
			deleted.Rows = len(ended)
			return err
		}
		rows, err := tx.Query(fmt.Sprintf(`
			DELETE FROM %[1]s WHERE (%[2]s) IN (SELECT %[2]s FROM %[1]s
				WHERE expires_at >= ?1 AND expires_at <= ?2 ORDER BY expires_at LIMIT ?3)
			RETURNING expires_at`, in.Table, primaryKeys[in.Table]),
			micros(in.From), micros(in.Now), in.Limit)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var at int64
			if err := rows.Scan(&at); err != nil {
				return err
			}
			deleted.Rows++
			if expired := fromMicros(at); expired.After(deleted.UpTo) {
				deleted.UpTo = expired
			}
		}
		return rows.Err()
	})
	if err != nil {
		return storage.Deleted{}, err
	}
	return deleted, nil
}
