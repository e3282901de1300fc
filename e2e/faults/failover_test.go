package faults_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/countersign/countersign/e2e/person"
	"github.com/countersign/countersign/storage/storagetest/pgcluster"
	"github.com/countersign/countersign/storage/storagetest/tcpproxy"
)

// pair is two replicas of the program with a primary, and a standby that follows
// it. Who is which changes; the program is told of both.
type pair struct {
	*world
	servers [2]*pgcluster.Cluster
	// wires are what each server is followed by.
	wires   [2]*tcpproxy.Proxy
	primary int
	// synchronous: a commit is acknowledged when the standby has it.
	synchronous bool
}

func newPair(t *testing.T) *pair {
	t.Helper()
	p := &pair{world: empty(t), synchronous: true}
	o := pgcluster.Options{Settings: map[string]string{"synchronous_commit": "remote_apply", "wal_retrieve_retry_interval": "100ms"}}
	first := startCluster(t, o)
	p.servers[0], p.wires[0] = first, tcpproxy.New(t, first.Address())
	second, err := first.StandbyAt(o, p.wires[0].Address())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := second.Close(); err != nil {
			t.Error(err)
		}
	})
	p.servers[1], p.wires[1] = second, tcpproxy.New(t, second.Address())
	p.join()
	both := first.DSNAt(first.Address() + "," + second.Address())
	p.serve("24h", t.TempDir(), pgcluster.With(both, "target_session_attrs", "read-write"))
	return p
}

// join waits until the standby follows. From then on commits wait for it, if they
// are to.
func (p *pair) join() {
	p.t.Helper()
	p.waitFor(p.servers[p.primary], p.synchronous)
	want := map[bool]string{true: "sync", false: "async"}[p.synchronous]
	eventually(p.t, "a standby that follows", func() bool {
		conn, err := pgx.Connect(p.t.Context(), p.servers[p.primary].DSN())
		if err != nil {
			return false
		}
		defer conn.Close(p.t.Context())
		var follows bool
		err = conn.QueryRow(p.t.Context(), `SELECT count(*) = 1 FROM pg_stat_replication
			WHERE state = 'streaming' AND sync_state = $1 AND application_name = 'walreceiver'`, want).Scan(&follows)
		return err == nil && follows
	})
	// Whether there is anybody to wait for is what the checkpointer has read, which
	// reads its settings before it does this.
	pgcluster.Exec(p.t, p.servers[p.primary].DSN(), `CHECKPOINT`)
}

// waitFor says whether the commits of a server wait for a standby.
func (p *pair) waitFor(server *pgcluster.Cluster, standby bool) {
	p.t.Helper()
	statement := `ALTER SYSTEM RESET synchronous_standby_names`
	if standby {
		statement = `ALTER SYSTEM SET synchronous_standby_names = '*'`
	}
	for _, s := range []string{statement, `SELECT pg_reload_conf()`} {
		pgcluster.Exec(p.t, server.DSN(), s)
	}
}

// kill crashes the primary. What it has sent and nobody has received is gone.
func (p *pair) kill() {
	p.t.Helper()
	if err := p.servers[p.primary].Stop(pgcluster.Immediate); err != nil {
		p.t.Fatal(err)
	}
	p.wires[p.primary].Sever()
}

// promote makes the standby the primary, as whoever watches over the two would,
// and waits until all replicas have found it.
func (p *pair) promote(b *book) {
	p.t.Helper()
	began := time.Now()
	next := p.servers[1-p.primary]
	p.waitFor(next, false) // there is nobody to wait for
	if err := next.Promote(p.t.Context()); err != nil {
		p.t.Fatal(err)
	}
	for _, r := range p.replicas {
		eventually(p.t, "ready again", r.ready)
	}
	b.readyAfter(time.Since(began))
	b.count("standbys promoted")
}

// rebuild makes the old primary the new one's standby.
func (p *pair) rebuild() {
	p.t.Helper()
	old := p.primary
	p.primary = 1 - old
	p.wires[old].Forward()
	if err := p.servers[old].Follow(p.servers[p.primary], p.wires[p.primary].Address()); err != nil {
		p.t.Fatal(err)
	}
	p.join()
}

// TestFailover loses the primary again and again.
func TestFailover(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	deal(t, p, []fault[*pair]{
		{"killed primary", killedPrimary},
		{"silent standby", silentStandby},
		{"asynchronous", asynchronous},
	})
}

// F3: the primary is killed, the standby takes its place. While there is only a
// standby, nobody is told that anything worked.
func killedPrimary(t *testing.T, p *pair) {
	b := newBook(t)
	l := p.party(b).begin()
	kept := l.chains(4)
	for range dose(1, 10) {
		l.await(t, dose(100, 1000))
		p.kill()
		l.fails(kept)
		l.blind(kept)
		p.promote(b)
		l.await(t, 50)
		p.rebuild()
	}
	l.await(t, 100)
	l.goOn(kept)
	l.settle()
	b.print(append(always, failedStore, saysSo)...)
}

// blind: a standby is not read from, since it may be behind.
func (l *load) blind(all []*chain) {
	l.t.Helper()
	for i, c := range all {
		ctx, cancel := limited(l.t)
		_, err := l.userInfo(ctx, l.replicas[i%2], c.access)
		cancel()
		l.check(failedStore, errors.Is(err, errAgain), "userinfo at a standby: %v", err)
	}
}

// goOn refreshes chains that nobody could have revoked.
func (l *load) goOn(kept []*chain) {
	for _, c := range kept {
		l.check(rotationKept, l.refresh(c, l.world), "grant %d", c.number)
	}
}

// F3: the standby hears nothing more, so that no commit is safe; then the primary
// is lost. PostgreSQL keeps what it was told to give up waiting for, on the primary
// alone: whoever was told that it had worked would lose it.
func silentStandby(t *testing.T, p *pair) {
	b := newBook(t)
	l := p.party(b).begin()
	kept := l.chains(4)
	l.outages.readable.Store(true)
	defer l.outages.readable.Store(false)
	for range dose(1, 5) {
		l.await(t, 100)
		p.wires[p.primary].Swallow()
		b.count("times that the standby was silent")
		l.fails(kept)
		p.kill()
		p.promote(b)
		l.await(t, 50)
		p.rebuild()
	}
	l.goOn(kept)
	l.settle()
	b.print(append(always, failedStore, saysSo)...)
}

// F3, without waiting for the standby: what it had not received is lost. Whoever
// had been told otherwise is refused, or goes on with the same chain.
func asynchronous(t *testing.T, p *pair) {
	p.synchronous = false
	p.join()
	b := newBook(t)
	a := &forgetful{party: p.party(b)}
	a.begin()
	for range dose(1, 10) {
		a.await(t, "refreshes", 100)
		p.wires[p.primary].Swallow()
		a.await(t, "refreshes", 50) // which are lost
		p.kill()
		p.promote(b)
		a.await(t, "refreshes", 100)
		p.rebuild()
	}
	a.end()
	b.print(oneSuccessor, idTokens)
	if b.counted("rotations lost") == 0 {
		t.Error("nothing was lost: is the standby waited for?")
	}
}

// forgetful are clients of a database that may forget.
type forgetful struct {
	*party
	stop    chan struct{}
	clients sync.WaitGroup

	mu    sync.Mutex
	dead  []grave
	ended []*chain
}

func (f *forgetful) begin() {
	f.stop = make(chan struct{})
	for range 16 {
		f.clients.Go(f.client)
	}
}

func (f *forgetful) await(t *testing.T, what string, n int) {
	t.Helper()
	before := f.counted(what)
	eventually(t, what, func() bool { return f.counted(what) >= before+n })
}

func (f *forgetful) stopped() bool {
	select {
	case <-f.stop:
		return true
	case <-time.After(20 * time.Millisecond):
		return false
	}
}

// client refreshes, and signs in again when it is refused.
func (f *forgetful) client() {
	var c *chain
	for !f.stopped() {
		switch {
		case c == nil:
			if c = f.login(person.New(callback, f.world), tool); c == nil {
				return
			}
		case rand.N(50) == 0:
			f.mu.Lock()
			f.dead = append(f.dead, grave{c, f.revoke(c, false)})
			f.mu.Unlock()
			c = nil
		case f.present(c, c.refresh):
			f.count("refreshes")
		default:
			f.count("rotations lost")
			if !f.back(c) {
				f.count("people who had to sign in again")
				f.mu.Lock()
				f.ended = append(f.ended, c)
				f.mu.Unlock()
				c = nil
			}
		}
	}
}

// present presents a token until there is an answer, and takes it.
func (f *forgetful) present(c *chain, token string) bool {
	return nil == f.persist(func(ctx context.Context) error {
		a, err := f.redeem(ctx, f.world, c, token)
		if err == nil {
			c.take(a)
		}
		return err
	})
}

// back presents the token before the newest, which the database may be at. Its
// successor is the one that is known, so that the chain goes on.
func (f *forgetful) back(c *chain) bool {
	if len(c.used) == 0 || !f.present(c, c.used[len(c.used)-1]) {
		return false
	}
	f.count("chains that went on with the token before")
	return true
}

// end looks at what became of everything.
func (f *forgetful) end() {
	close(f.stop)
	f.clients.Wait()
	for _, g := range f.dead {
		works := f.present(g.chain, g.newest[0])
		f.count(map[bool]string{true: "revocations lost", false: "revocations kept"}[works])
	}
	for _, c := range f.ended {
		f.check(oneSuccessor, !f.present(c, c.refresh), "grant %d was refused and goes on", c.number)
	}
	f.keys.catchUp()
}
