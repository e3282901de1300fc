package postgres

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/countersign/countersign/storage"
)

// primaryKeys are the primary keys of the tables whose rows expire.
var primaryKeys = map[storage.Table][]string{
	storage.TableSessions:         {"id_hash"},
	storage.TableGrants:           {"id"},
	storage.TableConsents:         {"connector_id", "user_id", "client_id"},
	storage.TableLoginFailures:    {"key"},
	storage.TableLogoutDeliveries: {"sid", "client_id"},
	storage.TableArrivals:         {"id"},
	storage.TableIdentities:       {"connector_id", "user_id"},
}

// deleteExpired locks what it finds by the index on expires_at, waiting for
// nobody, and deletes that by primary key. Whoever changed a row in the meantime
// has it looked at again: a row whose expiry was moved stays.
func deleteExpired(table storage.Table) string {
	key := primaryKeys[table]
	same := make([]string, len(key))
	for i, column := range key {
		same[i] = "t." + column + " = e." + column
	}
	return fmt.Sprintf(`
		WITH expired AS (SELECT %[2]s FROM %[1]s
				WHERE expires_at >= $1 AND expires_at <= $2 ORDER BY expires_at LIMIT $3
				FOR UPDATE SKIP LOCKED),
			deleted AS (DELETE FROM %[1]s t USING expired e
				WHERE %[3]s AND t.expires_at <= $2 RETURNING t.expires_at)
		SELECT count(*), coalesce(max(expires_at), $1) FROM deleted`,
		table, strings.Join(key, ", "), strings.Join(same, " AND "))
}

// lockExpired finds sessions as deleteExpired does.
const lockExpired = `
	SELECT id_hash, expires_at FROM sessions
	WHERE expires_at >= $1 AND expires_at <= $2 ORDER BY expires_at LIMIT $3 FOR UPDATE SKIP LOCKED`

// DeleteExpired implements storage.Garbage. It is planned each time, for the
// range it is given: a plan for any range would have to expect that a tenth of
// the table is wanted.
func (s *Store) DeleteExpired(ctx context.Context, in storage.Expired) (storage.Deleted, error) {
	if err := in.Check(); err != nil {
		return storage.Deleted{}, err
	}
	var deleted storage.Deleted
	err := s.transition(ctx, "deleting what has expired", func(ctx context.Context, conn *pgx.Conn) error {
		if in.Table == storage.TableSessions {
			deleted.UpTo = in.From.UTC()
			ended, err := s.endFound(ctx, conn, lockExpired, []any{in.From, in.Now, in.Limit}, instant{&deleted.UpTo}, true, in.Ending)
			deleted.Rows = len(ended)
			return err
		}
		return conn.QueryRow(ctx, deleteExpired(in.Table), pgx.QueryExecModeCacheDescribe,
			in.From, in.Now, in.Limit).Scan(&deleted.Rows, instant{&deleted.UpTo})
	})
	if err != nil {
		return storage.Deleted{}, err
	}
	return deleted, nil
}
