package sqlite

import (
	"context"

	"github.com/countersign/countersign/storage"
)

// SigningKeys implements storage.SigningKeys.
func (s *Store) SigningKeys(ctx context.Context) ([]storage.SigningKey, error) {
	var keys []storage.SigningKey
	err := s.read(ctx, "reading signing keys", func(tx *tx) error {
		rows, err := tx.Query(`
			SELECT kid, algorithm, sequence, public, sealed_private, created_at, active_from
			FROM signing_keys ORDER BY algorithm, sequence`)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var k storage.SigningKey
			err := rows.Scan(&k.KID, &k.Algorithm, &k.Sequence, &k.Public, &k.SealedPrivate,
				instant{&k.CreatedAt}, instant{&k.ActiveFrom})
			if err != nil {
				return err
			}
			k.Public, k.SealedPrivate = full(k.Public), full(k.SealedPrivate)
			keys = append(keys, k)
		}
		return rows.Err()
	})
	if err != nil {
		return nil, err
	}
	return keys, nil
}

// AddSigningKey implements storage.SigningKeys.
func (s *Store) AddSigningKey(ctx context.Context, k storage.SigningKey) error {
	if err := storage.CheckKeys(k.KID, k.Algorithm); err != nil {
		return err
	}
	return s.write(ctx, "adding a signing key", func(tx *tx) error {
		_, err := tx.Exec(`
			INSERT INTO signing_keys (kid, algorithm, sequence, public, sealed_private, created_at, active_from)
			VALUES (?, ?, ?, ?, ?, ?, ?)`,
			k.KID, k.Algorithm, k.Sequence, blob(k.Public), blob(k.SealedPrivate), micros(k.CreatedAt), micros(k.ActiveFrom))
		return err
	})
}

// DeleteSigningKey implements storage.SigningKeys.
func (s *Store) DeleteSigningKey(ctx context.Context, kid string) (deleted bool, err error) {
	err = s.write(ctx, "deleting a signing key", func(tx *tx) error {
		deleted, err = tx.hit(`DELETE FROM signing_keys WHERE kid = ?`, kid)
		return err
	})
	return deleted && err == nil, err
}
