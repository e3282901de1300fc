// Package postgres keeps the provider's records in PostgreSQL, or in an engine
// that speaks its protocol. Replicas share nothing but the database: there are
// no advisory locks, notifications, triggers or sequences, and every row is
// found by its primary key, but for what revocation, garbage collection and
// people who look at what they have need an index for.
//
// It refuses to wait: a database that is down, full, read-only, or swallows
// packets is storage.ErrUnavailable within AcquireTimeout + StatementTimeout
// (and a second for giving up). Connections are made again when it is back.
//
// Threat: an acknowledgement may be lost on the way. A transition is therefore
// never sent twice, unless the server said that it rolled the first one back or
// nothing of it had left this process.
package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/countersign/countersign/storage"
)

// Store is a storage.Store in PostgreSQL.
type Store struct {
	pool             *pgxpool.Pool
	acquireTimeout   time.Duration
	statementTimeout time.Duration
	// prepares: connections keep prepared statements, as they do unless there is a
	// pooler that does not.
	prepares bool
	tracer   pgx.QueryTracer // may be nil
	// begin begins a transaction of several statements.
	begin string
}

var _ storage.Store = (*Store)(nil)

// beginCommitted asks for the isolation that transactions are written for, whatever
// the database's default is: the second statement of one must see what somebody has
// committed while the first waited for their lock. In a snapshot (repeatable read) it
// would not, and nobody would be told; serializable rolls back instead.
const beginCommitted = "begin isolation level read committed"

// Open checks the configuration. It does not connect: the database may be down.
func Open(c Config) (*Store, error) {
	config, err := c.pool()
	if err != nil {
		return nil, fmt.Errorf("postgres: %w", err)
	}
	s := &Store{
		acquireTimeout:   cmp.Or(c.AcquireTimeout, defaultAcquireTimeout),
		statementTimeout: cmp.Or(c.StatementTimeout, defaultStatementTimeout),
		prepares:         config.ConnConfig.DefaultQueryExecMode == pgx.QueryExecModeCacheStatement,
		tracer:           c.Tracer,
		begin:            beginCommitted,
	}
	if config.ConnConfig.RuntimeParams["default_transaction_isolation"] == "serializable" {
		s.begin = "begin" // the DSN asks for it
	}
	if limit := c.MaxIdleConns; limit > 0 && limit < int(config.MaxConns) {
		config.AfterRelease = func(*pgx.Conn) bool { return int(s.pool.Stat().IdleConns()) < limit }
	}
	if s.pool, err = pgxpool.NewWithConfig(context.Background(), config); err != nil {
		return nil, fmt.Errorf("postgres: preparing the pool: %w", err)
	}
	return s, nil
}

// Close implements storage.Store. A database that does not answer is not waited
// for longer than any statement: pgx would give each connection 15 s, in which an
// operator's patience with a process that was told to end runs out.
func (s *Store) Close() error {
	closed := make(chan struct{})
	go func() {
		s.pool.Close()
		close(closed)
	}()
	timer := time.NewTimer(s.statementTimeout)
	defer timer.Stop()
	select {
	case <-closed:
		return nil
	case <-timer.C:
		return fmt.Errorf("closing connections: %w: no answer within %s", storage.ErrUnavailable, s.statementTimeout)
	}
}

// Ping implements storage.Store. A database that cannot be written to (a hot
// standby) is of no use here, so it is unavailable.
func (s *Store) Ping(ctx context.Context) (time.Time, error) {
	var at time.Time
	var readOnly bool
	err := s.read(ctx, "asking for the time", func(ctx context.Context, conn *pgx.Conn) error {
		err := conn.QueryRow(ctx, `SELECT clock_timestamp(), current_setting('transaction_read_only')::bool`).
			Scan(instant{&at}, &readOnly)
		if err == nil && readOnly {
			return errReadOnly
		}
		return err
	})
	return at, err
}

// errReadOnly is what a read-only database says when it is written to.
var errReadOnly = errors.New("the database is read-only")

// MasterSecret implements storage.Store.
func (s *Store) MasterSecret(ctx context.Context, candidate []byte, now time.Time) ([]byte, error) {
	if len(candidate) == 0 {
		return nil, fmt.Errorf("%w: the master secret is empty", storage.ErrInvalid)
	}
	var secret []byte
	// Two statements on purpose: the second one sees what somebody else
	// committed while the first one waited.
	err := s.transition(ctx, "choosing the master secret", func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, `INSERT INTO master_secret (id, secret, created_at) VALUES (1, $1, $2) ON CONFLICT DO NOTHING`,
			candidate, now)
		if err != nil {
			return err
		}
		return conn.QueryRow(ctx, `SELECT secret FROM master_secret WHERE id = 1`).Scan(&secret)
	})
	return secret, err
}
