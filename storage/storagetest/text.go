package storagetest

import (
	"strings"
	"testing"

	"github.com/countersign/countersign/storage"
)

// notText is what a stranger may send and PostgreSQL cannot hold.
var notText = []string{"a\x00b", "\x00", "\xff", "a\xc3", "\xed\xa0\x80"}

var textTests = map[string]func(*testing.T, Database){
	"a record with a string that is not text is invalid, each field": func(t *testing.T, open Database) {
		s := open(t)
		old := seed(t, s)
		for _, bad := range notText {
			next := signIn()
			next.Replaces = old.Session.IDHash
			refuseEach(t, &next, bad, func() error { return ErrorOf(s.SignIn(t.Context(), next)) })
			a := authorization(old)
			a.TouchSession, a.Grant.CreatedAt = true, epoch.Add(tick)
			refuseEach(t, &a, bad, func() error { return s.Authorize(t.Context(), a) })
			var key storage.SigningKey
			Fill(&key)
			refuseEach(t, &key, bad, func() error { return s.AddSigningKey(t.Context(), key) })
			_, err := s.AcquireLease(t.Context(), bad, "holder", epoch, epoch)
			want(t, err, storage.ErrInvalid)
			_, err = s.AcquireLease(t.Context(), "name", bad, epoch, epoch)
			want(t, err, storage.ErrInvalid)
			_, err = s.RevokeGrant(t.Context(), old.Grant.ID, epoch, bad)
			want(t, err, storage.ErrInvalid)
			unchanged(t, s, old, next)
		}
		keys, err := s.SigningKeys(t.Context())
		must(t, err)
		equal(t, len(keys), 0)
	},
	"a lookup by what is not text, or too long, finds nothing": func(t *testing.T, open Database) {
		s := open(t)
		for _, bad := range append(notText, strings.Repeat("a", storage.MaxKey+1), strings.Repeat("a", 1<<20)) {
			for _, key := range [][3]string{{bad, "b", "c"}, {"a", bad, "c"}, {"a", "b", bad}} {
				_, err := s.Consent(t.Context(), key[0], key[1], key[2], epoch)
				want(t, err, storage.ErrNotFound)
			}
			deleteKey(t, s, bad)
			must(t, s.ReleaseLease(t.Context(), bad, bad))
		}
	},
	"ids have a limit, and work up to it": func(t *testing.T, open Database) {
		s := open(t)
		id := func(n int) string { // incompressible
			b := make([]byte, n)
			for i := range b {
				b[i] = byte('!' + randomInt(90))
			}
			return string(b)
		}
		in := signIn()
		set := func(n int) {
			in.Identity.ConnectorID, in.Identity.UserID = id(n), id(n)
			in.Session.ConnectorID, in.Session.UserID = in.Identity.ConnectorID, in.Identity.UserID
		}
		set(storage.MaxKey + 1)
		want(t, ErrorOf(s.SignIn(t.Context(), in)), storage.ErrInvalid)
		set(storage.MaxKey)
		must(t, ErrorOf(s.SignIn(t.Context(), in)))

		a := authorization(in)
		a.Consent.ConnectorID, a.Consent.UserID, a.Consent.ClientID = id(storage.MaxKey), id(storage.MaxKey), id(storage.MaxKey+1)
		want(t, s.Authorize(t.Context(), a), storage.ErrInvalid)
		a.Consent.ClientID = id(storage.MaxKey)
		must(t, s.Authorize(t.Context(), a))
		_, err := s.Consent(t.Context(), a.Consent.ConnectorID, a.Consent.UserID, a.Consent.ClientID, epoch)
		must(t, err)

		var key storage.SigningKey
		Fill(&key)
		key.KID = id(storage.MaxKey + 1)
		want(t, s.AddSigningKey(t.Context(), key), storage.ErrInvalid)
		key.KID = id(storage.MaxKey)
		must(t, s.AddSigningKey(t.Context(), key))
		_, err = s.AcquireLease(t.Context(), id(storage.MaxKey+1), "holder", epoch, epoch)
		want(t, err, storage.ErrInvalid)
		_, err = s.AcquireLease(t.Context(), id(storage.MaxKey), "holder", epoch, epoch)
		must(t, err)
	},
	"a user agent is made text": func(t *testing.T, open Database) {
		s := open(t)
		in := signIn()
		in.Session.UserAgent, in.Grant.UserAgent = "a\x00b\xffc", "\xff\xfe"
		must(t, ErrorOf(s.SignIn(t.Context(), in)))
		session, _, err := s.Session(t.Context(), in.Session.IDHash, epoch)
		must(t, err)
		equal(t, session.UserAgent, "a\uFFFDb\uFFFDc")
		equal(t, grantOf(t, s, in.Grant.ID).UserAgent, "\uFFFD")
		a := authorization(in)
		a.Grant.UserAgent = "\x00"
		must(t, s.Authorize(t.Context(), a))
		equal(t, grantOf(t, s, a.Grant.ID).UserAgent, "\uFFFD")
		r := storage.Redemption{ID: a.Grant.ID, Now: epoch, ExpiresAt: a.Grant.ExpiresAt, UserAgent: "a\x00b\xff", IPAddress: "\xff"}
		want(t, s.RedeemCode(t.Context(), r), storage.ErrInvalid)
		r.IPAddress = ""
		must(t, s.RedeemCode(t.Context(), r))
		equal(t, grantOf(t, s, a.Grant.ID).RefreshedUserAgent, "a\uFFFDb\uFFFD")
	},
	"keys differ by case, accents and spaces": func(t *testing.T, open Database) {
		s := open(t)
		for _, user := range []string{"ann", "Ann", "ann ", " ann", "änn", "a\u0308nn", ""} {
			in := signIn()
			in.Identity.UserID, in.Session.UserID, in.Identity.Name = user, user, "name of "+user
			must(t, ErrorOf(s.SignIn(t.Context(), in)))
			_, identity, err := s.Session(t.Context(), in.Session.IDHash, epoch)
			must(t, err)
			equal(t, identity, in.Identity)
		}
	},
}

// refuseEach sets one string of the record to bad at a time, and expects call to
// refuse it.
func refuseEach(t *testing.T, record any, bad string, call func() error) {
	t.Helper()
	stringsOf(record, func(path string, field *string) {
		if strings.HasSuffix(path, "UserAgent") || strings.HasSuffix(path, ".ClearFailures") {
			return
		}
		kept := *field
		*field = bad
		if err := call(); !isInvalid(err) {
			t.Errorf("%s = %q: %v", path, bad, err)
		}
		*field = kept
	})
}
