// Package sqlite keeps the provider's records in one SQLite file, without cgo.
// It is for one machine: several processes on it may share the file, a network
// file system may not hold it.
//
// Writers queue for one connection, whose transactions begin IMMEDIATE, so that
// a transition never finds in its middle that somebody else was first; readers
// run beside it on their own connections (write-ahead log). A commit is on disk
// when the method returns.
//
// Threat: whoever may read the file reads the records, so it is created for its
// owner alone. A process killed at any point leaves whole transitions only.
package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"sync/atomic"
	"time"

	_ "modernc.org/sqlite" // the driver "sqlite"

	"github.com/countersign/countersign/storage"
)

// Config says where the file is and how long to wait for it.
type Config struct {
	// File is the path of the database. It and its folder are created by
	// Migrate. Required.
	File string
	// StatementTimeout bounds each call, waiting for its turn included.
	// Default: 5 s.
	StatementTimeout time.Duration
	// MaxOpenReaders is how many reads run at once. Default: 4.
	MaxOpenReaders int
}

// Store is a storage.Store in a SQLite file.
type Store struct {
	file    string
	timeout time.Duration
	writer  *sql.DB
	readers *sql.DB
	closed  atomic.Bool
}

var _ storage.Store = (*Store)(nil)

// Open checks the configuration. It touches no file: until Migrate has created
// one, calls return storage.ErrUnavailable.
func Open(c Config) (*Store, error) {
	if c.File == "" {
		return nil, errors.New("sqlite: file is required")
	}
	if c.StatementTimeout < 0 || c.MaxOpenReaders < 0 {
		return nil, errors.New("sqlite: limits must not be negative")
	}
	file, err := filepath.Abs(c.File)
	if err != nil {
		return nil, fmt.Errorf("sqlite: resolving the file's path: %w", err)
	}
	s := &Store{file: file, timeout: c.StatementTimeout}
	if s.timeout == 0 {
		s.timeout = 5 * time.Second
	}
	readers := c.MaxOpenReaders
	if readers == 0 {
		readers = 4
	}
	if s.writer, err = s.pool(1, writing); err != nil {
		return nil, err
	}
	if s.readers, err = s.pool(readers, "_pragma=query_only(1)"); err != nil {
		return nil, err
	}
	return s, nil
}

// writing are the options of the connection that writes.
const writing = "_txlock=immediate&_pragma=synchronous(FULL)"

// pool prepares a pool of up to size connections, which stay open once used.
func (s *Store) pool(size int, options string) (*sql.DB, error) {
	db, err := sql.Open("sqlite", s.dsn(options))
	if err != nil {
		return nil, fmt.Errorf("sqlite: opening database: %w", err)
	}
	db.SetMaxOpenConns(size)
	db.SetMaxIdleConns(size)
	return db, nil
}

// dsn never creates the file (mode=rw): SQLite would make it readable to all. What a
// statement needs beside the file is kept in memory: of a system that is mounted
// read-only, the database's folder may be all that can be written to.
func (s *Store) dsn(options string) string {
	path := (&url.URL{Path: s.file}).EscapedPath()
	return fmt.Sprintf("file:%s?mode=rw&_pragma=busy_timeout(%d)&_pragma=temp_store(MEMORY)&%s",
		path, s.timeout.Milliseconds(), options)
}

// Close implements storage.Store.
func (s *Store) Close() error {
	s.closed.Store(true)
	return errors.Join(s.readers.Close(), s.writer.Close())
}

// Ping implements storage.Store. It asks the connection that writes.
func (s *Store) Ping(ctx context.Context) (time.Time, error) {
	var at int64
	err := s.write(ctx, "asking for the time", func(tx *tx) error {
		return tx.QueryRow(`SELECT CAST(unixepoch('subsec') * 1000 AS INTEGER)`).Scan(&at)
	})
	if err != nil {
		return time.Time{}, err
	}
	return time.UnixMilli(at).UTC(), nil
}

// MasterSecret implements storage.Store.
func (s *Store) MasterSecret(ctx context.Context, candidate []byte, now time.Time) ([]byte, error) {
	if len(candidate) == 0 {
		return nil, fmt.Errorf("%w: the master secret is empty", storage.ErrInvalid)
	}
	var secret []byte
	err := s.write(ctx, "choosing the master secret", func(tx *tx) error {
		_, err := tx.Exec(`INSERT INTO master_secret (id, secret, created_at) VALUES (1, ?, ?) ON CONFLICT DO NOTHING`,
			candidate, micros(now))
		if err != nil {
			return err
		}
		return tx.QueryRow(`SELECT secret FROM master_secret WHERE id = 1`).Scan(&secret)
	})
	return secret, err
}
