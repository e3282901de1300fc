package storagetest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/countersign/countersign/storage"
)

// expiring are one row of each table whose rows expire, all at the same time.
type expiring struct {
	in      storage.SignIn
	consent storage.Consent
	failure string
	// told is the SID of an ended session with a delivery.
	told string
	// arrived is an arrival's ID.
	arrived [32]byte
}

// expires stores one row of each table that expires at the given time, of a
// person of its own.
func expires(t *testing.T, s storage.Store, at time.Time) expiring {
	t.Helper()
	in := signIn()
	in.Identity.ExpiresAt, in.Session.ExpiresAt, in.Grant.ExpiresAt = at, at, at
	must(t, ErrorOf(s.SignIn(t.Context(), in)))
	a := authorization(in)
	a.Grant.CreatedAt = in.Session.ExpiresAt.Add(-tick)
	a.Grant.ExpiresAt, a.Consent.ExpiresAt = at, at
	must(t, s.Authorize(t.Context(), a))
	failure := fmt.Sprint("account ", randomInt(1e15))
	must(t, s.RecordLoginFailure(t.Context(), []string{failure}, at.Add(-time.Hour), time.Hour))
	arrived := newArrival()
	arrived.TakeUntil, arrived.ExpiresAt = at, at
	must(t, s.KeepArrival(t.Context(), arrived, at.Add(-time.Hour)))
	return expiring{in, *a.Consent, failure, ended(t, s, in, at), arrived.ID}
}

// ended signs the person in once more and out again, with a client to be told
// until the given time, and returns the SID.
func ended(t *testing.T, s storage.Store, in storage.SignIn, until time.Time) string {
	t.Helper()
	again := signIn()
	again.Identity, again.Grant, again.Replaces = in.Identity, nil, [32]byte{}
	again.Session.ConnectorID, again.Session.UserID = in.Session.ConnectorID, in.Session.UserID
	again.Session.LoginClientIDs, again.Session.ClientIDs = []string{"told"}, []string{"told"}
	must(t, ErrorOf(s.SignIn(t.Context(), again)))
	endSession(t, s, again.Session.IDHash, storage.Ending{
		Now: until.Add(-time.Hour), TellClientIDs: []string{"told"}, TellUntil: until,
	})
	return again.Session.SID
}

// claims counts the looks at deliveries: each claims them all, at a time of its
// own.
var claims atomic.Int64

// deliveries are the SIDs of all deliveries.
func deliveries(t *testing.T, s storage.Store) map[string]bool {
	t.Helper()
	now := epoch.AddDate(50, 0, 0).Add(time.Duration(claims.Add(1)) * time.Hour)
	all := map[string]bool{}
	for {
		d, err := s.ClaimLogoutDelivery(t.Context(), nil, now, now.Add(time.Minute))
		if errors.Is(err, storage.ErrNotFound) {
			return all
		}
		must(t, err)
		all[d.SID] = true
	}
}

// found says which rows of e are there, asked at a time at which none of them
// has expired.
func (e expiring) found(t *testing.T, s storage.Store) map[storage.Table]bool {
	t.Helper()
	then := e.in.Session.ExpiresAt.Add(-tick)
	found := map[storage.Table]bool{}
	note := func(table storage.Table, err error) {
		if err != nil {
			want(t, err, storage.ErrNotFound)
		}
		found[table] = err == nil
	}
	_, _, err := s.Session(t.Context(), e.in.Session.IDHash, then)
	note(storage.TableSessions, err)
	_, _, err = s.Grant(t.Context(), e.in.Grant.ID, then)
	note(storage.TableGrants, err)
	_, err = s.Consent(t.Context(), e.consent.ConnectorID, e.consent.UserID, e.consent.ClientID, then)
	note(storage.TableConsents, err)
	failures, err := s.LoginFailures(t.Context(), []string{e.failure}, then)
	must(t, err)
	found[storage.TableLoginFailures] = len(failures) == 1
	found[storage.TableLogoutDeliveries] = deliveries(t, s)[e.told]
	again := newArrival()
	again.ID = e.arrived
	err = s.KeepArrival(t.Context(), again, then)
	if err != nil {
		want(t, err, storage.ErrConflict)
	}
	found[storage.TableArrivals] = err != nil
	i := rechecked(e.in.Identity, 0)
	i.ExpiresAt = time.Time{}
	note(storage.TableIdentities, s.RecheckIdentity(t.Context(), i, nil))
	return found
}

// collect empties one table of what has expired, in batches, and counts.
func collect(ctx context.Context, s storage.Store, table storage.Table, now time.Time, limit int) (int, error) {
	all, from := 0, time.Time{}
	for {
		deleted, err := s.DeleteExpired(ctx, storage.Expired{Table: table, Now: now, From: from, Limit: limit})
		all += deleted.Rows
		if err != nil || deleted.Rows < limit {
			return all, err
		}
		from = deleted.UpTo
	}
}

// collectAll empties every table.
func collectAll(ctx context.Context, s storage.Store, now time.Time) error {
	for _, table := range storage.Expiring() {
		if _, err := collect(ctx, s, table, now, 7); err != nil {
			return err
		}
	}
	return nil
}

var garbageTests = map[string]func(*testing.T, Database){
	"what expired is deleted, from the table that was named, and what is alive is not": func(t *testing.T, open Database) {
		s := open(t)
		now := epoch.Add(48 * time.Hour)
		dead := []expiring{expires(t, s, now.Add(-time.Hour)), expires(t, s, now.Add(-tick)), expires(t, s, now)}
		alive := []expiring{expires(t, s, now.Add(tick)), expires(t, s, now.Add(time.Hour))}
		expected := map[storage.Table]bool{}
		for _, table := range storage.Expiring() {
			expected[table] = true
		}
		for _, e := range append(dead, alive...) {
			equal(t, e.found(t, s), expected)
		}
		rows := map[storage.Table]int{storage.TableGrants: 2 * len(dead)} // the sign-in's and another
		for _, table := range storage.Expiring() {
			for _, n := range []int{max(rows[table], len(dead)), 0} {
				deleted, err := collect(t.Context(), s, table, now, 100)
				must(t, err)
				equal(t, deleted, n)
			}
			expected[table] = false
			for _, e := range dead {
				equal(t, e.found(t, s), expected)
			}
		}
		for table := range expected {
			expected[table] = true
		}
		for _, e := range alive {
			equal(t, e.found(t, s), expected)
		}
	},
	"a batch has a limit, takes the oldest first, and says how far it came": func(t *testing.T, open Database) {
		s := open(t)
		now := epoch.Add(48 * time.Hour)
		at := func(i int) time.Time { return now.Add(-time.Duration(9-i) * time.Minute) }
		var rows [10]expiring
		for _, i := range rand.Perm(len(rows)) {
			rows[i] = expires(t, s, at(i))
		}
		batch := func(from time.Time, limit int) storage.Deleted {
			deleted, err := s.DeleteExpired(t.Context(), storage.Expired{Table: storage.TableSessions, Now: now, From: from, Limit: limit})
			must(t, err)
			return deleted
		}
		for _, step := range []struct {
			from    time.Time
			limit   int
			deleted storage.Deleted
		}{
			{time.Time{}, 1, storage.Deleted{Rows: 1, UpTo: at(0)}},
			{at(0), 3, storage.Deleted{Rows: 3, UpTo: at(3)}},
			{at(6), 1, storage.Deleted{Rows: 1, UpTo: at(6)}}, // from is included
			{at(8).Add(tick), 100, storage.Deleted{Rows: 1, UpTo: at(9)}},
			{at(9), 100, storage.Deleted{UpTo: at(9)}}, // nothing is left there
			{time.Time{}, 100, storage.Deleted{Rows: 4, UpTo: at(8)}},
			{time.Time{}, 100, storage.Deleted{}},
		} {
			equal(t, batch(step.from, step.limit), step.deleted)
		}
	},
	"a table whose rows do not expire, and no limit, are invalid": func(t *testing.T, open Database) {
		s := open(t)
		in := seed(t, s)
		later := epoch.AddDate(1, 0, 0)
		for _, bad := range []storage.Expired{
			{Now: later, Limit: 1},
			{Table: "signing_keys", Now: later, Limit: 1},
			{Table: "sessions; DROP TABLE sessions", Now: later, Limit: 1},
			{Table: storage.TableSessions, Now: later},
			{Table: storage.TableSessions, Now: later, Limit: -1},
		} {
			_, err := s.DeleteExpired(t.Context(), bad)
			want(t, err, storage.ErrInvalid)
		}
		unchanged(t, s, in, storage.SignIn{Session: in.Session})
	},
	"collectors at once delete everything, once": func(t *testing.T, open Database) {
		replicas := []storage.Store{open(t), open(t)}
		now := epoch.Add(48 * time.Hour)
		const rows = 40
		for i := range rows {
			expires(t, replicas[0], now.Add(-time.Duration(i/4)*time.Minute))
		}
		alive := expires(t, replicas[0], now.Add(tick))
		var deleted atomic.Int64
		crowd(t, 8, replicas, func(_ int, s storage.Store) error {
			for _, table := range storage.Expiring() {
				n, err := collect(t.Context(), s, table, now, 5)
				deleted.Add(int64(n))
				if err != nil {
					return err
				}
			}
			return nil
		})
		for _, table := range storage.Expiring() { // what one held, another has passed over
			n, err := collect(t.Context(), replicas[0], table, now, 5)
			must(t, err)
			deleted.Add(int64(n))
		}
		equal(t, deleted.Load(), int64((len(storage.Expiring())+1)*rows)) // a sign-in's grant and another
		for table, there := range alive.found(t, replicas[0]) {
			equal(t, [2]any{table, there}, [2]any{table, true})
		}
	},
	"a person is kept by the code that is redeemed in the moment they expire": func(t *testing.T, open Database) {
		replicas := []storage.Store{open(t), open(t)}
		until := epoch.Add(720 * time.Hour)
		for range rounds() {
			in := signIn()
			now := epoch.Add(time.Minute)
			// All of it expires with the code; the redeemer is a tick behind.
			in.Grant.CodeExpiresAt, in.Grant.ExpiresAt = now, now
			in.Session.ExpiresAt, in.Identity.ExpiresAt = now, now
			must(t, ErrorOf(replicas[0].SignIn(t.Context(), in)))
			var won winners
			crowd(t, 8, replicas, func(i int, s storage.Store) error {
				switch i % 4 {
				case 0:
					return won.took(s.RedeemCode(t.Context(), storage.Redemption{ID: in.Grant.ID, Now: now.Add(-tick), ExpiresAt: until}))
				case 1:
					return collectAll(t.Context(), s, now)
				}
				_, err := collect(t.Context(), s, storage.TableIdentities, now, 1)
				return err
			})
			if won.n > 1 {
				t.Fatalf("%d redeemed", won.n)
			}
			grant, identity, err := replicas[0].Grant(t.Context(), in.Grant.ID, now)
			if won.n == 0 {
				want(t, err, storage.ErrNotFound)
				continue
			}
			must(t, err)
			equal(t, grant.CodeRedeemedAt, now.Add(-tick))
			equal(t, identity.ExpiresAt, until)
		}
	},
	"a person is kept who signs in, or is signed in, in the moment they expire": func(t *testing.T, open Database) {
		replicas := []storage.Store{open(t), open(t)}
		now := epoch.Add(time.Minute)
		for range rounds() {
			before := signIn()
			before.Grant.ExpiresAt, before.Session.ExpiresAt, before.Identity.ExpiresAt = now, now, now
			must(t, ErrorOf(replicas[0].SignIn(t.Context(), before)))
			signedIn := signIn()
			signedIn.Session.ExpiresAt, signedIn.Identity.ExpiresAt = now.Add(tick), now.Add(time.Hour)
			must(t, ErrorOf(replicas[0].SignIn(t.Context(), signedIn)))
			again := signIn()
			again.Identity.ConnectorID, again.Identity.UserID = before.Identity.ConnectorID, before.Identity.UserID
			again.Session.ConnectorID, again.Session.UserID = before.Identity.ConnectorID, before.Identity.UserID
			again.Grant.ConnectorID, again.Grant.UserID = before.Identity.ConnectorID, before.Identity.UserID
			a := authorization(signedIn)
			a.Grant.CreatedAt = now
			crowd(t, 8, replicas, func(i int, s storage.Store) error {
				switch i {
				case 0:
					return ErrorOf(s.SignIn(t.Context(), again))
				case 1:
					return s.Authorize(t.Context(), a)
				case 2, 3:
					return collectAll(t.Context(), s, now)
				}
				_, err := collect(t.Context(), s, storage.TableIdentities, now, 1)
				return err
			})
			for _, in := range []storage.SignIn{again, signedIn} {
				_, identity, err := replicas[0].Session(t.Context(), in.Session.IDHash, now)
				must(t, err)
				equal(t, identity, in.Identity)
			}
			for _, id := range []storage.GrantID{again.Grant.ID, a.Grant.ID} {
				_, _, err := replicas[0].Grant(t.Context(), id, now)
				must(t, err)
			}
			_, _, err := replicas[0].Session(t.Context(), before.Session.IDHash, epoch)
			want(t, err, storage.ErrNotFound)
		}
	},
	"rotations and failures go on while garbage is collected": func(t *testing.T, open Database) {
		replicas := []storage.Store{open(t), open(t)}
		now := epoch.Add(48 * time.Hour)
		for i := range 60 {
			expires(t, replicas[0], now.Add(-time.Duration(i)*time.Minute))
		}
		const each = 10
		alive := make([]storage.SignIn, 4)
		for i := range alive {
			alive[i] = redeemed(t, replicas[0])
		}
		keys := []string{"a", "b", "c"}
		// What is counted was expired a moment ago.
		must(t, replicas[0].RecordLoginFailure(t.Context(), keys, epoch, time.Minute))
		crowd(t, 8, replicas, func(i int, s storage.Store) error {
			if i >= len(alive) {
				for range each {
					if err := collectAll(t.Context(), s, now); err != nil {
						return err
					}
				}
				return nil
			}
			r := rotation(alive[i])
			r.Now = now
			for range each {
				if _, _, err := s.RotateGrant(t.Context(), r); err != nil {
					return fmt.Errorf("rotating: %w", err)
				}
				r.Generation, r.Next = r.Generation+1, r.Next+1
				if err := s.RecordLoginFailure(t.Context(), keys, now, time.Hour); err != nil {
					return err
				}
			}
			return nil
		})
		failures, err := replicas[0].LoginFailures(t.Context(), keys, now)
		must(t, err)
		for _, key := range keys {
			equal(t, failures[key].Count, len(alive)*each)
		}
	},
	"cancelled in the middle, a batch is deleted or there": func(t *testing.T, open Database) {
		s := open(t)
		now := epoch.Add(48 * time.Hour)
		const rows = racers * 3
		for range rows {
			must(t, s.RecordLoginFailure(t.Context(), []string{fmt.Sprint(randomInt(1e15))}, epoch, time.Hour))
		}
		var deleted atomic.Int64
		var unknown atomic.Bool
		raceOn(t, []storage.Store{s}, func(int, storage.Store) error {
			ctx, cancel := soon(t)
			defer cancel()
			d, err := s.DeleteExpired(ctx, storage.Expired{Table: storage.TableLoginFailures, Now: now, Limit: 3})
			deleted.Add(int64(d.Rows))
			if errors.Is(err, context.DeadlineExceeded) {
				unknown.Store(true)
				return nil
			}
			return err
		})
		rest, err := collect(t.Context(), s, storage.TableLoginFailures, now, 100)
		must(t, err)
		if missing := rows - rest - int(deleted.Load()); missing%3 != 0 || missing != 0 && !unknown.Load() {
			t.Errorf("of %d rows %d were deleted, then %d", rows, deleted.Load(), rest)
		}
	},
}
