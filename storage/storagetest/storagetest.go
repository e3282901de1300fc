// Package storagetest holds every engine to the promises of package storage. It
// refuses to know how an engine keeps them: it speaks to the contract alone.
//
// Run asks what a store promises to callers and their competitors, RunCrashes what
// is left of a transition when it is cut off in the middle.
//
// Records are filled by reflection, so that a field without a column fails.
package storagetest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/countersign/countersign/storage"
)

// Database opens another handle to one migrated database, closed when the test
// ends: what a second replica, or a restart, has.
type Database func(t *testing.T) storage.Store

// Run runs the conformance suite. create makes a fresh, migrated database for
// each test.
func Run(t *testing.T, create func(t *testing.T) Database) {
	for _, group := range []struct {
		name  string
		tests map[string]func(*testing.T, Database)
	}{
		{"sessions", sessionTests},
		{"grants", grantTests},
		{"rotation", rotationTests},
		{"identities", identityTests},
		{"persons", personTests},
		{"rechecks", recheckTests},
		{"consents", consentTests},
		{"failures", failureTests},
		{"keys", keyTests},
		{"leases", leaseTests},
		{"store", storeTests},
		{"text", textTests},
		{"races", raceTests},
		{"races of rotation", rotationRaceTests},
		{"garbage", garbageTests},
		{"logout", logoutTests},
		{"arrivals", arrivalTests},
		{"races of logout", logoutRaceTests},
		{"revocation", revocationTests},
		{"races of revocation", revocationRaceTests},
		{"cancellation", cancellationTests},
	} {
		t.Run(group.name, func(t *testing.T) {
			for name, test := range group.tests {
				t.Run(name, func(t *testing.T) { test(t, create(t)) })
			}
		})
	}
}

// epoch is the now of most tests; nothing here reads a clock.
var epoch = time.Date(2026, 2, 3, 4, 5, 6, 7000, time.UTC)

// tick is the smallest difference that an engine keeps.
const tick = time.Microsecond

func want(t *testing.T, err, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Fatalf("error %v, want %v", err, target)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func equal(t *testing.T, got, expected any) {
	t.Helper()
	if diff := cmp.Diff(expected, got); diff != "" {
		t.Fatalf("got (+), want (-):\n%s", diff)
	}
}

// signIn is a complete sign-in, alive at epoch, with a grant.
func signIn() storage.SignIn {
	var in storage.SignIn
	Fill(&in.Identity)
	Fill(&in.Session)
	Fill(&in.SealedSecret)
	grant := newGrant()
	in.Identity.ConnectorID, in.Identity.UserID = grant.ConnectorID, grant.UserID
	in.Session.ConnectorID, in.Session.UserID = grant.ConnectorID, grant.UserID
	in.Identity.ExpiresAt = epoch.Add(48 * time.Hour)
	in.Session.ExpiresAt = epoch.Add(24 * time.Hour)
	in.Session.LastUsedAt = epoch
	in.Grant = &grant
	return in
}

// newGrant is a grant whose code can be redeemed at epoch.
func newGrant() storage.Grant {
	var g storage.Grant
	Fill(&g)
	g.CreatedAt = epoch
	g.CodeExpiresAt = epoch.Add(time.Minute)
	g.ExpiresAt = epoch.Add(time.Hour)
	g.CodeRedeemedAt, g.RevokedAt, g.RevokedReason = time.Time{}, time.Time{}, ""
	return g
}

// seed signs somebody in and returns what was stored.
func seed(t *testing.T, s storage.Store) storage.SignIn {
	t.Helper()
	in := signIn()
	must(t, ErrorOf(s.SignIn(t.Context(), in)))
	return in
}

// grantOf reads a grant that must exist at epoch.
func grantOf(t *testing.T, s storage.Store, id storage.GrantID) storage.Grant {
	t.Helper()
	grant, _, err := s.Grant(t.Context(), id, epoch)
	must(t, err)
	return grant
}

var background = context.Background()

// ErrorOf is the error of a call that also says something that does not matter.
func ErrorOf(_ bool, err error) error { return err }
