package storagetest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/countersign/countersign/storage"
)

// Long names the variable that makes tests long: the races of rotation run as
// often as it says, or 10,000 times when it is not a number above one.
const Long = "COUNTERSIGN_TEST_LONG"

// rounds is how often a race is run.
func rounds() int {
	switch n, err := strconv.Atoi(os.Getenv(Long)); {
	case err == nil && n > 1:
		return n
	case os.Getenv(Long) != "":
		return 10_000
	}
	return 20
}

// beside runs the rounds of a race, several at a time. Where replicas wait for a
// file by looking at it now and then, as those of SQLite do, most of a round is
// waiting.
func beside(t *testing.T, round func(*testing.T)) {
	t.Helper()
	const lanes = 16
	left := atomic.Int64{}
	left.Store(int64(rounds()))
	for i := range lanes {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			for left.Add(-1) >= 0 {
				round(t)
			}
		})
	}
}

var rotationRaceTests = map[string]func(*testing.T, Database){
	"one rotator of a generation wins, and the row moves by one": func(t *testing.T, open Database) {
		replicas := []storage.Store{open(t), open(t)}
		in := redeemed(t, replicas[0])
		for round := range rounds() {
			n := racers
			if round > 20 {
				n = 8 // of many rounds, most may be small
			}
			var won winners
			var moved storage.Grant
			crowd(t, n, replicas, func(_ int, s storage.Store) error {
				grant, _, err := s.RotateGrant(t.Context(), rotation(in))
				if err == nil {
					won.Lock()
					moved = grant
					won.Unlock()
				}
				return won.took(err)
			})
			equal(t, won.n, 1)
			in.Grant.Generation++
			equal(t, moved.Generation, in.Grant.Generation)
			equal(t, grantOf(t, replicas[0], in.Grant.ID).Rotated(), moved)
		}
	},
	"nothing rotates once it is revoked": func(t *testing.T, open Database) {
		replicas := []storage.Store{open(t), open(t)}
		beside(t, func(t *testing.T) { rotateAgainstRevoke(t, replicas) })
	},
	"what is rotated was redeemed, once each": func(t *testing.T, open Database) {
		replicas := []storage.Store{open(t), open(t)}
		for range rounds() {
			in := seed(t, replicas[0])
			var taken, moved winners
			crowd(t, 8, replicas, func(i int, s storage.Store) error {
				if i%4 < 2 {
					return taken.took(s.RedeemCode(t.Context(), storage.Redemption{ID: in.Grant.ID, Now: epoch, ExpiresAt: epoch.Add(720 * time.Hour)}))
				}
				_, _, err := s.RotateGrant(t.Context(), rotation(in))
				return moved.took(err)
			})
			equal(t, taken.n, 1)
			grant := grantOf(t, replicas[0], in.Grant.ID)
			equal(t, grant.CodeRedeemedAt, epoch)
			equal(t, grant.Generation, in.Grant.Generation+int64(moved.n))
			equal(t, moved.n <= 1, true)
		}
	},
	"rotations of one person's grants do not meet, whatever is learned of the person": func(t *testing.T, open Database) {
		replicas := []storage.Store{open(t), open(t)}
		in := redeemed(t, replicas[0])
		const each = 5
		grants := make([]storage.Grant, racers)
		for i := range grants {
			a := authorization(in)
			must(t, replicas[0].Authorize(t.Context(), a))
			must(t, replicas[0].RedeemCode(t.Context(), storage.Redemption{ID: a.Grant.ID, Now: epoch, ExpiresAt: a.Grant.ExpiresAt}))
			grants[i] = a.Grant
		}
		raceOn(t, replicas, func(i int, s storage.Store) error {
			for n := range each {
				if i%8 == 0 {
					next := rechecked(in.Identity, time.Duration(i*each+n)*tick)
					if err := s.RecheckIdentity(t.Context(), next, nil); err != nil {
						return err
					}
					continue
				}
				r := rotation(storage.SignIn{Identity: in.Identity, Grant: &grants[i]})
				r.Generation, r.Next = r.Generation+int64(n), r.Next+int64(n)
				if _, _, err := s.RotateGrant(t.Context(), r); err != nil {
					return err
				}
			}
			return nil
		})
		for i, grant := range grants {
			if i%8 != 0 {
				equal(t, grantOf(t, replicas[0], grant.ID).Generation, grant.Generation+each)
			}
		}
	},
	"the newest of racing rechecks is kept, whole": func(t *testing.T, open Database) {
		replicas := []storage.Store{open(t), open(t)}
		in := seed(t, replicas[0])
		answers := make([]storage.Identity, racers)
		for i, at := range rand.Perm(racers) {
			answers[i] = rechecked(in.Identity, time.Duration(at)*tick)
			answers[i].ExpiresAt = in.Identity.ExpiresAt.Add(time.Duration(at) * time.Hour)
		}
		raceOn(t, replicas, func(i int, s storage.Store) error { return s.RecheckIdentity(t.Context(), answers[i], nil) })
		newest := answers[0]
		for _, answer := range answers {
			if answer.CheckedAt.After(newest.CheckedAt) {
				newest = answer
			}
		}
		equal(t, identityOf(t, replicas[0], in.Grant.ID), newest)
	},
	"each grant of a person is ended by one caller, while they rotate": func(t *testing.T, open Database) {
		replicas := []storage.Store{open(t), open(t)}
		in := redeemed(t, replicas[0])
		grants := []storage.Grant{*in.Grant}
		for range 20 {
			a := authorization(in)
			must(t, replicas[0].Authorize(t.Context(), a))
			must(t, replicas[0].RedeemCode(t.Context(), storage.Redemption{ID: a.Grant.ID, Now: epoch, ExpiresAt: a.Grant.ExpiresAt}))
			grants = append(grants, a.Grant)
		}
		var ended atomic.Int64
		raceOn(t, replicas, func(i int, s storage.Store) error {
			grant := grants[i%len(grants)]
			switch i % 4 {
			case 0:
				n, err := revokeOf(t.Context(), s, grant.ConnectorID, grant.UserID, epoch, fmt.Sprint("all ", i))
				ended.Add(int64(n))
				return err
			case 1:
				did, err := s.RevokeGrant(t.Context(), grant.ID, epoch, fmt.Sprint("one ", i))
				if did {
					ended.Add(1)
				}
				return err
			}
			_, _, err := s.RotateGrant(t.Context(), rotation(storage.SignIn{Identity: in.Identity, Grant: &grant}))
			if isConflict(err) {
				return nil
			}
			return err
		})
		equal(t, ended.Load(), int64(len(grants)))
	},
	"cancelled in the middle, a grant is as before or rotated": func(t *testing.T, open Database) {
		s := open(t)
		seeds := make([]storage.SignIn, racers)
		for i := range seeds {
			seeds[i] = redeemed(t, s)
		}
		raceOn(t, []storage.Store{s}, func(i int, _ storage.Store) error {
			in := seeds[i]
			r := rotation(in)
			ctx, cancel := soon(t)
			defer cancel()
			_, _, err := s.RotateGrant(ctx, r)
			if err != nil && !errors.Is(err, context.DeadlineExceeded) {
				return err
			}
			after := rotated(*in.Grant, r)
			grant, _, reading := s.Grant(t.Context(), in.Grant.ID, epoch)
			if reading != nil {
				return reading
			}
			if !cmp.Equal(grant, after) && (err == nil || !cmp.Equal(grant, *in.Grant)) {
				return fmt.Errorf("rotating said %v and left:\n%s", err, cmp.Diff(after, grant))
			}
			return nil
		})
	},
	"cancelled in the middle, a code is redeemed and its person kept, or neither": func(t *testing.T, open Database) {
		s := open(t)
		until := epoch.Add(720 * time.Hour)
		seeds := make([]storage.SignIn, racers)
		for i := range seeds {
			seeds[i] = seed(t, s)
		}
		raceOn(t, []storage.Store{s}, func(i int, _ storage.Store) error {
			in := seeds[i]
			ctx, cancel := soon(t)
			defer cancel()
			err := s.RedeemCode(ctx, storage.Redemption{ID: in.Grant.ID, Now: epoch, ExpiresAt: until})
			if err != nil && !errors.Is(err, context.DeadlineExceeded) {
				return err
			}
			grant, identity, reading := s.Grant(t.Context(), in.Grant.ID, epoch)
			if reading != nil {
				return reading
			}
			done := !grant.CodeRedeemedAt.IsZero()
			if done != identity.ExpiresAt.Equal(until) || done != grant.ExpiresAt.Equal(until) || !done && err == nil {
				return fmt.Errorf("redeeming said %v and left %v, %v", err, grant, identity)
			}
			return nil
		})
	},
}

// soon is a context that ends within the time a call may take.
func soon(t *testing.T) (context.Context, context.CancelFunc) {
	return context.WithTimeout(t.Context(), time.Duration(rand.Int64N(int64(20*time.Millisecond))))
}

// rotateAgainstRevoke lets rotators drive one chain on and on, and revokes it
// somewhere on its way.
func rotateAgainstRevoke(t *testing.T, replicas []storage.Store) {
	t.Helper()
	chain := chain{in: redeemed(t, replicas[0]), reached: make(chan struct{}), until: 1 + rand.Int64N(8)}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	crowd(t, 4, replicas, func(i int, s storage.Store) error {
		do := chain.rotate
		if i == 0 {
			do = chain.revoke
		}
		err := do(ctx, s)
		if err != nil {
			cancel() // the others would wait for ever
		}
		return err
	})
	if t.Failed() {
		t.FailNow()
	}
	grant := grantOf(t, replicas[0], chain.in.Grant.ID)
	equal(t, grant.Generation, chain.in.Grant.Generation+chain.moved.Load())
	equal(t, grant.Generation, chain.last)
}

// chain is a grant that is rotated until it is revoked.
type chain struct {
	in storage.SignIn
	// reached is closed when it was moved until times.
	reached chan struct{}
	until   int64
	moved   atomic.Int64
	// ended: revoking has returned.
	ended atomic.Bool
	// last is the generation read after that.
	last int64
}

func (c *chain) revoke(ctx context.Context, s storage.Store) error {
	select {
	case <-c.reached:
	case <-ctx.Done():
		return ctx.Err()
	}
	if rand.N(2) == 0 {
		if did, err := s.RevokeGrant(ctx, c.in.Grant.ID, epoch, "one"); err != nil || !did {
			return fmt.Errorf("revoked: %v, %v", did, err)
		}
	} else if n, err := revoke(ctx, s, selectorOf(*c.in.Grant), epoch, "all", 1+rand.N(10)); err != nil || n != 1 {
		return fmt.Errorf("revoked: %d, %v", n, err)
	}
	c.ended.Store(true)
	grant, _, err := s.Grant(ctx, c.in.Grant.ID, epoch)
	c.last = grant.Generation
	return err
}

// selectorOf is one of the selectors that match a grant, and nobody else's: other
// chains are driven beside it.
func selectorOf(g storage.Grant) storage.Selector {
	all := []storage.Selector{
		{GrantID: g.ID}, {SID: g.SID}, {ConnectorID: g.ConnectorID, UserID: g.UserID}, {ConnectorID: g.ConnectorID},
		{ClientID: g.ClientID},
	}
	return all[rand.N(len(all))]
}

func (c *chain) rotate(ctx context.Context, s storage.Store) error {
	r := rotation(c.in)
	for {
		dead := c.ended.Load()
		grant, _, err := s.RotateGrant(ctx, r)
		if err == nil {
			if dead {
				return errors.New("rotated after revoking had returned")
			}
			if c.moved.Add(1) == c.until {
				close(c.reached)
			}
		} else if isConflict(err) {
			grant, _, err = s.Grant(ctx, r.ID, epoch)
		}
		if err == nil && !grant.RevokedAt.IsZero() && c.moved.Load() < c.until {
			err = fmt.Errorf("revoked by somebody else: %s", grant.RevokedReason)
		}
		if err != nil || !grant.RevokedAt.IsZero() {
			return err
		}
		r.Generation, r.Next = grant.Generation, grant.Generation+1
	}
}
