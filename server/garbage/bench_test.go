package garbage_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/countersign/countersign/server/garbage"
	"github.com/countersign/countersign/storage"
	"github.com/countersign/countersign/storage/postgres"
	"github.com/countersign/countersign/storage/storagetest/pgcluster"
)

// rowsVariable says how many grants have expired in BenchmarkDrain.
const rowsVariable = "COUNTERSIGN_BENCH_ROWS"

const (
	// liveGrants are rotated by refreshers, each its own share.
	liveGrants = 2000
	refreshers = 8
	// refreshesPerSecond of all refreshers together: far from what two cores can
	// do, so that a delay is seen as such and not as a queue.
	refreshesPerSecond = 500
	// alone is for how long refreshes are measured without garbage collection.
	alone = 10 * time.Second
)

// BenchmarkDrain measures, on a PostgreSQL that syncs its log, how fast expired
// grants are deleted and what refreshes notice of it.
func BenchmarkDrain(b *testing.B) {
	rows := 200_000
	if v := os.Getenv(rowsVariable); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil {
			b.Fatalf("%s: %v", rowsVariable, err)
		}
		rows = n
	}
	cluster, err := pgcluster.Start(pgcluster.Options{Fsync: true, Settings: map[string]string{
		"shared_buffers": "256MB", "max_wal_size": "4GB",
	}})
	if err != nil {
		b.Fatal(err)
	}
	defer cluster.Close()
	store, err := postgres.Open(postgres.Config{DSN: cluster.DSN(), MaxOpenConns: 16})
	if err != nil {
		b.Fatal(err)
	}
	defer store.Close()
	if err := store.Migrate(b.Context()); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		b.StopTimer()
		db := &drained{dsn: cluster.DSN(), store: store}
		db.fill(b, rows)
		b.StartTimer()
		db.measure(b, rows)
	}
}

// drained is a database in which grants have expired while others live.
type drained struct {
	dsn   string
	store *postgres.Store
}

// liveGrant is the id of a grant that lives.
func liveGrant(i int) (id storage.GrantID) {
	copy(id[:], fmt.Sprintf("live %011d", i))
	return id
}

// fill makes expired and live grants, as they lie in a table that was filled by
// and by: in the order of their ids, two in a thousand of them alive.
func (d *drained) fill(b *testing.B, rows int) {
	b.Helper()
	conn, err := pgx.Connect(b.Context(), d.dsn)
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close(b.Context())
	const grant = `INSERT INTO grants (id, client_id, connector_id, user_id, sid, scopes, redirect_uri, nonce, code_challenge,
		code_challenge_method, auth_time, acr, amr, created_at, code_expires_at, code_redeemed_at, revoked_reason, expires_at,
		user_agent, ip_address, refreshed_at, refreshed_user_agent, refreshed_ip_address)
		SELECT %s, 'kubernetes', 'ldap', 'user-' || n %% 1000, substr(md5(n::text), 1, 22), '{openid,email,groups,offline_access}',
		'http://127.0.0.1:8000/callback', md5(n::text), substr(md5(n::text) || md5(n::text), 1, 43), 'S256', now(), '1', '{pwd}', now(), now(),
		now(), '', %s, 'Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0', '192.0.2.1', now(),
		'kubelogin/v1.35.0 (linux/amd64)', '192.0.2.1' FROM generate_series(%d, %d) n`
	statements := []string{
		`TRUNCATE grants, identities`,
		`INSERT INTO identities SELECT 'ldap', 'user-' || n, 'A Person', 'person', 'person@example.com', true,
			'{developers,everybody}', now(), now() + interval '30 days' FROM generate_series(0, 999) n`,
	}
	// In pieces, so that live rows lie between expired ones.
	const pieces = 20
	for p := range pieces {
		statements = append(statements,
			fmt.Sprintf(grant, `gen_random_uuid()`, fmt.Sprintf(`now() - interval '1 day' - (%d - n) * interval '1 ms'`, rows), p*rows/pieces+1, (p+1)*rows/pieces),
			fmt.Sprintf(grant, `encode(('live ' || lpad(n::text, 11, '0'))::bytea, 'hex')::uuid`, `now() + interval '30 days'`,
				p*liveGrants/pieces, (p+1)*liveGrants/pieces-1))
	}
	for _, s := range append(statements, `VACUUM ANALYZE grants, identities`, `CHECKPOINT`) {
		if _, err := conn.Exec(b.Context(), s); err != nil {
			b.Fatalf("%s: %v", s, err)
		}
	}
}

// measure drains, and says what refreshes took before, during and after it.
func (d *drained) measure(b *testing.B, rows int) {
	b.Helper()
	live := &load{store: d.store}
	before := live.during(b, func() { rest(b, alone) })
	var deleted int
	collector, err := garbage.New(garbage.Config{
		Store: d.store, Now: time.Now, Logger: slog.New(slog.DiscardHandler),
		Count: func(_ storage.Table, n int) { deleted += n },
	})
	if err != nil {
		b.Fatal(err)
	}
	started := time.Now()
	while := live.during(b, func() {
		if err := collector.Round(b.Context()); err != nil {
			b.Error(err)
		}
	})
	took := time.Since(started)
	if deleted != rows {
		b.Errorf("%d of %d rows were deleted", deleted, rows)
	}
	after := live.during(b, func() { rest(b, alone) })
	b.Logf("%d rows deleted in %s: %.0f rows/s", deleted, took.Round(time.Millisecond), float64(deleted)/took.Seconds())
	b.Logf("refreshes before %v", before)
	b.Logf("refreshes while  %v", while)
	b.Logf("refreshes after  %v", after)
	b.ReportMetric(float64(deleted)/took.Seconds(), "rows/s")
	for name, l := range map[string]latencies{"before": before, "while": while, "after": after} {
		b.ReportMetric(l.p(50).Seconds()*1000, "p50-ms-"+name)
		b.ReportMetric(l.p(99).Seconds()*1000, "p99-ms-"+name)
	}
}

// rest lets time pass.
func rest(b *testing.B, d time.Duration) {
	select {
	case <-b.Context().Done():
	case <-time.After(d):
	}
}

// load rotates live grants at a steady rate.
type load struct {
	store      *postgres.Store
	generation [liveGrants]int64
}

// during refreshes while do runs, and returns what each refresh took.
func (l *load) during(b *testing.B, do func()) latencies {
	b.Helper()
	ctx, stop := context.WithCancel(b.Context())
	samples := make([]latencies, refreshers)
	var running sync.WaitGroup
	for i := range refreshers {
		running.Go(func() {
			var err error
			if samples[i], err = l.refresh(ctx, i); err != nil {
				b.Error(err)
			}
		})
	}
	do()
	stop()
	running.Wait()
	return slices.Sorted(slices.Values(slices.Concat(samples...)))
}

// refresh is one refresher. A refresh is measured from when it was due, so that
// one that had to wait for the one before counts as slow.
func (l *load) refresh(ctx context.Context, worker int) (samples latencies, err error) {
	const every = time.Second * refreshers / refreshesPerSecond
	due := time.Now().Add(every * time.Duration(worker) / refreshers)
	for n := worker; ; n = (n + refreshers) % liveGrants {
		timer := time.NewTimer(time.Until(due))
		select {
		case <-ctx.Done():
			timer.Stop()
			return samples, nil
		case <-timer.C:
		}
		now := time.Now()
		_, _, err := l.store.RotateGrant(context.WithoutCancel(ctx), storage.Rotation{
			ID: liveGrant(n), ClientID: "kubernetes", Generation: l.generation[n], Next: l.generation[n] + 1, Now: now,
			UsedAfter: now.Add(-12 * time.Hour), UserAgent: "kubelogin/v1.35.0 (linux/amd64)", IPAddress: "192.0.2.1",
		})
		if err != nil {
			return samples, fmt.Errorf("refreshing: %w", err)
		}
		l.generation[n]++
		samples = append(samples, time.Since(due))
		due = due.Add(every)
	}
}

// latencies are sorted.
type latencies []time.Duration

// p is a percentile.
func (l latencies) p(percent int) time.Duration {
	if len(l) == 0 {
		return 0
	}
	return l[(len(l)-1)*percent/100]
}

// String implements fmt.Stringer.
func (l latencies) String() string {
	return fmt.Sprintf("n=%d p50=%s p99=%s max=%s", len(l), round(l.p(50)), round(l.p(99)), round(l.p(100)))
}

func round(d time.Duration) time.Duration { return d.Round(10 * time.Microsecond) }
