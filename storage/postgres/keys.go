package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/countersign/countersign/storage"
)

// SigningKeys implements storage.SigningKeys. The order is that of bytes,
// whatever the database's collation.
func (s *Store) SigningKeys(ctx context.Context) ([]storage.SigningKey, error) {
	var keys []storage.SigningKey
	err := s.read(ctx, "reading signing keys", func(ctx context.Context, conn *pgx.Conn) error {
		rows, err := conn.Query(ctx, `
			SELECT kid, algorithm, sequence, public, sealed_private, created_at, active_from
			FROM signing_keys ORDER BY algorithm COLLATE "C", sequence`)
		if err != nil {
			return err
		}
		keys, err = pgx.CollectRows(rows, signingKey)
		return err
	})
	if err != nil || len(keys) == 0 {
		return nil, err
	}
	return keys, nil
}

func signingKey(row pgx.CollectableRow) (storage.SigningKey, error) {
	var k storage.SigningKey
	err := row.Scan(&k.KID, &k.Algorithm, &k.Sequence, &k.Public, &k.SealedPrivate,
		instant{&k.CreatedAt}, instant{&k.ActiveFrom})
	k.Public, k.SealedPrivate = full(k.Public), full(k.SealedPrivate)
	return k, err
}

// AddSigningKey implements storage.SigningKeys.
func (s *Store) AddSigningKey(ctx context.Context, k storage.SigningKey) error {
	if err := storage.CheckKeys(k.KID, k.Algorithm); err != nil {
		return err
	}
	return s.transition(ctx, "adding a signing key", func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, `
			INSERT INTO signing_keys (kid, algorithm, sequence, public, sealed_private, created_at, active_from)
			VALUES ($1, $2, $3, $4, $5, $6, $7)`,
			k.KID, k.Algorithm, k.Sequence, blob(k.Public), blob(k.SealedPrivate), k.CreatedAt, k.ActiveFrom)
		return err
	})
}

// DeleteSigningKey implements storage.SigningKeys.
func (s *Store) DeleteSigningKey(ctx context.Context, kid string) (bool, error) {
	if storage.CheckKeys(kid) != nil {
		return false, nil // there is no such key
	}
	return decided(s.hit(ctx, "deleting a signing key", `DELETE FROM signing_keys WHERE kid = $1`, kid))
}
