package server_test

import (
	"database/sql"
	"testing"

	"github.com/jackc/pgx/v5"
	_ "modernc.org/sqlite"
)

// tables are those that requests could write to. Leases and signing keys are the
// periodic jobs', which run beside any test.
var tables = []string{"identities", "sessions", "grants", "consents", "login_failures"}

// rows counts the records of each table, past the store's own interface.
func (w *world) rows() map[string]int {
	w.t.Helper()
	counts := make(map[string]int, len(tables))
	for _, table := range tables {
		var n int
		if err := w.queryRow("SELECT count(*) FROM "+table, &n); err != nil {
			w.t.Fatal(err)
		}
		counts[table] = n
	}
	return counts
}

func (w *world) queryRow(query string, into *int) error {
	if w.db.engine == "postgres" {
		conn, err := pgx.Connect(w.t.Context(), w.db.dsn)
		if err != nil {
			return err
		}
		defer conn.Close(w.t.Context())
		return conn.QueryRow(w.t.Context(), query).Scan(into)
	}
	db, err := sql.Open("sqlite", w.db.file)
	if err != nil {
		return err
	}
	defer db.Close()
	return db.QueryRowContext(w.t.Context(), query).Scan(into)
}

// exec runs a statement past the store's own interface.
func (w *world) exec(t *testing.T, statement string) {
	t.Helper()
	if w.db.engine == "postgres" {
		conn, err := pgx.Connect(t.Context(), w.db.dsn)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close(t.Context())
		if _, err := conn.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
		return
	}
	db, err := sql.Open("sqlite", w.db.file)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(t.Context(), statement); err != nil {
		t.Fatal(err)
	}
}
