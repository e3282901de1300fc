// Package migrate brings a database's schema forward, through goose, for every
// engine alike. It refuses to go backwards and to touch a schema newer than the
// program.
//
// Threat: three replicas start at once on an empty database, or one dies half
// way. No lock is taken, so none can be left behind or expire under a slow
// migration: each migration is one transaction that also inserts its version,
// which is a primary key. Of racing transactions one commits; the others are
// rolled back whole by the database, look again and find nothing left to do.
// (goose's own version table has no such key, and its lockers are advisory
// locks, or leases that end by the clock; hence the store below.)
package migrate

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"time"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/database"

	"github.com/countersign/countersign/storage"
)

// attempts bounds how often a lost race is run again. Nearly each lost race means
// that somebody else got further, so it is not reached in practice.
const attempts = 30

// Config says what to migrate and how the engine differs.
type Config struct {
	// DB is the database to migrate.
	DB *sql.DB
	// Migrations are the files NNNNN_name.sql.
	Migrations fs.FS
	// Raced reports errors that another replica migrating at the same time
	// causes although it has not committed a migration yet.
	Raced func(error) bool
}

// Up applies the migrations that are missing. It returns storage.ErrNewerSchema
// when the database knows a migration that the program does not.
func Up(ctx context.Context, c Config) error {
	for attempt := 1; ; attempt++ {
		from, err := up(ctx, c)
		if err == nil || attempt == attempts || errors.Is(err, storage.ErrNewerSchema) {
			return err
		}
		if !c.Raced(err) && !advanced(ctx, c, from) {
			return err
		}
		if err := Pause(ctx, attempt); err != nil {
			return err
		}
	}
}

// up tries once, and returns the version it started from.
func up(ctx context.Context, c Config) (from int64, err error) {
	if err := createVersions(ctx, c.DB); err != nil {
		return 0, fmt.Errorf("creating the table of versions: %w", err)
	}
	provider, err := goose.NewProvider(goose.DialectCustom, c.DB, c.Migrations,
		goose.WithStore(table{}), goose.WithDisableGlobalRegistry(true), goose.WithLogger(goose.NopLogger()))
	if err != nil {
		return 0, fmt.Errorf("reading migrations: %w", err)
	}
	from, target, err := provider.GetVersions(ctx)
	if err != nil {
		return 0, fmt.Errorf("reading the schema's version: %w", err)
	}
	if from > target {
		return from, fmt.Errorf("%w: it is at version %d, the program knows up to %d", storage.ErrNewerSchema, from, target)
	}
	if _, err := provider.Up(ctx); err != nil {
		return from, fmt.Errorf("migrating from version %d to %d: %w", from, target, err)
	}
	return from, nil
}

// createVersions makes the table of versions when it cannot be read: a role that
// may not create tables can start once somebody else has migrated.
func createVersions(ctx context.Context, db *sql.DB) error {
	if _, err := (table{}).GetLatestVersion(ctx, db); err == nil {
		return nil
	}
	if err := (table{}).CreateVersionTable(ctx, db); err != nil {
		return err
	}
	// Versions start at zero, by goose's convention.
	_, err := db.ExecContext(ctx, `INSERT INTO schema_versions (version) VALUES (0) ON CONFLICT DO NOTHING`)
	return err
}

// advanced reports that somebody else has migrated since version from.
func advanced(ctx context.Context, c Config, from int64) bool {
	now, err := table{}.GetLatestVersion(ctx, c.DB)
	return err == nil && now > from
}

// Pause waits a little, longer with each attempt and never the same for two
// replicas.
func Pause(ctx context.Context, attempt int) error {
	limit := time.Duration(min(attempt, 10)) * 50 * time.Millisecond
	timer := time.NewTimer(rand.N(limit))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// table is goose's view of schema_versions, whose primary key is the version.
type table struct{}

var _ database.StoreExtender = table{}

// Tablename implements database.Store.
func (table) Tablename() string { return "schema_versions" }

// TableExists implements database.StoreExtender: up has created the table.
func (table) TableExists(context.Context, database.DBTxConn) (bool, error) { return true, nil }

// CreateVersionTable implements database.Store.
func (table) CreateVersionTable(ctx context.Context, db database.DBTxConn) error {
	_, err := db.ExecContext(ctx, `CREATE TABLE IF NOT EXISTS schema_versions (version BIGINT PRIMARY KEY)`)
	return err
}

// Insert implements database.Store. It fails when another replica inserted the
// version first, and the migration is rolled back with it.
func (table) Insert(ctx context.Context, db database.DBTxConn, req database.InsertRequest) error {
	_, err := db.ExecContext(ctx, `INSERT INTO schema_versions (version) VALUES ($1)`, req.Version)
	return err
}

// Delete implements database.Store: there is no way back.
func (table) Delete(context.Context, database.DBTxConn, int64) error {
	return database.ErrNotImplemented
}

// GetMigration implements database.Store.
func (table) GetMigration(ctx context.Context, db database.DBTxConn, version int64) (*database.GetMigrationResult, error) {
	err := db.QueryRowContext(ctx, `SELECT version FROM schema_versions WHERE version = $1`, version).Scan(&version)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, database.ErrVersionNotFound
	}
	if err != nil {
		return nil, err
	}
	return &database.GetMigrationResult{IsApplied: true}, nil
}

// GetLatestVersion implements database.Store.
func (table) GetLatestVersion(ctx context.Context, db database.DBTxConn) (int64, error) {
	var version sql.NullInt64
	if err := db.QueryRowContext(ctx, `SELECT max(version) FROM schema_versions`).Scan(&version); err != nil {
		return 0, err
	}
	if !version.Valid {
		return 0, database.ErrVersionNotFound
	}
	return version.Int64, nil
}

// ListMigrations implements database.Store.
func (table) ListMigrations(ctx context.Context, db database.DBTxConn) ([]*database.ListMigrationsResult, error) {
	rows, err := db.QueryContext(ctx, `SELECT version FROM schema_versions ORDER BY version DESC`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []*database.ListMigrationsResult
	for rows.Next() {
		applied := database.ListMigrationsResult{IsApplied: true}
		if err := rows.Scan(&applied.Version); err != nil {
			return nil, err
		}
		list = append(list, &applied)
	}
	return list, rows.Err()
}
