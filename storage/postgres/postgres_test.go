package postgres_test

import (
	"testing"
	"time"

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
		// The promises are not about speed: a busy machine may take its time.
		c := postgres.Config{DSN: dsn, ConnectionTimeout: time.Minute, AcquireTimeout: time.Minute, StatementTimeout: time.Minute}
		open(t, c)
		return func(t *testing.T) storage.Store { return open(t, c) }
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
