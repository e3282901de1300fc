package keys

import (
	"slices"
	"time"

	"github.com/countersign/countersign/storage"
)

// Addition is a key to make.
type Addition struct {
	Algorithm  string
	Sequence   int64
	ActiveFrom time.Time
}

// Plan says what has to be done to the stored keys at now: which to add, and
// then which (by kid) to delete. Done by several replicas at once it ends the
// same, because the sequence decides who adds, and it never plans twice for one
// reason: after its steps were taken, it has none.
//
// Additions come first. A replica that dies between the two leaves a key too
// many, never one too few.
func Plan(stored []storage.SigningKey, now time.Time, p Policy) (add []Addition, remove []string) {
	byAlg := map[string][]storage.SigningKey{}
	for _, k := range stored {
		byAlg[k.Algorithm] = append(byAlg[k.Algorithm], k)
	}
	for _, keys := range byAlg {
		slices.SortFunc(keys, inOrder)
	}
	for _, alg := range p.Algorithms {
		add = append(add, additions(alg, byAlg[alg], now, p)...)
	}
	for alg, keys := range byAlg {
		remove = append(remove, expired(keys, now, p)...)
		remove = append(remove, superseded(keys, now, p)...)
		if !slices.Contains(p.Algorithms, alg) {
			remove = append(remove, abandoned(keys, now, p)...)
		}
	}
	slices.Sort(remove)
	return add, slices.Compact(remove)
}

// inOrder is the order in which keys sign: a key's successor is the one after
// it. It is not the order of their sequence, see superseded.
func inOrder(a, b storage.SigningKey) int {
	if c := a.ActiveFrom.Compare(b.ActiveFrom); c != 0 {
		return c
	}
	switch {
	case a.Sequence < b.Sequence:
		return -1
	case a.Sequence > b.Sequence:
		return 1
	}
	return 0
}

// signing returns the index of the key that signs at now: the last that is
// active. When none is yet (a clock that was set back, or is behind that of the
// replica which made the first key) it is the first: a published key that signs
// early is better than none. keys are in order and not empty.
func signing(keys []storage.SigningKey, now time.Time) int {
	i := len(keys) - 1
	for i > 0 && keys[i].ActiveFrom.After(now) {
		i--
	}
	return i
}

// additions plans one algorithm that is in use; keys are in order.
func additions(alg string, keys []storage.SigningKey, now time.Time, p Policy) []Addition {
	if len(keys) == 0 {
		// Nobody can have cached a JWKS that this key should have been in. When
		// only the algorithm is new somebody can, but nothing else may sign.
		first := now.Truncate(time.Microsecond) // what the store keeps of a time
		return []Addition{{alg, 1, first}, {alg, 2, first.Add(p.Period)}}
	}
	current := signing(keys, now)
	due := nextDue(keys[current], now, p)
	if current < len(keys)-1 {
		next := keys[current+1]
		// A pending key that comes much later than this policy wants: the period
		// was shortened, or a clock was far ahead. It gets a predecessor. The
		// slack of one lead keeps replicas whose clocks differ a little from
		// correcting one another.
		if !next.ActiveFrom.After(due.Add(p.PublishLead)) {
			return nil
		}
	}
	return []Addition{{alg, lastSequence(keys) + 1, due}}
}

// nextDue is when the successor of current should begin to sign: a period after
// it, and never before everybody had time to learn of it. A server that was
// down for a week thus goes on with its old key for one lead.
func nextDue(current storage.SigningKey, now time.Time, p Policy) time.Time {
	due := current.ActiveFrom.Add(p.Period)
	if earliest := now.Add(p.PublishLead); due.Before(earliest) {
		due = earliest
	}
	return due.Truncate(time.Microsecond)
}

func lastSequence(keys []storage.SigningKey) (last int64) {
	for _, k := range keys {
		last = max(last, k.Sequence)
	}
	return last
}

// expired are the keys that nothing is verified with any more: their successor
// has been signing for the retention of hints.
func expired(keys []storage.SigningKey, now time.Time, p Policy) (kids []string) {
	for i := range len(keys) - 1 {
		if !now.Before(keys[i+1].ActiveFrom.Add(p.HintRetention)) {
			kids = append(kids, keys[i].KID)
		}
	}
	return kids
}

// retired reports whether the last token of keys[i] has expired: its successor,
// or, when it is the last of an algorithm no longer in use, nothing, has been
// signing for the retention. keys are in order.
func retired(keys []storage.SigningKey, i int, now time.Time, p Policy) bool {
	switch {
	case i < len(keys)-1:
		return !now.Before(keys[i+1].ActiveFrom.Add(p.Retention))
	case slices.Contains(p.Algorithms, keys[i].Algorithm):
		return false
	}
	return !now.Before(keys[i].ActiveFrom.Add(p.Period + p.Retention))
}

// superseded are pending keys that a newer one comes before. They have signed
// nothing and will not. One that is nearly due stays and takes its turn: some
// replica might already sign with it when it is gone.
func superseded(keys []storage.SigningKey, now time.Time, p Policy) (kids []string) {
	safe := now.Add(p.PublishLead)
	for i, k := range keys {
		newer := func(before storage.SigningKey) bool { return before.Sequence > k.Sequence }
		if k.ActiveFrom.After(safe) && slices.ContainsFunc(keys[:i], newer) {
			kids = append(kids, k.KID)
		}
	}
	return kids
}

// abandoned is the last key of an algorithm that is no longer in use: it has no
// successor to retire it, so it is kept for its own period and then the
// retention of hints.
func abandoned(keys []storage.SigningKey, now time.Time, p Policy) []string {
	last := keys[len(keys)-1]
	if now.Before(last.ActiveFrom.Add(p.Period + p.HintRetention)) {
		return nil
	}
	return []string{last.KID}
}
