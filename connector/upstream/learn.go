package upstream

import (
	"context"
	"time"
)

// The waits between attempts to learn of an upstream what nothing can do without: the
// first, doubled with each that fails up to the last.
const (
	firstRetry = time.Second
	lastRetry  = time.Minute
)

// Learn calls learn until ctx ends: at once, then every interval, and earlier after
// one that failed. failed is told each failure, and whether it is the first in a row.
func Learn(ctx context.Context, interval time.Duration, learn func(context.Context) error, failed func(err error, first bool)) {
	wait := firstRetry
	for {
		next := interval
		if err := learn(ctx); err != nil && ctx.Err() == nil {
			failed(err, wait == firstRetry)
			next, wait = wait, min(2*wait, lastRetry)
		} else if err == nil {
			wait = firstRetry
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(next):
		}
	}
}
