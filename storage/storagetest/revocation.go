package storagetest

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/countersign/countersign/storage"
)

// revoke ends a selection of grants, in batches of so many rows.
func revoke(ctx context.Context, s storage.Store, of storage.Selector, now time.Time, reason string, limit int) (revoked int, err error) {
	in := storage.Revocation{Of: of, Now: now, Before: epoch.AddDate(1, 0, 0), Reason: reason, Limit: limit}
	for {
		done, err := s.RevokeGrants(ctx, in)
		revoked += done.Rows
		if err != nil || done.Done {
			return revoked, err
		}
		in.After = done.Next
	}
}

// revokeOf ends all live grants of one person.
func revokeOf(ctx context.Context, s storage.Store, connectorID, userID string, now time.Time, reason string) (int, error) {
	return revoke(ctx, s, storage.Selector{ConnectorID: connectorID, UserID: userID}, now, reason, 3)
}

// endAll ends a selection of sessions, in batches of so many.
func endAll(ctx context.Context, s storage.Store, of storage.Selector, limit int, with storage.Ending) (ended int, err error) {
	in := storage.SessionEnd{Of: of, Before: epoch.AddDate(1, 0, 0), Limit: limit, With: with}
	for {
		done, err := s.EndSessions(ctx, in)
		ended += done.Rows
		if err != nil || done.Done {
			return ended, err
		}
		in.After = done.Next
	}
}

// lot is some people's sessions and redeemed grants: two connectors, two people at
// each, two sessions of each, and of each session a grant at two clients.
type lot struct {
	sessions []storage.Session
	grants   []storage.Grant
}

// newLot stores one. Its ids are odd, and differ from those of other lots.
func newLot(t *testing.T, s storage.Store) (l lot) {
	t.Helper()
	one := signIn() // for its ids
	connectors := []string{one.Session.ConnectorID, "another " + one.Session.ConnectorID}
	users := []string{one.Session.UserID, "another " + one.Session.UserID}
	clients := []string{one.Grant.ClientID, "another " + one.Grant.ClientID}
	for i := range 8 {
		in := signIn()
		in.Identity.ConnectorID, in.Identity.UserID = connectors[i/4], users[i/2%2]
		in.Session.ConnectorID, in.Session.UserID = in.Identity.ConnectorID, in.Identity.UserID
		in.Session.AuthTime, in.Session.Remember, in.Grant = epoch, false, nil
		must(t, ErrorOf(s.SignIn(t.Context(), in)))
		l.sessions = append(l.sessions, in.Session)
		for _, client := range clients {
			a := authorization(in)
			a.Consent, a.Grant.ClientID, a.Grant.SID = nil, client, in.Session.SID
			must(t, s.Authorize(t.Context(), a))
			until := epoch.Add(720 * time.Hour)
			must(t, s.RedeemCode(t.Context(), storage.Redemption{ID: a.Grant.ID, Now: epoch, ExpiresAt: until,
				UserAgent: a.Grant.RefreshedUserAgent, IPAddress: a.Grant.RefreshedIPAddress}))
			a.Grant.CodeRedeemedAt, a.Grant.RefreshedAt, a.Grant.ExpiresAt = epoch, epoch, until
			l.grants = append(l.grants, a.Grant)
		}
	}
	return l
}

// selection is a selector, and what it means.
type selection struct {
	of storage.Selector
	// session and grant say what is selected; nil: not a selection of these.
	session func(storage.Session) bool
	grant   func(storage.Grant) bool
}

// selections of a lot: each that there is an index for.
func (l lot) selections() map[string]selection {
	g, s := l.grants[5], l.sessions[2] // the grant is of this session
	person := func(connectorID, userID string) bool { return connectorID == s.ConnectorID && userID == s.UserID }
	return map[string]selection{
		"a grant": {storage.Selector{GrantID: g.ID}, nil, func(o storage.Grant) bool { return o.ID == g.ID }},
		"a grant of a person": {storage.Selector{GrantID: g.ID, ConnectorID: s.ConnectorID, UserID: s.UserID},
			nil, func(o storage.Grant) bool { return o.ID == g.ID }},
		"a grant, of another person": {storage.Selector{GrantID: g.ID, ConnectorID: s.ConnectorID, UserID: l.sessions[0].UserID},
			nil, func(storage.Grant) bool { return false }},
		"a grant, of another connector": {storage.Selector{GrantID: g.ID, ConnectorID: l.sessions[4].ConnectorID, UserID: s.UserID},
			nil, func(storage.Grant) bool { return false }},
		"a session": {storage.Selector{SID: s.SID}, func(o storage.Session) bool { return o.SID == s.SID },
			func(o storage.Grant) bool { return o.SID == s.SID }},
		"a session of a person": {storage.Selector{SID: s.SID, ConnectorID: s.ConnectorID, UserID: s.UserID},
			func(o storage.Session) bool { return o.SID == s.SID }, func(o storage.Grant) bool { return o.SID == s.SID }},
		"a session, of another person": {storage.Selector{SID: s.SID, ConnectorID: s.ConnectorID, UserID: l.sessions[0].UserID},
			func(storage.Session) bool { return false }, func(storage.Grant) bool { return false }},
		"a person": {storage.Selector{ConnectorID: s.ConnectorID, UserID: s.UserID},
			func(o storage.Session) bool { return person(o.ConnectorID, o.UserID) },
			func(o storage.Grant) bool { return person(o.ConnectorID, o.UserID) }},
		"a person at a client": {storage.Selector{ConnectorID: s.ConnectorID, UserID: s.UserID, ClientID: g.ClientID}, nil,
			func(o storage.Grant) bool { return person(o.ConnectorID, o.UserID) && o.ClientID == g.ClientID }},
		"a connector": {storage.Selector{ConnectorID: s.ConnectorID},
			func(o storage.Session) bool { return o.ConnectorID == s.ConnectorID },
			func(o storage.Grant) bool { return o.ConnectorID == s.ConnectorID }},
		"a client": {storage.Selector{ClientID: g.ClientID}, nil, func(o storage.Grant) bool { return o.ClientID == g.ClientID }},
		"everything": {storage.Selector{Everything: true},
			func(storage.Session) bool { return true }, func(storage.Grant) bool { return true }},
		"nobody": {storage.Selector{ConnectorID: "nobody", UserID: "no one"},
			func(storage.Session) bool { return false }, func(storage.Grant) bool { return false }},
	}
}

// count says how many are selected.
func count[T any](all []T, selected func(T) bool) (n int) {
	for _, one := range all {
		if selected(one) {
			n++
		}
	}
	return n
}

var revocationTests = map[string]func(*testing.T, Database){
	"the grants of a selection end, once, and no others": func(t *testing.T, open Database) {
		for name := range newLot(t, open(t)).selections() {
			for _, limit := range []int{1, 3, 100} {
				s := open(t)
				_, err := revoke(t.Context(), s, storage.Selector{Everything: true}, epoch, "before", 100)
				must(t, err)
				l := newLot(t, s)
				chosen := l.selections()[name]
				_, err = s.RevokeGrant(t.Context(), l.grants[5].ID, epoch, "first")
				must(t, err)
				selected := count(l.grants, chosen.grant)
				if chosen.grant(l.grants[5]) {
					selected-- // it has ended already
				}
				for i, n := range []int{selected, 0} {
					revoked, err := revoke(t.Context(), s, chosen.of, epoch.Add(time.Duration(i)), "because "+odd, limit)
					must(t, err)
					equal(t, [3]any{name, limit, revoked}, [3]any{name, limit, n})
				}
				for i, g := range l.grants {
					switch {
					case i == 5:
						g.RevokedAt, g.RevokedReason = epoch, "first"
					case chosen.grant(g):
						g.RevokedAt, g.RevokedReason = epoch, "because "+odd
					}
					equal(t, grantOf(t, s, g.ID), g)
				}
				for _, session := range l.sessions {
					_, _, err := s.Session(t.Context(), session.IDHash, epoch)
					must(t, err)
				}
			}
		}
	},
	"the sessions of a selection end, with what ends with them, and no others": func(t *testing.T, open Database) {
		for name, s := range newLot(t, open(t)).selections() {
			if s.session == nil {
				continue
			}
			for _, limit := range []int{1, 3, 100} {
				s := open(t)
				_, err := endAll(t.Context(), s, storage.Selector{Everything: true}, 100, storage.Ending{Now: epoch})
				must(t, err)
				l := newLot(t, s)
				chosen, bound, told := l.selections()[name], l.grants[0].ClientID, l.grants[1].ClientID
				for _, n := range []int{count(l.sessions, chosen.session), 0} {
					ended, err := endAll(t.Context(), s, chosen.of, limit, ending([]string{bound}, []string{told}))
					must(t, err)
					equal(t, [3]any{name, limit, ended}, [3]any{name, limit, n})
				}
				there := deliveries(t, s)
				for i, session := range l.sessions {
					_, _, err := s.Session(t.Context(), session.IDHash, epoch)
					equal(t, errors.Is(err, storage.ErrNotFound), chosen.session(session))
					equal(t, there[session.SID], chosen.session(session))
					equal(t, grantOf(t, s, l.grants[2*i].ID).RevokedAt.IsZero(), !chosen.session(session))
					equal(t, grantOf(t, s, l.grants[2*i+1].ID), l.grants[2*i+1])
				}
				_, err = endAll(t.Context(), s, storage.Selector{Everything: true}, 100, storage.Ending{Now: epoch})
				must(t, err)
				for sid := range there {
					must(t, s.FinishLogoutDelivery(t.Context(), storage.LogoutDelivery{SID: sid, ClientID: told}))
				}
			}
		}
	},
	"a batch looks at no more than it may, and the next goes on": func(t *testing.T, open Database) {
		s := open(t)
		l := newLot(t, s)
		in := storage.Revocation{Of: storage.Selector{Everything: true}, Now: epoch, Before: epoch, Reason: "because", Limit: 7}
		for _, step := range []struct {
			rows int
			done bool
		}{{7, false}, {7, false}, {2, true}} {
			done, err := s.RevokeGrants(t.Context(), in)
			must(t, err)
			equal(t, []any{done.Rows, done.Done}, []any{step.rows, step.done})
			in.After = done.Next
		}
		end := storage.SessionEnd{Of: storage.Selector{ConnectorID: l.sessions[0].ConnectorID}, Before: epoch, Limit: 3}
		for _, step := range []struct {
			rows int
			done bool
		}{{3, false}, {1, true}, {0, true}} {
			done, err := s.EndSessions(t.Context(), end)
			must(t, err)
			equal(t, []any{done.Rows, done.Done}, []any{step.rows, step.done})
			end.After = done.Next
		}
	},
	"a revocation that broke off is finished by starting over": func(t *testing.T, open Database) {
		s := open(t)
		l := newLot(t, s)
		of := storage.Selector{ClientID: l.grants[0].ClientID}
		first, err := s.RevokeGrants(t.Context(), storage.Revocation{Of: of, Now: epoch, Before: epoch, Reason: "first", Limit: 3})
		must(t, err)
		rest, err := revoke(t.Context(), s, of, epoch.Add(time.Hour), "second", 2)
		must(t, err)
		equal(t, []int{first.Rows, rest}, []int{3, 5})
		reasons := map[string]int{}
		for _, g := range l.grants {
			reasons[grantOf(t, s, g.ID).RevokedReason]++
		}
		equal(t, reasons, map[string]int{"": 8, "first": 3, "second": 5})
	},
	"what was made later stays, and what has expired is not counted": func(t *testing.T, open Database) {
		s := open(t)
		l := newLot(t, s)
		for _, step := range []struct {
			now, before time.Time
			n           int
		}{{epoch, epoch.Add(-tick), 0}, {epoch.Add(720 * time.Hour), epoch, 0}, {epoch, epoch, len(l.grants)}} {
			done, err := s.RevokeGrants(t.Context(), storage.Revocation{
				Of: storage.Selector{Everything: true}, Now: step.now, Before: step.before, Reason: "because", Limit: 100,
			})
			must(t, err)
			equal(t, done.Rows, step.n)
		}
		for _, step := range []struct {
			by time.Duration
			n  int
		}{{-tick, 0}, {0, len(l.sessions)}} {
			done, err := s.EndSessions(t.Context(), storage.SessionEnd{
				Of: storage.Selector{ConnectorID: l.sessions[0].ConnectorID}, Before: epoch.Add(step.by), Limit: 100,
			})
			must(t, err)
			equal(t, done.Rows, step.n/2)
		}
	},
	"sessions that are not used end, but for those that are remembered": func(t *testing.T, open Database) {
		s := open(t)
		unused := epoch.Add(time.Hour)
		store := func(used time.Time, remember bool, sid string) storage.SignIn {
			in := signIn()
			in.Session.AuthTime, in.Session.LastUsedAt, in.Session.Remember = epoch, used, remember
			if sid != "" {
				in.Session.SID = sid
			}
			must(t, ErrorOf(s.SignIn(t.Context(), in)))
			withGrant(t, s, in, "bound")
			return in
		}
		idle, atLimit := store(unused.Add(-time.Minute), false, ""), store(unused, false, "")
		used, remembered := store(unused.Add(tick), false, ""), store(epoch, true, "")
		// Two tabs that signed in at once.
		twin := store(epoch, false, "")
		alive := store(unused.Add(time.Minute), false, twin.Session.SID)
		with := ending([]string{"bound"}, []string{"bound"})
		for _, n := range []int{3, 0} {
			ended, err := endAll(t.Context(), s, storage.Selector{UnusedSince: unused}, 2, with)
			must(t, err)
			equal(t, ended, n)
		}
		for _, in := range []storage.SignIn{used, remembered, alive} {
			_, _, err := s.Session(t.Context(), in.Session.IDHash, epoch)
			must(t, err)
		}
		for _, in := range []storage.SignIn{idle, atLimit, twin} {
			_, _, err := s.Session(t.Context(), in.Session.IDHash, epoch)
			want(t, err, storage.ErrNotFound)
		}
		equal(t, deliveries(t, s), map[string]bool{idle.Session.SID: true, atLimit.Session.SID: true})
	},
	"with a session that expires ends what ends with it": func(t *testing.T, open Database) {
		s := open(t)
		now := epoch.Add(48 * time.Hour)
		with := ending([]string{"bound"}, []string{"bound"})
		with.Now = now
		var bound []storage.Grant
		store := func(expires time.Time, sid string) string {
			in := signIn()
			in.Session.ExpiresAt, in.Identity.ExpiresAt = expires, now.Add(time.Hour)
			if sid != "" {
				in.Session.SID = sid
			}
			must(t, ErrorOf(s.SignIn(t.Context(), in)))
			g := withGrant(t, s, in, "bound")
			must(t, s.RedeemCode(t.Context(), storage.Redemption{ID: g.ID, Now: epoch, ExpiresAt: now.Add(time.Hour)}))
			bound = append(bound, g)
			return in.Session.SID
		}
		expired := store(now, "")
		twin := store(now.Add(-time.Hour), "")
		store(now.Add(tick), twin) // another tab's, which is alive
		store(now.Add(tick), "")
		deleted, err := s.DeleteExpired(t.Context(), storage.Expired{Table: storage.TableSessions, Now: now, Limit: 10, Ending: with})
		must(t, err)
		equal(t, deleted, storage.Deleted{Rows: 2, UpTo: now})
		equal(t, deliveries(t, s), map[string]bool{expired: true})
		for i, g := range bound {
			equal(t, [2]any{i, grantOf(t, s, g.ID).RevokedAt.Equal(now)}, [2]any{i, i == 0})
		}
		// The last of the two that share a SID ends it.
		later := now.Add(time.Minute)
		with.Now = later
		_, err = s.DeleteExpired(t.Context(), storage.Expired{Table: storage.TableSessions, Now: later, Limit: 10, Ending: with})
		must(t, err)
		for i, g := range bound {
			equal(t, [2]any{i, grantOf(t, s, g.ID).RevokedAt.IsZero()}, [2]any{i, false})
		}
	},
	"people see what they have, the newest first, and nobody else's": func(t *testing.T, open Database) {
		s := open(t)
		in := seed(t, s)
		newLot(t, s)
		of := storage.Holding{ConnectorID: in.Session.ConnectorID, UserID: in.Session.UserID, Now: epoch, Limit: 100}
		var grants []storage.Grant
		for i := range 5 {
			a := authorization(in)
			a.Grant.ID = storage.GrantID{1, byte(i)}
			must(t, s.Authorize(t.Context(), a))
			until := epoch.Add(720 * time.Hour)
			must(t, s.RedeemCode(t.Context(), storage.Redemption{ID: a.Grant.ID, Now: epoch, ExpiresAt: until,
				UserAgent: a.Grant.RefreshedUserAgent, IPAddress: a.Grant.RefreshedIPAddress}))
			a.Grant.CodeRedeemedAt, a.Grant.RefreshedAt, a.Grant.ExpiresAt = epoch, epoch, until
			grants = append([]storage.Grant{a.Grant}, grants...)
		}
		_, err := s.RevokeGrant(t.Context(), grants[1].ID, epoch, "because")
		must(t, err)
		grants = append(grants[:1], grants[2:]...)
		found, err := s.GrantsOf(t.Context(), of)
		must(t, err)
		equal(t, found, grants) // without the code of seed, which is not redeemed
		page := of
		page.Limit, page.Before = 2, grants[1].ID
		found, err = s.GrantsOf(t.Context(), page)
		must(t, err)
		equal(t, found, grants[2:4])
		page = of
		page.Scope = grants[2].Scopes[1]
		found, err = s.GrantsOf(t.Context(), page)
		must(t, err)
		equal(t, found, grants[2:3])
		page = of
		page.Now = epoch.Add(720 * time.Hour)
		found, err = s.GrantsOf(t.Context(), page)
		must(t, err)
		equal(t, found, []storage.Grant(nil))

		second := signIn()
		second.Identity, second.Grant, second.Replaces = in.Identity, nil, [32]byte{}
		second.Session.ConnectorID, second.Session.UserID = in.Session.ConnectorID, in.Session.UserID
		second.Session.AuthTime, second.Session.Remember = in.Session.AuthTime.Add(tick), false
		must(t, ErrorOf(s.SignIn(t.Context(), second)))
		sessions, err := s.SessionsOf(t.Context(), of)
		must(t, err)
		equal(t, sessions, []storage.Session{second.Session, in.Session})
		page = of
		page.Limit = 1
		sessions, err = s.SessionsOf(t.Context(), page)
		must(t, err)
		equal(t, sessions, []storage.Session{second.Session})
		page = of
		page.UsedAfter = second.Session.LastUsedAt // the other is remembered
		sessions, err = s.SessionsOf(t.Context(), page)
		must(t, err)
		equal(t, sessions, []storage.Session{in.Session})
		page.Now = in.Session.ExpiresAt
		sessions, err = s.SessionsOf(t.Context(), page)
		must(t, err)
		equal(t, sessions, []storage.Session(nil))
	},
	"what names nothing, or is not text, is invalid and ends nothing": func(t *testing.T, open Database) {
		s := open(t)
		in := seed(t, s)
		id, long := in.Grant.ID, strings.Repeat("a", storage.MaxKey+1)
		for _, of := range []storage.Selector{
			{}, {UserID: "a"}, {UserID: "a", ClientID: "b"}, {ConnectorID: long}, {ConnectorID: "a", UserID: long}, {UnusedSince: epoch},
			{ClientID: long}, {GrantID: id, UserID: "a"}, {Everything: true, UnusedSince: epoch}, {ConnectorID: "a\x00"}, {SID: "\xff"},
		} {
			_, err := revoke(t.Context(), s, of, epoch, "because", 10)
			want(t, err, storage.ErrInvalid)
		}
		for _, of := range []storage.Selector{
			{}, {UserID: "a"}, {GrantID: id}, {ClientID: "a"}, {SID: "a", ClientID: "a"}, {ConnectorID: long}, {SID: "\x00"}, {SID: "a", UserID: "a"},
		} {
			_, err := endAll(t.Context(), s, of, 10, storage.Ending{Now: epoch})
			want(t, err, storage.ErrInvalid)
		}
		everything := storage.Selector{Everything: true}
		for _, limit := range []int{0, -1} {
			_, err := revoke(t.Context(), s, everything, epoch, "because", limit)
			want(t, err, storage.ErrInvalid)
			_, err = endAll(t.Context(), s, everything, limit, storage.Ending{Now: epoch})
			want(t, err, storage.ErrInvalid)
			_, err = s.GrantsOf(t.Context(), storage.Holding{Limit: limit})
			want(t, err, storage.ErrInvalid)
			_, err = s.SessionsOf(t.Context(), storage.Holding{Limit: limit})
			want(t, err, storage.ErrInvalid)
		}
		for _, bad := range notText {
			_, err := revoke(t.Context(), s, everything, epoch, bad, 10)
			want(t, err, storage.ErrInvalid)
			_, err = endAll(t.Context(), s, everything, 10, storage.Ending{Now: epoch, Reason: bad})
			want(t, err, storage.ErrInvalid)
			h := storage.Holding{ConnectorID: "a", UserID: "b", Scope: "c", Limit: 1}
			refuseEach(t, &h, bad, func() error { _, err := s.GrantsOf(t.Context(), h); return err })
			refuseEach(t, &h, bad, func() error { _, err := s.SessionsOf(t.Context(), h); return err })
		}
		unchanged(t, s, in, storage.SignIn{Session: in.Session})
	},
}
