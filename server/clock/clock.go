// Package clock says whether this replica's clock may be acted on.
//
// Replicas share nothing but the database, so its clock is what theirs are held
// against. The package refuses to correct a clock: whoever is wrong does nothing
// that cannot be undone.
//
// Threat: a clock that is an hour ahead would delete keys whose tokens are in
// use, and grants and sessions that are alive.
package clock

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// MaxError is how far our clock may be from the database's for anything to be
// deleted by it.
const MaxError = 5 * time.Minute

// ErrWrong: this replica's clock is too far from the database's.
var ErrWrong = errors.New("clock differs too much from the database's")

// Pinger is what knows the database's time: a storage.Store.
type Pinger interface {
	Ping(ctx context.Context) (time.Time, error)
}

// Check returns ErrWrong when now, just read from our clock, is not within
// MaxError of the database's.
func Check(ctx context.Context, database Pinger, now time.Time) error {
	theirs, err := database.Ping(ctx)
	if err != nil {
		return fmt.Errorf("reading the database's clock: %w", err)
	}
	if off := now.Sub(theirs); off.Abs() > MaxError {
		return fmt.Errorf("%w, by %s", ErrWrong, off.Round(time.Second))
	}
	return nil
}
