package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/countersign/countersign/storage"
)

// RecordLoginFailure implements storage.LoginFailures. Rows are locked in the
// order of their keys, which is the same for every caller.
func (s *Store) RecordLoginFailure(ctx context.Context, keys []string, now time.Time, window time.Duration) error {
	hashes, _ := storage.FailureKeys(keys)
	if len(hashes) == 0 {
		return nil
	}
	return s.transition(ctx, "recording a login failure", func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, `
			INSERT INTO login_failures (key, count, last_at, expires_at)
			SELECT key, 1, $2, $3 FROM unnest($1::bytea[]) AS key
			ON CONFLICT (key) DO UPDATE SET
				count = CASE WHEN login_failures.expires_at > $2 THEN login_failures.count + 1 ELSE 1 END,
				last_at = excluded.last_at, expires_at = excluded.expires_at`,
			hashes, now, now.Add(window))
		return err
	})
}

// LoginFailures implements storage.LoginFailures.
func (s *Store) LoginFailures(ctx context.Context, keys []string, now time.Time) (map[string]storage.LoginFailure, error) {
	hashes, names := storage.FailureKeys(keys)
	var found map[string]storage.LoginFailure
	err := s.read(ctx, "reading login failures", func(ctx context.Context, conn *pgx.Conn) error {
		found = make(map[string]storage.LoginFailure)
		if len(hashes) == 0 {
			return nil
		}
		rows, err := conn.Query(ctx, `
			SELECT key, count, last_at, expires_at FROM login_failures
			WHERE key = ANY ($1) AND expires_at > $2`,
			hashes, now)
		if err != nil {
			return err
		}
		var hash [32]byte
		var f storage.LoginFailure
		_, err = pgx.ForEachRow(rows, []any{exactBytes{hash[:]}, &f.Count, instant{&f.LastAt}, instant{&f.ExpiresAt}}, func() error {
			found[names[hash]] = f
			return nil
		})
		return err
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}
