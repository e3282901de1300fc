package postgres

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/countersign/countersign/storage"
)

// attempts is how often a transaction is run that the server keeps rolling back.
// Only engines without row locks that wait (see TestConformanceWhenSerializable)
// come near: there, whoever rotates their grant without a pause must not be able
// to hold off its revocation.
const attempts = 20

// work is done on one connection. It must leave no transaction open on success.
type work func(ctx context.Context, conn *pgx.Conn) error

// read runs work that changes nothing, and may therefore be repeated when a
// connection breaks.
func (s *Store) read(ctx context.Context, doing string, do work) error {
	return s.run(ctx, doing, do, true)
}

// transition runs work that changes something, as one transaction.
func (s *Store) transition(ctx context.Context, doing string, do work) error {
	return s.run(ctx, doing, do, false)
}

// failure is how an attempt ended that did not succeed.
type failure struct {
	err error
	// lost: there is no answer, because the connection could not be had, broke,
	// or took too long.
	lost bool
	// broke: it was the connection that broke, so another one may do better.
	broke bool
}

func (s *Store) run(ctx context.Context, doing string, do work, repeatable bool) error {
	end := time.Now().Add(s.acquireTimeout + s.statementTimeout)
	broken := 0
	for attempt := 1; ; attempt++ {
		f := s.attempt(ctx, end, do)
		if f == nil {
			return nil
		}
		again := wasRolledBack(f.err) && !f.lost
		if f.broke && (repeatable || pgconn.SafeToRetry(f.err)) {
			broken++
			again = broken == 1
		}
		if !again || attempt == attempts || pause(ctx, end, attempt) != nil {
			return translate(ctx, doing, f)
		}
	}
}

// attempt runs work once, with a connection of the pool, and not beyond end.
func (s *Store) attempt(ctx context.Context, end time.Time, do work) *failure {
	// One context with one timer for both waits: two with a deadline each were a
	// thirtieth of what a refresh costs.
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	timer := time.AfterFunc(min(s.acquireTimeout, time.Until(end)), func() { cancel(context.DeadlineExceeded) })
	defer timer.Stop()
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		return &failure{err: waited(ctx, "no connection", err), lost: true}
	}
	defer conn.Release()
	timer.Reset(min(s.statementTimeout, time.Until(end)))
	about := conn.Conn().PgConn().CustomData()
	delete(about, unconfirmed)
	if err = do(ctx, conn.Conn()); err == nil {
		// An answer that came when it had been given up is none: PostgreSQL then
		// says that it has committed also what a synchronous standby has not.
		switch err = ctx.Err(); {
		case err == nil && about[unconfirmed] == nil:
			return nil
		case err == nil:
			return &failure{err: errUnconfirmed, lost: true}
		}
	}
	err = waited(ctx, "no answer", err)
	if conn.Conn().PgConn().TxStatus() == 'E' {
		// What failed is rolled back already; this frees the connection. If it
		// fails, Release destroys the connection.
		_, _ = conn.Exec(ctx, "rollback")
	}
	if isReadOnly(err) {
		// The primary has moved: a new connection may find it.
		_ = conn.Conn().Close(ctx)
	}
	late, closed := ctx.Err() != nil, conn.Conn().IsClosed()
	return &failure{err: err, lost: late || closed, broke: closed && !late}
}

// unconfirmed is what a connection notes about itself when somebody else has ended
// its wait for a synchronous standby, as people do with pg_cancel_backend: PostgreSQL
// says that it has committed then, too, and warns of it.
const unconfirmed = "unconfirmed"

var errUnconfirmed = errors.New("no synchronous standby has confirmed the commit: the wait for one was cancelled")

// heed notes that warning. Its text is in the server's language; where in the server
// it comes from is not.
func heed(conn *pgconn.PgConn, notice *pgconn.Notice) {
	if notice.Routine == "SyncRepWaitForLSN" {
		conn.CustomData()[unconfirmed] = true
	}
}

// waited says of what failed in vain that it was for the time it took.
func waited(ctx context.Context, missing string, err error) error {
	if context.Cause(ctx) == context.DeadlineExceeded {
		return fmt.Errorf("%s in time: %w", missing, err)
	}
	return err
}

// pause waits longer with each attempt, and never as long as a competitor; it
// fails when nothing could be done before end.
func pause(ctx context.Context, end time.Time, attempt int) error {
	wait := rand.N(5 * time.Millisecond << min(attempt, 4))
	if time.Until(end) <= wait {
		return context.DeadlineExceeded
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// batch runs the statements as one transaction in one round trip. BEGIN and
// COMMIT are explicit because not every engine makes a pipeline a transaction.
func (s *Store) batch(ctx context.Context, conn *pgx.Conn, fill func(*pgx.Batch)) error {
	var b pgx.Batch
	b.Queue(s.begin)
	fill(&b)
	b.Queue("commit")
	return conn.SendBatch(ctx, &b).Close()
}

// SQLSTATEs (PostgreSQL, appendix A) that mean something here.
const (
	uniqueViolation       = "23505"
	serializationFailure  = "40001"
	deadlockDetected      = "40P01"
	readOnlyTransaction   = "25006"
	queryCanceled         = "57014"
	lockNotAvailable      = "55P03"
	undefinedTable        = "42P01"
	invalidCatalogName    = "3D000"
	notInRepertoire       = "22021"
	untranslatable        = "22P05"
	programLimitExceeded  = "54000"
	duplicateTable        = "42P07"
	duplicateObject       = "42710"
	featureNotSupported   = "0A000"
	invalidStatementName  = "26000"
	statementsUnknownFate = "40003"
)

func sqlState(err error) string {
	var pgErr *pgconn.PgError
	if errors.As(err, &pgErr) {
		return pgErr.Code
	}
	return ""
}

// wasRolledBack reports that the server undid the transaction for a reason that
// goes away: a competitor, or a cancellation meant for the statement before.
func wasRolledBack(err error) bool {
	switch sqlState(err) {
	case serializationFailure, deadlockDetected, queryCanceled:
		return true
	}
	return false
}

func isReadOnly(err error) bool {
	return errors.Is(err, errReadOnly) || sqlState(err) == readOnlyTransaction
}

// translate turns a failure into an error of the contract. ctx is the caller's.
func translate(ctx context.Context, doing string, f *failure) error {
	switch {
	case errors.Is(f.err, storage.ErrConflict):
		return f.err
	case errors.Is(f.err, pgx.ErrNoRows):
		return storage.ErrNotFound
	case ctx.Err() != nil:
		return ctx.Err()
	case f.lost:
		return fmt.Errorf("%s: %w: %v", doing, storage.ErrUnavailable, f.err)
	}
	switch code := sqlState(f.err); {
	case code == uniqueViolation:
		return fmt.Errorf("%s: %w", doing, storage.ErrConflict)
	case code == notInRepertoire, code == untranslatable, code == programLimitExceeded:
		return fmt.Errorf("%s: %w: %v", doing, storage.ErrInvalid, f.err)
	case isOutage(code):
		return fmt.Errorf("%s: %w: %v", doing, storage.ErrUnavailable, f.err)
	}
	return fmt.Errorf("%s: %w", doing, f.err)
}

// isOutage reports what an operator or time can mend while we run: no
// connections left, shutting down, disk full, not migrated yet, password changed.
func isOutage(code string) bool {
	switch code {
	case serializationFailure, deadlockDetected, statementsUnknownFate, readOnlyTransaction,
		lockNotAvailable, undefinedTable, invalidCatalogName:
		return true
	case "":
		return false
	}
	switch code[:2] { // the class
	case "08", "28", "53", "57", "58":
		return true
	}
	return false
}
