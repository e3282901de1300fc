package postgres

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
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

func (s *Store) migrate(ctx context.Context, files fs.FS) error {
	if _, err := s.Ping(ctx); err != nil {
		return fmt.Errorf("migrating the database: %w", err)
	}
	bounded, cancel := context.WithTimeout(ctx, migrationTimeout)
	defer cancel()
	db := stdlib.OpenDBFromPool(s.pool)
	err := migrate.Up(bounded, migrate.Config{DB: db, Migrations: files, Raced: raced})
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

// raced reports errors of two replicas creating the same table: CREATE TABLE IF
// NOT EXISTS looks before it waits, so the loser finds a duplicate.
func raced(err error) bool {
	switch sqlState(err) {
	case uniqueViolation, duplicateTable, duplicateObject, serializationFailure, deadlockDetected:
		return true
	}
	return false
}
