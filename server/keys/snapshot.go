package keys

import (
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/countersign/countersign/storage"
)

// snapshot is the keys as they were read at once. It never changes; the clock
// alone moves signing from one key to the next.
type snapshot struct {
	byKID map[string]*key
	// retired verify hints and nothing else.
	retired map[string]*retiree
	// rows and byAlg have the keys of an algorithm in the order they sign, the
	// retired ones left out.
	rows     map[string][]storage.SigningKey
	byAlg    map[string][]*key
	document Document
}

// signer is the key that signs at now, nil when there is none.
func (s *snapshot) signer(alg string, now time.Time) *key {
	if len(s.byAlg[alg]) == 0 {
		return nil
	}
	return s.byAlg[alg][signing(s.rows[alg], now)]
}

// retiree is a retired key, opened when it is first needed: a master secret that
// only retired keys were sealed with may be gone.
type retiree struct{ open func() (*key, error) }

// snapshot opens the rows that are not open yet and not retired at now.
func (k *Keys) snapshot(rows []storage.SigningKey, now time.Time) (*snapshot, error) {
	before := k.loaded()
	rows = slices.Clone(rows)
	slices.SortFunc(rows, func(a, b storage.SigningKey) int {
		if a.Algorithm != b.Algorithm {
			return strings.Compare(a.Algorithm, b.Algorithm)
		}
		return inOrder(a, b)
	})
	s := &snapshot{byKID: map[string]*key{}, retired: map[string]*retiree{}, rows: map[string][]storage.SigningKey{}, byAlg: map[string][]*key{}}
	all := make([]*key, 0, len(rows))
	for _, row := range k.unretired(s, before, rows, now) {
		opened, err := k.reopen(before, row)
		if err != nil {
			return nil, err
		}
		s.byKID[row.KID] = opened
		s.rows[row.Algorithm] = append(s.rows[row.Algorithm], row)
		s.byAlg[row.Algorithm] = append(s.byAlg[row.Algorithm], opened)
		all = append(all, opened)
	}
	var err error
	s.document, err = document(all, k.policy.JWKSMaxAge)
	return s, err
}

// unretired moves the retired keys of rows, which are in order, into the
// snapshot, and returns the others.
func (k *Keys) unretired(s, before *snapshot, rows []storage.SigningKey, now time.Time) (rest []storage.SigningKey) {
	byAlg := map[string][]storage.SigningKey{}
	for _, row := range rows {
		byAlg[row.Algorithm] = append(byAlg[row.Algorithm], row)
	}
	position := map[string]int{}
	for _, row := range rows {
		i := position[row.Algorithm]
		position[row.Algorithm]++
		if !retired(byAlg[row.Algorithm], i, now, k.policy) {
			rest = append(rest, row)
			continue
		}
		if s.retired[row.KID] = before.retired[row.KID]; s.retired[row.KID] == nil {
			s.retired[row.KID] = &retiree{open: sync.OnceValues(func() (*key, error) { return open(row, k.box) })}
		}
	}
	return rest
}

// reopen keeps the opened key and its prepared headers: a kid is a thumbprint,
// it cannot come to mean another key.
func (k *Keys) reopen(before *snapshot, row storage.SigningKey) (*key, error) {
	if had, ok := before.byKID[row.KID]; ok && had.row.Algorithm == row.Algorithm {
		return &key{row: row, public: had.public, signer: had.signer}, nil
	}
	return open(row, k.box)
}
