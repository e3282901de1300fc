package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/countersign/countersign/storage"
)

// RecordLoginFailure implements storage.LoginFailures.
func (s *Store) RecordLoginFailure(ctx context.Context, keys []string, now time.Time, window time.Duration) error {
	hashes, _ := storage.FailureKeys(keys)
	return s.write(ctx, "recording a login failure", func(tx *tx) error {
		for _, hash := range hashes {
			_, err := tx.Exec(`
				INSERT INTO login_failures (key, count, last_at, expires_at) VALUES (?1, 1, ?2, ?3)
				ON CONFLICT (key) DO UPDATE SET
					count = CASE WHEN expires_at > ?2 THEN count + 1 ELSE 1 END,
					last_at = ?2, expires_at = ?3`,
				hash, micros(now), micros(now.Add(window)))
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// LoginFailures implements storage.LoginFailures.
func (s *Store) LoginFailures(ctx context.Context, keys []string, now time.Time) (map[string]storage.LoginFailure, error) {
	hashes, names := storage.FailureKeys(keys)
	found := make(map[string]storage.LoginFailure)
	err := s.read(ctx, "reading login failures", func(tx *tx) error {
		for _, hash := range hashes {
			var f storage.LoginFailure
			err := tx.QueryRow(`SELECT count, last_at, expires_at FROM login_failures WHERE key = ? AND expires_at > ?`,
				hash, micros(now)).Scan(&f.Count, instant{&f.LastAt}, instant{&f.ExpiresAt})
			if errors.Is(err, sql.ErrNoRows) {
				continue
			}
			if err != nil {
				return err
			}
			found[names[[32]byte(hash)]] = f
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}

func clearFailures(tx *tx, keys []string) error {
	hashes, _ := storage.FailureKeys(keys)
	for _, hash := range hashes {
		if _, err := tx.Exec(`DELETE FROM login_failures WHERE key = ?`, hash); err != nil {
			return err
		}
	}
	return nil
}
