package postgres_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/countersign/countersign/storage"
	"github.com/countersign/countersign/storage/postgres"
	"github.com/countersign/countersign/storage/storagetest/pgcluster"
)

// connect is a connection past the store.
func connect(t *testing.T, dsn string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(t.Context()) }) // the test has its answers
	return conn
}

// column asks for one column of text.
func column(t *testing.T, conn *pgx.Conn, query string, args ...any) []string {
	t.Helper()
	rows, err := conn.Query(t.Context(), query, args...)
	if err != nil {
		t.Fatal(err)
	}
	values, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return values
}

// A table that is added later, and expires, is emptied as well.
func TestEveryTableThatExpiresIsCollected(t *testing.T) {
	dsn := pgcluster.Schema(t)
	open(t, postgres.Config{DSN: dsn})
	var expected []string
	for _, table := range storage.Expiring() {
		expected = append(expected, string(table))
	}
	slices.Sort(expected)
	conn := connect(t, dsn)
	expire := column(t, conn, `SELECT table_name::text FROM information_schema.columns
		WHERE table_schema = current_schema AND column_name = 'expires_at' AND table_name <> 'leases' ORDER BY 1`)
	if diff := cmp.Diff(expected, expire); diff != "" {
		t.Errorf("tables that expire and are not in storage.Expiring, or the other way round:\n%s", diff)
	}
	indexed := column(t, conn, `SELECT tablename::text FROM pg_indexes
		WHERE schemaname = current_schema AND indexdef LIKE '% (expires_at)' ORDER BY 1`)
	if diff := cmp.Diff(expected, indexed); diff != "" {
		t.Errorf("without an index on expires_at:\n%s", diff)
	}
}

// A batch reads what it deletes and little more, however large the table is and
// whatever is known of it.
func TestABatchReadsNoWholeTable(t *testing.T) {
	dsn := pgcluster.Schema(t)
	s := open(t, postgres.Config{DSN: dsn, MaxOpenConns: 1})
	conn := connect(t, dsn)
	now := time.Date(2026, 2, 3, 4, 5, 6, 0, time.UTC)
	for _, insert := range []string{
		`INSERT INTO grants SELECT gen_random_uuid(), 'c', 'k', 'u' || n, '', '{}', '', '', '', '', $1, '', '{}', $1, $1, NULL, NULL, '', $1::timestamptz + (n - 10000) * interval '1 s', '', '' FROM generate_series(1, 20000) n`,
		`INSERT INTO identities SELECT 'k', 'u' || n, '', '', '', false, '{}', $1, $1::timestamptz + (n - 10000) * interval '1 s' FROM generate_series(1, 20000) n`,
		`INSERT INTO consents SELECT 'k', 'u' || n, 'c', '{}', $1, $1::timestamptz + (n - 10000) * interval '1 s' FROM generate_series(1, 20000) n`,
	} {
		if _, err := conn.Exec(t.Context(), insert, now); err != nil {
			t.Fatal(err)
		}
	}
	batch := func() {
		t.Helper()
		for _, table := range []storage.Table{storage.TableGrants, storage.TableIdentities, storage.TableConsents} {
			d, err := s.DeleteExpired(t.Context(), storage.Expired{Table: table, Now: now, Limit: 100})
			if err != nil || d.Rows != 100 {
				t.Fatalf("deleting from %s: %+v, %v", table, d, err)
			}
		}
	}
	for range 8 { // more than the five after which a plan may become one for all arguments
		batch()
	}
	if _, err := conn.Exec(t.Context(), `ANALYZE grants, identities, consents`); err != nil {
		t.Fatal(err)
	}
	for range 8 {
		batch()
	}
	if err := s.Close(); err != nil { // so that its counts are sent
		t.Fatal(err)
	}
	deadline := time.Now().Add(time.Minute)
	for {
		var deleted, whole int
		err := conn.QueryRow(t.Context(), `SELECT sum(n_tup_del), sum(seq_scan) FROM pg_stat_user_tables
			WHERE schemaname = current_schema AND relname IN ('grants', 'identities', 'consents')`).Scan(&deleted, &whole)
		if err != nil {
			t.Fatal(err)
		}
		if deleted == 3*16*100 {
			// Building an index on an empty table and ANALYZE are no scans of ours;
			// what else there was is noticed by its rows.
			var rows int
			if err := conn.QueryRow(t.Context(), `SELECT sum(seq_tup_read) FROM pg_stat_user_tables
				WHERE schemaname = current_schema AND relname IN ('grants', 'identities', 'consents')`).Scan(&rows); err != nil {
				t.Fatal(err)
			}
			if rows > 0 {
				t.Errorf("%d rows were read by %d scans of whole tables", rows, whole)
			}
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d deletions are counted", deleted)
		}
	}
}
