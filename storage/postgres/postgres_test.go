package postgres_test

import (
	"cmp"
	"errors"
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
		c := postgres.Config{DSN: pgcluster.With(pgcluster.Schema(t), "default_transaction_isolation", isolation)}
		open(t, c)
		return func(t *testing.T) storage.Store { return open(t, c) }
	})
}

// patience bounds every wait: a busy machine is no outage.
const patience = time.Minute

// patient is a configuration for tests that ask what is answered, not when.
func patient(c postgres.Config) postgres.Config {
	c.ConnectionTimeout = cmp.Or(c.ConnectionTimeout, patience)
	c.AcquireTimeout = cmp.Or(c.AcquireTimeout, patience)
	c.StatementTimeout = cmp.Or(c.StatementTimeout, patience)
	return c
}

// open opens and migrates a database, and closes it with the test. It is patient,
// but for the timeouts that are set.
func open(t testing.TB, c postgres.Config) *postgres.Store {
	t.Helper()
	s, err := postgres.Open(patient(c))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	insist(t, func() error { return s.Migrate(t.Context()) })
	return s
}

// insist asks a store that is impatient for what may be asked twice, until it has
// the time to answer.
func insist(t testing.TB, do func() error) {
	t.Helper()
	err := do()
	for end := time.Now().Add(patience); errors.Is(err, storage.ErrUnavailable) && time.Now().Before(end); {
		err = do()
	}
	if err != nil {
		t.Fatal(err)
	}
}
