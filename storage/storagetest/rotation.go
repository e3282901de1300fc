package storagetest

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/countersign/countersign/storage"
)

// redeemed signs somebody in and redeems the code at epoch. It returns what is
// stored then.
func redeemed(t *testing.T, s storage.Store) storage.SignIn {
	t.Helper()
	in := seed(t, s)
	until := epoch.Add(720 * time.Hour)
	r := storage.Redemption{ID: in.Grant.ID, Now: epoch, ExpiresAt: until, UserAgent: "the redeemer", IPAddress: "192.0.2.7"}
	must(t, s.RedeemCode(t.Context(), r))
	in.Grant.CodeRedeemedAt, in.Grant.RefreshedAt, in.Grant.ExpiresAt = epoch, epoch, until
	in.Grant.RefreshedUserAgent, in.Grant.RefreshedIPAddress = r.UserAgent, r.IPAddress
	in.Identity.ExpiresAt = until
	return in
}

// rotation moves the grant of in, once redeemed at epoch, to its next generation
// a minute later. Its limits leave no tick to spare.
func rotation(in storage.SignIn) storage.Rotation {
	var r storage.Rotation
	Fill(&r)
	r.ID, r.ClientID = in.Grant.ID, in.Grant.ClientID
	r.Generation, r.Next = in.Grant.Generation, in.Grant.Generation+1
	r.Now, r.UsedAfter = epoch.Add(time.Minute), epoch.Add(-tick)
	for i := range r.CheckedAfter { // of other connectors: nobody here meets them
		r.CheckedAfter[i].After = in.Identity.CheckedAt.AddDate(100, 0, 0)
	}
	r.CheckedAfter = slices.Insert(r.CheckedAfter, 1, limit(in.Identity.ConnectorID, in.Identity.CheckedAt.Add(-tick))...)
	return r
}

// limit is the recheck limit of one connector.
func limit(connectorID string, after time.Time) []storage.CheckLimit {
	return []storage.CheckLimit{{ConnectorID: connectorID, After: after}}
}

// rotated is the grant as the rotation leaves it.
func rotated(g storage.Grant, r storage.Rotation) storage.Grant {
	g.Generation, g.RefreshedAt, g.RefreshedUserAgent, g.RefreshedIPAddress = r.Next, r.Now, r.UserAgent, r.IPAddress
	return g
}

// misfits are what may be wrong with a rotation of a redeemed grant.
var misfits = map[string]func(*storage.Rotation, storage.SignIn){
	"unknown grant":            func(r *storage.Rotation, _ storage.SignIn) { r.ID[15]++ },
	"another client":           func(r *storage.Rotation, _ storage.SignIn) { r.ClientID = "another" },
	"no client":                func(r *storage.Rotation, _ storage.SignIn) { r.ClientID = "" },
	"the client in upper case": func(r *storage.Rotation, _ storage.SignIn) { r.ClientID = strings.ToUpper(r.ClientID) },
	"the client and a space":   func(r *storage.Rotation, _ storage.SignIn) { r.ClientID += " " },
	"the generation before":    func(r *storage.Rotation, _ storage.SignIn) { r.Generation-- },
	"the generation to come":   func(r *storage.Rotation, _ storage.SignIn) { r.Generation++ },
	"a negative generation":    func(r *storage.Rotation, _ storage.SignIn) { r.Generation = -r.Generation },
	"the smallest generation":  func(r *storage.Rotation, _ storage.SignIn) { r.Generation = math.MinInt64 },
	"the largest generation":   func(r *storage.Rotation, _ storage.SignIn) { r.Generation = math.MaxInt64 },
	"at its expiry":            func(r *storage.Rotation, in storage.SignIn) { r.Now = in.Grant.ExpiresAt },
	"long after its expiry":    func(r *storage.Rotation, in storage.SignIn) { r.Now = in.Grant.ExpiresAt.AddDate(1, 0, 0) },
	"at the idle limit":        func(r *storage.Rotation, in storage.SignIn) { r.UsedAfter = in.Grant.RefreshedAt },
	"idle for too long":        func(r *storage.Rotation, in storage.SignIn) { r.UsedAfter = in.Grant.RefreshedAt.Add(time.Hour) },
	"identity at the limit":    func(r *storage.Rotation, in storage.SignIn) { r.CheckedAfter[1].After = in.Identity.CheckedAt },
	"identity not checked since": func(r *storage.Rotation, in storage.SignIn) {
		r.CheckedAfter[1].After = in.Identity.CheckedAt.Add(time.Hour)
	},
}

var rotationTests = map[string]func(*testing.T, Database){
	"rotating moves this grant on, and survives reopening": func(t *testing.T, open Database) {
		s := open(t)
		in, bystander := redeemed(t, s), redeemed(t, s)
		expected := *in.Grant
		for range 3 {
			r := rotation(in)
			r.Generation, r.Next = expected.Generation, expected.Generation+1
			r.Now = expected.RefreshedAt.Add(time.Minute)
			expected = rotated(expected, r)
			grant, identity, err := s.RotateGrant(t.Context(), r)
			must(t, err)
			equal(t, grant, expected.Rotated())
			equal(t, identity, in.Identity)
		}
		must(t, s.Close())
		s = open(t)
		grant, identity, err := s.Grant(t.Context(), in.Grant.ID, epoch)
		must(t, err)
		equal(t, grant, expected)
		equal(t, identity, in.Identity)
		equal(t, grantOf(t, s, bystander.Grant.ID), *bystander.Grant)
		session, _, err := s.Session(t.Context(), in.Session.IDHash, epoch)
		must(t, err)
		equal(t, session, in.Session)
	},
	"a rotation that does not fit changes nothing": func(t *testing.T, open Database) {
		s := open(t)
		in := redeemed(t, s)
		for name, bend := range misfits {
			r := rotation(in)
			bend(&r, in)
			grant, identity, err := s.RotateGrant(t.Context(), r)
			if !isConflict(err) {
				t.Errorf("%s: %v", name, err)
			}
			equal(t, grant, storage.Grant{})
			equal(t, identity, storage.Identity{})
			if diff := cmp.Diff(*in.Grant, grantOf(t, s, in.Grant.ID)); diff != "" {
				t.Errorf("%s:\n%s", name, diff)
			}
		}
		r := rotation(in)
		r.Now = in.Grant.ExpiresAt.Add(-tick)
		_, _, err := s.RotateGrant(t.Context(), r)
		must(t, err)
	},
	"no limits are the zero times": func(t *testing.T, open Database) {
		s := open(t)
		r := rotation(redeemed(t, s))
		r.UsedAfter, r.CheckedAfter[1].After = time.Time{}, time.Time{}
		_, _, err := s.RotateGrant(t.Context(), r)
		must(t, err)
	},
	"the limits of other connectors are nobody's here": func(t *testing.T, open Database) {
		s := open(t)
		in := redeemed(t, s)
		for _, id := range []string{strings.ToUpper(in.Identity.ConnectorID), in.Identity.ConnectorID + " ", in.Identity.UserID, "", "null"} {
			r := rotation(in)
			r.CheckedAfter = limit(id, in.Identity.CheckedAt.AddDate(100, 0, 0))
			grant, _, err := s.RotateGrant(t.Context(), r)
			must(t, err)
			in.Grant = &grant
		}
		for _, limits := range [][]storage.CheckLimit{nil, {}} {
			r := rotation(in)
			r.CheckedAfter = limits
			grant, _, err := s.RotateGrant(t.Context(), r)
			must(t, err)
			in.Grant = &grant
		}
	},
	"a spent generation changes nothing, nor who is said to have the newest": func(t *testing.T, open Database) {
		s := open(t)
		in := redeemed(t, s)
		first := rotation(in)
		_, _, err := s.RotateGrant(t.Context(), first)
		must(t, err)
		for _, r := range []storage.Rotation{first, rotation(in)} {
			_, _, err = s.RotateGrant(t.Context(), r)
			want(t, err, storage.ErrConflict)
		}
		equal(t, grantOf(t, s, in.Grant.ID), rotated(*in.Grant, first))
	},
	"the idle limit counts from the last rotation": func(t *testing.T, open Database) {
		s := open(t)
		in := redeemed(t, s)
		first := rotation(in)
		_, _, err := s.RotateGrant(t.Context(), first)
		must(t, err)
		next := rotation(in)
		next.Generation, next.Next, next.UsedAfter = first.Next, first.Next+1, first.Now
		_, _, err = s.RotateGrant(t.Context(), next)
		want(t, err, storage.ErrConflict)
		next.UsedAfter = first.Now.Add(-tick)
		_, _, err = s.RotateGrant(t.Context(), next)
		must(t, err)
	},
	"without rotation the generation stays and the rest moves": func(t *testing.T, open Database) {
		s := open(t)
		in := redeemed(t, s)
		for i := range 3 {
			r := rotation(in)
			r.Next, r.Now = r.Generation, epoch.Add(time.Duration(i)*time.Minute)
			grant, _, err := s.RotateGrant(t.Context(), r)
			must(t, err)
			equal(t, grant, rotated(*in.Grant, r).Rotated())
			equal(t, grantOf(t, s, in.Grant.ID), rotated(*in.Grant, r))
		}
	},
	"neither an unredeemed nor a revoked grant rotates": func(t *testing.T, open Database) {
		s := open(t)
		early := seed(t, s)
		_, _, err := s.RotateGrant(t.Context(), rotation(early))
		want(t, err, storage.ErrConflict)
		equal(t, grantOf(t, s, early.Grant.ID), *early.Grant)
		in := redeemed(t, s)
		did, err := s.RevokeGrant(t.Context(), in.Grant.ID, epoch, "because")
		must(t, err)
		equal(t, did, true)
		in.Grant.RevokedAt, in.Grant.RevokedReason = epoch, "because"
		_, _, err = s.RotateGrant(t.Context(), rotation(in))
		want(t, err, storage.ErrConflict)
		equal(t, grantOf(t, s, in.Grant.ID), *in.Grant)
	},
	"a grant of nobody known is not redeemed and does not rotate": func(t *testing.T, open Database) {
		s := open(t)
		in := seed(t, s)
		a := authorization(in)
		a.Grant.UserID = "nobody"
		must(t, s.Authorize(t.Context(), a))
		want(t, s.RedeemCode(t.Context(), storage.Redemption{ID: a.Grant.ID, Now: epoch, ExpiresAt: a.Grant.ExpiresAt}), storage.ErrConflict)
		_, _, err := s.RotateGrant(t.Context(), rotation(storage.SignIn{Identity: in.Identity, Grant: &a.Grant}))
		want(t, err, storage.ErrConflict)
		// Once the person is known, the same grant does both: nothing was changed.
		who := signIn()
		who.Identity.ConnectorID, who.Identity.UserID, who.Grant = a.Grant.ConnectorID, a.Grant.UserID, nil
		must(t, ErrorOf(s.SignIn(t.Context(), who)))
		must(t, s.RedeemCode(t.Context(), storage.Redemption{ID: a.Grant.ID, Now: epoch, ExpiresAt: a.Grant.ExpiresAt}))
		_, _, err = s.RotateGrant(t.Context(), rotation(storage.SignIn{Identity: who.Identity, Grant: &a.Grant}))
		must(t, err)
	},
	"a code is redeemed for as long as its person is kept": func(t *testing.T, open Database) {
		s := open(t)
		in := seed(t, s)
		kept := in.Identity
		for _, until := range []time.Time{
			kept.ExpiresAt.Add(-time.Hour), kept.ExpiresAt, kept.ExpiresAt.Add(tick), kept.ExpiresAt.Add(time.Hour), kept.ExpiresAt,
		} {
			a := authorization(in)
			must(t, s.Authorize(t.Context(), a))
			must(t, s.RedeemCode(t.Context(), storage.Redemption{ID: a.Grant.ID, Now: epoch, ExpiresAt: until}))
			if until.After(kept.ExpiresAt) {
				kept.ExpiresAt = until
			}
			grant, identity, err := s.Grant(t.Context(), a.Grant.ID, epoch)
			must(t, err)
			equal(t, grant.ExpiresAt, until)
			equal(t, identity, kept)
		}
		// A code that is not redeemed keeps nobody.
		want(t, s.RedeemCode(t.Context(), storage.Redemption{ID: in.Grant.ID, Now: in.Grant.CodeExpiresAt, ExpiresAt: epoch.AddDate(9, 0, 0)}), storage.ErrConflict)
		_, identity, err := s.Grant(t.Context(), in.Grant.ID, epoch)
		must(t, err)
		equal(t, identity, kept)
	},
	"a rotation that is not text is invalid, its user agent is made text": func(t *testing.T, open Database) {
		s := open(t)
		in := redeemed(t, s)
		for _, bad := range notText {
			r := rotation(in)
			refuseEach(t, &r, bad, func() error { _, _, err := s.RotateGrant(t.Context(), r); return err })
		}
		r := rotation(in)
		r.ClientID = strings.Repeat("a", storage.MaxKey+1)
		_, _, err := s.RotateGrant(t.Context(), r)
		want(t, err, storage.ErrInvalid)
		equal(t, grantOf(t, s, in.Grant.ID), *in.Grant)
		r = rotation(in)
		r.UserAgent = "a\x00b\xffc"
		grant, _, err := s.RotateGrant(t.Context(), r)
		must(t, err)
		equal(t, grant.RefreshedUserAgent, "a\uFFFDb\uFFFDc")
		equal(t, grantOf(t, s, in.Grant.ID).Rotated(), grant)
	},
	"a large grant rotates like any other": func(t *testing.T, open Database) {
		s := open(t)
		in := signIn()
		in.Grant.Nonce = strings.Repeat(in.Grant.Nonce, 5000)
		must(t, ErrorOf(s.SignIn(t.Context(), in)))
		must(t, s.RedeemCode(t.Context(), storage.Redemption{ID: in.Grant.ID, Now: epoch, ExpiresAt: in.Grant.ExpiresAt}))
		r := rotation(in)
		r.UserAgent = strings.Repeat(r.UserAgent, 5000)
		grant, _, err := s.RotateGrant(t.Context(), r)
		must(t, err)
		in.Grant.CodeRedeemedAt = epoch
		equal(t, grant, rotated(*in.Grant, r).Rotated())
		equal(t, grantOf(t, s, in.Grant.ID), rotated(*in.Grant, r))
	},
}
