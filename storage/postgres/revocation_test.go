package postgres_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/countersign/countersign/storage"
	"github.com/countersign/countersign/storage/postgres"
	"github.com/countersign/countersign/storage/storagetest"
	"github.com/countersign/countersign/storage/storagetest/pgcluster"
)

// fillGrants inserts n redeemed grants and n sessions: of a hundred connectors,
// clients and SIDs, and n/4 people.
func fillGrants(t testing.TB, conn *pgx.Conn, n int, now time.Time) {
	t.Helper()
	for _, insert := range []string{
		`INSERT INTO grants SELECT ('00000000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, 'c' || n % 100, 'k' || n / 4 % 100, 'u' || n / 4,
			's' || n % 100, '{offline_access}', '', '', '', '', $1, '', '{}', $1, $1, $1, NULL, '', $1::timestamptz + interval '30 d', '', '',
			0, $1, '', '' FROM generate_series(1, $2::int) n`,
		`INSERT INTO sessions SELECT sha256(n::text::bytea), 's' || n % 100, 'k' || n / 4 % 100, 'u' || n / 4, $1, '{}', '{}', false, '', '', $1,
			$1::timestamptz + n * interval '1 ms', $1::timestamptz + interval '30 d', '{}' FROM generate_series(1, $2::int) n`,
		`INSERT INTO identities SELECT 'k' || n % 100, 'u' || n, '', '', '', false, '{}', $1, $1::timestamptz + interval '30 d'
			FROM generate_series(0, $2::int / 4) n`,
	} {
		if _, err := conn.Exec(t.Context(), insert, now, n); err != nil {
			t.Fatal(err)
		}
	}
}

// plan explains a statement.
func plan(t *testing.T, conn *pgx.Conn, query string, args []any) string {
	t.Helper()
	return strings.Join(column(t, conn, "EXPLAIN "+query, args...), "\n")
}

// Each selection has an index that its rows are found by, whatever is known of the
// table, and a batch goes on in its order.
func TestRevocationFindsItsRowsByIndex(t *testing.T) {
	dsn := pgcluster.Schema(t)
	s := open(t, postgres.Config{DSN: dsn})
	conn := connect(t, dsn)
	now := time.Date(2026, 2, 3, 4, 5, 6, 0, time.UTC)
	fillGrants(t, conn, 20_000, now)
	grants := map[string]storage.Selector{
		"grants_pkey":             {Everything: true},
		"grants_pkey ":            {GrantID: storage.GrantID{6: 0x70, 8: 0x80, 15: 7}},
		"grants_of_client":        {ClientID: "c7"},
		"grants_of_person_by_id":  {ConnectorID: "k7"},
		"grants_of_person_by_id ": {ConnectorID: "k7", UserID: "u7"},
		"grants_of_session_by_id": {SID: "s7"},
	}
	sessions := map[string]storage.Selector{
		"sessions_pkey":       {Everything: true},
		"sessions_of_person":  {ConnectorID: "k7"},
		"sessions_of_person ": {ConnectorID: "k7", UserID: "u7"},
		"sessions_of_sid":     {SID: "s7"},
		"sessions_by_use":     {UnusedSince: now.Add(time.Second)},
	}
	check := func(index, found string) {
		t.Helper()
		if index = strings.TrimSpace(index); !strings.Contains(found, index) || strings.Contains(found, "Seq Scan") {
			t.Errorf("not by %s alone:\n%s", index, found)
		}
	}
	for _, known := range []string{"SELECT 1", "ANALYZE grants, sessions"} {
		if _, err := conn.Exec(t.Context(), known); err != nil {
			t.Fatal(err)
		}
		for index, of := range grants {
			query, args := postgres.RevokeGrantsQuery(storage.Revocation{Of: of, Now: now, Before: now, Limit: 100})
			check(index, plan(t, conn, query, args))
		}
		for index, of := range sessions {
			query, args := postgres.EndSessionsQuery(storage.SessionEnd{Of: of, Before: now, Limit: 100})
			check(index, plan(t, conn, query, args))
		}
	}
	of := storage.Holding{ConnectorID: "k7", UserID: "u7", Now: now, Scope: "offline_access", Limit: 10}
	if found, err := s.GrantsOf(t.Context(), of); err != nil || len(found) != 4 {
		t.Errorf("%d grants, %v", len(found), err)
	}
	if found, err := s.SessionsOf(t.Context(), of); err != nil || len(found) != 4 {
		t.Errorf("%d sessions, %v", len(found), err)
	}
}

// Ten thousand grants and sessions end in batches, all of them.
func TestTenThousandEnd(t *testing.T) {
	dsn := pgcluster.Schema(t)
	s := open(t, postgres.Config{DSN: dsn})
	conn := connect(t, dsn)
	now := time.Date(2026, 2, 3, 4, 5, 6, 0, time.UTC)
	fillGrants(t, conn, 10_000, now)
	everything := storage.Selector{Everything: true}
	end := storage.SessionEnd{Of: everything, Before: now, Limit: 500, With: storage.Ending{
		Now: now, RevokeClientIDs: []string{"c7"}, Reason: "session", TellClientIDs: []string{"c8"}, TellUntil: now.Add(time.Hour)}}
	for done := (storage.Revoked{}); !done.Done; end.After = done.Next {
		var err error
		if done, err = s.EndSessions(t.Context(), end); err != nil || done.Rows > 500 {
			t.Fatalf("%+v, %v", done, err)
		}
	}
	in := storage.Revocation{Of: everything, Now: now, Before: now, Reason: "all", Limit: 500}
	for done := (storage.Revoked{}); !done.Done; in.After = done.Next {
		var err error
		if done, err = s.RevokeGrants(t.Context(), in); err != nil || done.Rows > 500 {
			t.Fatalf("%+v, %v", done, err)
		}
	}
	got := column(t, conn, `SELECT format('%s %s', revoked_reason, count(*)) FROM grants WHERE revoked_at = $1 GROUP BY revoked_reason ORDER BY 1`, now)
	if want := "all 9900,session 100"; strings.Join(got, ",") != want {
		t.Errorf("revoked: %v, want %s", got, want)
	}
	if got := column(t, conn, `SELECT format('%s %s', (SELECT count(*) FROM sessions), (SELECT count(*) FROM logout_deliveries))`); got[0] != "0 1" {
		t.Errorf("sessions and deliveries: %v", got)
	}
}

// BenchmarkRevokeEverything revokes 100,000 grants while eight callers rotate
// others, on a disk that is waited for, and reports how many a second and how the
// rotations fare.
func BenchmarkRevokeEverything(b *testing.B) {
	const grants, callers = 100_000, 8
	for b.Loop() {
		b.StopTimer()
		c, err := pgcluster.Start(pgcluster.Options{Fsync: true})
		if err != nil {
			b.Fatal(err)
		}
		s := open(b, postgres.Config{DSN: c.DSN(), MaxOpenConns: 12})
		conn, err := pgx.Connect(b.Context(), c.DSN())
		if err != nil {
			b.Fatal(err)
		}
		now := time.Now().UTC().Truncate(time.Microsecond)
		fillGrants(b, conn, grants, now)
		// The first rows of the walk stay alive: they are made later.
		if _, err := conn.Exec(b.Context(), `UPDATE grants SET created_at = created_at + interval '1 h' WHERE id <= '00000000-0000-7000-8000-0000000003e8'`); err != nil {
			b.Fatal(err)
		}
		if _, err := conn.Exec(b.Context(), `VACUUM ANALYZE grants`); err != nil {
			b.Fatal(err)
		}
		alone := rotateFor(b, s, callers, now, time.After(3*time.Second))
		over := make(chan time.Time)
		var during samples
		var running sync.WaitGroup
		running.Go(func() { during = rotateFor(b, s, callers, now.Add(time.Minute), over) })
		b.StartTimer()
		in := storage.Revocation{Of: storage.Selector{Everything: true}, Now: now, Before: now, Reason: "all", Limit: 500}
		var slowest time.Duration
		started := time.Now()
		for done := (storage.Revoked{}); !done.Done; in.After = done.Next {
			began := time.Now()
			if done, err = s.RevokeGrants(b.Context(), in); err != nil {
				b.Fatal(err)
			}
			slowest = max(slowest, time.Since(began))
		}
		b.StopTimer()
		took := time.Since(started)
		close(over)
		running.Wait()
		b.ReportMetric(grants/took.Seconds(), "revoked/s")
		b.ReportMetric(float64(slowest.Microseconds())/1000, "slowest-batch-ms")
		alone.report(b, "alone")
		during.report(b, "during")
		_ = conn.Close(b.Context())
		_ = s.Close()
		if err := c.Close(); err != nil {
			b.Error(err)
		}
		b.StartTimer()
	}
}

// samples are how long rotations took.
type samples struct {
	took   []time.Duration
	lasted time.Duration
}

func (s samples) report(b *testing.B, when string) {
	if len(s.took) == 0 {
		b.Fatal("nothing was rotated")
	}
	at := func(p int) float64 { return float64(s.took[(len(s.took)-1)*p/100].Microseconds()) / 1000 }
	b.ReportMetric(float64(len(s.took))/s.lasted.Seconds(), "rotations/s-"+when)
	b.ReportMetric(at(50), "p50-ms-"+when)
	b.ReportMetric(at(99), "p99-ms-"+when)
	b.ReportMetric(at(100), "max-ms-"+when)
}

// rotateFor rotates the first thousand grants until over.
func rotateFor(b *testing.B, s storage.Store, callers int, now time.Time, over <-chan time.Time) samples {
	b.Helper()
	stop := make(chan struct{})
	all := make([][]time.Duration, callers)
	started := time.Now()
	var running sync.WaitGroup
	for i := range callers {
		running.Go(func() {
			for n := i; ; n = (n + callers) % 1000 {
				select {
				case <-stop:
					return
				default:
				}
				id := storage.GrantID{6: 0x70, 8: 0x80, 14: byte((n + 1) >> 8), 15: byte(n + 1)}
				g, _, err := s.Grant(b.Context(), id, now)
				if err != nil {
					b.Errorf("reading %s: %v", id, err)
					return
				}
				began := time.Now()
				_, _, err = s.RotateGrant(b.Context(), storage.Rotation{ID: id, ClientID: fmt.Sprint("c", (n+1)%100), Generation: g.Generation,
					Next: g.Generation + 1, Now: now, UserAgent: "agent", IPAddress: "192.0.2.1"})
				if err != nil {
					b.Errorf("rotating %s: %v", id, err)
					return
				}
				all[i] = append(all[i], time.Since(began))
			}
		})
	}
	<-over
	close(stop)
	running.Wait()
	out := samples{lasted: time.Since(started)}
	for _, took := range all {
		out.took = append(out.took, took...)
	}
	slices.Sort(out.took)
	return out
}

// The end of a session waits for an authorization that holds it, and sees the grant
// that was made, also where the database's default is a snapshot for each transaction.
func TestSessionEndsAfterWhoHoldsIt(t *testing.T) {
	dsn := pgcluster.Schema(t)
	ours := pgcluster.With(pgcluster.With(dsn, "application_name", "ending"), "default_transaction_isolation", "repeatable read")
	s := open(t, postgres.Config{DSN: ours})
	in, now := storagetest.Valid()
	in.Grant.SID = in.Session.SID
	if err := storagetest.ErrorOf(s.SignIn(t.Context(), in)); err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	authorizing, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, statement := range []string{
		`SELECT FROM sessions FOR KEY SHARE`,
		`INSERT INTO grants SELECT (jsonb_populate_record(g, jsonb_build_object('id', gen_random_uuid()))).* FROM grants g`,
	} {
		if _, err := authorizing.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	ended := make(chan error, 1)
	go func() {
		_, err := s.EndSession(t.Context(), in.Session.IDHash, storage.Ending{Now: now, RevokeClientIDs: []string{in.Grant.ClientID}, Reason: "because"})
		ended <- err
	}()
	await(t, dsn, `SELECT count(*) > 0 FROM pg_stat_activity WHERE application_name = 'ending' AND wait_event_type = 'Lock'`)
	if err := authorizing.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	var all, alive int
	if err := conn.QueryRow(t.Context(), `SELECT count(*), count(*) FILTER (WHERE revoked_at IS NULL) FROM grants`).Scan(&all, &alive); err != nil {
		t.Fatal(err)
	}
	if all != 2 || alive != 0 {
		t.Errorf("%d of %d grants are alive", alive, all)
	}
}
