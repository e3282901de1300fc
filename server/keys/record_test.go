package keys_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/countersign/countersign/server/audit"
	"github.com/countersign/countersign/server/keys"
)

// trail is the audit of replicas that share a clock.
type trail struct {
	mu   sync.Mutex
	text bytes.Buffer
	*audit.Log
}

func (r *trail) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.Write(p)
}

func newTrail(t *testing.T, s *site) *trail {
	t.Helper()
	r := new(trail)
	var err error
	r.Log, err = audit.New(audit.Config{Output: r, Count: func(string) {}, Logger: slog.New(slog.DiscardHandler), Now: s.clock})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// take returns the events since the last time, with the kid they are about.
func (r *trail) take(t *testing.T) (events [][2]string) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	for line := range strings.Lines(r.text.String()) {
		var record struct{ Event, KID, Alg string }
		if err := json.Unmarshal([]byte(line), &record); err != nil {
			t.Fatal(err)
		}
		if record.Alg != "ES256" {
			t.Errorf("the record is %s", line)
		}
		events = append(events, [2]string{record.Event, record.KID})
	}
	r.text.Reset()
	return events
}

// Each step in the life of a key is told once, although three replicas see all of
// them, and two of these start in the middle.
func TestRotationIsAudited(t *testing.T) {
	s := openSite(t)
	log := newTrail(t, s)
	start := func() *keys.Keys {
		c := s.config(t, "ES256")
		c.Audit = log.Log
		k := make1(t, c)
		if err := k.Load(t.Context()); err != nil {
			t.Fatal(err)
		}
		return k
	}
	replicas := []*keys.Keys{start()}
	first := log.take(t)
	if len(first) != 3 || first[0][0] != "key.created" || first[1] != [2]string{"key.activated", first[0][1]} || first[2][0] != "key.created" {
		t.Fatalf("at the first start: %v", first)
	}
	told := map[string][]string{first[0][1]: {"key.created", "key.activated"}, first[2][1]: {"key.created"}}
	order := []string{first[0][1], first[2][1]}
	policy := replicas[0].Policy()
	end := s.clock().Add(policy.HintRetention + 5*policy.Period)
	for turn := 0; s.clock().Before(end); turn++ {
		if turn == 3 || turn == 5 {
			replicas = append(replicas, start())
		}
		for i := range replicas { // another one begins each time
			if err := replicas[(i+turn)%len(replicas)].Refresh(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		for _, e := range log.take(t) {
			if e[0] == "key.created" {
				order = append(order, e[1])
			}
			told[e[1]] = append(told[e[1]], e[0])
		}
		s.advance(policy.Period / 3)
	}
	life := []string{"key.created", "key.activated", "key.retired", "key.deleted"}
	deleted := 0
	for i, kid := range order {
		got := told[kid]
		if len(got) > len(life) || !slices.Equal(got, life[:len(got)]) {
			t.Errorf("key %d: %v", i, got)
		}
		if i < len(order)-2 && len(got) < 3 {
			t.Errorf("key %d of %d, which is followed by others: %v", i, len(order), got)
		}
		if len(got) == len(life) {
			deleted++
		}
	}
	if len(order) < 6 || deleted < 2 {
		t.Errorf("%d keys, %d deleted", len(order), deleted)
	}
}

// What two replicas do at once is told once.
func TestRacingRotationIsAuditedOnce(t *testing.T) {
	s := openSite(t)
	log := newTrail(t, s)
	load := func() {
		var running sync.WaitGroup
		for range 8 {
			running.Go(func() {
				c := s.config(t, "ES256")
				c.Audit = log.Log
				k, err := keys.New(c)
				if err == nil {
					err = k.Load(t.Context())
				}
				if err != nil {
					t.Error(err)
				}
			})
		}
		running.Wait()
	}
	load()
	if got := log.take(t); len(got) != 3 {
		t.Errorf("at the first start: %v", got)
	}
	policy := s.replica(t, "ES256").Policy()
	// Starts rotate without a lease. At the last one, the first key goes, too.
	for _, wait := range []time.Duration{policy.Period + time.Second, policy.HintRetention} {
		s.advance(wait)
		load()
		seen := map[string]bool{}
		events := log.take(t)
		for _, e := range events {
			if seen[fmt.Sprint(e)] {
				t.Errorf("%v is told twice: %v", e, events)
			}
			seen[fmt.Sprint(e)] = true
		}
		if len(events) < 3 {
			t.Errorf("after %v: %v", wait, events)
		}
	}
}
