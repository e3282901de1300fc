package postgres

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/stdlib"

	"github.com/countersign/countersign/storage"
	"github.com/countersign/countersign/storage/migrate"
)

//go:embed migrations/*.sql
var migrations embed.FS

// migrationTimeout bounds all migrations together. A database that does not
// answer at all is noticed much earlier.
const migrationTimeout = 10 * time.Minute

// Migrate brings the schema forward. It may run in several replicas at once,
// and again at every start; while the database is away it returns
// storage.ErrUnavailable and may be tried again.
func (s *Store) Migrate(ctx context.Context) error {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return fmt.Errorf("reading migrations: %w", err)
	}
	return s.migrate(ctx, files)
}

// lockTimeout bounds how long a migration waits for a table that somebody reads for
// long, as a dump does: everybody else's statements wait behind it. It is longer than
// deadlock_timeout (1 s), after which PostgreSQL has a vacuum give way.
const lockTimeout = "2s"

// hurried are migrations that do not wait for longer than lockTimeout, each in its
// transaction.
type hurried struct{ fs.FS }

const up = "-- +goose Up\n"

// Open implements fs.FS.
func (h hurried) Open(name string) (fs.File, error) {
	f, err := h.FS.Open(name)
	if err != nil || path.Ext(name) != ".sql" {
		return f, err
	}
	begin := make([]byte, len(up))
	if _, err := io.ReadFull(f, begin); err != nil || string(begin) != up {
		_ = f.Close() // it was only read
		return nil, fmt.Errorf("the migration %s does not begin with %q", name, up)
	}
	return begun{f, io.MultiReader(strings.NewReader(up+"SET LOCAL lock_timeout = '"+lockTimeout+"';\n"), f)}, nil
}

// begun is a file whose beginning was read.
type begun struct {
	fs.File
	all io.Reader
}

// Read implements fs.File.
func (b begun) Read(p []byte) (int, error) { return b.all.Read(p) }

func (s *Store) migrate(ctx context.Context, files fs.FS) error {
	if _, err := s.Ping(ctx); err != nil {
		return fmt.Errorf("migrating the database: %w", err)
	}
	bounded, cancel := context.WithTimeout(ctx, migrationTimeout)
	defer cancel()
	db := stdlib.OpenDBFromPool(s.pool)
	err := migrate.Up(bounded, migrate.Config{DB: db, Migrations: hurried{files}, Raced: raced})
	if closing := db.Close(); err == nil {
		err = closing
	}
	if err == nil || errors.Is(err, storage.ErrNewerSchema) {
		return err
	}
	if sqlState(err) == undefinedTable { // here it is the migration's own mistake
		return fmt.Errorf("migrating the database: %w", err)
	}
	// Whether the server refused or was lost in the middle: it is undone, and
	// what is not the migration's own fault can be tried again.
	return translate(ctx, "migrating the database", &failure{err: err, lost: sqlState(err) == ""})
}

// raced reports errors of two replicas creating the same table (CREATE TABLE IF
// NOT EXISTS looks before it waits, so the loser finds a duplicate), and of waiting
// for too long, for another replica or for anybody else.
func raced(err error) bool {
	switch sqlState(err) {
	case uniqueViolation, duplicateTable, duplicateObject, serializationFailure, deadlockDetected, lockNotAvailable:
		return true
	}
	return false
}
