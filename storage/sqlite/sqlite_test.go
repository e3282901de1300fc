package sqlite_test

import (
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
		// What is answered is asked here, not when: the machine may be busy.
		return func(t *testing.T) storage.Store {
			return open(t, sqlite.Config{File: file, StatementTimeout: time.Minute})
		}
	})
}

// open opens and migrates a database, and closes it with the test.
func open(t testing.TB, c sqlite.Config) *sqlite.Store {
	t.Helper()
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
