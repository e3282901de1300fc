package sqlite_test

import (
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/countersign/countersign/storage"
	"github.com/countersign/countersign/storage/sqlite"
)

// A table that is added later, and expires, is emptied as well; none is read as
// a whole for it.
func TestEveryTableThatExpiresIsCollected(t *testing.T) {
	file := filepath.Join(t.TempDir(), "test.db")
	open(t, sqlite.Config{File: file})
	db := plain(t, file)
	var expected []string
	for _, table := range storage.Expiring() {
		expected = append(expected, string(table))
	}
	slices.Sort(expected)
	for what, query := range map[string]string{
		"tables": `SELECT m.name FROM sqlite_master m JOIN pragma_table_info(m.name) c
			WHERE m.type = 'table' AND c.name = 'expires_at' AND m.name <> 'leases' ORDER BY 1`,
		"indexes": `SELECT tbl_name FROM sqlite_master WHERE type = 'index' AND sql LIKE '% (expires_at)' ORDER BY 1`,
	} {
		rows, err := db.Query(query)
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		var found []string
		for rows.Next() {
			var name string
			if err := rows.Scan(&name); err != nil {
				t.Fatal(err)
			}
			found = append(found, name)
		}
		if diff := cmp.Diff(expected, found); diff != "" || rows.Err() != nil {
			t.Errorf("%s (-want +got): %v\n%s", what, rows.Err(), diff)
		}
	}
}
