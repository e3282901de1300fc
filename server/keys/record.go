package keys

import (
	"slices"
	"time"

	"github.com/countersign/countersign/server/audit"
	"github.com/countersign/countersign/storage"
)

// added are the facts that come with a key that was added to those stored: that it
// was made, that it signs, if it does already, and, if it is the successor of the
// key that signs, that this one has taken over since the last time. The clock alone
// moves signing from one key to the next, on every replica at once; but only one
// adds the successor, soon after, and so each is told once.
func added(stored []storage.SigningKey, row storage.SigningKey, now time.Time) []audit.Event {
	facts := []audit.Event{audit.KeyCreated{Key: nameOf(row), ActiveFrom: row.ActiveFrom}}
	if !row.ActiveFrom.After(now) {
		return append(facts, activated(row))
	}
	keys := slices.DeleteFunc(slices.Clone(stored), func(k storage.SigningKey) bool { return k.Algorithm != row.Algorithm })
	if len(keys) < 2 {
		return facts
	}
	slices.SortFunc(keys, inOrder)
	i := signing(keys, now)
	if i < len(keys)-1 || keys[i].ActiveFrom.After(now) || row.ActiveFrom.Before(keys[i].ActiveFrom) {
		return facts // there is a successor already: this one was put before it
	}
	return append(facts, activated(keys[i]), audit.KeyRetired{Key: nameOf(keys[i-1])})
}

// deleted is the fact that a key was deleted.
func deleted(stored []storage.SigningKey, kid string) (facts []audit.Event) {
	for _, k := range stored {
		if k.KID == kid {
			facts = append(facts, audit.KeyDeleted{Key: nameOf(k)})
		}
	}
	return facts
}

func activated(k storage.SigningKey) audit.Event {
	return audit.KeyActivated{Key: nameOf(k), ActiveFrom: k.ActiveFrom}
}

func nameOf(k storage.SigningKey) audit.Key { return audit.Key{KID: k.KID, Algorithm: k.Algorithm} }
