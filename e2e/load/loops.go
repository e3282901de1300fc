package main

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// outcome is what came of a load: every latency of what succeeded, in order.
type outcome struct {
	latencies []time.Duration
	elapsed   time.Duration
	failures  int
	// failure is the first.
	failure error
}

func (o outcome) count() float64 { return float64(len(o.latencies)) }

// rate is what succeeded in a second.
func (o outcome) rate() float64 { return o.count() / o.elapsed.Seconds() }

// percentile is exact: the smallest latency that p of a hundred did not exceed.
func (o outcome) percentile(p float64) time.Duration {
	if len(o.latencies) == 0 {
		return 0
	}
	n := int(p / 100 * o.count())
	return o.latencies[min(n, len(o.latencies)-1)]
}

// caller does one thing after the other; each has its own.
type caller func() error

// note adds what a caller did. An empty latency is a failure.
func (o *outcome) note(latency time.Duration, err error) {
	if err == nil {
		o.latencies = append(o.latencies, latency)
		return
	}
	if o.failures++; o.failure == nil {
		o.failure = err
	}
}

// closedLoop has each caller begin again as soon as it has its answer, for d.
func closedLoop(ctx context.Context, callers []caller, d time.Duration) outcome {
	began := time.Now()
	until := began.Add(d)
	return gather(callers, began, func(do caller, o *outcome) {
		for now := time.Now(); now.Before(until) && ctx.Err() == nil && o.failures < tooMany; {
			err := do()
			done := time.Now()
			o.note(done.Sub(now), err)
			now = done
		}
	})
}

// errDone: there is nothing left to do.
var errDone = errors.New("done")

// untilDone has each caller go on until there is nothing left.
func untilDone(callers []caller) outcome {
	return gather(callers, time.Now(), func(do caller, o *outcome) {
		for o.failures < tooMany {
			began := time.Now()
			err := do()
			if errors.Is(err, errDone) {
				return
			}
			o.note(time.Since(began), err)
		}
	})
}

// openLoop has requests begin at a fixed rate, for as long as more does not say
// otherwise, whether or not those before are answered. A latency begins when the
// request was to begin, also when all callers were waiting then.
func openLoop(ctx context.Context, callers []caller, rate float64, more func(time.Duration) bool) outcome {
	began := time.Now()
	var next atomic.Int64
	return gather(callers, began, func(do caller, o *outcome) {
		for o.failures < tooMany {
			due := time.Duration(float64(next.Add(1)-1) / rate * float64(time.Second))
			if !more(due) || ctx.Err() != nil {
				return
			}
			time.Sleep(time.Until(began.Add(due)))
			err := do()
			o.note(time.Since(began.Add(due)), err)
		}
	})
}

// tooMany failures end a load: what follows would say nothing.
const tooMany = 100

// gather runs the callers, and puts together what they noted.
func gather(callers []caller, began time.Time, loop func(caller, *outcome)) outcome {
	parts := make([]outcome, len(callers))
	var running sync.WaitGroup
	for i, do := range callers {
		running.Go(func() { loop(do, &parts[i]) })
	}
	running.Wait()
	all := outcome{elapsed: time.Since(began)}
	for _, p := range parts {
		all.latencies = append(all.latencies, p.latencies...)
		if all.failures += p.failures; all.failure == nil {
			all.failure = p.failure
		}
	}
	slices.Sort(all.latencies)
	return all
}
