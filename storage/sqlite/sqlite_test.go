package sqlite_test

import (
	"cmp"
	"path/filepath"
	"testing"
	"time"

	"github.com/countersign/countersign/storage"
	"github.com/countersign/countersign/storage/sqlite"
	"github.com/countersign/countersign/storage/storagetest"
)

func TestConformance(t *testing.T) {
	storagetest.Run(t, func(t *testing.T) storagetest.Database {
		file := filepath.Join(t.TempDir(), "test.db")
		open(t, sqlite.Config{File: file})
		return func(t *testing.T) storage.Store { return open(t, sqlite.Config{File: file}) }
	})
}

// patience bounds every wait: a busy machine is no outage.
const patience = time.Minute

// open opens and migrates a database, and closes it with the test. What is answered
// is asked, not when, unless a timeout is set.
func open(t testing.TB, c sqlite.Config) *sqlite.Store {
	t.Helper()
	c.StatementTimeout = cmp.Or(c.StatementTimeout, patience)
	s, err := sqlite.Open(c)
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
