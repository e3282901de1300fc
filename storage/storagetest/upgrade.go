package storagetest

import (
	"testing"
	"time"

	"github.com/countersign/countersign/storage"
)

// Version1 are the grants that a test of an upgrade has written in the form of
// the schema's first version, by the person "user" of "connector" at "client",
// who was checked at CheckedAt.
type Version1 struct {
	// Pending has a code at CheckedAt, Redeemed was redeemed then, Late is
	// redeemed then by a process that is not upgraded yet.
	Pending, Redeemed, Late storage.GrantID
	CheckedAt               time.Time
	// Session is signed in since CheckedAt, and LateSession by a process that is
	// not upgraded yet; both, a consent and a login failure expire an hour later.
	Session, LateSession [32]byte
}

// Works holds s, which is upgraded, to what it says of these grants.
func (v Version1) Works(t *testing.T, s storage.Store) {
	t.Helper()
	must(t, s.RedeemCode(t.Context(), storage.Redemption{ID: v.Pending, Now: v.CheckedAt, ExpiresAt: v.CheckedAt.Add(time.Hour)}))
	for name, id := range map[string]storage.GrantID{"pending": v.Pending, "redeemed": v.Redeemed, "late": v.Late} {
		t.Run(name, func(t *testing.T) {
			grant, _, err := s.Grant(t.Context(), id, v.CheckedAt)
			must(t, err)
			equal(t, grant.Generation, int64(0))
			equal(t, grant.RefreshedAt, v.CheckedAt)
			equal(t, grant.RefreshedUserAgent+grant.RefreshedIPAddress, "")
			r := storage.Rotation{ID: id, ClientID: "client", Next: 1, Now: v.CheckedAt.Add(tick),
				UsedAfter: v.CheckedAt, CheckedAfter: limit("connector", v.CheckedAt.Add(-tick)), UserAgent: "agent", IPAddress: "address"}
			_, _, err = s.RotateGrant(t.Context(), r)
			want(t, err, storage.ErrConflict) // idle
			r.UsedAfter = v.CheckedAt.Add(-tick)
			moved, _, err := s.RotateGrant(t.Context(), r)
			must(t, err)
			equal(t, moved, rotated(grant, r).Rotated())
		})
	}
	ended, err := revokeOf(t.Context(), s, "connector", "user", v.CheckedAt, "gone")
	must(t, err)
	equal(t, ended, 3)
	for name, hash := range map[string][32]byte{"session": v.Session, "late session": v.LateSession} {
		found, _, err := s.Session(t.Context(), hash, v.CheckedAt)
		must(t, err)
		if found.UserID != "user" || len(found.ClientIDs) != 0 {
			t.Errorf("%s: %+v", name, found)
		}
	}
	endSession(t, s, v.LateSession, storage.Ending{
		Now: v.CheckedAt, TellClientIDs: []string{"client"}, TellUntil: v.CheckedAt.Add(time.Hour),
	})
	// What was stored before there was an index on expiry is found by it.
	for table, rows := range map[storage.Table]int{
		storage.TableGrants: 3, storage.TableSessions: 1, storage.TableConsents: 1, storage.TableLoginFailures: 1,
		storage.TableIdentities: 1,
	} {
		deleted, err := collect(t.Context(), s, table, v.CheckedAt.Add(48*time.Hour), 10)
		must(t, err)
		equal(t, [2]any{table, deleted}, [2]any{table, rows})
	}
}
