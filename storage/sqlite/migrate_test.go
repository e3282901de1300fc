package sqlite_test

import (
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/countersign/countersign/storage"
	"github.com/countersign/countersign/storage/sqlite"
	"github.com/countersign/countersign/storage/storagetest"
)

// replicas are stores on one file that nobody has made.
func replicas(t *testing.T, file string) []*sqlite.Store {
	t.Helper()
	stores := make([]*sqlite.Store, 3)
	for i := range stores {
		s, err := sqlite.Open(sqlite.Config{File: file, StatementTimeout: patience})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
		stores[i] = s
	}
	return stores
}

// together runs do for all stores at once.
func together(t *testing.T, stores []*sqlite.Store, do func(*sqlite.Store) error) {
	t.Helper()
	start := make(chan struct{})
	var running sync.WaitGroup
	for _, s := range stores {
		running.Go(func() {
			<-start
			if err := do(s); err != nil {
				t.Error(err)
			}
		})
	}
	close(start)
	running.Wait()
}

// plain opens the file without the store.
func plain(t *testing.T, file string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

func TestThreeProcessesStartWithoutAFile(t *testing.T) {
	for range 5 {
		file := filepath.Join(t.TempDir(), "new", "folder", "test.db")
		stores := replicas(t, file)
		together(t, stores, func(s *sqlite.Store) error { return s.Migrate(t.Context()) })
		in, _ := storagetest.Valid()
		if err := storagetest.ErrorOf(stores[0].SignIn(t.Context(), in)); err != nil {
			t.Fatal(err)
		}
	}
}

// Each migration happens once, whole, even if running it twice would go unnoticed.
func TestRacingMigrationsHappenOnce(t *testing.T) {
	file := filepath.Join(t.TempDir(), "test.db")
	files := fstest.MapFS{"00001_first.sql": {Data: []byte("-- +goose Up\nCREATE TABLE counted (n int);\nINSERT INTO counted VALUES (0);")}}
	for version := 2; version <= 20; version++ {
		files[fmt.Sprintf("%05d_more.sql", version)] = &fstest.MapFile{Data: []byte("-- +goose Up\nUPDATE counted SET n = n + 1;")}
	}
	together(t, replicas(t, file), func(s *sqlite.Store) error { return s.MigrateFiles(t.Context(), files) })
	var rows, n int
	if err := plain(t, file).QueryRow(`SELECT count(*), max(n) FROM counted`).Scan(&rows, &n); err != nil {
		t.Fatal(err)
	}
	if rows != 1 || n != 19 {
		t.Errorf("%d rows, %d additions", rows, n)
	}
}

func TestFailedMigrationLeavesNothing(t *testing.T) {
	s := replicas(t, filepath.Join(t.TempDir(), "test.db"))[0]
	files := fstest.MapFS{"00001_bad.sql": {Data: []byte("-- +goose Up\nCREATE TABLE half (n int);\nINSERT INTO nowhere VALUES (1);")}}
	err := s.MigrateFiles(t.Context(), files)
	if err == nil || !strings.Contains(err.Error(), "version:1") || errors.Is(err, storage.ErrUnavailable) {
		t.Fatalf("error %v", err)
	}
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestNewerSchemaIsRefused(t *testing.T) {
	file := filepath.Join(t.TempDir(), "test.db")
	s := open(t, sqlite.Config{File: file})
	if _, err := plain(t, file).Exec(`INSERT INTO schema_versions (version) VALUES (1000)`); err != nil {
		t.Fatal(err)
	}
	err := s.Migrate(t.Context())
	if !errors.Is(err, storage.ErrNewerSchema) || !strings.Contains(err.Error(), "1000") {
		t.Errorf("error %v", err)
	}
}

// Whoever may read the file reads the records.
func TestFilesAreTheirOwnersAlone(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "a folder? with #odd %20 name")
	file := filepath.Join(folder, "data;base&mode=memory.db")
	s := open(t, sqlite.Config{File: file})
	in, _ := storagetest.Valid()
	if err := storagetest.ErrorOf(s.SignIn(t.Context(), in)); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(folder)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o700 {
		t.Errorf("folder has mode %v", info.Mode())
	}
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 3 { // with -wal and -shm
		t.Errorf("files %v", entries)
	}
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 || !strings.HasPrefix(entry.Name(), "data;base&mode=memory.db") {
			t.Errorf("%s has mode %v", entry.Name(), info.Mode())
		}
	}
}
