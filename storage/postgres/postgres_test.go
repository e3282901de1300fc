package postgres_test

import (
	"testing"

	"github.com/countersign/countersign/storage"
	"github.com/countersign/countersign/storage/postgres"
	"github.com/countersign/countersign/storage/storagetest"
	"github.com/countersign/countersign/storage/storagetest/pgcluster"
)

func TestConformance(t *testing.T) {
	conforms(t, "read committed")
}

// Engines that know no weaker isolation than serializable (CockroachDB) roll
// racing transactions back and expect to be asked again.
func TestConformanceWhenSerializable(t *testing.T) {
	conforms(t, "serializable")
}

func conforms(t *testing.T, isolation string) {
	storagetest.Run(t, func(t *testing.T) storagetest.Database {
		dsn := pgcluster.With(pgcluster.Schema(t), "default_transaction_isolation", isolation)
		open(t, postgres.Config{DSN: dsn})
		return func(t *testing.T) storage.Store { return open(t, postgres.Config{DSN: dsn}) }
	})
}

// open opens and migrates a database, and closes it with the test.
func open(t testing.TB, c postgres.Config) *postgres.Store {
	t.Helper()
	s, err := postgres.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}
