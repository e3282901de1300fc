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
	if mine, err := r.drain(ctx, r.unused); err != nil || !mine {
		return err
	}
	for _, table := range storage.Expiring() {
		mine, err := r.drain(ctx, func(ctx context.Context, limit int) (int, error) { return r.batch(ctx, table, limit) })
		if err != nil || !mine {
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

// drain deletes batch by batch, until one is not full. It reports whether the lease
// is still ours.
func (r *round) drain(ctx context.Context, batch func(context.Context, int) (int, error)) (mine bool, err error) {
	limit := r.cfg.Pace.First
	for {
		started := r.cfg.Now()
		if since := started.Sub(r.leased); since < 0 || since >= r.cfg.Interval {
			if mine, err := r.lead(ctx, started); err != nil || !mine {
				return false, err
			}
		}
		rows, err := batch(ctx, limit)
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
		Table: table, Now: r.horizon, From: r.from[table], Limit: limit, Ending: r.cfg.Ending(),
	})
	if err != nil {
		return 0, fmt.Errorf("deleting from %s: %w", table, err)
	}
	r.from[table] = done.UpTo
	r.note(table, done.Rows)
	return done.Rows, nil
}

// unused ends sessions that nobody has used for the idle timeout, for Grace longer.
func (r *round) unused(ctx context.Context, limit int) (int, error) {
	if r.cfg.IdleTimeout == 0 {
		return 0, nil
	}
	done, err := r.cfg.Store.EndSessions(ctx, storage.SessionEnd{
		Of:     storage.Selector{UnusedSince: r.horizon.Add(-r.cfg.IdleTimeout)},
		Before: r.horizon, Limit: limit, With: r.cfg.Ending(),
	})
	if err != nil {
		return 0, fmt.Errorf("ending sessions that are not used: %w", err)
	}
	r.note(storage.TableSessions, done.Rows)
	return done.Rows, nil
}

// note counts what a batch deleted.
func (r *round) note(table storage.Table, rows int) {
	r.deleted[table] += rows
	r.cfg.Count(table, rows)
	if table == storage.TableSessions && rows > 0 {
		r.cfg.Ended()
	}
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
