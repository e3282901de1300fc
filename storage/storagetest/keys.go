package storagetest

import (
	"testing"
	"time"

	"github.com/countersign/countersign/storage"
)

var keyTests = map[string]func(*testing.T, Database){
	"every field round-trips, in order of algorithm and sequence": func(t *testing.T, open Database) {
		s := open(t)
		none, err := s.SigningKeys(t.Context())
		must(t, err)
		equal(t, none, []storage.SigningKey(nil))
		var keys []storage.SigningKey
		for _, algorithm := range []string{"ES256", "EdDSA", "RS256"} { // in order of bytes, not of a language
			for _, sequence := range []int64{1, 2, 10} {
				var key storage.SigningKey
				Fill(&key)
				key.Algorithm, key.Sequence = algorithm, sequence
				keys = append(keys, key)
			}
		}
		for i := range keys {
			must(t, s.AddSigningKey(t.Context(), keys[len(keys)-1-i]))
		}
		must(t, s.Close())
		found, err := open(t).SigningKeys(t.Context())
		must(t, err)
		equal(t, found, keys)
	},
	"nothing set round-trips": func(t *testing.T, open Database) {
		s := open(t)
		must(t, s.AddSigningKey(t.Context(), storage.SigningKey{KID: "k", Public: []byte{}}))
		found, err := s.SigningKeys(t.Context())
		must(t, err)
		equal(t, found, []storage.SigningKey{{KID: "k"}})
	},
	"a kid, or a sequence of an algorithm, is taken once": func(t *testing.T, open Database) {
		s := open(t)
		var key, sameKID, sameSequence storage.SigningKey
		Fill(&key)
		Fill(&sameKID)
		Fill(&sameSequence)
		sameKID.KID = key.KID
		sameSequence.Algorithm, sameSequence.Sequence = key.Algorithm, key.Sequence
		must(t, s.AddSigningKey(t.Context(), key))
		for _, other := range []storage.SigningKey{key, sameKID, sameSequence} {
			want(t, s.AddSigningKey(t.Context(), other), storage.ErrConflict)
		}
		found, err := s.SigningKeys(t.Context())
		must(t, err)
		equal(t, found, []storage.SigningKey{key})
	},
	"deleting a key deletes that one": func(t *testing.T, open Database) {
		s := open(t)
		var gone, kept storage.SigningKey
		Fill(&gone)
		Fill(&kept)
		must(t, s.AddSigningKey(t.Context(), gone))
		must(t, s.AddSigningKey(t.Context(), kept))
		for i := range 2 {
			equal(t, deleteKey(t, s, gone.KID), i == 0)
			found, err := s.SigningKeys(t.Context())
			must(t, err)
			equal(t, found, []storage.SigningKey{kept})
		}
	},
}

var leaseTests = map[string]func(*testing.T, Database){
	"a lease is held, extended, expires and is released": func(t *testing.T, open Database) {
		s := open(t)
		for i, step := range []struct {
			name, holder string
			now, until   time.Duration
			release      bool
			held         bool
		}{
			{name: "job", holder: "a", now: 0, until: 10, held: true},
			{name: "job", holder: "b", now: 9, until: 20, held: false},
			{name: "other job", holder: "b", now: 9, until: 20, held: true},
			{name: "job", holder: "a", now: 9, until: 30, held: true}, // extended
			{name: "job", holder: "b", now: 29, until: 40, held: false},
			{name: "job", holder: "b", now: 30, until: 40, held: true}, // expired
			{name: "job", holder: "a", now: 31, until: 50, held: false},
			{name: "job", holder: "a", release: true}, // not its to release
			{name: "job", holder: "a", now: 32, until: 50, held: false},
			{name: "job", holder: "b", release: true},
			{name: "job", holder: "b", release: true},
			{name: "job", holder: "a", now: 33, until: 50, held: true},
		} {
			if step.release {
				must(t, s.ReleaseLease(t.Context(), step.name, step.holder))
				continue
			}
			held, err := s.AcquireLease(t.Context(), step.name, step.holder,
				epoch.Add(step.now*tick), epoch.Add(step.until*tick))
			must(t, err)
			if held != step.held {
				t.Fatalf("step %d: held %v", i, held)
			}
		}
	},
}

var storeTests = map[string]func(*testing.T, Database){
	"the first master secret stays": func(t *testing.T, open Database) {
		s := open(t)
		_, err := s.MasterSecret(t.Context(), nil, epoch)
		want(t, err, storage.ErrInvalid)
		for _, candidate := range []string{"first \x00\xff", "second"} {
			secret, err := s.MasterSecret(t.Context(), []byte(candidate), epoch)
			must(t, err)
			equal(t, secret, []byte("first \x00\xff"))
		}
		must(t, s.Close())
		secret, err := open(t).MasterSecret(t.Context(), []byte("third"), epoch)
		must(t, err)
		equal(t, secret, []byte("first \x00\xff"))
	},
	"ping tells the database's time": func(t *testing.T, open Database) {
		at, err := open(t).Ping(t.Context())
		must(t, err)
		if at.Location() != time.UTC || at.Before(epoch.AddDate(-1, 0, 0)) {
			t.Errorf("the database's time is %v", at)
		}
	},
	"calls after closing are unavailable": func(t *testing.T, open Database) {
		s := open(t)
		in := seed(t, s)
		must(t, s.Close())
		for method, call := range calls(s, in) {
			if err := call(t.Context()); !isUnavailable(err) {
				t.Errorf("%s: %v", method, err)
			}
		}
	},
}

// deleteKey deletes a key, and returns whether this call did it.
func deleteKey(t *testing.T, s storage.Store, kid string) bool {
	t.Helper()
	deleted, err := s.DeleteSigningKey(t.Context(), kid)
	must(t, err)
	return deleted
}
