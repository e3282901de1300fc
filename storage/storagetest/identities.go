package storagetest

import (
	"strings"
	"testing"
	"time"

	"github.com/countersign/countersign/storage"
)

// rechecked is another answer about the same person, given later.
func rechecked(i storage.Identity, later time.Duration) storage.Identity {
	next := storage.Identity{}
	Fill(&next)
	next.ConnectorID, next.UserID = i.ConnectorID, i.UserID
	next.CheckedAt, next.ExpiresAt = i.CheckedAt.Add(later), i.ExpiresAt
	return next
}

// identityOf reads the person of a grant that must exist at epoch.
func identityOf(t *testing.T, s storage.Store, id storage.GrantID) storage.Identity {
	t.Helper()
	_, identity, err := s.Grant(t.Context(), id, epoch)
	must(t, err)
	return identity
}

var identityTests = map[string]func(*testing.T, Database){
	"a user id of two connectors is two people": func(t *testing.T, open Database) {
		s := open(t)
		in, twin := signIn(), signIn()
		twin.Identity.UserID, twin.Session.UserID, twin.Grant.UserID = in.Identity.UserID, in.Identity.UserID, in.Identity.UserID
		for _, person := range []storage.SignIn{in, twin} {
			must(t, ErrorOf(s.SignIn(t.Context(), person)))
		}
		// Redeeming a code keeps the one whose it is for longer.
		must(t, s.RedeemCode(t.Context(), storage.Redemption{ID: in.Grant.ID, Now: epoch, ExpiresAt: epoch.Add(720 * time.Hour)}))
		equal(t, identityOf(t, s, twin.Grant.ID), twin.Identity)
		for i, person := range []storage.SignIn{in, twin} {
			of := storage.Holding{ConnectorID: person.Identity.ConnectorID, UserID: person.Identity.UserID, Now: epoch, Limit: 10}
			sessions, err := s.SessionsOf(t.Context(), of)
			must(t, err)
			equal(t, sessions, []storage.Session{person.Session})
			grants, err := s.GrantsOf(t.Context(), of)
			must(t, err)
			equal(t, len(grants), 1-i)
		}
	},
	"the newest answer is kept": func(t *testing.T, open Database) {
		s := open(t)
		in, bystander := seed(t, s), seed(t, s)
		kept := in.Identity
		for _, step := range []struct {
			later time.Duration
			kept  bool
		}{{time.Minute, true}, {-tick, false}, {-time.Hour, false}, {0, true}, {tick, true}} {
			next := rechecked(kept, step.later)
			next.EmailVerified = step.later == tick
			if step.later == 0 {
				next.Groups = nil // somebody who was in every group, and is in none
			}
			must(t, s.RecheckIdentity(t.Context(), next, nil))
			if step.kept {
				kept = next
			}
			equal(t, identityOf(t, s, in.Grant.ID), kept)
			_, identity, err := s.Session(t.Context(), in.Session.IDHash, epoch)
			must(t, err)
			equal(t, identity, kept)
		}
		equal(t, identityOf(t, s, bystander.Grant.ID), bystander.Identity)
		equal(t, grantOf(t, s, in.Grant.ID), *in.Grant)
	},
	"its expiry only moves forwards, and not by an older answer": func(t *testing.T, open Database) {
		s := open(t)
		in := seed(t, s)
		kept := in.Identity.ExpiresAt
		for _, step := range []struct {
			later, expires time.Duration
			kept           time.Duration
		}{
			{time.Minute, -time.Hour, 0},
			{2 * time.Minute, time.Hour, time.Hour},
			{time.Minute, 2 * time.Hour, time.Hour}, // older
			{3 * time.Minute, 0, time.Hour},
		} {
			next := rechecked(in.Identity, step.later)
			next.ExpiresAt = kept.Add(step.expires)
			must(t, s.RecheckIdentity(t.Context(), next, nil))
			equal(t, identityOf(t, s, in.Grant.ID).ExpiresAt, kept.Add(step.kept))
		}
	},
	"whoever never signed in is not made by a recheck": func(t *testing.T, open Database) {
		s := open(t)
		in := seed(t, s)
		for _, key := range [][2]string{
			{"other", in.Identity.UserID}, {in.Identity.ConnectorID, "other"}, {in.Identity.UserID, in.Identity.ConnectorID}, {"", ""},
		} {
			next := rechecked(in.Identity, time.Minute)
			next.ConnectorID, next.UserID = key[0], key[1]
			for range 2 {
				want(t, s.RecheckIdentity(t.Context(), next, nil), storage.ErrNotFound)
			}
		}
		equal(t, identityOf(t, s, in.Grant.ID), in.Identity)
	},
	"an answer that is not text is invalid": func(t *testing.T, open Database) {
		s := open(t)
		in := seed(t, s)
		for _, bad := range notText {
			next := rechecked(in.Identity, time.Minute)
			refuseEach(t, &next, bad, func() error { return s.RecheckIdentity(t.Context(), next, nil) })
		}
		next := rechecked(in.Identity, time.Minute)
		next.UserID = strings.Repeat("a", storage.MaxKey+1)
		want(t, s.RecheckIdentity(t.Context(), next, nil), storage.ErrInvalid)
		equal(t, identityOf(t, s, in.Grant.ID), in.Identity)
	},
	"a recheck lets a grant rotate": func(t *testing.T, open Database) {
		s := open(t)
		in := redeemed(t, s)
		r := rotation(in)
		r.CheckedAfter = limit(in.Identity.ConnectorID, in.Identity.CheckedAt)
		_, _, err := s.RotateGrant(t.Context(), r)
		want(t, err, storage.ErrConflict)
		next := rechecked(in.Identity, tick)
		must(t, s.RecheckIdentity(t.Context(), next, nil))
		_, identity, err := s.RotateGrant(t.Context(), r)
		must(t, err)
		equal(t, identity, next)
	},
}

// claim is one for a minute from now, whatever is known already.
func claim(i storage.Identity, now time.Time) storage.RecheckClaim {
	return storage.RecheckClaim{ConnectorID: i.ConnectorID, UserID: i.UserID,
		CheckedAfter: i.CheckedAt.AddDate(1, 0, 0), Now: now, Until: now.Add(time.Minute)}
}

// asked reads what the connector wants to have, by a claim that is over at
// once.
func asked(t *testing.T, s storage.Store, i storage.Identity, now time.Time) []byte {
	t.Helper()
	c := claim(i, now)
	c.Until = now
	found, secret, err := s.ClaimRecheck(t.Context(), c)
	must(t, err)
	equal(t, found, i)
	return secret
}

var recheckTests = map[string]func(*testing.T, Database){
	"what the connector wants to have comes back, and is the newest": func(t *testing.T, open Database) {
		s := open(t)
		in := seed(t, s)
		equal(t, asked(t, s, in.Identity, epoch), in.SealedSecret)
		next := rechecked(in.Identity, time.Minute)
		must(t, s.RecheckIdentity(t.Context(), next, []byte{0, 1, 255}))
		older := rechecked(in.Identity, time.Second)
		must(t, s.RecheckIdentity(t.Context(), older, []byte("older")))
		equal(t, asked(t, open(t), next, epoch.Add(tick)), []byte{0, 1, 255})
		must(t, s.RecheckIdentity(t.Context(), next, nil))
		equal(t, asked(t, s, next, epoch.Add(2*tick)), []byte(nil))
		again := signIn()
		again.Identity, again.Session.ConnectorID, again.Session.UserID = next, next.ConnectorID, next.UserID
		again.Grant, again.SealedSecret = nil, []byte("again")
		must(t, ErrorOf(s.SignIn(t.Context(), again)))
		equal(t, asked(t, s, next, epoch.Add(3*tick)), []byte("again"))
	},
	"one asks at a time, until the claim is over or there is an answer": func(t *testing.T, open Database) {
		s := open(t)
		in, bystander := seed(t, s), seed(t, s)
		until := epoch.Add(time.Minute)
		claims := func(now time.Time) error {
			_, _, err := s.ClaimRecheck(t.Context(), claim(in.Identity, now))
			return err
		}
		must(t, claims(epoch))
		want(t, claims(epoch), storage.ErrConflict)
		want(t, claims(until), storage.ErrConflict)
		equal(t, asked(t, s, bystander.Identity, epoch), bystander.SealedSecret)
		must(t, claims(until.Add(tick)))
		want(t, claims(until.Add(tick)), storage.ErrConflict)
		must(t, s.RecheckIdentity(t.Context(), in.Identity, nil))
		must(t, claims(until.Add(2*tick)))
		again := in
		again.Session, again.Grant = signIn().Session, nil
		again.Session.ConnectorID, again.Session.UserID = in.Identity.ConnectorID, in.Identity.UserID
		must(t, ErrorOf(s.SignIn(t.Context(), again)))
		must(t, claims(until.Add(3*tick)))
	},
	"there is nothing to ask when there is an answer": func(t *testing.T, open Database) {
		s := open(t)
		in := seed(t, s)
		c := claim(in.Identity, epoch)
		c.CheckedAfter = in.Identity.CheckedAt.Add(-tick)
		for range 2 {
			found, secret, err := s.ClaimRecheck(t.Context(), c)
			must(t, err)
			equal(t, found, in.Identity)
			equal(t, secret, in.SealedSecret)
		}
		c.CheckedAfter = in.Identity.CheckedAt
		_, _, err := s.ClaimRecheck(t.Context(), c)
		must(t, err)
		_, _, err = s.ClaimRecheck(t.Context(), c)
		want(t, err, storage.ErrConflict)
	},
	"of many one asks": func(t *testing.T, open Database) {
		in := seed(t, open(t))
		var won winners
		race(t, open, func(_ int, s storage.Store) error {
			_, _, err := s.ClaimRecheck(t.Context(), claim(in.Identity, epoch))
			return won.took(err)
		})
		equal(t, won.n, 1)
	},
	"nobody asks about somebody who never signed in": func(t *testing.T, open Database) {
		s := open(t)
		in := seed(t, s)
		for _, key := range [][2]string{
			{"other", in.Identity.UserID}, {in.Identity.ConnectorID, "other"}, {"", ""}, {"\x00", "\xff"},
		} {
			_, _, err := s.ClaimRecheck(t.Context(), claim(storage.Identity{ConnectorID: key[0], UserID: key[1]}, epoch))
			want(t, err, storage.ErrNotFound)
		}
	},
}

var personTests = map[string]func(*testing.T, Database){
	"all live grants of one person end, once, and nobody else's": func(t *testing.T, open Database) {
		s := open(t)
		in := redeemed(t, s)
		code, revoked, expired := authorization(in), authorization(in), authorization(in)
		now := epoch.Add(time.Minute)
		expired.Grant.ExpiresAt = now
		others := []storage.Authorization{authorization(in), authorization(in), authorization(in)}
		others[0].Grant.UserID = "other"
		others[1].Grant.ConnectorID = "other"
		others[2].Grant.ConnectorID, others[2].Grant.UserID = in.Grant.UserID, in.Grant.ConnectorID
		for _, a := range append(others, code, revoked, expired) {
			must(t, s.Authorize(t.Context(), a))
		}
		_, err := s.RevokeGrant(t.Context(), revoked.Grant.ID, epoch, "first")
		must(t, err)
		for i, count := range []int{2, 0} {
			ended, err := revokeOf(t.Context(), s, in.Grant.ConnectorID, in.Grant.UserID, now.Add(time.Duration(i)), "gone "+odd)
			must(t, err)
			equal(t, ended, count)
		}
		code.Grant.RevokedAt, code.Grant.RevokedReason = now, "gone "+odd
		in.Grant.RevokedAt, in.Grant.RevokedReason = now, "gone "+odd
		revoked.Grant.RevokedAt, revoked.Grant.RevokedReason = epoch, "first"
		for _, grant := range []storage.Grant{*in.Grant, code.Grant, revoked.Grant, expired.Grant} {
			equal(t, grantOf(t, s, grant.ID), grant)
		}
		for _, a := range others {
			ended, err := revokeOf(t.Context(), s, a.Grant.ConnectorID, a.Grant.UserID, now, "each alone")
			must(t, err)
			equal(t, ended, 1)
		}
		want(t, s.RedeemCode(t.Context(), storage.Redemption{ID: code.Grant.ID, Now: epoch, ExpiresAt: epoch.Add(time.Hour)}), storage.ErrConflict)
		_, _, err = s.RotateGrant(t.Context(), rotation(in))
		want(t, err, storage.ErrConflict)
	},
	"a login afterwards is a new one": func(t *testing.T, open Database) {
		s := open(t)
		in := redeemed(t, s)
		_, err := revokeOf(t.Context(), s, in.Grant.ConnectorID, in.Grant.UserID, epoch, "gone")
		must(t, err)
		a := authorization(in)
		must(t, s.Authorize(t.Context(), a))
		must(t, s.RedeemCode(t.Context(), storage.Redemption{ID: a.Grant.ID, Now: epoch, ExpiresAt: a.Grant.ExpiresAt}))
		_, _, err = s.RotateGrant(t.Context(), rotation(storage.SignIn{Identity: in.Identity, Grant: &a.Grant}))
		must(t, err)
	},
	"nobody has no grants, and what is not text is invalid": func(t *testing.T, open Database) {
		s := open(t)
		in := seed(t, s)
		ended, err := revokeOf(t.Context(), s, "nobody", "", epoch, "gone")
		must(t, err)
		equal(t, ended, 0)
		connector, user := in.Grant.ConnectorID, in.Grant.UserID
		for _, bad := range notText {
			for _, args := range [][3]string{{bad, user, "gone"}, {connector, bad, "gone"}, {connector, user, bad}} {
				_, err := revokeOf(t.Context(), s, args[0], args[1], epoch, args[2])
				want(t, err, storage.ErrInvalid)
			}
		}
		_, err = revokeOf(t.Context(), s, connector, strings.Repeat("a", storage.MaxKey+1), epoch, "gone")
		want(t, err, storage.ErrInvalid)
		equal(t, grantOf(t, s, in.Grant.ID), *in.Grant)
	},
	"a grant's ids have a limit": func(t *testing.T, open Database) {
		s := open(t)
		old := seed(t, s)
		for _, set := range []func(*storage.Grant, string){
			func(g *storage.Grant, id string) { g.ConnectorID = id },
			func(g *storage.Grant, id string) { g.UserID = id },
			func(g *storage.Grant, id string) { g.ClientID = id },
		} {
			for _, step := range []struct {
				length int
				err    error
			}{{storage.MaxKey + 1, storage.ErrInvalid}, {storage.MaxKey, nil}} {
				a, next := authorization(old), signIn()
				set(&a.Grant, strings.Repeat("a", step.length))
				set(next.Grant, strings.Repeat("a", step.length))
				want(t, s.Authorize(t.Context(), a), step.err)
				want(t, ErrorOf(s.SignIn(t.Context(), next)), step.err)
			}
		}
	},
}
