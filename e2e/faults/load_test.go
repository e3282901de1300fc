package faults_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/countersign/countersign/e2e/person"
)

// The load: as many refreshes a second as SECURITY.md asks for, if the machine
// can do them.
const (
	devices   = 48
	perSecond = 300
)

// load is devices that refresh, each its own chain, and now and then sign in anew
// or give a chain back.
type load struct {
	*party
	ticks   chan struct{}
	stopped atomic.Bool
	working sync.WaitGroup
	pacing  sync.WaitGroup
	stop    chan struct{}

	mu    sync.Mutex
	live  []*chain
	dead  []grave
	spent []*chain // all that were ever begun
}

func (p *party) begin() *load {
	l := &load{party: p, ticks: make(chan struct{}), stop: make(chan struct{})}
	l.pacing.Go(l.pace)
	for range devices {
		l.working.Go(l.device)
	}
	return l
}

// pace hands out the right to refresh. What nobody takes in time is gone.
func (l *load) pace() {
	ticker := time.NewTicker(time.Second / perSecond)
	defer ticker.Stop()
	for {
		select {
		case <-l.stop:
			close(l.ticks)
			return
		case <-ticker.C:
			select {
			case l.ticks <- struct{}{}:
			default:
			}
		}
	}
}

// device is a person with a client.
func (l *load) device() {
	who := person.New(callback, l.world)
	for !l.stopped.Load() {
		if rand.N(5) == 0 {
			who = person.New(callback, l.world) // is asked for the password
		}
		c := l.login(who, tool)
		if c == nil {
			return
		}
		l.keep(c)
		for range l.ticks {
			if !l.use(c) {
				return
			}
			if rand.N(100) == 0 {
				l.bury(c)
				break
			}
		}
	}
}

func (l *load) keep(c *chain) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.live = append(l.live, c)
	l.spent = append(l.spent, c)
}

// use refreshes a chain, as clients do on good and on bad days.
func (l *load) use(c *chain) bool {
	switch rand.N(20) {
	case 0: // two processes share the token
		var other sync.WaitGroup
		token := c.refresh
		other.Go(func() { l.try(c, token, patience) })
		defer other.Wait()
	case 1: // the answer is lost
		l.try(c, c.refresh, patience)
		l.count("answers lost by clients")
	case 2: // the client hangs up in the middle
		if rand.N(3) == 0 {
			return l.hangUp(c)
		}
	}
	return l.refresh(c, l.world)
}

// hangUp gives up a request. No client does so within milliseconds; one that did,
// and was two tokens further when a replica that was held up came to what it had
// been asked, would look like a thief. So this one waits for longer than that.
func (l *load) hangUp(c *chain) bool {
	l.try(c, c.refresh, rand.N(8*time.Millisecond))
	l.count("requests given up by clients")
	goesOn := l.refresh(c, l.world)
	select {
	case <-l.stop:
	case <-time.After(2 * time.Second):
	}
	return goesOn
}

// try presents a token once, and does not keep what comes back.
func (l *load) try(c *chain, token string, limit time.Duration) {
	ctx, cancel := context.WithTimeout(l.t.Context(), limit)
	defer cancel()
	_, err := l.redeem(ctx, l.world, c, token)
	l.check(chainsKept, !errors.Is(err, errRefused), "grant %d: refused a token that was given twice", c.number)
}

// bury revokes a chain, and looks at once whether every replica knows.
func (l *load) bury(c *chain) {
	g := grave{c, l.revoke(c, rand.N(2) == 0)}
	for _, r := range l.replicas {
		if l.rests(g, r, revokedDead) != nil {
			l.count("graves not looked at when they were new")
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dead = append(l.dead, g)
	for i, other := range l.live {
		if other == c {
			l.live = append(l.live[:i], l.live[i+1:]...)
			return
		}
	}
}

// await waits for so many more refreshes, which a fault may hold up but not stop.
func (l *load) await(t *testing.T, n int) {
	t.Helper()
	before := l.counted("refreshes")
	eventually(t, "refreshes", func() bool { return l.counted("refreshes") >= before+n })
}

// settle ends the load, with everything up again: whoever has a live chain can go
// on with it at every replica, nothing of a revoked one works at any.
func (l *load) settle() {
	l.t.Helper()
	eventually(l.t, "a look at a new grave", func() bool { return l.looked(revokedDead) })
	l.stopped.Store(true)
	close(l.stop)
	l.pacing.Wait()
	l.working.Wait()
	for _, r := range l.replicas {
		for _, c := range l.live {
			l.check(rotationKept, l.party.refresh(c, r), "grant %d", c.number)
		}
		for _, g := range l.dead {
			if err := l.persist(func(context.Context) error { return l.rests(g, r, revocationKept) }); err != nil {
				l.t.Errorf("looking at a grave: %v", err)
			}
		}
	}
	l.keys.catchUp()
}
