package storagetest

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/countersign/countersign/storage"
)

// ending revokes the grants of one client at epoch, and tells others for a day.
func ending(revoke, tell []string) storage.Ending {
	return storage.Ending{Now: epoch, RevokeClientIDs: revoke, Reason: "because", TellClientIDs: tell, TellUntil: epoch.Add(24 * time.Hour)}
}

// claimAll claims what is due at now, once each.
func claimAll(t *testing.T, s storage.Store, now time.Time, except ...string) (all map[string]storage.LogoutDelivery) {
	t.Helper()
	all = map[string]storage.LogoutDelivery{}
	for {
		d, err := s.ClaimLogoutDelivery(t.Context(), except, now, now.Add(time.Minute))
		if errors.Is(err, storage.ErrNotFound) {
			return all
		}
		must(t, err)
		if _, twice := all[d.ClientID]; twice {
			t.Fatalf("%s is claimed twice", d.ClientID)
		}
		all[d.ClientID] = d
	}
}

func idsOf(all map[string]storage.LogoutDelivery) map[string]bool {
	ids := map[string]bool{}
	for id := range all {
		ids[id] = true
	}
	return ids
}

// withGrant stores one more grant of the session of in.
func withGrant(t *testing.T, s storage.Store, in storage.SignIn, clientID string) storage.Grant {
	t.Helper()
	a := authorization(in)
	a.Consent, a.Grant.ClientID, a.Grant.SID = nil, clientID, in.Session.SID
	must(t, s.Authorize(t.Context(), a))
	return a.Grant
}

var logoutTests = map[string]func(*testing.T, Database){
	"ending a session revokes the grants it names, and no others": func(t *testing.T, open Database) {
		s := open(t)
		in, bystander := seed(t, s), seed(t, s)
		bound, standalone := withGrant(t, s, in, "bound"), withGrant(t, s, in, "standalone")
		foreign := withGrant(t, s, bystander, "bound")
		earlier := withGrant(t, s, in, "bound")
		_, err := s.RevokeGrant(t.Context(), earlier.ID, epoch.Add(-time.Hour), "first")
		must(t, err)
		with := ending([]string{"bound", "unknown"}, nil)
		endSession(t, s, in.Session.IDHash, with)
		_, _, err = s.Session(t.Context(), in.Session.IDHash, epoch)
		want(t, err, storage.ErrNotFound)
		revoked := bound
		revoked.RevokedAt, revoked.RevokedReason = with.Now, with.Reason
		equal(t, grantOf(t, s, bound.ID), revoked)
		equal(t, grantOf(t, s, standalone.ID), standalone)
		equal(t, grantOf(t, s, foreign.ID), foreign)
		equal(t, grantOf(t, s, earlier.ID).RevokedReason, "first")
		want(t, s.RedeemCode(t.Context(), storage.Redemption{ID: bound.ID, Now: epoch, ExpiresAt: epoch.Add(time.Hour)}), storage.ErrConflict)
		equal(t, len(claimAll(t, s, epoch)), 0)
		// A session that is not there any more ends nothing.
		late := ending([]string{"standalone"}, []string{"standalone"})
		endSession(t, s, in.Session.IDHash, late)
		equal(t, grantOf(t, s, standalone.ID), standalone)
		equal(t, len(claimAll(t, s, epoch)), 0)
	},
	"ending a session tells the clients that the person met in it": func(t *testing.T, open Database) {
		s := open(t)
		in := signIn()
		in.Session.LoginClientIDs, in.Session.ClientIDs = []string{"login", "deaf"}, []string{"led", "login", odd}
		must(t, ErrorOf(s.SignIn(t.Context(), in)))
		other := seed(t, s)
		withGrant(t, s, in, "granted")
		withGrant(t, s, in, "led")
		withGrant(t, s, other, "elsewhere")
		with := ending(nil, []string{"login", "led", "granted", "elsewhere", "unknown", odd})
		endSession(t, s, in.Session.IDHash, with)
		must(t, s.Close())
		s = open(t)
		equal(t, len(claimAll(t, s, epoch.Add(-tick))), 0)
		all := claimAll(t, s, epoch)
		equal(t, idsOf(all), map[string]bool{"login": true, "led": true, "granted": true, odd: true})
		equal(t, all["led"], storage.LogoutDelivery{
			SID: in.Session.SID, ClientID: "led", ConnectorID: in.Session.ConnectorID, UserID: in.Session.UserID,
			EndedAt: epoch, Attempts: 1, ExpiresAt: with.TellUntil,
		})
	},
	"a client that the session was touched for is told": func(t *testing.T, open Database) {
		s := open(t)
		in := seed(t, s)
		a := authorization(in)
		a.Consent, a.TouchSession, a.Grant.ClientID, a.Grant.SID = nil, true, "touched", "unlike"
		must(t, s.Authorize(t.Context(), a))
		endSession(t, s, in.Session.IDHash, ending(nil, []string{"touched"}))
		equal(t, idsOf(claimAll(t, s, epoch)), map[string]bool{"touched": true})
	},
	"a sign-in that replaces a session ends it, unless its SID lives on": func(t *testing.T, open Database) {
		s := open(t)
		for _, livesOn := range []bool{true, false} {
			old, next := seed(t, s), signIn()
			bound := withGrant(t, s, old, "bound")
			next.Replaces, next.Ending = old.Session.IDHash, ending([]string{"bound"}, []string{"bound"})
			if livesOn {
				next.Session.SID = old.Session.SID
			}
			must(t, ErrorOf(s.SignIn(t.Context(), next)))
			equal(t, grantOf(t, s, bound.ID).RevokedAt.IsZero(), livesOn)
			equal(t, len(claimAll(t, s, epoch)) == 0, livesOn)
			_, _, err := s.Session(t.Context(), old.Session.IDHash, epoch)
			want(t, err, storage.ErrNotFound)
		}
	},
	"a sign-in that fails ends nothing": func(t *testing.T, open Database) {
		s := open(t)
		old, next := seed(t, s), signIn()
		bound := withGrant(t, s, old, "bound")
		next.Replaces, next.Ending = old.Session.IDHash, ending([]string{"bound"}, []string{"bound"})
		next.Grant.ID = old.Grant.ID
		want(t, ErrorOf(s.SignIn(t.Context(), next)), storage.ErrConflict)
		equal(t, grantOf(t, s, bound.ID), bound)
		equal(t, len(claimAll(t, s, epoch)), 0)
		unchanged(t, s, old, next)
	},
	"a claim is a lease, and says how often it was taken": func(t *testing.T, open Database) {
		s := open(t)
		in := seed(t, s)
		withGrant(t, s, in, "a")
		endSession(t, s, in.Session.IDHash, ending(nil, []string{"a"}))
		until := epoch.Add(time.Minute)
		first, err := s.ClaimLogoutDelivery(t.Context(), nil, epoch, until)
		must(t, err)
		_, err = s.ClaimLogoutDelivery(t.Context(), nil, until.Add(-tick), until.Add(time.Hour))
		want(t, err, storage.ErrNotFound)
		second, err := s.ClaimLogoutDelivery(t.Context(), nil, until, until.Add(time.Minute))
		must(t, err)
		equal(t, second.Attempts, first.Attempts+1)
		// Whoever had it before has no say any more.
		must(t, s.PostponeLogoutDelivery(t.Context(), first, epoch))
		_, err = s.ClaimLogoutDelivery(t.Context(), nil, until, until.Add(time.Minute))
		want(t, err, storage.ErrNotFound)
		must(t, s.PostponeLogoutDelivery(t.Context(), second, until.Add(time.Second)))
		third, err := s.ClaimLogoutDelivery(t.Context(), nil, until.Add(time.Second), until.Add(time.Hour))
		must(t, err)
		equal(t, third.Attempts, int64(3))
		for range 2 {
			must(t, s.FinishLogoutDelivery(t.Context(), third))
			must(t, s.PostponeLogoutDelivery(t.Context(), third, epoch))
			equal(t, len(claimAll(t, s, epoch.AddDate(1, 0, 0))), 0)
		}
	},
	"claims pass over the clients they are told to": func(t *testing.T, open Database) {
		s := open(t)
		in := seed(t, s)
		for _, id := range []string{"a", "b", "c"} {
			withGrant(t, s, in, id)
		}
		endSession(t, s, in.Session.IDHash, ending(nil, []string{"a", "b", "c"}))
		equal(t, idsOf(claimAll(t, s, epoch, "a", "c", "unknown")), map[string]bool{"b": true})
		equal(t, idsOf(claimAll(t, s, epoch)), map[string]bool{"a": true, "c": true})
	},
	"what is not text is invalid": func(t *testing.T, open Database) {
		s := open(t)
		in := seed(t, s)
		for _, bad := range notText {
			with := ending([]string{"a"}, []string{"a"})
			refuseEach(t, &with, bad, func() error {
				_, err := s.EndSession(t.Context(), in.Session.IDHash, with)
				return err
			})
			_, err := s.ClaimLogoutDelivery(t.Context(), []string{bad}, epoch, epoch)
			want(t, err, storage.ErrInvalid)
			d := storage.LogoutDelivery{SID: "a", ClientID: "a", ConnectorID: "a", UserID: "a"}
			refuseEach(t, &d, bad, func() error { return s.PostponeLogoutDelivery(t.Context(), d, epoch) })
			refuseEach(t, &d, bad, func() error { return s.FinishLogoutDelivery(t.Context(), d) })
		}
		unchanged(t, s, in, storage.SignIn{Session: in.Session})
	},
}

var logoutRaceTests = map[string]func(*testing.T, Database){
	// A grant either comes too late, and is refused, or is seen by the end of its
	// session: none that ends with the session survives it.
	"no grant survives the session it ends with": func(t *testing.T, open Database) {
		replicas := []storage.Store{open(t), open(t)}
		s := replicas[0]
		for range 5 {
			in := seed(t, s)
			var mu sync.Mutex
			var stored []storage.GrantID
			raceOn(t, replicas, func(i int, s storage.Store) error {
				if i == racers/2 {
					_, err := s.EndSession(t.Context(), in.Session.IDHash, ending([]string{"bound"}, []string{"bound"}))
					return err
				}
				a := authorization(in)
				a.Consent, a.TouchSession = nil, i%2 == 0
				a.Grant.ClientID, a.Grant.SID = "bound", in.Session.SID
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
				if grantOf(t, s, id).RevokedAt.IsZero() {
					t.Error("a grant is alive whose session has ended")
				}
			}
			if told := len(claimAll(t, s, epoch)); told > 1 || told == 0 && len(stored) > 0 {
				t.Errorf("%d deliveries for %d grants of one client", told, len(stored))
			}
		}
	},
	"each delivery is claimed once": func(t *testing.T, open Database) {
		s := open(t)
		in := seed(t, s)
		ids := []string{"a", "b", "c", "d", "e"}
		for _, id := range ids {
			withGrant(t, s, in, id)
		}
		endSession(t, s, in.Session.IDHash, ending(nil, ids))
		var mu sync.Mutex
		claimed := map[string]int{}
		race(t, open, func(_ int, s storage.Store) error {
			d, err := s.ClaimLogoutDelivery(context.WithoutCancel(t.Context()), nil, epoch, epoch.Add(time.Minute))
			if errors.Is(err, storage.ErrNotFound) {
				return nil
			}
			mu.Lock()
			defer mu.Unlock()
			claimed[d.ClientID]++
			return err
		})
		equal(t, claimed, map[string]int{"a": 1, "b": 1, "c": 1, "d": 1, "e": 1})
	},
}
