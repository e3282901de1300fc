package storagetest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/countersign/countersign/storage"
)

func isInvalid(err error) bool { return errors.Is(err, storage.ErrInvalid) }

func isConflict(err error) bool { return errors.Is(err, storage.ErrConflict) }

// racers is how many callers race; half of them on another replica.
const racers = 64

// race calls do from many goroutines at once, on two handles.
func race(t *testing.T, open Database, do func(i int, s storage.Store) error) {
	t.Helper()
	replicas := []storage.Store{open(t), open(t)}
	raceOn(t, replicas, do)
}

func raceOn(t *testing.T, replicas []storage.Store, do func(i int, s storage.Store) error) {
	t.Helper()
	crowd(t, racers, replicas, do)
}

// crowd calls do n times at once, on each replica in turn.
func crowd(t *testing.T, n int, replicas []storage.Store, do func(i int, s storage.Store) error) {
	t.Helper()
	start := make(chan struct{})
	var running sync.WaitGroup
	for i := range n {
		running.Go(func() {
			<-start
			if err := do(i, replicas[i%len(replicas)]); err != nil {
				t.Errorf("racer %d: %v", i, err)
			}
		})
	}
	close(start)
	running.Wait()
}

// winners counts calls that won.
type winners struct {
	sync.Mutex
	n int
}

// took counts err == nil as won and ErrConflict as lost.
func (w *winners) took(err error) error {
	if err == nil {
		w.Lock()
		w.n++
		w.Unlock()
	}
	if errors.Is(err, storage.ErrConflict) {
		return nil
	}
	return err
}

var raceTests = map[string]func(*testing.T, Database){
	"one redeemer wins": func(t *testing.T, open Database) {
		in := seed(t, open(t))
		var won winners
		race(t, open, func(i int, s storage.Store) error {
			return won.took(s.RedeemCode(t.Context(), storage.Redemption{ID: in.Grant.ID, Now: epoch.Add(time.Duration(i) * tick), ExpiresAt: epoch.Add(time.Hour)}))
		})
		equal(t, won.n, 1)
	},
	"one ends a session": func(t *testing.T, open Database) {
		in := seed(t, open(t))
		var won winners
		race(t, open, func(_ int, s storage.Store) error {
			did, err := s.EndSession(t.Context(), in.Session.IDHash, storage.Ending{Now: epoch})
			if err == nil && did {
				return won.took(nil)
			}
			return err
		})
		equal(t, won.n, 1)
	},
	"one revoker wins, and no code is redeemed afterwards": func(t *testing.T, open Database) {
		s := open(t)
		in := seed(t, s)
		var redeemed, revoked winners
		race(t, open, func(i int, s storage.Store) error {
			if i%4 < 2 {
				did, err := s.RevokeGrant(t.Context(), in.Grant.ID, epoch, fmt.Sprint("reason ", i))
				if err == nil && did {
					return revoked.took(nil)
				}
				if err == nil {
					// Revoked by another racer: from its commit on, it shows.
					grant, _, err := s.Grant(t.Context(), in.Grant.ID, epoch)
					if err == nil && grant.RevokedAt.IsZero() {
						err = errors.New("a revoked grant does not show it")
					}
					return err
				}
				return err
			}
			return redeemed.took(s.RedeemCode(t.Context(), storage.Redemption{ID: in.Grant.ID, Now: epoch, ExpiresAt: epoch.Add(time.Hour)}))
		})
		equal(t, revoked.n, 1)
		if redeemed.n > 1 {
			t.Errorf("%d redeemed", redeemed.n)
		}
		grant := grantOf(t, s, in.Grant.ID)
		equal(t, grant.CodeRedeemedAt.IsZero(), redeemed.n == 0)
	},
	"no failure is lost": func(t *testing.T, open Database) {
		const each = 5
		race(t, open, func(i int, s storage.Store) error {
			keys := []string{"a", "b", "c", "d", "e"}
			for range each {
				rand.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
				if err := s.RecordLoginFailure(t.Context(), keys, epoch, time.Hour); err != nil {
					return err
				}
			}
			return nil
		})
		found, err := open(t).LoginFailures(t.Context(), []string{"a", "b", "c", "d", "e"}, epoch)
		must(t, err)
		equal(t, len(found), 5)
		for key, failure := range found {
			if failure.Count != racers*each {
				t.Errorf("%s: %d of %d", key, failure.Count, racers*each)
			}
		}
	},
	"clearing and counting failures do not block one another": func(t *testing.T, open Database) {
		race(t, open, func(i int, s storage.Store) error {
			keys := []string{"a", "b", "c", "d", "e", "f", "g", "h"}
			rand.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
			if i%2 == 0 {
				return s.RecordLoginFailure(t.Context(), keys, epoch, time.Hour)
			}
			in := signIn()
			in.ClearFailures = keys
			return ErrorOf(s.SignIn(t.Context(), in))
		})
	},
	"all get one master secret": func(t *testing.T, open Database) {
		var mu sync.Mutex
		secrets := map[string]bool{}
		race(t, open, func(i int, s storage.Store) error {
			secret, err := s.MasterSecret(t.Context(), fmt.Append(nil, "secret ", i), epoch)
			mu.Lock()
			secrets[string(secret)] = true
			mu.Unlock()
			return err
		})
		equal(t, len(secrets), 1)
	},
	"one key takes a sequence": func(t *testing.T, open Database) {
		var won winners
		race(t, open, func(i int, s storage.Store) error {
			return won.took(s.AddSigningKey(t.Context(), storage.SigningKey{KID: fmt.Sprint(i), Algorithm: "RS256", Sequence: 1}))
		})
		equal(t, won.n, 1)
	},
	"one holder gets a lease, new or expired": func(t *testing.T, open Database) {
		for round := range 3 {
			now := epoch.Add(time.Duration(round) * time.Hour)
			var won winners
			race(t, open, func(i int, s storage.Store) error {
				held, err := s.AcquireLease(t.Context(), "job", fmt.Sprint(round, i), now, now.Add(time.Hour))
				if err == nil && !held {
					err = storage.ErrConflict
				}
				return won.took(err)
			})
			equal(t, won.n, 1)
		}
	},
	"one session replaces another under a flood of sign-ins": func(t *testing.T, open Database) {
		s := open(t)
		first := seed(t, s)
		var won winners
		race(t, open, func(i int, s storage.Store) error {
			in := signIn()
			in.Identity.ConnectorID, in.Identity.UserID = first.Identity.ConnectorID, first.Identity.UserID
			in.Session.ConnectorID, in.Session.UserID = first.Identity.ConnectorID, first.Identity.UserID
			in.Replaces = first.Session.IDHash
			in.Identity.ExpiresAt = epoch.Add(time.Duration(i) * time.Hour)
			replaced, err := s.SignIn(t.Context(), in)
			if err == nil && !replaced {
				err = storage.ErrConflict
			}
			return won.took(err)
		})
		equal(t, won.n, 1)
		_, _, err := s.Session(t.Context(), first.Session.IDHash, epoch)
		want(t, err, storage.ErrNotFound)
		_, identity, err := s.Grant(t.Context(), first.Grant.ID, epoch)
		must(t, err)
		equal(t, identity.ExpiresAt, epoch.Add(max(48, racers-1)*time.Hour))
	},
	"no grant comes of a session after its end": func(t *testing.T, open Database) {
		replicas := []storage.Store{open(t), open(t)}
		s := replicas[0]
		in := seed(t, s)
		ended := make(chan struct{})
		var once sync.Once
		raceOn(t, replicas, func(i int, s storage.Store) error {
			if i == racers/2 {
				_, err := s.EndSession(t.Context(), in.Session.IDHash, storage.Ending{Now: epoch})
				once.Do(func() { close(ended) })
				return err
			}
			var after bool
			select {
			case <-ended:
				after = true
			default:
			}
			a := authorization(in)
			a.TouchSession = i%2 == 0
			err := s.Authorize(t.Context(), a)
			if after && err == nil {
				return errors.New("authorized after the session had ended")
			}
			if errors.Is(err, storage.ErrConflict) {
				return nil
			}
			return err
		})
	},
}

var cancellationTests = map[string]func(*testing.T, Database){
	"a cancelled context is reported as such, and changes nothing": func(t *testing.T, open Database) {
		s := open(t)
		in := seed(t, s)
		cancelled, cancel := context.WithCancel(background)
		cancel()
		expired, cancel := context.WithDeadline(background, epoch.AddDate(-10, 0, 0))
		defer cancel()
		for method, call := range calls(s, in) {
			want(t, call(cancelled), context.Canceled)
			want(t, call(expired), context.DeadlineExceeded)
			if isUnavailable(call(cancelled)) {
				t.Errorf("%s blames the database", method)
			}
		}
		unchanged(t, s, in, storage.SignIn{Session: in.Session})
		_, err := s.Ping(t.Context())
		must(t, err)
	},
	"cancelled in the middle, all of it happened or nothing": func(t *testing.T, open Database) {
		s := open(t)
		seed(t, s) // so that what follows is warm
		var mu sync.Mutex
		var tried []storage.SignIn
		race(t, func(t *testing.T) storage.Store { return s }, func(i int, s storage.Store) error {
			in := signIn()
			old := signIn()
			if err := ErrorOf(s.SignIn(t.Context(), old)); err != nil {
				return err
			}
			in.Replaces = old.Session.IDHash
			mu.Lock()
			tried = append(tried, in)
			mu.Unlock()
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(rand.Int64N(int64(20*time.Millisecond))))
			defer cancel()
			if err := ErrorOf(s.SignIn(ctx, in)); err != nil && !errors.Is(err, context.DeadlineExceeded) {
				return err
			}
			return nil
		})
		for _, in := range tried {
			_, _, old := s.Session(t.Context(), in.Replaces, epoch)
			_, _, session := s.Session(t.Context(), in.Session.IDHash, epoch)
			_, _, grant := s.Grant(t.Context(), in.Grant.ID, epoch)
			if (session == nil) != (grant == nil) || (session == nil) == (old == nil) {
				t.Errorf("half done: old session %v, session %v, grant %v", old, session, grant)
			}
		}
	},
}
