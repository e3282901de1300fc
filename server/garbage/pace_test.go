package garbage_test

import (
	"math"
	"testing"
	"time"

	"github.com/countersign/countersign/server/garbage"
)

func TestPace(t *testing.T) {
	const ms = time.Millisecond
	p := garbage.Pace{First: 100, Least: 25, Most: 1000, Target: 20 * ms, Rest: 3, LongestPause: 15 * time.Second}
	for name, c := range map[string]struct {
		limit int
		took  time.Duration
		next  int
		pause time.Duration
	}{
		"fast: twice as many":             {100, 9 * ms, 200, 27 * ms},
		"fast, up to the limit":           {600, 9 * ms, 1000, 27 * ms},
		"at half of the target":           {100, 10 * ms, 100, 30 * ms},
		"at the target":                   {100, 20 * ms, 100, 60 * ms},
		"slow: half as many":              {100, 21 * ms, 50, 63 * ms},
		"slow, down to the limit":         {30, time.Second, 25, 3 * time.Second},
		"very slow: a pause has an end":   {25, 10 * time.Second, 25, 15 * time.Second},
		"the clock was set back":          {100, -time.Hour, 200, 0},
		"the clock was set ahead":         {100, 1000 * time.Hour, 50, 15 * time.Second},
		"as far as numbers go":            {100, math.MaxInt64, 50, 15 * time.Second},
		"and as far as they go backwards": {100, math.MinInt64, 200, 0},
	} {
		t.Run(name, func(t *testing.T) {
			next, pause := p.After(c.limit, c.took)
			if next != c.next || pause != c.pause {
				t.Errorf("%d rows after %s, want %d after %s", next, pause, c.next, c.pause)
			}
		})
	}
}

// Whatever batches take, at most a tenth of the time goes to them, until a pause is
// as long as pauses get.
func TestPaceLeavesTimeToOthers(t *testing.T) {
	p := garbage.DefaultPace
	limit := p.First
	for took := time.Microsecond; took < 5*time.Second; took += took/3 + 1 {
		next, pause := p.After(limit, took)
		if took+pause < 10*took && pause != p.LongestPause {
			t.Errorf("a batch of %s is followed by %s", took, pause)
		}
		if next < p.Least || next > p.Most {
			t.Errorf("%d rows", next)
		}
		limit = next
	}
	if limit != p.Least {
		t.Errorf("%d rows after slow batches", limit)
	}
}
