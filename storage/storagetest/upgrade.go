package storagetest

import (
	"testing"
	"time"

	"github.com/countersign/countersign/storage"
)

// Upgrade fills a store of an older schema, has it migrated, and checks that
// everything is there and expires as if it had been stored since.
func Upgrade(t *testing.T, s storage.Store, migrate func() error) {
	t.Helper()
	now := epoch.Add(48 * time.Hour)
	dead, alive := expires(t, s, now), expires(t, s, now.Add(tick))
	kept := redeemed(t, s)
	must(t, migrate())
	for _, e := range []expiring{dead, alive} {
		for table, there := range e.found(t, s) {
			equal(t, [2]any{table, there}, [2]any{table, true})
		}
	}
	equal(t, grantOf(t, s, kept.Grant.ID), *kept.Grant)
	must(t, collectAll(t.Context(), s, now))
	for _, e := range []struct {
		expiring
		there bool
	}{{dead, false}, {alive, true}} {
		for table, there := range e.found(t, s) {
			equal(t, [2]any{table, there}, [2]any{table, e.there})
		}
	}
	_, _, err := s.RotateGrant(t.Context(), rotation(kept))
	must(t, err)
}
