package postgres_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/countersign/countersign/storage"
	"github.com/countersign/countersign/storage/postgres"
	"github.com/countersign/countersign/storage/storagetest"
	"github.com/countersign/countersign/storage/storagetest/pgcluster"
)

// The hot path is one statement, whatever its answer.
func TestRotatingIsOneStatement(t *testing.T) {
	var c counter
	s := open(t, postgres.Config{DSN: pgcluster.Schema(t), MaxOpenConns: 1, Tracer: &c})
	r := storagetest.Redeemed(t, s)
	rotate(t, s, &r) // prepares it
	once := func(name string, do func() error) {
		t.Helper()
		before := c.work()
		if err := do(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		after := c.work()
		if after.Statements-before.Statements != 1 || after.RoundTrips-before.RoundTrips != 1 {
			t.Errorf("%s: %v, then %v", name, before, after)
		}
	}
	spent := r
	once("rotating", func() error {
		rotate(t, s, &r)
		return nil
	})
	once("a spent token", func() error {
		if _, _, err := s.RotateGrant(t.Context(), spent); !errors.Is(err, storage.ErrConflict) {
			t.Errorf("error %v", err)
		}
		return nil
	})
	once("a batch of grants", func() error {
		done, err := s.RevokeGrants(t.Context(), storage.Revocation{
			Of: storage.Selector{GrantID: r.ID}, Now: r.Now, Before: r.Now, Reason: "gone", Limit: 10,
		})
		if err == nil && done.Rows != 1 {
			t.Errorf("%d revoked", done.Rows)
		}
		return err
	})
}

// rotate rotates a grant and makes r its next rotation.
func rotate(t testing.TB, s storage.Store, r *storage.Rotation) {
	t.Helper()
	grant, _, err := s.RotateGrant(t.Context(), *r)
	if err != nil {
		t.Fatal(err)
	}
	r.Generation, r.Next = grant.Generation, grant.Generation+1
}

// A redemption writes the identity only when it would expire first.
func TestRedeemingWritesTheIdentityOnlyToKeepIt(t *testing.T) {
	dsn := pgcluster.Schema(t)
	s := open(t, postgres.Config{DSN: dsn})
	version := func() (xmin string) {
		t.Helper()
		conn, err := pgx.Connect(t.Context(), dsn)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close(t.Context())
		if err := conn.QueryRow(t.Context(), `SELECT xmin::text FROM identities`).Scan(&xmin); err != nil {
			t.Fatal(err)
		}
		return xmin
	}
	in, now := storagetest.Valid()
	if err := storagetest.ErrorOf(s.SignIn(t.Context(), in)); err != nil {
		t.Fatal(err)
	}
	before := version()
	if err := s.RedeemCode(t.Context(), storage.Redemption{ID: in.Grant.ID, Now: now, ExpiresAt: in.Identity.ExpiresAt}); err != nil {
		t.Fatal(err)
	}
	if after := version(); after != before {
		t.Error("the identity was written")
	}
}

// Rotating updates stay on their page and write no index (heap-only tuples).
func TestRotatingUpdatesAreHeapOnly(t *testing.T) {
	// A snapshot of anybody else keeps dead rows on their pages, until no further
	// one fits: a cluster of its own, without autovacuum.
	c := cluster(t, pgcluster.Options{Settings: map[string]string{"autovacuum": "off"}})
	s, err := postgres.Open(patient(postgres.Config{DSN: c.DSN()}))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	const grants, rotations = 200, 2000
	chains := make([]storage.Rotation, grants)
	for i := range chains {
		chains[i] = storagetest.Redeemed(t, s)
	}
	for i := range rotations {
		rotate(t, s, &chains[i%grants])
	}
	if err := s.Close(); err != nil { // whoever goes reports what it did
		t.Fatal(err)
	}
	await(t, c.DSN(), `SELECT n_tup_upd >= 2200 FROM pg_stat_user_tables WHERE relname = 'grants'`)
	conn, err := pgx.Connect(t.Context(), c.DSN())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	var updates, hot int64
	err = conn.QueryRow(t.Context(), `SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'grants'`).Scan(&updates, &hot)
	if err != nil {
		t.Fatal(err)
	}
	// Redeeming a code moves expires_at, which garbage collection has an index on:
	// once in the life of a grant.
	if rotated := updates - grants; hot*100 < rotated*95 {
		t.Errorf("%d of %d rotations are heap-only", hot, rotated)
	}
}

// Poolers want the driver to speak otherwise. What comes back is the same.
func TestRotatingInEveryModeOfTheDriver(t *testing.T) {
	for _, mode := range []string{"cache_statement", "cache_describe", "describe_exec"} {
		t.Run(mode, func(t *testing.T) {
			s := open(t, postgres.Config{DSN: pgcluster.With(pgcluster.Schema(t), "default_query_exec_mode", mode)})
			in, now := storagetest.Valid()
			in.Identity.Groups = []string{"a b", `"\{},`, "", "NULL", "groupe-é"}
			in.Grant.AMR = nil
			if err := storagetest.ErrorOf(s.SignIn(t.Context(), in)); err != nil {
				t.Fatal(err)
			}
			if err := s.RedeemCode(t.Context(), storage.Redemption{ID: in.Grant.ID, Now: now, ExpiresAt: in.Identity.ExpiresAt}); err != nil {
				t.Fatal(err)
			}
			step := storage.Rotation{
				ID: in.Grant.ID, ClientID: in.Grant.ClientID, Generation: in.Grant.Generation, Next: in.Grant.Generation + 1, Now: now.Add(time.Minute), UsedAfter: now.Add(-time.Hour),
				CheckedAfter: []storage.CheckLimit{{ConnectorID: `an"other\`}, {ConnectorID: in.Identity.ConnectorID, After: in.Identity.CheckedAt.Add(-time.Second)}},
				UserAgent:    "kubectl", IPAddress: "192.0.2.1",
			}
			got, person, err := s.RotateGrant(t.Context(), step)
			if err != nil {
				t.Fatal(err)
			}
			want, known, err := s.Grant(t.Context(), in.Grant.ID, now)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want.Rotated(), got) + cmp.Diff(known, person) + cmp.Diff(in.Identity, person); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// What a connection has prepared may be gone, or of no use any more. The refresh
// that meets this does not fail.
func TestRotatingWithAStaleStatement(t *testing.T) {
	for name, stale := range map[string]string{
		"thrown away by a pooler":         `DISCARD ALL`,
		"of another type since an update": `ALTER TABLE identities ALTER COLUMN name TYPE varchar(4000)`,
	} {
		t.Run(name, func(t *testing.T) {
			dsn := pgcluster.Schema(t)
			meddle := meddler{}
			s := open(t, postgres.Config{DSN: dsn, MaxOpenConns: 1, Tracer: &meddle})
			r := storagetest.Redeemed(t, s)
			rotate(t, s, &r)
			meddle.with = stale
			rotate(t, s, &r)
			if meddle.with != "" || meddle.err != nil {
				t.Fatalf("%q: %v", meddle.with, meddle.err)
			}
			rotate(t, s, &r)
			if grant, _, err := s.Grant(t.Context(), r.ID, r.Now); err != nil || grant.Generation != r.Generation {
				t.Errorf("generation %d, want %d: %v", grant.Generation, r.Generation, err)
			}
		})
	}
}

// meddler runs a statement on a connection just before somebody else's.
type meddler struct {
	with string
	err  error
}

// TraceQueryStart implements pgx.QueryTracer.
func (m *meddler) TraceQueryStart(ctx context.Context, conn *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	if with := m.with; with != "" {
		m.with = ""
		results, err := conn.PgConn().Exec(ctx, `SHOW search_path`).ReadAll()
		if err == nil {
			path := string(results[0].Rows[0][0])
			err = errors.Join(conn.PgConn().Exec(ctx, with).Close(), conn.PgConn().Exec(ctx, "SET search_path TO "+path).Close())
		}
		m.err = err
	}
	return ctx
}

// TraceQueryEnd implements pgx.QueryTracer.
func (m *meddler) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}
