package postgres_test

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/countersign/countersign/storage"
	"github.com/countersign/countersign/storage/postgres"
	"github.com/countersign/countersign/storage/storagetest"
	"github.com/countersign/countersign/storage/storagetest/pgcluster"
)

func BenchmarkStore(b *testing.B) {
	var c counter
	s := open(b, postgres.Config{DSN: pgcluster.Schema(b), MaxOpenConns: 1, Tracer: &c})
	storagetest.Benchmark(b, s, c.work)
}

// BenchmarkRotate runs on a disk that is waited for.
func BenchmarkRotate(b *testing.B) {
	c, err := pgcluster.Start(pgcluster.Options{Fsync: true})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := c.Close(); err != nil {
			b.Error(err)
		}
	})
	var sent counter
	s := open(b, postgres.Config{DSN: c.DSN(), Tracer: &sent})
	storagetest.BenchmarkRotate(b, s, func() storagetest.Work {
		work := sent.work()
		work.LogBytes = logBytes(b, c.DSN())
		return work
	})
}

// logBytes is how much was written to the write-ahead log so far.
func logBytes(b *testing.B, dsn string) (n int64) {
	b.Helper()
	conn, err := pgx.Connect(b.Context(), dsn)
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close(b.Context())
	if err := conn.QueryRow(b.Context(), `SELECT (pg_current_wal_lsn() - '0/0')::bigint`).Scan(&n); err != nil {
		b.Fatal(err)
	}
	return n
}

// counter counts what pgx sends.
type counter struct{ statements, roundTrips atomic.Int64 }

func (c *counter) work() storagetest.Work {
	return storagetest.Work{Statements: c.statements.Load(), RoundTrips: c.roundTrips.Load()}
}

func (c *counter) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	c.statements.Add(1)
	c.roundTrips.Add(1)
	return ctx
}

func (c *counter) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

func (c *counter) TraceBatchStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceBatchStartData) context.Context {
	c.roundTrips.Add(1)
	return ctx
}

func (c *counter) TraceBatchQuery(context.Context, *pgx.Conn, pgx.TraceBatchQueryData) {
	c.statements.Add(1)
}

func (c *counter) TraceBatchEnd(context.Context, *pgx.Conn, pgx.TraceBatchEndData) {}

// A login is two writes of one round trip each: a statement more is noticed.
func TestRoundTripsOfALogin(t *testing.T) {
	var c counter
	s := open(t, postgres.Config{DSN: pgcluster.Schema(t), MaxOpenConns: 1, Tracer: &c})
	warm, _ := storagetest.Valid()
	if err := storagetest.ErrorOf(s.SignIn(t.Context(), warm)); err != nil {
		t.Fatal(err)
	}
	in, now := storagetest.Valid()
	before := c.work().RoundTrips
	if err := storagetest.ErrorOf(s.SignIn(t.Context(), in)); err != nil {
		t.Fatal(err)
	}
	if err := s.RedeemCode(t.Context(), storage.Redemption{ID: in.Grant.ID, Now: now, ExpiresAt: in.Grant.ExpiresAt}); err != nil {
		t.Fatal(err)
	}
	if trips := c.work().RoundTrips - before; trips != 2 {
		t.Errorf("%d round trips", trips)
	}
}
