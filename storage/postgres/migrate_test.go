package postgres_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/jackc/pgx/v5"

	"github.com/countersign/countersign/storage"
	"github.com/countersign/countersign/storage/postgres"
	"github.com/countersign/countersign/storage/storagetest/pgcluster"
)

// replicas are stores on one database that nobody has migrated.
func replicas(t *testing.T, dsn string) []*postgres.Store {
	t.Helper()
	stores := make([]*postgres.Store, 3)
	for i := range stores {
		s, err := postgres.Open(postgres.Config{DSN: dsn})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() }) // never fails
		stores[i] = s
	}
	return stores
}

// together runs do for all stores at once.
func together(t *testing.T, stores []*postgres.Store, do func(*postgres.Store) error) {
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

func TestThreeReplicasStartOnAnEmptyDatabase(t *testing.T) {
	for range 5 {
		dsn := pgcluster.Schema(t)
		together(t, replicas(t, dsn), func(s *postgres.Store) error { return s.Migrate(t.Context()) })
		heals(t, replicas(t, dsn)[0])
	}
}

// Each migration happens once, whole, even if running it twice would go unnoticed.
func TestRacingMigrationsHappenOnce(t *testing.T) {
	dsn := pgcluster.Schema(t)
	files := fstest.MapFS{"00001_first.sql": {Data: []byte("-- +goose Up\nCREATE TABLE counted (n int);\nINSERT INTO counted VALUES (0);")}}
	for version := 2; version <= 20; version++ {
		files[fmt.Sprintf("%05d_more.sql", version)] = &fstest.MapFile{Data: []byte("-- +goose Up\nUPDATE counted SET n = n + 1;")}
	}
	together(t, replicas(t, dsn), func(s *postgres.Store) error { return s.MigrateFiles(t.Context(), files) })
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	var rows, n int
	if err := conn.QueryRow(t.Context(), `SELECT count(*), max(n) FROM counted`).Scan(&rows, &n); err != nil {
		t.Fatal(err)
	}
	if rows != 1 || n != 19 {
		t.Errorf("%d rows, %d additions", rows, n)
	}
}

func TestFailedMigrationLeavesNothing(t *testing.T) {
	dsn := pgcluster.Schema(t)
	s := replicas(t, dsn)[0]
	files := fstest.MapFS{"00001_bad.sql": {Data: []byte("-- +goose Up\nCREATE TABLE half (n int);\nINSERT INTO nowhere VALUES (1);")}}
	err := s.MigrateFiles(t.Context(), files)
	if err == nil || !strings.Contains(err.Error(), "version:1") {
		t.Fatalf("error %v", err)
	}
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	heals(t, s)
}

func TestNewerSchemaIsRefused(t *testing.T) {
	dsn := pgcluster.Schema(t)
	s := open(t, postgres.Config{DSN: dsn})
	pgcluster.Exec(t, dsn, `INSERT INTO schema_versions (version) VALUES (1000)`)
	err := s.Migrate(t.Context())
	if !errors.Is(err, storage.ErrNewerSchema) || !strings.Contains(err.Error(), "1000") {
		t.Errorf("error %v", err)
	}
}

// A role that may not create tables can start when somebody else has migrated.
func TestMigratingNothingNeedsNoPrivilege(t *testing.T) {
	c := cluster(t, pgcluster.Options{})
	open(t, postgres.Config{DSN: c.DSN()})
	pgcluster.Exec(t, c.DSN(), `CREATE ROLE app LOGIN PASSWORD 'app'`)
	pgcluster.Exec(t, c.DSN(), `REVOKE CREATE ON SCHEMA public FROM PUBLIC`)
	pgcluster.Exec(t, c.DSN(), `GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO app`)
	s := open(t, postgres.Config{DSN: "host=127.0.0.1 user=app password=app dbname=postgres sslmode=disable port=" + c.Address()[len("127.0.0.1:"):]})
	heals(t, s)
}
