package server_test

import (
	"database/sql"

	"github.com/jackc/pgx/v5"
	_ "modernc.org/sqlite"
)

// tables are those that a sign-in may write to.
var tables = []string{"identities", "sessions", "grants", "consents", "login_failures", "leases", "signing_keys", "logout_deliveries"}

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
