package sqlite

import (
	"context"
	"time"

	"github.com/countersign/countersign/storage"
)

// ClaimLogoutDelivery implements storage.LogoutDeliveries.
func (s *Store) ClaimLogoutDelivery(ctx context.Context, except []string, now, until time.Time) (storage.LogoutDelivery, error) {
	if err := storage.CheckText(except); err != nil {
		return storage.LogoutDelivery{}, err
	}
	var d storage.LogoutDelivery
	err := s.write(ctx, "claiming a logout delivery", func(tx *tx) error {
		return tx.QueryRow(`
			UPDATE logout_deliveries SET next_attempt_at = ?2, attempts = attempts + 1
			WHERE (sid, client_id) = (SELECT sid, client_id FROM logout_deliveries
				WHERE next_attempt_at <= ?1 AND client_id NOT IN (SELECT value FROM json_each(?3))
				ORDER BY next_attempt_at LIMIT 1)
			RETURNING sid, client_id, connector_id, user_id, ended_at, attempts, expires_at`,
			micros(now), micros(until), list(except)).Scan(
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
	return s.write(ctx, "postponing a logout delivery", func(tx *tx) error {
		_, err := tx.Exec(`
			UPDATE logout_deliveries SET next_attempt_at = ? WHERE sid = ? AND client_id = ? AND attempts = ?`,
			micros(next), d.SID, d.ClientID, d.Attempts)
		return err
	})
}

// FinishLogoutDelivery implements storage.LogoutDeliveries.
func (s *Store) FinishLogoutDelivery(ctx context.Context, d storage.LogoutDelivery) error {
	if err := storage.CheckText(d); err != nil {
		return err
	}
	return s.write(ctx, "finishing a logout delivery", func(tx *tx) error {
		_, err := tx.Exec(`DELETE FROM logout_deliveries WHERE sid = ? AND client_id = ?`, d.SID, d.ClientID)
		return err
	})
}
