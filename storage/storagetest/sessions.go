package storagetest

import (
	"testing"
	"time"

	"github.com/countersign/countersign/storage"
)

var sessionTests = map[string]func(*testing.T, Database){
	"every field round-trips and survives reopening": func(t *testing.T, open Database) {
		s := open(t)
		in := seed(t, s)
		must(t, s.Close())
		s = open(t)
		session, identity, err := s.Session(t.Context(), in.Session.IDHash, epoch)
		must(t, err)
		equal(t, session, in.Session)
		equal(t, identity, in.Identity)
		grant, identity, err := s.Grant(t.Context(), in.Grant.ID, epoch)
		must(t, err)
		equal(t, grant, *in.Grant)
		equal(t, identity, in.Identity)
	},
	"nothing set round-trips": func(t *testing.T, open Database) {
		s := open(t)
		in := storage.SignIn{Session: storage.Session{IDHash: [32]byte{1}, ExpiresAt: epoch.Add(tick), AMR: []string{}},
			Grant: &storage.Grant{ID: storage.GrantID{1}, ExpiresAt: epoch.Add(tick)}}
		must(t, ErrorOf(s.SignIn(t.Context(), in)))
		session, identity, err := s.Session(t.Context(), in.Session.IDHash, epoch)
		must(t, err)
		equal(t, session, storage.Session{IDHash: [32]byte{1}, ExpiresAt: epoch.Add(tick)})
		equal(t, identity, storage.Identity{})
		equal(t, grantOf(t, s, in.Grant.ID), *in.Grant)
	},
	"times are kept to the microsecond, in UTC, near and far": func(t *testing.T, open Database) {
		s := open(t)
		in := signIn()
		zone := time.FixedZone("somewhere", -9*3600)
		in.Identity.CheckedAt = time.Date(2026, 1, 2, 3, 4, 5, 123456789, zone)
		in.Session.AuthTime = time.Date(1, 1, 1, 0, 0, 0, 1000, time.UTC)
		in.Session.CreatedAt = time.Date(1969, 12, 31, 23, 59, 59, 999999999, time.UTC)
		in.Session.ExpiresAt = time.Date(9999, 12, 31, 23, 59, 59, 999999000, time.UTC)
		must(t, ErrorOf(s.SignIn(t.Context(), in)))
		session, identity, err := s.Session(t.Context(), in.Session.IDHash, epoch)
		must(t, err)
		equal(t, identity.CheckedAt, time.Date(2026, 1, 2, 12, 4, 5, 123456000, time.UTC))
		equal(t, session.AuthTime, in.Session.AuthTime)
		equal(t, session.CreatedAt, time.Date(1969, 12, 31, 23, 59, 59, 999999000, time.UTC))
		equal(t, session.ExpiresAt, in.Session.ExpiresAt)
		if session.CreatedAt.Location() != time.UTC {
			t.Errorf("location %v", session.CreatedAt.Location())
		}
	},
	"expiry is decided by the passed now": func(t *testing.T, open Database) {
		s := open(t)
		in := seed(t, s)
		_, _, err := s.Session(t.Context(), in.Session.IDHash, in.Session.ExpiresAt.Add(-tick))
		must(t, err)
		_, _, err = s.Session(t.Context(), in.Session.IDHash, in.Session.ExpiresAt)
		want(t, err, storage.ErrNotFound)
		_, _, err = s.Session(t.Context(), [32]byte{9}, epoch)
		want(t, err, storage.ErrNotFound)
	},
	"signing in replaces the browser's session, whoever's it was": func(t *testing.T, open Database) {
		s := open(t)
		old, bystander, next := seed(t, s), seed(t, s), signIn()
		next.Replaces = old.Session.IDHash
		replaced, err := s.SignIn(t.Context(), next)
		must(t, err)
		equal(t, replaced, true)
		_, _, err = s.Session(t.Context(), old.Session.IDHash, epoch)
		want(t, err, storage.ErrNotFound)
		for _, in := range []storage.SignIn{bystander, next} {
			_, identity, err := s.Session(t.Context(), in.Session.IDHash, epoch)
			must(t, err)
			equal(t, identity, in.Identity)
		}
	},
	"a session that is not there can be replaced": func(t *testing.T, open Database) {
		in := signIn()
		in.Replaces = [32]byte{7}
		replaced, err := open(t).SignIn(t.Context(), in)
		must(t, err)
		equal(t, replaced, false)
	},
	"a sign-in cannot keep the session id": func(t *testing.T, open Database) {
		s := open(t)
		old, next := seed(t, s), signIn()
		next.Session.IDHash, next.Replaces = old.Session.IDHash, old.Session.IDHash
		want(t, ErrorOf(s.SignIn(t.Context(), next)), storage.ErrInvalid)
		session, _, err := s.Session(t.Context(), old.Session.IDHash, epoch)
		must(t, err)
		equal(t, session, old.Session)
	},
	"signing in again updates the identity, its expiry only forwards": func(t *testing.T, open Database) {
		s := open(t)
		first, again := seed(t, s), signIn()
		again.Identity.ConnectorID, again.Identity.UserID = first.Identity.ConnectorID, first.Identity.UserID
		again.Session.ConnectorID, again.Session.UserID = first.Identity.ConnectorID, first.Identity.UserID
		again.Identity.EmailVerified, again.Identity.Groups = false, nil
		for _, step := range []struct{ given, kept time.Time }{
			{first.Identity.ExpiresAt.Add(-time.Hour), first.Identity.ExpiresAt},
			{first.Identity.ExpiresAt.Add(time.Hour), first.Identity.ExpiresAt.Add(time.Hour)},
		} {
			again.Identity.ExpiresAt = step.given
			again.Replaces, again.Grant = again.Session.IDHash, nil
			Fill(&again.Session.IDHash)
			must(t, ErrorOf(s.SignIn(t.Context(), again)))
			_, identity, err := s.Session(t.Context(), first.Session.IDHash, epoch)
			must(t, err)
			expected := again.Identity
			expected.ExpiresAt = step.kept
			equal(t, identity, expected)
		}
	},
	"signing in clears the named failures": func(t *testing.T, open Database) {
		s := open(t)
		must(t, s.RecordLoginFailure(t.Context(), []string{"a", "b", "c"}, epoch, time.Hour))
		in := signIn()
		in.ClearFailures = []string{"a", "b", "b", "never"}
		must(t, ErrorOf(s.SignIn(t.Context(), in)))
		left, err := s.LoginFailures(t.Context(), []string{"a", "b", "c"}, epoch)
		must(t, err)
		equal(t, left, map[string]storage.LoginFailure{"c": {Count: 1, LastAt: epoch, ExpiresAt: epoch.Add(time.Hour)}})
	},
	"a grant id that is taken undoes the whole sign-in": func(t *testing.T, open Database) {
		s := open(t)
		old, next := seed(t, s), signIn()
		must(t, s.RecordLoginFailure(t.Context(), []string{"a"}, epoch, time.Hour))
		next.Replaces, next.ClearFailures = old.Session.IDHash, []string{"a"}
		next.Grant.ID = old.Grant.ID
		want(t, ErrorOf(s.SignIn(t.Context(), next)), storage.ErrConflict)
		unchanged(t, s, old, next)
		left, err := s.LoginFailures(t.Context(), []string{"a"}, epoch)
		must(t, err)
		equal(t, left["a"].Count, 1)
		next.Grant = nil // the connection is as good as new
		must(t, ErrorOf(s.SignIn(t.Context(), next)))
	},
	"a session id that is taken undoes the whole sign-in": func(t *testing.T, open Database) {
		s := open(t)
		old, next := seed(t, s), signIn()
		next.Session.IDHash = old.Session.IDHash
		want(t, ErrorOf(s.SignIn(t.Context(), next)), storage.ErrConflict)
		unchanged(t, s, old, next)
	},
	"ending a session ends that one": func(t *testing.T, open Database) {
		s := open(t)
		in, bystander := seed(t, s), seed(t, s)
		for i := range 2 {
			equal(t, endSession(t, s, in.Session.IDHash, storage.Ending{Now: epoch}), i == 0)
			_, _, err := s.Session(t.Context(), in.Session.IDHash, epoch)
			want(t, err, storage.ErrNotFound)
		}
		_, _, err := s.Session(t.Context(), bystander.Session.IDHash, epoch)
		must(t, err)
		equal(t, grantOf(t, s, in.Grant.ID), *in.Grant)
	},
	"the argument stays the caller's": func(t *testing.T, open Database) {
		s := open(t)
		in := signIn()
		in.Session.UserAgent, in.Grant.UserAgent = "bad\xff", "bad\xff"
		given, grant := in, *in.Grant
		must(t, ErrorOf(s.SignIn(t.Context(), in)))
		equal(t, in, given)
		equal(t, *in.Grant, grant)
	},
}

// unchanged checks that old is as it was and nothing of next is there.
func unchanged(t *testing.T, s storage.Store, old, next storage.SignIn) {
	t.Helper()
	session, identity, err := s.Session(t.Context(), old.Session.IDHash, epoch)
	must(t, err)
	equal(t, session, old.Session)
	equal(t, identity, old.Identity)
	grant, _, err := s.Grant(t.Context(), old.Grant.ID, epoch)
	must(t, err)
	equal(t, grant, *old.Grant)
	if next.Session.IDHash != old.Session.IDHash {
		_, _, err = s.Session(t.Context(), next.Session.IDHash, epoch)
		want(t, err, storage.ErrNotFound)
	}
	if next.Grant != nil && next.Grant.ID != old.Grant.ID {
		_, _, err = s.Grant(t.Context(), next.Grant.ID, epoch)
		want(t, err, storage.ErrNotFound)
	}
}

// endSession ends a session, and returns whether this call did it.
func endSession(t *testing.T, s storage.Store, idHash [32]byte, with storage.Ending) bool {
	t.Helper()
	ended, err := s.EndSession(t.Context(), idHash, with)
	must(t, err)
	return ended
}
