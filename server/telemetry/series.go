package telemetry

import (
	"maps"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// series keeps what sets of labels lead to: finding it takes Prometheus several
// times as long as counting. Labels are closed sets, so there are few. It is safe
// for concurrent use.
type series[Labels comparable, Found any] struct {
	find  func(Labels) Found
	one   sync.Mutex
	known atomic.Pointer[map[Labels]Found]
}

func newSeries[Labels comparable, Found any](find func(Labels) Found) *series[Labels, Found] {
	s := &series[Labels, Found]{find: find}
	s.known.Store(&map[Labels]Found{})
	return s
}

// of returns what the labels lead to.
func (s *series[Labels, Found]) of(l Labels) Found {
	if found, ok := (*s.known.Load())[l]; ok {
		return found
	}
	s.one.Lock()
	defer s.one.Unlock()
	known := maps.Clone(*s.known.Load())
	known[l] = s.find(l) // the same as what somebody else may have found meanwhile
	s.known.Store(&known)
	return known[l]
}

// timed is a count and how long what is counted took.
type timed struct {
	count    prometheus.Counter
	duration prometheus.Observer
}
