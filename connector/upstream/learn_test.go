package upstream_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/countersign/countersign/connector/upstream"
)

// It goes on after failures, sooner than after successes, and says which are new.
func TestLearn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		bad := errors.New("no answer")
		answers := []error{bad, bad, bad, nil, nil, bad, nil}
		began := time.Now()
		var at []time.Duration
		var told []bool
		upstream.Learn(ctx, time.Hour, func(ctx context.Context) error {
			n := len(at)
			if at = append(at, time.Since(began)); n == len(answers) {
				cancel()
				return ctx.Err() // nobody is told that it was ended
			}
			return answers[n]
		}, func(err error, first bool) {
			if !errors.Is(err, bad) {
				t.Errorf("told %v", err)
			}
			told = append(told, first)
		})
		want := []time.Duration{0, time.Second, 3 * time.Second, 7 * time.Second}
		want = append(want, 7*time.Second+time.Hour, 7*time.Second+2*time.Hour, 8*time.Second+2*time.Hour, 8*time.Second+3*time.Hour)
		if !slices.Equal(at, want) {
			t.Errorf("at %v, want %v", at, want)
		}
		if !slices.Equal(told, []bool{true, false, false, true}) {
			t.Errorf("told %v", told)
		}
	})
}

// However often it fails, the wait does not grow beyond a minute.
func TestLearnHasALongestWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		n := 0
		upstream.Learn(ctx, 24*time.Hour, func(context.Context) error { n++; return errors.New("no answer") }, func(error, bool) {})
		if n < 60 || n > 70 {
			t.Errorf("%d attempts in an hour", n)
		}
	})
}
