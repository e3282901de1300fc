package faults_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/countersign/countersign/e2e/person"
	"github.com/countersign/countersign/storage/storagetest/pgcluster"
)

// always are the invariants that every fault under load is held to.
var always = []string{oneSuccessor, rotationKept, revocationKept, revokedDead, idTokens, chainsKept}

// TestFaults deals one kind of fault after the other to the same two replicas and
// their database.
func TestFaults(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "24h")
	deal(t, w, []fault[*world]{
		{"killed replicas", killedReplicas},
		{"crashed database", crashedDatabase},
		{"read-only database", readOnlyDatabase},
		{"swallowed commits", swallowedCommits},
		{"lost responses", lostResponses},
		{"full restart", fullRestart},
	})
}

// F1: kill -9, a replica at a time.
func killedReplicas(t *testing.T, w *world) {
	b := newBook(t)
	l := w.party(b).begin()
	for i := range dose(5, 100) {
		l.await(t, dose(60, 500))
		r := w.replicas[i%2]
		r.kill()
		b.count("kills")
		l.await(t, 30) // the other one works
		b.readyAfter(r.start())
	}
	l.await(t, 100)
	l.settle()
	b.print(always...)
}

// F2: PostgreSQL crashes.
func crashedDatabase(t *testing.T, w *world) {
	b := newBook(t)
	l := w.party(b).begin()
	kept := l.chains(4)
	for range dose(2, 20) {
		l.await(t, dose(100, 500))
		if err := w.cluster.Stop(pgcluster.Immediate); err != nil {
			t.Fatal(err)
		}
		b.count("crashes of the database")
		l.fails(kept)
		if err := w.cluster.Start(); err != nil {
			t.Fatal(err)
		}
		up := time.Now()
		for _, r := range w.replicas {
			eventually(t, "ready again", r.ready)
		}
		b.readyAfter(time.Since(up))
	}
	l.await(t, 100)
	l.settle()
	b.print(append(always, failedStore, saysSo)...)
}

// fails is the time in which the store fails. Some chains are given back
// meanwhile, which nobody may say was done.
func (l *load) fails(kept []*chain) {
	l.book.t.Helper()
	l.outages.begin()
	var people sync.WaitGroup
	for i, c := range kept {
		people.Go(func() {
			ctx, cancel := limited(l.t)
			defer cancel()
			_, err := l.post(ctx, l.replicas[i%2], "/revoke", c.client, url.Values{"token": {c.refresh}})
			l.check(revocationKept, errors.Is(err, errAgain), "revoking grant %d: %v", c.number, err)
		})
	}
	people.Wait()
	l.outages.await(l.t, 50)
	l.outages.end()
}

// chains signs somebody in several times.
func (p *party) chains(n int) (all []*chain) {
	for range n {
		all = append(all, p.login(person.New(callback, p.world), tool))
	}
	return all
}

// F2, F3: PostgreSQL answers, and writes nothing down, as one that follows another.
func readOnlyDatabase(t *testing.T, w *world) {
	b := newBook(t)
	l := w.party(b).begin()
	kept := l.chains(4)
	for range dose(2, 20) {
		l.await(t, dose(100, 500))
		w.alter(`ALTER SYSTEM SET default_transaction_read_only = on`)
		b.count("times that the database was read-only")
		l.fails(kept)
		w.alter(`ALTER SYSTEM RESET default_transaction_read_only`)
	}
	l.await(t, 100)
	l.goOn(kept)
	l.settle()
	b.print(append(always, failedStore, saysSo)...)
}

// alter changes a setting of PostgreSQL, for everybody from now on.
func (w *world) alter(statement string) {
	w.t.Helper()
	for _, s := range []string{statement, `SELECT pg_reload_conf()`} {
		pgcluster.Exec(w.t, w.cluster.DSN(), s)
	}
	// The postmaster reads it in its own time, and a connection when it is made.
	want := "on"
	if strings.Contains(statement, "RESET") {
		want = "off"
	}
	eventually(w.t, "the new setting", func() bool {
		conn, err := pgx.Connect(w.t.Context(), w.cluster.DSN())
		if err != nil {
			return false
		}
		defer conn.Close(w.t.Context())
		var now string
		err = conn.QueryRow(w.t.Context(), `SHOW default_transaction_read_only`).Scan(&now)
		return err == nil && now == want
	})
	pgcluster.Exec(w.t, w.cluster.DSN(), `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
		WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'`)
}

// F4: the database commits, and its answer does not arrive.
func swallowedCommits(t *testing.T, w *world) {
	b := newBook(t)
	l := w.party(b).begin()
	l.await(t, 50)
	before, n := w.proxy.Lost(), dose(30, 1000)
	for i := range n {
		w.proxy.LoseCommits(1)
		eventually(t, "a swallowed commit", func() bool { return w.proxy.Lost() > before+i })
		b.count("commits swallowed")
		l.await(t, 3)
	}
	l.await(t, 100)
	l.settle()
	b.print(append(always, saysSo)...)
}

// F5: the answer does not reach the client. Inside the window a retry goes on with
// the chain, far outside it ends it.
func lostResponses(t *testing.T, w *world) {
	b := newBook(t)
	p := w.party(b)
	var clients sync.WaitGroup
	const n = 20
	for range n {
		clients.Go(func() {
			c := p.login(person.New(callback, w), tool)
			for range dose(500, 5000) / n {
				p.lose(c)
				if !p.refresh(c, w) {
					return
				}
			}
			p.check(rotationKept, p.refresh(c, w), "grant %d", c.number)
		})
	}
	for range dose(10, 200) {
		clients.Go(func() {
			c := p.login(person.New(callback, w), brief)
			lost := p.lose(c)
			time.Sleep(1200 * time.Millisecond) // brief's reuseInterval is over
			late := grave{c, []string{c.refresh, lost.values.Refresh}}
			for _, r := range w.replicas {
				if err := p.persist(func(context.Context) error { return p.rests(late, r, revokedDead) }); err != nil {
					t.Error(err)
				}
			}
			b.count("retries that came too late")
		})
	}
	clients.Wait()
	p.keys.catchUp()
	b.print(oneSuccessor, rotationKept, revokedDead, idTokens, chainsKept)
}

// lose presents the newest token, and loses the answer.
func (p *party) lose(c *chain) (a answer) {
	err := p.persist(func(ctx context.Context) (err error) {
		a, err = p.redeem(ctx, p.world, c, c.refresh)
		return err
	})
	p.check(chainsKept, err == nil, "grant %d: %v", c.number, err)
	p.count("answers lost by clients")
	return a
}

// F13: everything is killed at once and started again. Tokens that were used
// before work no more, also after the next restart.
func fullRestart(t *testing.T, w *world) {
	b := newBook(t)
	p := w.party(b)
	l := p.begin()
	l.await(t, dose(400, 12000))
	l.settle()
	w.restart(b)
	for _, c := range l.live {
		p.check(rotationKept, p.refresh(c, w), "grant %d", c.number)
	}
	l.replay()
	w.restart(b)
	// Whoever presented used tokens has lost the chain; of the others, the one
	// before the newest is still inside its window.
	for _, c := range l.spent {
		if len(c.used) > 2 {
			p.unused(c, c.refresh)
		}
	}
	l.replay()
	b.print(oneSuccessor, rotationKept, revocationKept, idTokens, usedDead)
}

func (w *world) restart(b *book) {
	w.t.Helper()
	for _, r := range w.replicas {
		r.kill()
	}
	if err := w.cluster.Restart(pgcluster.Immediate); err != nil {
		w.t.Fatal(err)
	}
	for _, r := range w.replicas {
		b.readyAfter(r.start())
	}
}

// replay presents the used tokens of all chains, the last two of each excepted,
// from many clients at once.
func (l *load) replay() {
	work := make(chan *chain)
	var thieves sync.WaitGroup
	for range 16 {
		thieves.Go(func() {
			for c := range work {
				for _, token := range c.used[:max(0, len(c.used)-2)] {
					l.unused(c, token)
				}
			}
		})
	}
	for _, c := range l.spent {
		work <- c
	}
	close(work)
	thieves.Wait()
}

// unused presents a token that must not work any more.
func (p *party) unused(c *chain, token string) {
	err := p.persist(func(ctx context.Context) error {
		_, err := p.redeem(ctx, p.world, c, token)
		return err
	})
	p.check(usedDead, errors.Is(err, errRefused), "a used token of grant %d works: %v", c.number, err)
}

// F10: keys rotate every few seconds. A replica must learn of a key within half of
// that time after it should have; the short dose gives it longer, because the
// machine may be busy.
func TestKeysRotateUnderLoad(t *testing.T) {
	t.Parallel()
	w := newWorld(t, fmt.Sprintf("%ds", dose(16, 10)))
	b := newBook(t)
	p := w.party(b)
	l := p.begin()
	for p.keys.signers() < dose(2, 60) {
		l.await(t, 50)
	}
	l.settle()
	for range p.keys.signers() {
		b.count("keys that signed")
	}
	w.leave(b)
	b.print(append(always, noSecrets)...)
}
