package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	sqlitedriver "modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/countersign/countersign/storage"
)

// tx is a transaction with its context: no statement can leave it behind.
type tx struct {
	*sql.Tx
	ctx context.Context
}

// Exec hides the method that drops the context.
func (t *tx) Exec(query string, args ...any) (sql.Result, error) {
	return t.ExecContext(t.ctx, query, args...)
}

// Query hides the method that drops the context.
func (t *tx) Query(query string, args ...any) (*sql.Rows, error) {
	return t.QueryContext(t.ctx, query, args...)
}

// QueryRow hides the method that drops the context.
func (t *tx) QueryRow(query string, args ...any) *sql.Row {
	return t.QueryRowContext(t.ctx, query, args...)
}

// hit runs a conditional statement and reports whether it changed a row.
func (t *tx) hit(query string, args ...any) (bool, error) {
	result, err := t.Exec(query, args...)
	if err != nil {
		return false, err
	}
	rows, err := result.RowsAffected()
	return rows > 0, err
}

// write runs do as one transaction of the writer.
func (s *Store) write(ctx context.Context, doing string, do func(*tx) error) error {
	return s.transact(ctx, s.writer, nil, doing, do)
}

// read runs do as one read transaction: all its statements see the same state.
func (s *Store) read(ctx context.Context, doing string, do func(*tx) error) error {
	return s.transact(ctx, s.readers, &sql.TxOptions{ReadOnly: true}, doing, do)
}

func (s *Store) transact(ctx context.Context, db *sql.DB, opts *sql.TxOptions, doing string, do func(*tx) error) error {
	bounded, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	sqlTx, err := db.BeginTx(bounded, opts)
	if err == nil {
		if err = do(&tx{sqlTx, bounded}); err == nil {
			err = sqlTx.Commit()
		}
		if err != nil {
			// After a failed Commit this does nothing; after anything else the
			// transaction must not outlive the call, and its own error adds nothing.
			_ = sqlTx.Rollback()
		}
	}
	return s.translate(ctx, bounded, doing, err)
}

// translate turns an error of the driver into one of the contract. ctx is the
// caller's, bounded carries our own deadline.
func (s *Store) translate(ctx, bounded context.Context, doing string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, storage.ErrConflict), errors.Is(err, storage.ErrNewerSchema):
		return err
	case errors.Is(err, sql.ErrNoRows):
		return storage.ErrNotFound
	case ctx.Err() != nil:
		return ctx.Err()
	case bounded.Err() != nil:
		return fmt.Errorf("%s: %w: %s: no answer within %v, perhaps another process has it locked",
			doing, storage.ErrUnavailable, s.file, s.timeout)
	case s.closed.Load():
		return fmt.Errorf("%s: %w: the database is closed", doing, storage.ErrUnavailable)
	}
	var failure *sqlitedriver.Error
	if !errors.As(err, &failure) {
		return fmt.Errorf("%s: %w", doing, err)
	}
	switch {
	case isDuplicate(failure):
		return fmt.Errorf("%s: %w", doing, storage.ErrConflict)
	case failure.Code() == sqlite3.SQLITE_READONLY_DIRECTORY:
		return fmt.Errorf("%s: %w: %s: %v: its folder has to be writable, too", doing, storage.ErrUnavailable, s.file, err)
	case isOutage(failure):
		return fmt.Errorf("%s: %w: %s: %v", doing, storage.ErrUnavailable, s.file, err)
	}
	return fmt.Errorf("%s: %s: %w", doing, s.file, err)
}

// isDuplicate reports that a key is taken.
func isDuplicate(err *sqlitedriver.Error) bool {
	return err.Code() == sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY || err.Code() == sqlite3.SQLITE_CONSTRAINT_UNIQUE
}

// isOutage reports that the file is locked, gone, read-only, on a full or a
// failing disk: what an operator can mend while we run.
func isOutage(err *sqlitedriver.Error) bool {
	switch err.Code() & 0xff { // the primary code
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY,
		sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_PERM, sqlite3.SQLITE_INTERRUPT,
		sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_NOMEM:
		return true
	}
	return false
}
