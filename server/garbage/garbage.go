// Package garbage deletes what has expired, a little at a time.
//
// One replica at a time does it, by a lease; correctness does not rest on that.
// It refuses to decide what has expired: a row says so itself, and everybody
// else has taken it for absent before it is deleted here. A session says it in two
// ways, by its expiry and by not being used; nobody else may ever notice, so what
// ends with it ends here: the grants of clients that want that, and clients are
// told. It refuses to hurry:
// Pace leaves most of the database's time to requests, however much there is.
//
// Threat: a clock that is wrong deletes what is alive. A replica whose clock is
// too far from the database's deletes nothing, and the others wait for Grace,
// twice the error that two clocks may have against each other.
package garbage

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/countersign/countersign/server/clock"
	"github.com/countersign/countersign/storage"
)

const (
	// Interval is how often somebody looks for garbage.
	Interval = time.Minute

	// Grace is how long a row is kept after it expired: another replica, whose
	// clock is as wrong the other way, may still be using it.
	Grace = 2*clock.MaxError + 5*time.Minute

	// sweepInterval is how often a round begins at the oldest row, for those that
	// somebody held when their turn was.
	sweepInterval = time.Hour

	leaseName = "garbage"
)

// Store is what garbage collection needs of a storage.Store.
type Store interface {
	storage.Garbage
	storage.Leases
	clock.Pinger
	EndSessions(ctx context.Context, in storage.SessionEnd) (storage.Revoked, error)
}

// Config is what New needs.
type Config struct {
	// Store is what is emptied. Required.
	Store Store
	// Interval between rounds; zero: Interval.
	Interval time.Duration
	// Ending is what ends with a session, now; nil: nothing does.
	Ending func() storage.Ending
	// Ended is called after sessions have ended, so that whoever is to be told need
	// not wait; nil: nobody is called.
	Ended func()
	// IdleTimeout is how long a session may be unused; zero: for ever.
	IdleTimeout time.Duration
	// Pace; zero: DefaultPace.
	Pace Pace
	// Now is the clock. Required.
	Now func() time.Time
	// Random makes the replica's name and jitter. nil: crypto/rand.Reader.
	Random io.Reader
	// Logger is told of each round that deleted something, when rounds begin to
	// fail and when they work again. Required.
	Logger *slog.Logger
	// Count is told what was deleted, batch by batch. May be nil.
	Count func(table storage.Table, rows int)
}

// Collector deletes. Only one goroutine may use it at a time.
type Collector struct {
	cfg    Config
	holder string
	// from is where the next round begins in each table: before it, all is
	// deleted, and what is not vacuumed yet is slow to walk over.
	from map[storage.Table]time.Time
	// swept is the horizon of the last round that began at the oldest row.
	swept   time.Time
	trouble error // what was last logged
}

// New checks the configuration. It starts nothing.
func New(cfg Config) (*Collector, error) {
	if cfg.Store == nil || cfg.Now == nil || cfg.Logger == nil {
		return nil, errors.New("garbage: Store, Now and Logger are required")
	}
	if cfg.Interval < 0 || cfg.IdleTimeout < 0 {
		return nil, errors.New("garbage: Interval and IdleTimeout must not be negative")
	}
	if cfg.Interval == 0 {
		cfg.Interval = Interval
	}
	if cfg.Pace == (Pace{}) {
		cfg.Pace = DefaultPace
	}
	if cfg.Random == nil {
		cfg.Random = rand.Reader
	}
	if cfg.Ending == nil {
		cfg.Ending = func() storage.Ending { return storage.Ending{} }
	}
	if cfg.Ended == nil {
		cfg.Ended = func() {}
	}
	if cfg.Count == nil {
		cfg.Count = func(storage.Table, int) {}
	}
	var holder [16]byte
	if _, err := io.ReadFull(cfg.Random, holder[:]); err != nil {
		return nil, fmt.Errorf("naming this replica: %w", err)
	}
	return &Collector{cfg: cfg, holder: hex.EncodeToString(holder[:]), from: map[storage.Table]time.Time{}}, nil
}

// Run does a round at each interval, until ctx is done. Then somebody else may go on
// at once.
func (c *Collector) Run(ctx context.Context) {
	defer c.release(ctx)
	for wait(ctx, c.pause()) == nil {
		c.report(ctx, c.Round(ctx))
	}
}

// releaseTimeout bounds the last thing that a process does here.
const releaseTimeout = time.Second

// release gives the lease back, if this replica has it. A lease that cannot be given
// back ends by itself.
func (c *Collector) release(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTimeout)
	defer cancel()
	_ = c.cfg.Store.ReleaseLease(ctx, leaseName, c.holder)
}

// pause is about the interval, so that replicas do not ask for the lease in step.
func (c *Collector) pause() time.Duration {
	var b [2]byte
	if _, err := io.ReadFull(c.cfg.Random, b[:]); err != nil {
		return c.cfg.Interval
	}
	spread := c.cfg.Interval / 4
	return c.cfg.Interval - spread*time.Duration(binary.BigEndian.Uint16(b[:]))/(1<<16)
}

// wait returns nil after d, and the reason when ctx is done before.
func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// report logs a change of state, once.
func (c *Collector) report(ctx context.Context, err error) {
	switch {
	case ctx.Err() != nil:
		return // shutting down
	case err == nil && c.trouble != nil:
		c.cfg.Logger.InfoContext(ctx, "expired records are deleted again")
	case err != nil && (c.trouble == nil || kind(err) != kind(c.trouble)):
		c.cfg.Logger.ErrorContext(ctx, "expired records cannot be deleted, they are kept", slog.Any("error", err))
	}
	c.trouble = err
}

func kind(err error) error {
	for _, known := range []error{clock.ErrWrong, storage.ErrUnavailable} {
		if errors.Is(err, known) {
			return known
		}
	}
	return nil
}
