package garbage

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/countersign/countersign/server/clock"
	"github.com/countersign/countersign/storage"
)

// round is one walk through all tables.
type round struct {
	*Collector
	// horizon: what expired until then is deleted. It stays where it is while a
	// round lasts, whatever the clock does.
	horizon time.Time
	// leased is when the lease was last asked for.
	leased  time.Time
	deleted map[storage.Table]int
}

// Round deletes everything that expired longer than Grace ago, if this replica
// has the lease. It may take as long as there is something left to delete. An
// error leaves the rest to the next round.
func (c *Collector) Round(ctx context.Context) error {
	r := &round{Collector: c, deleted: map[storage.Table]int{}}
	started := c.cfg.Now()
	// Before the lease: whoever may not delete must not keep others from it.
	if err := clock.Check(ctx, c.cfg.Store, started); err != nil {
		return fmt.Errorf("this replica deletes nothing: %w", err)
	}
	mine, err := r.lead(ctx, started)
	if err != nil || !mine {
		return err
	}
	r.horizon = started.Add(-Grace)
	c.begin(r.horizon)
	defer func() { r.log(ctx, c.cfg.Now().Sub(started)) }()
	for _, table := range storage.Expiring() {
		if mine, err := r.empty(ctx, table); err != nil || !mine {
			return err
		}
	}
	return nil
}

// begin goes back to the oldest rows once in a while, and after the clock was
// set back.
func (c *Collector) begin(horizon time.Time) {
	if since := horizon.Sub(c.swept); since < 0 || since >= sweepInterval {
		clear(c.from)
		c.swept = horizon
	}
}

// lead acquires or extends the lease, for long enough to keep it until the next
// round.
func (r *round) lead(ctx context.Context, now time.Time) (mine bool, err error) {
	r.leased = now
	mine, err = r.cfg.Store.AcquireLease(ctx, leaseName, r.holder, now, now.Add(3*r.cfg.Interval))
	if err != nil {
		return false, fmt.Errorf("acquiring the lease for garbage: %w", err)
	}
	return mine, nil
}

// empty deletes from one table, batch by batch. It reports whether the lease is
// still ours.
func (r *round) empty(ctx context.Context, table storage.Table) (mine bool, err error) {
	limit := r.cfg.Pace.First
	for {
		started := r.cfg.Now()
		if since := started.Sub(r.leased); since < 0 || since >= r.cfg.Interval {
			if mine, err := r.lead(ctx, started); err != nil || !mine {
				return false, err
			}
		}
		rows, err := r.batch(ctx, table, limit)
		if err != nil {
			return false, err
		}
		if rows < limit {
			return true, nil
		}
		next, pause := r.cfg.Pace.After(limit, r.cfg.Now().Sub(started))
		if err := wait(ctx, pause); err != nil {
			return false, err
		}
		limit = next
	}
}

func (r *round) batch(ctx context.Context, table storage.Table, limit int) (int, error) {
	done, err := r.cfg.Store.DeleteExpired(ctx, storage.Expired{
		Table: table, Now: r.horizon, From: r.from[table], Limit: limit,
	})
	if err != nil {
		return 0, fmt.Errorf("deleting from %s: %w", table, err)
	}
	r.from[table] = done.UpTo
	r.deleted[table] += done.Rows
	r.cfg.Count(table, done.Rows)
	return done.Rows, nil
}

// log says what a round deleted, if anything.
func (r *round) log(ctx context.Context, took time.Duration) {
	var attrs []slog.Attr
	for _, table := range storage.Expiring() {
		if rows := r.deleted[table]; rows > 0 {
			attrs = append(attrs, slog.Int(string(table), rows))
		}
	}
	if len(attrs) > 0 {
		attrs = append(attrs, slog.Duration("took", took))
		r.cfg.Logger.LogAttrs(ctx, slog.LevelInfo, "expired records deleted", attrs...)
	}
}
