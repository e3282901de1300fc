package sqlite

import (
	"context"
	"time"

	"github.com/countersign/countersign/storage"
)

// KeepArrival implements storage.Arrivals.
func (s *Store) KeepArrival(ctx context.Context, a storage.Arrival, now time.Time) error {
	if err := a.Check(); err != nil {
		return err
	}
	return s.write(ctx, "keeping an arrival", func(tx *tx) error {
		kept, err := tx.hit(`
			INSERT INTO arrivals (id, connector_id, sealed, take_until, expires_at) VALUES (?1, ?2, ?3, ?4, ?5)
			ON CONFLICT (id) DO UPDATE SET connector_id = excluded.connector_id, sealed = excluded.sealed,
				take_until = excluded.take_until, expires_at = excluded.expires_at
			WHERE expires_at <= ?6`,
			a.ID[:], a.ConnectorID, a.Sealed, micros(a.TakeUntil), micros(a.ExpiresAt), micros(now))
		if err == nil && !kept {
			err = storage.ErrConflict
		}
		return err
	})
}

// TakeArrival implements storage.Arrivals.
func (s *Store) TakeArrival(ctx context.Context, id [32]byte, now time.Time) (storage.Arrival, error) {
	a := storage.Arrival{ID: id}
	err := s.write(ctx, "taking an arrival", func(tx *tx) error {
		if err := tx.QueryRow(`
			SELECT connector_id, sealed, take_until, expires_at FROM arrivals
			WHERE id = ? AND take_until > ? AND sealed <> x''`, id[:], micros(now)).Scan(
			&a.ConnectorID, &a.Sealed, instant{&a.TakeUntil}, instant{&a.ExpiresAt}); err != nil {
			return err
		}
		_, err := tx.Exec(`UPDATE arrivals SET sealed = x'' WHERE id = ?`, id[:])
		return err
	})
	if err != nil {
		return storage.Arrival{}, err
	}
	return a, nil
}
