package sqlite

import (
	"context"
	"time"

	"github.com/countersign/countersign/storage"
)

// AcquireLease implements storage.Leases.
func (s *Store) AcquireLease(ctx context.Context, name, holder string, now, until time.Time) (held bool, err error) {
	if err := storage.CheckKeys(name, holder); err != nil {
		return false, err
	}
	err = s.write(ctx, "acquiring a lease", func(tx *tx) error {
		held, err = tx.hit(`
			INSERT INTO leases (name, holder, expires_at) VALUES (?1, ?2, ?4)
			ON CONFLICT (name) DO UPDATE SET holder = ?2, expires_at = ?4
			WHERE holder = ?2 OR expires_at <= ?3`,
			name, holder, micros(now), micros(until))
		return err
	})
	return held && err == nil, err
}

// ReleaseLease implements storage.Leases.
func (s *Store) ReleaseLease(ctx context.Context, name, holder string) error {
	return s.write(ctx, "releasing a lease", func(tx *tx) error {
		_, err := tx.Exec(`DELETE FROM leases WHERE name = ? AND holder = ?`, name, holder)
		return err
	})
}
