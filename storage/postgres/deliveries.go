package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/countersign/countersign/storage"
)

// ClaimLogoutDelivery implements storage.LogoutDeliveries. A row that somebody
// else is about to claim is passed over.
func (s *Store) ClaimLogoutDelivery(ctx context.Context, except []string, now, until time.Time) (storage.LogoutDelivery, error) {
	if err := storage.CheckText(except); err != nil {
		return storage.LogoutDelivery{}, err
	}
	var d storage.LogoutDelivery
	err := s.transition(ctx, "claiming a logout delivery", func(ctx context.Context, conn *pgx.Conn) error {
		return conn.QueryRow(ctx, `
			WITH due AS (SELECT sid, client_id FROM logout_deliveries
				WHERE next_attempt_at <= $1 AND client_id <> ALL ($3)
				ORDER BY next_attempt_at LIMIT 1 FOR UPDATE SKIP LOCKED)
			UPDATE logout_deliveries d SET next_attempt_at = $2, attempts = d.attempts + 1
			FROM due WHERE d.sid = due.sid AND d.client_id = due.client_id
			RETURNING d.sid, d.client_id, d.connector_id, d.user_id, d.ended_at, d.attempts, d.expires_at`,
			now, until, list(except)).Scan(
			&d.SID, &d.ClientID, &d.ConnectorID, &d.UserID, instant{&d.EndedAt}, &d.Attempts, instant{&d.ExpiresAt})
	})
	if err != nil {
		return storage.LogoutDelivery{}, err
	}
	return d, nil
}

// PostponeLogoutDelivery implements storage.LogoutDeliveries.
func (s *Store) PostponeLogoutDelivery(ctx context.Context, d storage.LogoutDelivery, next time.Time) error {
	if err := storage.CheckText(d); err != nil {
		return err
	}
	return s.transition(ctx, "postponing a logout delivery", func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, `
			UPDATE logout_deliveries SET next_attempt_at = $4 WHERE sid = $1 AND client_id = $2 AND attempts = $3`,
			d.SID, d.ClientID, d.Attempts, next)
		return err
	})
}

// FinishLogoutDelivery implements storage.LogoutDeliveries.
func (s *Store) FinishLogoutDelivery(ctx context.Context, d storage.LogoutDelivery) error {
	if err := storage.CheckText(d); err != nil {
		return err
	}
	return s.transition(ctx, "finishing a logout delivery", func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, `DELETE FROM logout_deliveries WHERE sid = $1 AND client_id = $2`, d.SID, d.ClientID)
		return err
	})
}
