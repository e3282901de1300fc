package storagetest

import (
	"testing"
	"time"

	"github.com/countersign/countersign/storage"
)

var grantTests = map[string]func(*testing.T, Database){
	"authorizing stores grant and consent": func(t *testing.T, open Database) {
		s := open(t)
		in := seed(t, s)
		a := authorization(in)
		must(t, s.Authorize(t.Context(), a))
		grant, identity, err := s.Grant(t.Context(), a.Grant.ID, epoch)
		must(t, err)
		equal(t, grant, a.Grant)
		equal(t, identity, in.Identity)
		c := *a.Consent
		consent, err := s.Consent(t.Context(), c.ConnectorID, c.UserID, c.ClientID, epoch)
		must(t, err)
		equal(t, consent, c)
		session, _, err := s.Session(t.Context(), in.Session.IDHash, epoch)
		must(t, err)
		equal(t, session, in.Session) // not touched unless asked
	},
	"authorizing touches the session when asked, never backwards": func(t *testing.T, open Database) {
		s := open(t)
		in := seed(t, s)
		for _, step := range []struct {
			at, used time.Time
			clients  []string
		}{
			{epoch.Add(time.Minute), epoch.Add(time.Minute), []string{"first"}},
			{epoch.Add(time.Second), epoch.Add(time.Minute), []string{"first", "' \" \\ \u2028 ; [] $1 ?"}},
			{epoch.Add(time.Second), epoch.Add(time.Minute), []string{"first", "' \" \\ \u2028 ; [] $1 ?"}},
		} {
			a := authorization(in)
			a.Grant.ClientID = step.clients[len(step.clients)-1]
			a.Consent, a.TouchSession, a.Grant.CreatedAt = nil, true, step.at
			must(t, s.Authorize(t.Context(), a))
			session, _, err := s.Session(t.Context(), in.Session.IDHash, epoch)
			must(t, err)
			expected := in.Session
			expected.LastUsedAt = step.used
			expected.ClientIDs = append(in.Session.ClientIDs[:3:3], step.clients...)
			equal(t, session, expected)
		}
	},
	"authorizing needs a live session, and leaves nothing without": func(t *testing.T, open Database) {
		s := open(t)
		for _, touch := range []bool{false, true} {
			ended, expired := seed(t, s), seed(t, s)
			endSession(t, s, ended.Session.IDHash, storage.Ending{Now: epoch})
			atTheEnd := authorization(expired)
			atTheEnd.Grant.CreatedAt = expired.Session.ExpiresAt
			atTheEnd.Grant.ExpiresAt = expired.Session.ExpiresAt.Add(time.Hour)
			for _, a := range []storage.Authorization{authorization(ended), atTheEnd} {
				a.TouchSession = touch
				want(t, s.Authorize(t.Context(), a), storage.ErrConflict)
				_, _, err := s.Grant(t.Context(), a.Grant.ID, epoch)
				want(t, err, storage.ErrNotFound)
				_, err = s.Consent(t.Context(), a.Consent.ConnectorID, a.Consent.UserID, a.Consent.ClientID, epoch)
				want(t, err, storage.ErrNotFound)
			}
			session, _, err := s.Session(t.Context(), expired.Session.IDHash, epoch)
			must(t, err)
			equal(t, session, expired.Session)
		}
	},
	"a grant id that is taken undoes the whole authorization": func(t *testing.T, open Database) {
		s := open(t)
		in := seed(t, s)
		a := authorization(in)
		a.Grant.ID, a.TouchSession, a.Grant.CreatedAt = in.Grant.ID, true, epoch.Add(time.Minute)
		want(t, s.Authorize(t.Context(), a), storage.ErrConflict)
		unchanged(t, s, in, storage.SignIn{Session: in.Session})
		_, err := s.Consent(t.Context(), a.Consent.ConnectorID, a.Consent.UserID, a.Consent.ClientID, epoch)
		want(t, err, storage.ErrNotFound)
	},
	"a grant is gone at its expiry": func(t *testing.T, open Database) {
		s := open(t)
		in := seed(t, s)
		_, _, err := s.Grant(t.Context(), in.Grant.ID, in.Grant.ExpiresAt.Add(-tick))
		must(t, err)
		_, _, err = s.Grant(t.Context(), in.Grant.ID, in.Grant.ExpiresAt)
		want(t, err, storage.ErrNotFound)
		_, _, err = s.Grant(t.Context(), storage.GrantID{1}, epoch)
		want(t, err, storage.ErrNotFound)
	},
	"a code is redeemed once": func(t *testing.T, open Database) {
		s := open(t)
		in, bystander := seed(t, s), seed(t, s)
		var r storage.Redemption
		Fill(&r)
		r.ID, r.Now, r.ExpiresAt = in.Grant.ID, epoch, epoch.Add(720*time.Hour)
		must(t, s.RedeemCode(t.Context(), r))
		again := storage.Redemption{ID: r.ID, Now: epoch.Add(tick), ExpiresAt: r.ExpiresAt.Add(time.Hour), UserAgent: "again", IPAddress: "again"}
		want(t, s.RedeemCode(t.Context(), again), storage.ErrConflict)
		expected := *in.Grant
		expected.CodeRedeemedAt, expected.RefreshedAt, expected.ExpiresAt = epoch, epoch, r.ExpiresAt
		expected.RefreshedUserAgent, expected.RefreshedIPAddress = r.UserAgent, r.IPAddress
		equal(t, grantOf(t, s, in.Grant.ID), expected)
		equal(t, grantOf(t, s, bystander.Grant.ID), *bystander.Grant)
	},
	"a code is not redeemed late, revoked, expired or unknown": func(t *testing.T, open Database) {
		s := open(t)
		until := epoch.Add(720 * time.Hour)
		want(t, s.RedeemCode(t.Context(), storage.Redemption{ID: storage.GrantID{1}, Now: epoch, ExpiresAt: until}), storage.ErrConflict)

		late := seed(t, s)
		want(t, s.RedeemCode(t.Context(), storage.Redemption{ID: late.Grant.ID, Now: late.Grant.CodeExpiresAt, ExpiresAt: until}), storage.ErrConflict)
		equal(t, grantOf(t, s, late.Grant.ID), *late.Grant)
		must(t, s.RedeemCode(t.Context(), storage.Redemption{ID: late.Grant.ID, Now: late.Grant.CodeExpiresAt.Add(-tick), ExpiresAt: until}))

		revoked := seed(t, s)
		_, err := s.RevokeGrant(t.Context(), revoked.Grant.ID, epoch, "because")
		must(t, err)
		want(t, s.RedeemCode(t.Context(), storage.Redemption{ID: revoked.Grant.ID, Now: epoch, ExpiresAt: until}), storage.ErrConflict)

		expired := signIn()
		expired.Grant.CodeExpiresAt = expired.Grant.ExpiresAt.Add(time.Hour)
		must(t, ErrorOf(s.SignIn(t.Context(), expired)))
		want(t, s.RedeemCode(t.Context(), storage.Redemption{ID: expired.Grant.ID, Now: expired.Grant.ExpiresAt, ExpiresAt: until}), storage.ErrConflict)
	},
	"a grant is revoked once and keeps its first reason": func(t *testing.T, open Database) {
		s := open(t)
		in := seed(t, s)
		for i, reason := range []string{"first " + odd, "second"} {
			did, err := s.RevokeGrant(t.Context(), in.Grant.ID, epoch.Add(time.Duration(i)), reason)
			must(t, err)
			equal(t, did, i == 0)
		}
		expected := *in.Grant
		expected.RevokedAt, expected.RevokedReason = epoch, "first "+odd
		equal(t, grantOf(t, s, in.Grant.ID), expected)
	},
	"a redeemed grant can be revoked": func(t *testing.T, open Database) {
		s := open(t)
		in := seed(t, s)
		must(t, s.RedeemCode(t.Context(), storage.Redemption{ID: in.Grant.ID, Now: epoch, ExpiresAt: in.Grant.ExpiresAt}))
		did, err := s.RevokeGrant(t.Context(), in.Grant.ID, epoch, "reuse")
		must(t, err)
		equal(t, did, true)
	},
	"an unknown or expired grant is not revoked": func(t *testing.T, open Database) {
		s := open(t)
		in := seed(t, s)
		did, err := s.RevokeGrant(t.Context(), storage.GrantID{1}, epoch, "because")
		must(t, err)
		equal(t, did, false)
		did, err = s.RevokeGrant(t.Context(), in.Grant.ID, in.Grant.ExpiresAt, "because")
		must(t, err)
		equal(t, did, false)
		equal(t, grantOf(t, s, in.Grant.ID), *in.Grant)
	},
	"very long values round-trip": func(t *testing.T, open Database) {
		s := open(t)
		in := signIn()
		long := make([]byte, 1<<20)
		for i := range long {
			long[i] = byte('a' + randomInt(26))
		}
		in.Identity.Name, in.Grant.Nonce = string(long), string(long)
		in.Identity.Groups = make([]string, 5000)
		for i := range in.Identity.Groups {
			in.Identity.Groups[i] = string(long[i : i+100])
		}
		must(t, ErrorOf(s.SignIn(t.Context(), in)))
		grant, identity, err := s.Grant(t.Context(), in.Grant.ID, epoch)
		must(t, err)
		equal(t, identity, in.Identity)
		equal(t, grant, *in.Grant)
	},
	"lists keep empty and repeated entries in order": func(t *testing.T, open Database) {
		s := open(t)
		in := signIn()
		in.Grant.Scopes = []string{"", "b", "a", "", "b", "NULL", `"`, "{}", ","}
		must(t, ErrorOf(s.SignIn(t.Context(), in)))
		equal(t, grantOf(t, s, in.Grant.ID).Scopes, in.Grant.Scopes)
	},
}

// authorization is one from the session of in, with a consent.
func authorization(in storage.SignIn) storage.Authorization {
	a := storage.Authorization{Grant: newGrant(), Consent: new(storage.Consent), Session: in.Session.IDHash}
	a.Grant.ConnectorID, a.Grant.UserID = in.Identity.ConnectorID, in.Identity.UserID
	Fill(a.Consent)
	a.Consent.ExpiresAt = epoch.Add(time.Hour)
	return a
}

var consentTests = map[string]func(*testing.T, Database){
	"a consent replaces scopes and never narrows the expiry": func(t *testing.T, open Database) {
		s := open(t)
		in := seed(t, s)
		first := authorization(in)
		must(t, s.Authorize(t.Context(), first))
		for _, step := range []struct{ given, kept time.Time }{
			{first.Consent.ExpiresAt.Add(-time.Minute), first.Consent.ExpiresAt},
			{first.Consent.ExpiresAt.Add(time.Minute), first.Consent.ExpiresAt.Add(time.Minute)},
		} {
			again := authorization(in)
			again.Consent.ConnectorID, again.Consent.UserID, again.Consent.ClientID = first.Consent.ConnectorID, first.Consent.UserID, first.Consent.ClientID
			again.Consent.ExpiresAt = step.given
			must(t, s.Authorize(t.Context(), again))
			c := *again.Consent
			c.ExpiresAt = step.kept
			consent, err := s.Consent(t.Context(), c.ConnectorID, c.UserID, c.ClientID, epoch)
			must(t, err)
			equal(t, consent, c)
		}
	},
	"a consent belongs to one person, connector and client": func(t *testing.T, open Database) {
		s := open(t)
		a := authorization(seed(t, s))
		must(t, s.Authorize(t.Context(), a))
		c := *a.Consent
		for _, key := range [][3]string{
			{"other", c.UserID, c.ClientID}, {c.ConnectorID, "other", c.ClientID}, {c.ConnectorID, c.UserID, "other"},
			{c.UserID, c.ConnectorID, c.ClientID}, {"", "", ""},
		} {
			_, err := s.Consent(t.Context(), key[0], key[1], key[2], epoch)
			want(t, err, storage.ErrNotFound)
		}
	},
	"a consent is gone at its expiry": func(t *testing.T, open Database) {
		s := open(t)
		a := authorization(seed(t, s))
		must(t, s.Authorize(t.Context(), a))
		c := *a.Consent
		_, err := s.Consent(t.Context(), c.ConnectorID, c.UserID, c.ClientID, c.ExpiresAt.Add(-tick))
		must(t, err)
		_, err = s.Consent(t.Context(), c.ConnectorID, c.UserID, c.ClientID, c.ExpiresAt)
		want(t, err, storage.ErrNotFound)
	},
}
