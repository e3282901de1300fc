package pgcluster

import (
	"context"
	"crypto/rand"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
)

// Variable names an existing database to test against instead of a throwaway
// cluster. Its user must be allowed to create schemas.
const Variable = "COUNTERSIGN_TEST_POSTGRES"

// shared is the cluster of this test process, when Variable names none. Its
// keeper ends it with the process.
var shared = sync.OnceValues(func() (*Cluster, error) { return Start(Options{}) })

// DSN returns a database for tests: that of COUNTERSIGN_TEST_POSTGRES, or of a
// cluster started for this process.
func DSN(t testing.TB) string {
	t.Helper()
	if dsn := os.Getenv(Variable); dsn != "" {
		return dsn
	}
	cluster, err := shared()
	if err != nil {
		t.Fatal(err)
	}
	return cluster.DSN()
}

// Schema returns a DSN whose search_path is a fresh schema, dropped when the
// test ends.
func Schema(t testing.TB) string {
	t.Helper()
	return schema(t, DSN(t))
}

// Schema is like the function, in this cluster.
func (c *Cluster) Schema(t testing.TB) string {
	t.Helper()
	return schema(t, c.DSN())
}

func schema(t testing.TB, dsn string) string {
	t.Helper()
	name := "test_" + strings.ToLower(rand.Text())
	Exec(t, dsn, "CREATE SCHEMA "+name)
	t.Cleanup(func() { Exec(t, dsn, "DROP SCHEMA "+name+" CASCADE") })
	return With(dsn, "search_path", name)
}

// Exec runs one statement on a connection of its own.
func Exec(t testing.TB, dsn, statement string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		t.Fatalf("connecting to the test database: %v", err)
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, statement); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}
