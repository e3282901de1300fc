package storagetest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/countersign/countersign/storage"
)

var revocationRaceTests = map[string]func(*testing.T, Database){
	"revokers at once end everything, once": func(t *testing.T, open Database) {
		replicas := []storage.Store{open(t), open(t)}
		l := newLot(t, replicas[0])
		l.grants = append(l.grants, newLot(t, replicas[0]).grants...)
		selections := []storage.Selector{
			{Everything: true}, {ClientID: l.grants[0].ClientID}, {ConnectorID: l.grants[0].ConnectorID},
			{ConnectorID: l.grants[0].ConnectorID, UserID: l.grants[0].UserID},
		}
		var grants, sessions atomic.Int64
		crowd(t, 16, replicas, func(i int, s storage.Store) error {
			n, err := revoke(t.Context(), s, selections[i%len(selections)], epoch, "because", 1+i%5)
			grants.Add(int64(n))
			if err != nil || selections[i%len(selections)].ClientID != "" {
				return err
			}
			n, err = endAll(t.Context(), s, selections[i%len(selections)], 1+i%5, ending([]string{"a"}, []string{"a"}))
			sessions.Add(int64(n))
			return err
		})
		equal(t, grants.Load(), int64(len(l.grants)))
		equal(t, sessions.Load(), int64(16))
	},
	// Whoever ends the sessions first and then the grants leaves none behind.
	"no grant of a person survives the end of their sessions and grants": func(t *testing.T, open Database) {
		replicas := []storage.Store{open(t), open(t)}
		for range 5 {
			in := seed(t, replicas[0])
			of := storage.Selector{ConnectorID: in.Session.ConnectorID, UserID: in.Session.UserID}
			var mu sync.Mutex
			var stored []storage.GrantID
			raceOn(t, replicas, func(i int, s storage.Store) error {
				if i == racers/2 {
					if _, err := endAll(t.Context(), s, of, 10, storage.Ending{Now: epoch}); err != nil {
						return err
					}
					_, err := revoke(t.Context(), s, of, epoch, "because", 5)
					return err
				}
				a := authorization(in)
				a.Consent, a.TouchSession = nil, i%2 == 0
				err := s.Authorize(t.Context(), a)
				if isConflict(err) {
					return nil
				}
				mu.Lock()
				defer mu.Unlock()
				stored = append(stored, a.Grant.ID)
				return err
			})
			for _, id := range stored {
				if grantOf(t, replicas[0], id).RevokedAt.IsZero() {
					t.Error("a grant is alive whose person was signed out everywhere")
				}
			}
		}
	},
	"a session that is used in the moment it would end as unused stays, or the use fails": func(t *testing.T, open Database) {
		replicas := []storage.Store{open(t), open(t)}
		for range rounds() {
			in := signIn()
			in.Session.Remember, in.Session.LastUsedAt, in.Session.AuthTime = false, epoch, epoch
			must(t, ErrorOf(replicas[0].SignIn(t.Context(), in)))
			var used winners
			crowd(t, 4, replicas, func(i int, s storage.Store) error {
				if i == 0 {
					_, err := endAll(t.Context(), s, storage.Selector{UnusedSince: epoch}, 10, storage.Ending{Now: epoch})
					return err
				}
				a := authorization(in)
				a.Consent, a.TouchSession, a.Grant.CreatedAt = nil, true, epoch.Add(time.Minute)
				return used.took(s.Authorize(t.Context(), a))
			})
			_, _, err := replicas[0].Session(t.Context(), in.Session.IDHash, epoch)
			if gone := errors.Is(err, storage.ErrNotFound); gone != (used.n == 0) {
				t.Errorf("the session has gone: %t, after %d uses", gone, used.n)
			}
			_, err = replicas[0].EndSessions(t.Context(), storage.SessionEnd{Of: storage.Selector{SID: in.Session.SID}, Before: epoch, Limit: 1})
			must(t, err)
		}
	},
	"cancelled in the middle, a batch is revoked or not": func(t *testing.T, open Database) {
		s := open(t)
		in := seed(t, s)
		const grants = 3 * racers
		for range grants {
			withGrant(t, s, in, "client")
		}
		var revoked atomic.Int64
		var unknown atomic.Bool
		of := storage.Selector{ClientID: "client"}
		raceOn(t, []storage.Store{s}, func(int, storage.Store) error {
			ctx, cancel := soon(t)
			defer cancel()
			n, err := revoke(ctx, s, of, epoch, "because", 3)
			revoked.Add(int64(n))
			if errors.Is(err, context.DeadlineExceeded) {
				unknown.Store(true)
				return nil
			}
			return err
		})
		rest, err := revoke(t.Context(), s, of, epoch, "because", 100)
		must(t, err)
		if missing := grants - rest - int(revoked.Load()); missing%3 != 0 || missing != 0 && !unknown.Load() {
			t.Errorf("of %d grants %d were revoked, then %d", grants, revoked.Load(), rest)
		}
	},
	// While people go on refreshing: what is revoked rotates no more, and what
	// is not in the selection is not in its way.
	"thousands end while others rotate": func(t *testing.T, open Database) {
		replicas := []storage.Store{open(t), open(t)}
		in, bystander := redeemed(t, replicas[0]), redeemed(t, replicas[0])
		n := 500
		if os.Getenv(Long) != "" {
			n = 10_000
		}
		ids := make([]storage.GrantID, n)
		crowd(t, 8, replicas, func(i int, s storage.Store) error {
			for j := i; j < n; j += 8 {
				a := authorization(in)
				a.Consent, a.Grant.ClientID = nil, "many"
				ids[j] = a.Grant.ID
				if err := s.Authorize(t.Context(), a); err != nil {
					return err
				}
				if err := s.RedeemCode(t.Context(), storage.Redemption{ID: a.Grant.ID, Now: epoch, ExpiresAt: epoch.Add(720 * time.Hour)}); err != nil {
					return err
				}
			}
			return nil
		})
		var over atomic.Bool
		crowd(t, 8, replicas, func(i int, s storage.Store) error {
			if i == 0 {
				defer over.Store(true)
				revoked, err := revoke(t.Context(), s, storage.Selector{ClientID: "many"}, epoch, "because", 100)
				if err == nil && revoked != n {
					err = fmt.Errorf("%d of %d are revoked", revoked, n)
				}
				return err
			}
			for j := i; !over.Load(); j += 8 {
				r := rotation(storage.SignIn{Identity: in.Identity, Grant: &storage.Grant{ID: ids[j%n], ClientID: "many"}})
				r.Generation = grantOf(t, s, r.ID).Generation
				r.Next = r.Generation + 1
				if _, _, err := s.RotateGrant(t.Context(), r); err != nil && !isConflict(err) {
					return err
				}
			}
			return nil
		})
		for _, id := range ids[:min(n, 500)] {
			g := grantOf(t, replicas[0], id)
			if g.RevokedAt.IsZero() {
				t.Fatal("a grant is left")
			}
			r := rotation(storage.SignIn{Identity: in.Identity, Grant: &g})
			_, _, err := replicas[1].RotateGrant(t.Context(), r)
			want(t, err, storage.ErrConflict)
		}
		_, _, err := replicas[0].RotateGrant(t.Context(), rotation(bystander))
		must(t, err)
	},
}
