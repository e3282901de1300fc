package postgres_test

import (
	"slices"
	"testing"

	"github.com/countersign/countersign/storage"
	"github.com/countersign/countersign/storage/postgres"
	"github.com/countersign/countersign/storage/storagetest/pgcluster"
)

// A database sorts text as its language does; keys come in the order of bytes.
func TestOrderOfKeysIgnoresTheLanguage(t *testing.T) {
	dsn := pgcluster.Schema(t)
	s := open(t, postgres.Config{DSN: dsn})
	pgcluster.Exec(t, dsn, `ALTER TABLE signing_keys ALTER COLUMN algorithm TYPE text COLLATE "en-x-icu"`)
	expected := []string{"ES256", "EdDSA", "RS256"}
	for _, algorithm := range []string{"EdDSA", "RS256", "ES256"} {
		if err := s.AddSigningKey(t.Context(), storage.SigningKey{KID: algorithm, Algorithm: algorithm, Sequence: 1}); err != nil {
			t.Fatal(err)
		}
	}
	keys, err := s.SigningKeys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, key := range keys {
		found = append(found, key.Algorithm)
	}
	if !slices.Equal(found, expected) {
		t.Errorf("order %v", found)
	}
}
