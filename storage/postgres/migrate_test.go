package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/countersign/countersign/storage"
	"github.com/countersign/countersign/storage/postgres"
	"github.com/countersign/countersign/storage/storagetest"
	"github.com/countersign/countersign/storage/storagetest/pgcluster"
)

// replicas are stores on one database that nobody has migrated.
func replicas(t *testing.T, dsn string) []*postgres.Store {
	t.Helper()
	stores := make([]*postgres.Store, 3)
	for i := range stores {
		s, err := postgres.Open(patient(postgres.Config{DSN: dsn}))
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

// all are the migrations of the program.
func all(t *testing.T) (files fstest.MapFS, names []string) {
	t.Helper()
	files = fstest.MapFS{}
	names, err := filepath.Glob("migrations/*.sql")
	if err != nil || len(names) == 0 {
		t.Fatalf("migrations: %v, %v", names, err)
	}
	for i, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		names[i] = filepath.Base(name)
		files[names[i]] = &fstest.MapFile{Data: data}
	}
	return files, names
}

// F11: a migration that waits for somebody who reads for long does not hold up those
// who come after it: they would wait behind it.
func TestMigrationDoesNotHoldUpOthers(t *testing.T) {
	dsn := pgcluster.Schema(t)
	s := open(t, postgres.Config{DSN: dsn})
	r := storagetest.Redeemed(t, s)
	release := hold(t, dsn, `SELECT 1 FROM identities`) // as a dump does
	files, _ := all(t)
	files["09999_later.sql"] = &fstest.MapFile{Data: []byte("-- +goose Up\nALTER TABLE identities ADD COLUMN later int;")}
	migrated := make(chan error, 1)
	go func() { migrated <- s.MigrateFiles(context.Background(), files) }()
	for range 3 {
		await(t, dsn, `SELECT count(*) > 0 FROM pg_locks WHERE NOT granted AND relation = 'identities'::regclass AND mode = 'AccessExclusiveLock'`)
		rotate(t, s, &r)
	}
	release()
	if err := <-migrated; err != nil {
		t.Error(err)
	}
	await(t, dsn, `SELECT count(*) = 1 FROM information_schema.columns WHERE table_name = 'identities' AND column_name = 'later' AND table_schema = current_schema()`)
	rotate(t, s, &r)
}

// large are the tables that may have millions of rows while people refresh.
const large = `('grants', 'identities', 'sessions', 'consents')`

// built are the migrations that go through all rows of a large table, in which time
// nobody writes to it. They are released; there must be no more of them.
var built = []string{
	"00002_refresh.sql: index grants_of_person",
	"00003_expiry.sql: index consents_by_expiry", "00003_expiry.sql: index grants_by_expiry",
	"00003_expiry.sql: index identities_by_expiry", "00003_expiry.sql: index sessions_by_expiry",
	"00004_logout.sql: index grants_of_session",
	"00005_revocation.sql: index grants_of_client", "00005_revocation.sql: index grants_of_person_by_id",
	"00005_revocation.sql: index grants_of_session_by_id", "00005_revocation.sql: index sessions_by_use",
	"00005_revocation.sql: index sessions_of_person", "00005_revocation.sql: index sessions_of_sid",
}

// F11: a migration of a database with many rows goes through none of the large tables,
// neither to write it anew nor to make an index of it. How long each takes is printed.
func TestMigrationsLeaveLargeTablesAlone(t *testing.T) {
	batches := 1
	if os.Getenv(storagetest.Long) != "" {
		batches = 100
	}
	const batch = 10_000
	dsn := pgcluster.Schema(t)
	s := replicas(t, dsn)[0]
	files, names := all(t)
	some := fstest.MapFS{names[0]: files[names[0]]}
	if err := s.MigrateFiles(t.Context(), some); err != nil {
		t.Fatal(err)
	}
	for range batches {
		pgcluster.Exec(t, dsn, fmt.Sprintf(`INSERT INTO grants (id, client_id, connector_id, user_id, sid, scopes, redirect_uri, nonce,
				code_challenge, code_challenge_method, auth_time, acr, amr, created_at, code_expires_at, code_redeemed_at, revoked_reason,
				expires_at, user_agent, ip_address)
			SELECT gen_random_uuid(), 'client', 'connector', 'user-' || gen_random_uuid(), 'sid-' || gen_random_uuid(), '{openid,offline_access}',
				'http://127.0.0.1/callback', '', '', '', now(), '', '{pwd}', now(), now(), now(), '', now() + interval '30 days', 'agent', 'address'
			FROM generate_series(1, %d)`, batch))
	}
	var found []string
	for _, name := range names[1:] {
		some[name] = files[name]
		before, began := storages(t, dsn), time.Now()
		if err := s.MigrateFiles(t.Context(), some); err != nil {
			t.Fatal(err)
		}
		t.Logf("%s, %d grants: %s", name, batches*batch, time.Since(began).Round(time.Millisecond))
		for what, node := range storages(t, dsn) {
			table := strings.HasPrefix(what, "table ")
			if old, there := before[what]; there && old != node || !there && !table {
				found = append(found, name+": "+what)
			}
		}
	}
	slices.Sort(found)
	if diff := cmp.Diff(built, found); diff != "" {
		t.Errorf("-released +found:\n%s", diff)
	}
}

// storages are where the large tables and their indexes lie: another place is a copy.
func storages(t *testing.T, dsn string) map[string]uint32 {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	rows, err := conn.Query(t.Context(), `
		SELECT 'table ' || relname, relfilenode FROM pg_class
		WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace AND relname IN `+large+`
		UNION ALL
		SELECT 'index ' || c.relname, c.relfilenode FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_class t ON t.oid = i.indrelid
		WHERE t.relnamespace = current_schema()::regnamespace AND t.relname IN `+large)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]uint32{}
	var what string
	var node uint32
	if _, err := pgx.ForEachRow(rows, []any{&what, &node}, func() error { found[what] = node; return nil }); err != nil {
		t.Fatal(err)
	}
	return found
}
