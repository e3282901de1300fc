package telemetry

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// KeyAge is the age of one signing key.
type KeyAge struct {
	Algorithm string // RS256, ES256, EdDSA
	State     string // next, active, retired
	Age       time.Duration
}

// keyCollector asks for the ages whenever metrics are asked for, so that they
// are never those of the last rotation.
type keyCollector struct {
	age  *prometheus.Desc
	ages atomic.Pointer[func() []KeyAge]
}

func newKeyCollector() *keyCollector {
	return &keyCollector{age: prometheus.NewDesc(
		prometheus.BuildFQName(namespace, "", "key_age_seconds"),
		"Age of the oldest signing key by algorithm and state.",
		[]string{"algorithm", "state"}, nil,
	)}
}

// Describe and Collect implement prometheus.Collector.
func (k *keyCollector) Describe(descriptions chan<- *prometheus.Desc) { descriptions <- k.age }

// Collect sends the oldest of each algorithm and state: several keys are retired
// at once, and a series has one value.
func (k *keyCollector) Collect(metrics chan<- prometheus.Metric) {
	ages := k.ages.Load()
	if ages == nil || *ages == nil {
		return
	}
	oldest := map[KeyAge]time.Duration{}
	for _, key := range (*ages)() {
		series := KeyAge{Algorithm: key.Algorithm, State: key.State}
		if age, ok := oldest[series]; !ok || key.Age > age {
			oldest[series] = key.Age
		}
	}
	for series, age := range oldest {
		metrics <- prometheus.MustNewConstMetric(k.age, prometheus.GaugeValue, age.Seconds(), series.Algorithm, series.State)
	}
}
