package keys

import (
	"slices"
	"strings"
	"time"

	"github.com/countersign/countersign/storage"
)

// snapshot is the keys as they were read at once. It never changes; the clock
// alone moves signing from one key to the next.
type snapshot struct {
	byKID map[string]*key
	// rows and byAlg have the keys of an algorithm in the order they sign.
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

// snapshot opens the rows that are not open yet.
func (k *Keys) snapshot(rows []storage.SigningKey) (*snapshot, error) {
	before := k.loaded()
	rows = slices.Clone(rows)
	slices.SortFunc(rows, func(a, b storage.SigningKey) int {
		if a.Algorithm != b.Algorithm {
			return strings.Compare(a.Algorithm, b.Algorithm)
		}
		return inOrder(a, b)
	})
	s := &snapshot{byKID: map[string]*key{}, rows: map[string][]storage.SigningKey{}, byAlg: map[string][]*key{}}
	all := make([]*key, 0, len(rows))
	for _, row := range rows {
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

// reopen keeps the opened key and its prepared signers: a kid is a thumbprint,
// it cannot come to mean another key.
func (k *Keys) reopen(before *snapshot, row storage.SigningKey) (*key, error) {
	if had, ok := before.byKID[row.KID]; ok && had.row.Algorithm == row.Algorithm {
		return &key{row: row, public: had.public, signers: had.signers}, nil
	}
	return open(row, k.box)
}
