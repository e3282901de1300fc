package storagetest

import (
	"errors"
	"testing"
	"time"

	"github.com/countersign/countersign/storage"
)

// newArrival waits for a minute after epoch, and must not arrive again for an
// hour.
func newArrival() storage.Arrival {
	var a storage.Arrival
	Fill(&a)
	a.TakeUntil, a.ExpiresAt = epoch.Add(time.Minute), epoch.Add(time.Hour)
	return a
}

var arrivalTests = map[string]func(*testing.T, Database){
	"what is kept is taken once, as it was": func(t *testing.T, open Database) {
		s := open(t)
		a, other := newArrival(), newArrival()
		must(t, s.KeepArrival(t.Context(), a, epoch))
		must(t, s.KeepArrival(t.Context(), other, epoch))
		got, err := open(t).TakeArrival(t.Context(), a.ID, a.TakeUntil.Add(-tick))
		must(t, err)
		equal(t, got, a)
		_, err = s.TakeArrival(t.Context(), a.ID, epoch)
		want(t, err, storage.ErrNotFound)
		got, err = s.TakeArrival(t.Context(), other.ID, epoch)
		must(t, err)
		equal(t, got, other)
	},
	"it waits no longer than it says, and nobody takes what never came": func(t *testing.T, open Database) {
		s := open(t)
		a := newArrival()
		must(t, s.KeepArrival(t.Context(), a, epoch))
		for _, id := range [][32]byte{{}, {1}} {
			_, err := s.TakeArrival(t.Context(), id, epoch)
			want(t, err, storage.ErrNotFound)
		}
		for range 2 {
			_, err := s.TakeArrival(t.Context(), a.ID, a.TakeUntil)
			want(t, err, storage.ErrNotFound)
		}
	},
	"each arrives once for as long as it could be believed, taken or not": func(t *testing.T, open Database) {
		s := open(t)
		a := newArrival()
		again := newArrival()
		again.ID = a.ID
		again.ExpiresAt = a.ExpiresAt.Add(time.Hour)
		must(t, s.KeepArrival(t.Context(), a, epoch))
		want(t, open(t).KeepArrival(t.Context(), again, epoch), storage.ErrConflict)
		got, err := s.TakeArrival(t.Context(), a.ID, epoch)
		must(t, err)
		equal(t, got, a)
		want(t, s.KeepArrival(t.Context(), again, a.ExpiresAt.Add(-tick)), storage.ErrConflict)
		_, err = s.TakeArrival(t.Context(), a.ID, epoch)
		want(t, err, storage.ErrNotFound)
		again.TakeUntil = a.ExpiresAt.Add(time.Minute)
		must(t, s.KeepArrival(t.Context(), again, a.ExpiresAt))
		got, err = s.TakeArrival(t.Context(), a.ID, a.ExpiresAt)
		must(t, err)
		equal(t, got, again)
	},
	"one that is empty, or of a connector that is not text, is invalid": func(t *testing.T, open Database) {
		s := open(t)
		a := newArrival()
		for _, bad := range notText {
			refuseEach(t, &a, bad, func() error { return s.KeepArrival(t.Context(), a, epoch) })
		}
		a.Sealed = nil
		want(t, s.KeepArrival(t.Context(), a, epoch), storage.ErrInvalid)
		_, err := s.TakeArrival(t.Context(), a.ID, epoch)
		want(t, err, storage.ErrNotFound)
	},
	"one of many keeps it, and one of many takes it": func(t *testing.T, open Database) {
		replicas := []storage.Store{open(t), open(t)}
		for range 5 {
			a := newArrival()
			var kept, taken winners
			crowd(t, 8, replicas, func(_ int, s storage.Store) error { return kept.took(s.KeepArrival(t.Context(), a, epoch)) })
			crowd(t, 8, replicas, func(_ int, s storage.Store) error {
				_, err := s.TakeArrival(t.Context(), a.ID, epoch)
				if errors.Is(err, storage.ErrNotFound) {
					return nil
				}
				return taken.took(err)
			})
			equal(t, [2]int{kept.n, taken.n}, [2]int{1, 1})
		}
	},
}
