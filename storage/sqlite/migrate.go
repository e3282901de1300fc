package sqlite

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	sqlitedriver "modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/countersign/countersign/storage"
	"github.com/countersign/countersign/storage/migrate"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Migrate creates the file when there is none and brings its schema forward. It
// may run in several processes at once, and again at every start.
func (s *Store) Migrate(ctx context.Context) error {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return fmt.Errorf("reading migrations: %w", err)
	}
	return s.migrate(ctx, files)
}

func (s *Store) migrate(ctx context.Context, files fs.FS) error {
	if err := createFile(s.file); err != nil {
		return fmt.Errorf("%w: %w", storage.ErrUnavailable, err)
	}
	if err := s.useWriteAheadLog(ctx); err != nil {
		return err
	}
	err := migrate.Up(ctx, migrate.Config{DB: s.writer, Migrations: files, Raced: raced})
	return s.translate(ctx, ctx, "migrating the database", err)
}

// createFile creates the database, and its folder, for their owner alone.
func createFile(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("creating the database's folder: %w", err)
	}
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("creating the database: %w", err)
	}
	return file.Close()
}

// useWriteAheadLog makes readers and the writer independent. It is a property
// of the file: setting it again does nothing.
func (s *Store) useWriteAheadLog(ctx context.Context) error {
	bounded, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	for attempt := 1; ; attempt++ {
		var mode string
		err := s.writer.QueryRowContext(bounded, `PRAGMA journal_mode = WAL`).Scan(&mode)
		if err == nil && mode != "wal" {
			err = fmt.Errorf("the file system cannot hold a write-ahead log (journal mode %q)", mode)
		}
		// Changing the mode needs the file alone, and SQLite does not wait for it.
		if err == nil || !raced(err) || migrate.Pause(bounded, attempt) != nil {
			return s.translate(ctx, bounded, "starting the write-ahead log", err)
		}
	}
}

// raced reports that another process has the file locked.
func raced(err error) bool {
	var failure *sqlitedriver.Error
	if !errors.As(err, &failure) {
		return false
	}
	primary := failure.Code() & 0xff
	return primary == sqlite3.SQLITE_BUSY || primary == sqlite3.SQLITE_LOCKED
}
