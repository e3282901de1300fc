package postgres

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/countersign/countersign/storage"
)

// AcquireLease implements storage.Leases.
func (s *Store) AcquireLease(ctx context.Context, name, holder string, now, until time.Time) (bool, error) {
	if err := storage.CheckKeys(name, holder); err != nil {
		return false, err
	}
	return decided(s.hit(ctx, "acquiring a lease", `
		INSERT INTO leases (name, holder, expires_at) VALUES ($1, $2, $4)
		ON CONFLICT (name) DO UPDATE SET holder = $2, expires_at = $4
		WHERE leases.holder = $2 OR leases.expires_at <= $3`,
		name, holder, now, until))
}

// decided makes the answer of a conditional statement a bool.
func decided(err error) (bool, error) {
	if errors.Is(err, storage.ErrConflict) {
		return false, nil
	}
	return err == nil, err
}

// ReleaseLease implements storage.Leases.
func (s *Store) ReleaseLease(ctx context.Context, name, holder string) error {
	if storage.CheckKeys(name, holder) != nil {
		return nil // there is no such lease
	}
	return s.transition(ctx, "releasing a lease", func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, `DELETE FROM leases WHERE name = $1 AND holder = $2`, name, holder)
		return err
	})
}
