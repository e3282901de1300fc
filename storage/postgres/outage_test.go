package postgres_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/countersign/countersign/storage"
	"github.com/countersign/countersign/storage/postgres"
	"github.com/countersign/countersign/storage/storagetest"
	"github.com/countersign/countersign/storage/storagetest/pgcluster"
	"github.com/countersign/countersign/storage/storagetest/tcpproxy"
)

// impatient is a configuration for databases that are away.
func impatient(dsn string) postgres.Config {
	return postgres.Config{DSN: dsn, ConnectionTimeout: 500 * time.Millisecond,
		AcquireTimeout: 500 * time.Millisecond, StatementTimeout: 500 * time.Millisecond}
}

func cluster(t *testing.T, o pgcluster.Options) *pgcluster.Cluster {
	t.Helper()
	c, err := pgcluster.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// unavailable expects every method to say so, all at once, as under load.
func unavailable(t *testing.T, s storage.Store) {
	t.Helper()
	var calling sync.WaitGroup
	for method, call := range storagetest.Calls(t, s) {
		for range 3 {
			calling.Go(func() {
				if err := call(context.Background()); !errors.Is(err, storage.ErrUnavailable) {
					t.Errorf("%s: %v", method, err)
				}
			})
		}
	}
	calling.Wait()
}

// heals waits until the store works again, without help.
func heals(t *testing.T, s storage.Store) {
	t.Helper()
	deadline := time.After(time.Minute)
	for {
		in, _ := storagetest.Valid()
		err := storagetest.ErrorOf(s.SignIn(t.Context(), in))
		if err == nil {
			return
		}
		if !errors.Is(err, storage.ErrUnavailable) {
			t.Fatal(err)
		}
		select {
		case <-deadline:
			t.Fatalf("still: %v", err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func TestRestartIsAnOutageThatHeals(t *testing.T) {
	c := cluster(t, pgcluster.Options{})
	s := open(t, impatient(c.DSN()))
	kept, now := storagetest.Valid()
	if err := storagetest.ErrorOf(open(t, postgres.Config{DSN: c.DSN()}).SignIn(t.Context(), kept)); err != nil {
		t.Fatal(err)
	}
	for _, mode := range []pgcluster.Mode{pgcluster.Immediate, pgcluster.Fast} {
		if err := c.Stop(mode); err != nil {
			t.Fatal(err)
		}
		unavailable(t, s)
		if err := s.Migrate(t.Context()); !errors.Is(err, storage.ErrUnavailable) {
			t.Errorf("migrating: %v", err)
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		heals(t, s)
	}
	insist(t, func() error { return s.Migrate(t.Context()) })
	insist(t, func() error { return errorOf(s.Grant(t.Context(), kept.Grant.ID, now)) })
}

// errorOf is the error of a question whose answer does not matter.
func errorOf(_ storage.Grant, _ storage.Identity, err error) error { return err }

// The database need not be there when we start, nor be migrated by us.
func TestOpeningBeforeTheDatabase(t *testing.T) {
	c := cluster(t, pgcluster.Options{})
	if err := c.Stop(pgcluster.Fast); err != nil {
		t.Fatal(err)
	}
	s, err := postgres.Open(impatient(c.DSN()))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Migrate(t.Context()); !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("migrating: %v", err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	in, _ := storagetest.Valid()
	if err := storagetest.ErrorOf(s.SignIn(t.Context(), in)); !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("before migrating: %v", err)
	}
	open(t, postgres.Config{DSN: c.DSN()})
	heals(t, s)
}

func TestSwallowedPacketsAreAnOutageThatHeals(t *testing.T) {
	c := cluster(t, pgcluster.Options{})
	proxy := tcpproxy.New(t, c.Address())
	s := open(t, impatient(c.DSNAt(proxy.Address())))
	unwatched := impatient(c.DSNAt(proxy.Address()))
	unwatched.MaxOpenConns = 2
	small := open(t, unwatched)
	for range 2 {
		proxy.Swallow()
		unavailable(t, s)
		unavailable(t, small)
		if err := s.Migrate(t.Context()); !errors.Is(err, storage.ErrUnavailable) {
			t.Errorf("migrating: %v", err)
		}
		// Whoever waits less long than we do is told so.
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		if _, err := s.Ping(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("ping with a deadline: %v", err)
		}
		cancel()
		proxy.Sever()
		proxy.Forward()
		heals(t, s)
		heals(t, small)
	}
}

// A process that ends does not wait for a database that says nothing: pgx alone
// would, for 15 s, and then return no error.
func TestClosingDoesNotWaitForSilence(t *testing.T) {
	c := cluster(t, pgcluster.Options{})
	proxy := tcpproxy.New(t, c.Address())
	s, err := postgres.Open(impatient(c.DSNAt(proxy.Address())))
	if err != nil {
		t.Fatal(err)
	}
	insist(t, func() error { return s.Migrate(t.Context()) })
	proxy.Swallow()
	unavailable(t, s)
	if err := s.Close(); !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("closing: %v", err)
	}
	if _, err := s.Ping(t.Context()); !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("after closing: %v", err)
	}
}

// An answer swallowed in the middle: the transition may have happened, is not
// sent again, and the answer is not invented.
func TestLostAcknowledgementIsUnavailable(t *testing.T) {
	c := cluster(t, pgcluster.Options{})
	proxy := tcpproxy.New(t, c.Address())
	s, direct := open(t, postgres.Config{DSN: c.DSNAt(proxy.Address())}), open(t, postgres.Config{DSN: c.DSN()})
	in, now := storagetest.Valid()
	if err := storagetest.ErrorOf(s.SignIn(t.Context(), in)); err != nil {
		t.Fatal(err)
	}
	release := hold(t, c.DSN(), `SELECT 1 FROM grants FOR UPDATE`)
	outcome := make(chan error)
	go func() {
		outcome <- s.RedeemCode(context.Background(), storage.Redemption{ID: in.Grant.ID, Now: now, ExpiresAt: now.Add(time.Hour)})
	}()
	awaitBlocked(t, c.DSN())
	proxy.Swallow() // its answer will not come
	release()
	awaitRedeemed(t, direct, in.Grant.ID, now)
	proxy.Sever()
	if err := <-outcome; !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("redeeming: %v", err)
	}
	proxy.Forward()
	heals(t, s)
}

// hold runs a statement in a transaction that stays open until the function it
// returns is called.
func hold(t *testing.T, dsn, statement string) (release func()) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	tx, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), statement); err != nil {
		t.Fatal(err)
	}
	release = sync.OnceFunc(func() {
		_ = conn.Close(context.Background()) // rolls back
	})
	t.Cleanup(release)
	return release
}

// awaitBlocked waits until a statement waits for another one's lock.
func awaitBlocked(t *testing.T, dsn string) {
	t.Helper()
	await(t, dsn, `SELECT count(*) > 0 FROM pg_locks WHERE NOT granted`)
}

func await(t *testing.T, dsn, condition string) {
	t.Helper()
	conn := connect(t, dsn)
	defer conn.Close(context.Background())
	for deadline := time.Now().Add(patience); !holds(t, conn, condition); {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", condition)
		}
	}
}

// holds asks whether a condition is met.
func holds(t *testing.T, conn *pgx.Conn, condition string) (met bool) {
	t.Helper()
	if err := conn.QueryRow(t.Context(), condition).Scan(&met); err != nil {
		t.Fatal(err)
	}
	return met
}

func awaitRedeemed(t *testing.T, s storage.Store, id storage.GrantID, now time.Time) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; {
		grant, _, err := s.Grant(t.Context(), id, now)
		if err != nil {
			t.Fatal(err)
		}
		if !grant.CodeRedeemedAt.IsZero() {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("never redeemed")
		}
	}
}

func TestFullPoolIsUnavailable(t *testing.T) {
	dsn := pgcluster.Schema(t)
	config := impatient(dsn)
	config.MaxOpenConns = 2
	s := open(t, config)
	// A hundred statements wait for a lock, two of them with a connection.
	release := hold(t, dsn, `LOCK TABLE login_failures IN ACCESS EXCLUSIVE MODE`)
	var calling sync.WaitGroup
	for range 100 {
		calling.Go(func() {
			err := s.RecordLoginFailure(context.Background(), []string{"a"}, time.Unix(0, 0), time.Hour)
			if !errors.Is(err, storage.ErrUnavailable) {
				t.Errorf("with a full pool: %v", err)
			}
		})
	}
	calling.Wait()
	release()
	heals(t, s)
}

// After many at once, no more connections are kept than the configuration says.
func TestIdleConnectionsAreBounded(t *testing.T) {
	const many = 4
	dsn := pgcluster.Schema(t)
	s := open(t, postgres.Config{DSN: dsn, MaxIdleConns: 1})
	release := hold(t, dsn, `LOCK TABLE login_failures IN ACCESS EXCLUSIVE MODE`)
	var calling sync.WaitGroup
	for range many {
		calling.Go(func() {
			if err := s.RecordLoginFailure(context.Background(), []string{"a"}, time.Unix(0, 0), time.Hour); err != nil {
				t.Error(err)
			}
		})
	}
	await(t, dsn, fmt.Sprintf(`SELECT count(*) = %d FROM pg_locks WHERE NOT granted AND relation = 'login_failures'::regclass`, many))
	release()
	calling.Wait()
	// Two that come back at once may both stay, until the next one does.
	for end := time.Now().Add(patience); ; {
		if _, err := s.Ping(t.Context()); err != nil {
			t.Fatal(err)
		}
		total, _ := s.Connections()
		if total == 1 {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%d connections are kept", total)
		}
	}
}

// A caller that goes away while the database works costs no connection.
func TestCancellingReachesTheServer(t *testing.T) {
	dsn := pgcluster.Schema(t)
	s := open(t, postgres.Config{DSN: dsn, MaxOpenConns: 1})
	hold(t, dsn, `LOCK TABLE login_failures IN ACCESS EXCLUSIVE MODE`)
	ctx, cancel := context.WithCancel(t.Context())
	outcome := make(chan error)
	go func() { outcome <- s.RecordLoginFailure(ctx, []string{"a"}, time.Unix(0, 0), time.Hour) }()
	await(t, dsn, `SELECT count(*) > 0 FROM pg_locks WHERE NOT granted AND relation = 'login_failures'::regclass`)
	cancel()
	if err := <-outcome; !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	await(t, dsn, `SELECT count(*) = 0 FROM pg_locks WHERE NOT granted AND relation = 'login_failures'::regclass`)
	heals(t, s)
}

// A connection that the server closes is replaced without anybody noticing,
// where that is safe.
func TestReadsSurviveABrokenConnection(t *testing.T) {
	dsn, name := pgcluster.Schema(t), "broken-"+rand.Text() // others may run this test, too
	s := open(t, postgres.Config{DSN: pgcluster.With(dsn, "application_name", name), MaxOpenConns: 1})
	for range 5 {
		if _, err := s.SigningKeys(t.Context()); err != nil {
			t.Fatal(err)
		}
		pgcluster.Exec(t, dsn, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = '`+name+`'`)
	}
}

func TestNoConnectionsLeftIsUnavailable(t *testing.T) {
	const all = 5
	c := cluster(t, pgcluster.Options{Settings: map[string]string{"max_connections": fmt.Sprint(all), "superuser_reserved_connections": "0"}})
	open(t, postgres.Config{DSN: c.DSN()}).Close() // migrates
	// Take every connection. That of somebody who has just left is free a moment later.
	var others []*pgx.Conn
	for deadline := time.Now().Add(patience); len(others) < all; {
		conn, err := pgx.Connect(t.Context(), c.DSN())
		if err == nil {
			others = append(others, conn)
		} else if time.Now().After(deadline) {
			t.Fatalf("after %d connections: %v", len(others), err)
		}
	}
	second, err := postgres.Open(impatient(c.DSN()))
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	unavailable(t, second)
	for _, conn := range others {
		if err := conn.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
	heals(t, second)
}

// A commit that no synchronous standby has confirmed is none, also when PostgreSQL,
// told to give up waiting, says that it happened; and whoever finds it done waits
// for the standby as well.
func TestUnconfirmedCommitIsUnavailable(t *testing.T) {
	c := cluster(t, pgcluster.Options{})
	direct := open(t, postgres.Config{DSN: c.DSN()})
	redeemed := storagetest.Redeemed(t, direct)
	other, now := storagetest.Valid()
	here, _ := storagetest.Valid()
	if _, err := direct.MasterSecret(t.Context(), []byte("secret"), now); err != nil {
		t.Fatal(err)
	}
	if err := storagetest.ErrorOf(direct.SignIn(t.Context(), here)); err != nil {
		t.Fatal(err)
	}
	waitForStandby(t, c, "nobody")
	if err := direct.Migrate(t.Context()); err != nil {
		t.Errorf("migrating nothing: %v", err)
	}
	// What was given up before it had happened is given more time.
	conn := connect(t, c.DSN())
	unconfirmed := func(what, happened string, do func(*postgres.Store) error) {
		t.Helper()
		for timeout := time.Second / 2; ; timeout *= 2 {
			s := open(t, postgres.Config{DSN: c.DSN(), StatementTimeout: timeout})
			if err := do(s); !errors.Is(err, storage.ErrUnavailable) {
				t.Errorf("%s: %v", what, err)
			}
			// Our own cancelling may have come too early.
			await(t, c.DSN(), `SELECT count(pg_cancel_backend(pid)) = 0 FROM pg_stat_activity
				WHERE backend_type = 'client backend' AND state = 'active' AND pid <> pg_backend_pid()`)
			if holds(t, conn, happened) {
				return
			}
			if timeout > patience {
				t.Fatalf("%s: never: %s", what, happened)
			}
		}
	}
	const already = "SELECT true"
	rotate := func(r storage.Rotation) func(*postgres.Store) error {
		return func(s *postgres.Store) error { return errorOf(s.RotateGrant(t.Context(), r)) }
	}
	revoke := func(s *postgres.Store) error {
		return storagetest.ErrorOf(s.RevokeGrant(t.Context(), redeemed.ID, redeemed.Now, "because"))
	}
	unconfirmed("rotating", fmt.Sprintf(`SELECT count(*) = 1 FROM grants WHERE generation = %d`, redeemed.Next), rotate(redeemed))
	again := redeemed
	again.Generation = redeemed.Next
	unconfirmed("repeating", already, rotate(again))
	unconfirmed("revoking", `SELECT count(*) = 1 FROM grants WHERE revoked_at IS NOT NULL`, revoke)
	unconfirmed("revoking again", already, revoke)
	person := storage.Selector{ConnectorID: here.Identity.ConnectorID, UserID: here.Identity.UserID}
	revokeAll := func(s *postgres.Store) error {
		_, err := s.RevokeGrants(t.Context(), storage.Revocation{Of: person, Now: now, Before: now, Reason: "because", Limit: 10})
		return err
	}
	unconfirmed("revoking all", `SELECT count(*) = 0 FROM grants WHERE revoked_at IS NULL`, revokeAll)
	unconfirmed("revoking all again", already, revokeAll)
	end := func(s *postgres.Store) error {
		_, err := s.EndSessions(t.Context(), storage.SessionEnd{Of: person, Before: now.Add(time.Hour), Limit: 10, With: storage.Ending{Now: now, Reason: "because"}})
		return err
	}
	unconfirmed("ending the sessions", `SELECT count(*) = 1 FROM sessions`, end)
	unconfirmed("ending them again", already, end)
	unconfirmed("signing in", already, func(s *postgres.Store) error { return storagetest.ErrorOf(s.SignIn(t.Context(), other)) })
	waitForStandby(t, c, "")
	heals(t, direct)
	if done, err := direct.RevokeGrant(t.Context(), redeemed.ID, now, "because"); err != nil || done {
		t.Errorf("revoking once more: %v, %v", done, err)
	}
}

// Somebody who finds commits waiting for a standby that is away may cancel them.
// PostgreSQL answers those as if all were well.
func TestCommitWhoseConfirmationIsCancelledIsUnavailable(t *testing.T) {
	c := cluster(t, pgcluster.Options{})
	s := open(t, postgres.Config{DSN: pgcluster.With(c.DSN(), "application_name", "ours")})
	redeemed := storagetest.Redeemed(t, s)
	other, now := storagetest.Valid()
	waitForStandby(t, c, "nobody")
	for what, do := range map[string]func(context.Context) error{
		"revoking": func(ctx context.Context) error {
			_, err := s.RevokeGrant(ctx, redeemed.ID, redeemed.Now, "because")
			return err
		},
		"signing in": func(ctx context.Context) error { return storagetest.ErrorOf(s.SignIn(ctx, other)) },
	} {
		outcome := make(chan error, 1)
		go func() { outcome <- do(t.Context()) }()
		await(t, c.DSN(), `SELECT count(pg_cancel_backend(pid)) > 0 FROM pg_stat_activity WHERE application_name = 'ours' AND wait_event = 'SyncRep'`)
		if err := <-outcome; !errors.Is(err, storage.ErrUnavailable) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, _, err := s.Grant(t.Context(), redeemed.ID, now); err != nil {
		t.Errorf("the next call of the connection: %v", err)
	}
}

// waitForStandby has every commit from now on wait for the standbys of a name.
func waitForStandby(t *testing.T, c *pgcluster.Cluster, name string) {
	t.Helper()
	for _, statement := range []string{`ALTER SYSTEM SET synchronous_standby_names = '` + name + `'`, `SELECT pg_reload_conf()`} {
		pgcluster.Exec(t, c.DSN(), statement)
	}
	await(t, c.DSN(), `SELECT current_setting('synchronous_standby_names') = '`+name+`'`)
	// Whether there is anybody to wait for is what the checkpointer has read, which
	// reads its settings before it does this.
	pgcluster.Exec(t, c.DSN(), `CHECKPOINT`)
}

func TestFailover(t *testing.T) {
	primary := cluster(t, pgcluster.Options{})
	standby, err := primary.Standby(pgcluster.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := standby.Close(); err != nil {
			t.Error(err)
		}
	})
	both := pgcluster.With(primary.DSNAt(standby.Address()+","+primary.Address()), "target_session_attrs", "read-write")
	config := impatient(both)
	config.AcquireTimeout = 5 * time.Second // two hosts
	s := open(t, config)
	in, now := storagetest.Valid()
	if err := storagetest.ErrorOf(open(t, postgres.Config{DSN: primary.DSN()}).SignIn(t.Context(), in)); err != nil {
		t.Fatal(err)
	}
	await(t, standby.DSN(), `SELECT to_regclass('grants') IS NOT NULL`)
	await(t, standby.DSN(), `SELECT count(*) = 1 FROM grants`)

	// Whoever is led to the standby alone can read, and is told that it is no use.
	lost, err := postgres.Open(impatient(standby.DSN()))
	if err != nil {
		t.Fatal(err)
	}
	defer lost.Close()
	insist(t, func() error { return errorOf(lost.Grant(t.Context(), in.Grant.ID, now)) })
	for _, method := range []string{"Ping", "SignIn", "Authorize", "RedeemCode", "RotateGrant", "RevokeGrants", "EndSessions", "RecheckIdentity", "RevokeGrant", "EndSession", "AddSigningKey", "AcquireLease", "MasterSecret", "ClaimLogoutDelivery", "FinishLogoutDelivery"} {
		if err := storagetest.Calls(t, lost)[method](t.Context()); !errors.Is(err, storage.ErrUnavailable) {
			t.Errorf("%s on a standby: %v", method, err)
		}
	}
	if err := lost.Migrate(t.Context()); !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("migrating a standby: %v", err)
	}

	if err := primary.Stop(pgcluster.Immediate); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Ping(t.Context()); !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("without a primary: %v", err)
	}
	pgcluster.Exec(t, standby.DSN(), `SELECT pg_promote()`)
	heals(t, s)
	heals(t, lost)
	insist(t, func() error { return errorOf(s.Grant(t.Context(), in.Grant.ID, now)) }) // what was acknowledged
}
