package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/countersign/countersign/storage"
)

// KeepArrival implements storage.Arrivals.
func (s *Store) KeepArrival(ctx context.Context, a storage.Arrival, now time.Time) error {
	if err := a.Check(); err != nil {
		return err
	}
	return s.hit(ctx, "keeping an arrival", `
		INSERT INTO arrivals (id, connector_id, sealed, take_until, expires_at) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (id) DO UPDATE SET connector_id = excluded.connector_id, sealed = excluded.sealed,
			take_until = excluded.take_until, expires_at = excluded.expires_at
		WHERE arrivals.expires_at <= $6`,
		a.ID[:], a.ConnectorID, a.Sealed, a.TakeUntil, a.ExpiresAt, now)
}

// TakeArrival implements storage.Arrivals.
func (s *Store) TakeArrival(ctx context.Context, id [32]byte, now time.Time) (storage.Arrival, error) {
	a := storage.Arrival{ID: id}
	err := s.transition(ctx, "taking an arrival", func(ctx context.Context, conn *pgx.Conn) error {
		return conn.QueryRow(ctx, `
			WITH waiting AS (SELECT id, sealed FROM arrivals
				WHERE id = $1 AND take_until > $2 AND sealed <> '' FOR NO KEY UPDATE)
			UPDATE arrivals a SET sealed = '' FROM waiting WHERE a.id = waiting.id
			RETURNING a.connector_id, waiting.sealed, a.take_until, a.expires_at`, id[:], now).Scan(
			&a.ConnectorID, &a.Sealed, instant{&a.TakeUntil}, instant{&a.ExpiresAt})
	})
	if err != nil {
		return storage.Arrival{}, err
	}
	return a, nil
}
