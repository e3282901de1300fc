package server_test

import (
	"database/sql"
	"strings"
	"sync"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib"
	_ "modernc.org/sqlite"
)

// tables are those that requests may write to. (Leases are the replicas' own, and
// come and go by the clock.)
var tables = []string{"identities", "sessions", "grants", "consents", "login_failures", "signing_keys", "logout_deliveries"}

// aside opens the database past the store's own interface, once.
func (d database) aside(t *testing.T) func() *sql.DB {
	return sync.OnceValue(func() *sql.DB {
		driver, source := "pgx", d.dsn
		if d.engine == "sqlite" {
			driver, source = "sqlite", "file:"+d.file+"?_pragma=busy_timeout(10000)"
		}
		db, err := sql.Open(driver, source)
		if err != nil {
			t.Fatal(err)
		}
		db.SetMaxOpenConns(1)
		t.Cleanup(func() { db.Close() })
		return db
	})
}

// rows counts the records of each table.
func (w *world) rows() map[string]int {
	w.t.Helper()
	counts := make([]int, len(tables))
	var into []any
	for i := range tables {
		into = append(into, &counts[i])
	}
	query := "SELECT (SELECT count(*) FROM " + strings.Join(tables, "), (SELECT count(*) FROM ") + ")"
	if err := w.side().QueryRowContext(w.t.Context(), query).Scan(into...); err != nil {
		w.t.Fatal(err)
	}
	byTable := make(map[string]int, len(tables))
	for i, table := range tables {
		byTable[table] = counts[i]
	}
	return byTable
}

// exec runs a statement.
func (w *world) exec(t *testing.T, statement string) {
	t.Helper()
	if _, err := w.side().ExecContext(t.Context(), statement); err != nil {
		t.Fatal(err)
	}
}
