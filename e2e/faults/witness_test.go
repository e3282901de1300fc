package faults_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// witness verifies id_tokens as a relying party does, with the keys that each
// replica publishes.
type witness struct {
	*world
	*book

	mu sync.Mutex
	// known are the keys of each replica, as of asked.
	known [2]jose.JSONWebKeySet
	asked [2]time.Time
	// kids are those that signed something.
	kids []string
	// later are tokens that no replica could be asked about.
	later []string
}

// young is how old known keys may be: less than relying parties are allowed to
// keep them.
const young = time.Second

// verify checks an id_token with the keys of every replica that answers.
func (w *witness) verify(token string) {
	signed, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.RS256})
	if !w.check(idTokens, err == nil, "%v", err) {
		return
	}
	kid := signed.Signatures[0].Header.KeyID
	w.mu.Lock()
	defer w.mu.Unlock()
	if !slices.Contains(w.kids, kid) {
		w.kids = append(w.kids, kid)
	}
	asked := false
	for i := range w.replicas {
		keys, err := w.keysOf(i, kid)
		if err != nil {
			continue // a replica that is away is asked again at the end
		}
		asked = true
		if !w.check(idTokens, len(keys) == 1, "replica %d does not publish key %s", i, kid) {
			continue
		}
		payload, err := signed.Verify(keys[0])
		w.check(idTokens, err == nil && strings.Contains(string(payload), fmt.Sprintf("%q", w.issuer)), "%v: %s", err, payload)
	}
	if !asked {
		w.later = append(w.later, token)
	}
}

// keysOf returns the keys of that id at a replica: it asks when it has not done so
// for a while, or does not know the id. The lock is held.
func (w *witness) keysOf(i int, kid string) ([]jose.JSONWebKey, error) {
	if keys := w.known[i].Key(kid); len(keys) > 0 && time.Since(w.asked[i]) < young {
		return keys, nil
	}
	began := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, w.issuer+"/keys", nil)
	if err != nil {
		return nil, err
	}
	resp, err := w.replicas[i].RoundTrip(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, errAgain
	}
	var set jose.JSONWebKeySet
	if err := json.NewDecoder(resp.Body).Decode(&set); err != nil {
		return nil, err
	}
	w.known[i], w.asked[i] = set, began
	return set.Key(kid), nil
}

// catchUp verifies what could not be verified when it was issued.
func (w *witness) catchUp() {
	w.mu.Lock()
	later := w.later
	w.later = nil
	w.mu.Unlock()
	for _, token := range later {
		w.verify(token)
	}
	if len(w.later) > 0 {
		w.book.t.Errorf("%d id_tokens could not be verified", len(w.later))
	}
}

// signers is how many keys have signed so far.
func (w *witness) signers() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.kids)
}
