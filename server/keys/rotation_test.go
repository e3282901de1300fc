package keys_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/countersign/countersign/server/keys"
	"github.com/countersign/countersign/storage"
)

// t0 is the instant that the tables count from.
var t0 = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func policy(t *testing.T, period, lifetime time.Duration, algorithms ...string) keys.Policy {
	t.Helper()
	p, err := keys.NewPolicy(algorithms, period, lifetime)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// row is the key of a sequence that is active from t0+at.
func row(alg string, sequence int64, at time.Duration) storage.SigningKey {
	return storage.SigningKey{KID: fmt.Sprintf("%s-%d", alg, sequence), Algorithm: alg, Sequence: sequence, ActiveFrom: t0.Add(at)}
}

func TestPlan(t *testing.T) {
	const (
		day       = 24 * time.Hour
		lead      = 5*time.Minute + 15*time.Second + 30*time.Second
		retention = 10*time.Minute + 15*time.Second + 30*time.Second
		hints     = 30 * day
	)
	daily := policy(t, day, 10*time.Minute, "RS256")
	if daily.PublishLead != lead || daily.Retention != retention || daily.HintRetention != hints {
		t.Fatalf("lead %s, retention %s, of hints %s", daily.PublishLead, daily.Retention, daily.HintRetention)
	}
	type rows = []storage.SigningKey
	add := func(alg string, sequence int64, at time.Duration) keys.Addition {
		return keys.Addition{Algorithm: alg, Sequence: sequence, ActiveFrom: t0.Add(at)}
	}
	for name, c := range map[string]struct {
		policy keys.Policy
		stored rows
		now    time.Duration
		add    []keys.Addition
		remove []string
	}{
		"empty store": {daily, nil, 0,
			[]keys.Addition{add("RS256", 1, 0), add("RS256", 2, day)}, nil},
		"the maker died after the first key": {daily, rows{row("RS256", 1, 0)}, time.Second,
			[]keys.Addition{add("RS256", 2, day)}, nil},
		"steady: nothing to do": {daily, rows{row("RS256", 1, 0), row("RS256", 2, day)}, day - 1, nil, nil},
		"next takes over and gets a next": {daily, rows{row("RS256", 1, 0), row("RS256", 2, day)}, day,
			[]keys.Addition{add("RS256", 3, 2*day)}, nil},
		"predecessor is kept until the retention of hints is over": {daily,
			rows{row("RS256", 1, 0), row("RS256", 2, day), row("RS256", 3, 2*day)}, day + hints - time.Second,
			[]keys.Addition{add("RS256", 4, day+hints-time.Second+lead)}, nil},
		"predecessor is deleted": {daily,
			rows{row("RS256", 1, 0), row("RS256", 2, day), row("RS256", 3, 31*day), row("RS256", 4, 32*day)}, day + hints,
			nil, []string{"RS256-1"}},
		"32 periods are the most": {policy(t, time.Hour, 10*time.Minute, "RS256"),
			rows{row("RS256", 1, 0), row("RS256", 2, time.Hour), row("RS256", 3, 33*time.Hour), row("RS256", 4, 34*time.Hour)}, 33 * time.Hour,
			nil, []string{"RS256-1"}},
		"down for a week: the old key signs for one more lead": {daily,
			rows{row("RS256", 5, -25*day), row("RS256", 6, -24*day), row("RS256", 7, 0)}, 7 * day,
			[]keys.Addition{add("RS256", 8, 7*day+lead)}, []string{"RS256-5"}},
		"down for a week: nothing more while the next is pending": {daily,
			rows{row("RS256", 7, 0), row("RS256", 8, 7*day+lead)}, 7*day + lead - 1, nil, nil},
		"down until just before the next was due": {daily, rows{row("RS256", 1, 0)}, day - time.Minute,
			[]keys.Addition{add("RS256", 2, day-time.Minute+lead)}, nil},
		"another replica's clock is ahead by the skew": {daily,
			rows{row("RS256", 1, 0), row("RS256", 2, 2*day+lead+30*time.Second)}, 2 * day, nil, nil},
		"period shortened: a predecessor for the pending key": {policy(t, time.Hour, 10*time.Minute, "RS256"),
			rows{row("RS256", 1, 0), row("RS256", 2, 30*day)}, 10 * time.Minute,
			[]keys.Addition{add("RS256", 3, time.Hour)}, nil},
		"period shortened: then the late one goes": {policy(t, time.Hour, 10*time.Minute, "RS256"),
			rows{row("RS256", 1, 0), row("RS256", 2, 30*day), row("RS256", 3, time.Hour)}, 10 * time.Minute,
			nil, []string{"RS256-2"}},
		"period shortened: one nearly due takes its turn": {policy(t, time.Hour, 10*time.Minute, "RS256"),
			rows{row("RS256", 1, 0), row("RS256", 2, 61*time.Minute), row("RS256", 3, time.Hour)}, 59 * time.Minute,
			nil, nil},
		"period lengthened: the pending key keeps its date": {policy(t, 30*day, 10*time.Minute, "RS256"),
			rows{row("RS256", 1, 0), row("RS256", 2, day)}, time.Hour, nil, nil},
		"period lengthened: the one after is later": {policy(t, 30*day, 10*time.Minute, "RS256"),
			rows{row("RS256", 1, 0), row("RS256", 2, day)}, day,
			[]keys.Addition{add("RS256", 3, 31*day)}, nil},
		"clock steps back before every key": {daily, rows{row("RS256", 1, 0), row("RS256", 2, day)}, -3 * day, nil, nil},
		"clock steps back, retired keys present": {daily,
			rows{row("RS256", 1, 0), row("RS256", 2, day), row("RS256", 3, 2*day)}, -time.Hour, nil, nil},
		"a key from a clock that was a year ahead": {daily,
			rows{row("RS256", 1, 0), row("RS256", 2, 365*day)}, time.Hour,
			[]keys.Addition{add("RS256", 3, day)}, nil},
		"two algorithms, one of them new": {policy(t, day, 10*time.Minute, "RS256", "ES256"),
			rows{row("RS256", 1, 0), row("RS256", 2, day)}, time.Hour,
			[]keys.Addition{add("ES256", 1, time.Hour), add("ES256", 2, time.Hour+day)}, nil},
		"two algorithms do not mix": {policy(t, day, 10*time.Minute, "RS256", "ES256"),
			rows{row("ES256", 1, -time.Hour), row("ES256", 2, day-time.Hour), row("RS256", 1, 0), row("RS256", 2, day)},
			day - time.Hour, []keys.Addition{add("ES256", 3, 2*day-time.Hour)}, nil},
		"an algorithm no longer used keeps its keys": {policy(t, day, 10*time.Minute, "ES256"),
			rows{row("ES256", 1, 0), row("ES256", 2, day), row("RS256", 1, 0), row("RS256", 2, day)}, time.Hour, nil, nil},
		"and loses its signing key after the retention": {policy(t, day, 10*time.Minute, "ES256"),
			rows{row("ES256", 2, 31*day), row("ES256", 3, 32*day), row("RS256", 1, 0), row("RS256", 2, day)}, day + hints,
			nil, []string{"RS256-1"}},
		"and its last one after the period and the retention": {policy(t, day, 10*time.Minute, "ES256"),
			rows{row("ES256", 3, 32*day), row("ES256", 4, 33*day), row("RS256", 2, day)}, 2*day + hints,
			nil, []string{"RS256-2"}},
		"but not before": {policy(t, day, 10*time.Minute, "ES256"),
			rows{row("ES256", 3, 31*day), row("ES256", 4, 32*day+time.Minute), row("RS256", 2, day)}, 2*day + hints - 1, nil, nil},
		"rows in any order": {daily, rows{row("RS256", 2, day), row("RS256", 1, 0)}, time.Hour, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			add, remove := keys.Plan(c.stored, t0.Add(c.now), c.policy)
			if diff := cmp.Diff(c.add, add); diff != "" {
				t.Errorf("added (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(c.remove, remove); diff != "" {
				t.Errorf("removed (-want +got):\n%s", diff)
			}
		})
	}
}

// do takes the steps of a plan.
func do(stored []storage.SigningKey, add []keys.Addition, remove []string) (after []storage.SigningKey) {
	for _, k := range stored {
		if !contains(remove, k.KID) {
			after = append(after, k)
		}
	}
	for _, a := range add {
		after = append(after, storage.SigningKey{KID: fmt.Sprintf("%s-%d", a.Algorithm, a.Sequence), Algorithm: a.Algorithm, Sequence: a.Sequence, ActiveFrom: a.ActiveFrom})
	}
	return after
}

func contains(list []string, s string) bool {
	for _, l := range list {
		if l == s {
			return true
		}
	}
	return false
}

// TestPlanSettles plays months of irregular maintenance, with periods that
// change: whatever happened, a plan that was carried out leaves nothing to do,
// no key begins to sign before its lead, and what signed at any time stays until
// its tokens have expired.
func TestPlanSettles(t *testing.T) {
	periods := []time.Duration{10 * time.Second, 24 * time.Hour, time.Hour, 30 * 24 * time.Hour, 10 * time.Minute}
	steps := []time.Duration{3 * time.Second, 2 * time.Hour, 15 * time.Second, 9 * 24 * time.Hour, 40 * time.Minute, 26 * time.Hour}
	const lifetime = time.Minute
	var stored []storage.SigningKey
	published := map[string]time.Time{}
	lastUse := map[string]time.Time{}
	now := t0
	for i := range 2000 {
		p := policy(t, periods[i/37%len(periods)], lifetime, "RS256")
		for round := 0; ; round++ {
			add, remove := keys.Plan(stored, now, p)
			if len(add)+len(remove) == 0 {
				break
			}
			if round == 4 {
				t.Fatalf("step %d: still planning: add %v, remove %v", i, add, remove)
			}
			for _, kid := range remove {
				if used, ok := lastUse[kid]; ok && now.Before(used.Add(lifetime)) {
					t.Fatalf("step %d: %s is deleted %s after it signed", i, kid, now.Sub(used))
				}
			}
			for _, a := range add {
				if a.Sequence > 1 && a.ActiveFrom.Before(now.Add(p.PublishLead)) {
					t.Fatalf("step %d: key %d signs %s after it is published", i, a.Sequence, a.ActiveFrom.Sub(now))
				}
			}
			stored = do(stored, add, remove)
		}
		for _, k := range stored {
			if _, ok := published[k.KID]; !ok {
				published[k.KID] = now
			}
		}
		lastUse[signer(stored, now).KID] = now
		now = now.Add(steps[i%len(steps)])
		lastUse[signer(stored, now).KID] = now
	}
}

func signer(stored []storage.SigningKey, now time.Time) (s storage.SigningKey) {
	for _, k := range stored {
		if !k.ActiveFrom.After(now) && k.ActiveFrom.After(s.ActiveFrom) {
			s = k
		}
	}
	return s
}

func TestNewPolicy(t *testing.T) {
	p := policy(t, 10*time.Second, time.Minute, "RS256")
	if p.PublishLead >= p.Period {
		t.Errorf("lead %s does not fit into a period of %s", p.PublishLead, p.Period)
	}
	if got := policy(t, 10*time.Second, 20*time.Minute, "RS256"); got.HintRetention != got.Retention {
		t.Errorf("hints are verified for %s, tokens for %s", got.HintRetention, got.Retention)
	}
	if p.JWKSMaxAge != 2500*time.Millisecond || p.ReloadInterval != 2500*time.Millisecond {
		t.Errorf("max-age %s, reload %s", p.JWKSMaxAge, p.ReloadInterval)
	}
	for name, c := range map[string]struct {
		algorithms       []string
		period, lifetime time.Duration
	}{
		"no algorithm":          {nil, time.Hour, time.Hour},
		"none":                  {[]string{"none"}, time.Hour, time.Hour},
		"symmetric":             {[]string{"RS256", "HS256"}, time.Hour, time.Hour},
		"twice":                 {[]string{"RS256", "RS256"}, time.Hour, time.Hour},
		"period too short":      {[]string{"RS256"}, time.Second, time.Hour},
		"negative period":       {[]string{"RS256"}, -time.Hour, time.Hour},
		"no lifetime":           {[]string{"RS256"}, time.Hour, 0},
		"hundreds of live keys": {[]string{"RS256"}, 10 * time.Second, 24 * time.Hour},
	} {
		if _, err := keys.NewPolicy(c.algorithms, c.period, c.lifetime); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
