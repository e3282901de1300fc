package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/countersign/countersign/server/telemetry"
)

// maxClockSkew is how far our clock may be from the database's before we say so.
const maxClockSkew = 30 * time.Second

// clockInterval is how often the two are compared though nobody asks whether we
// are ready.
const clockInterval = 15 * time.Second

// watch tells readiness and metrics where to look.
func (s *Server) watch() {
	s.cfg.Readiness.Add("database", s.checkDatabase)
	s.cfg.Readiness.Warn("clock", s.checkClock)
	s.cfg.Readiness.Warn("audit", func(context.Context) error { return s.cfg.Audit.Check() })
	for i := range s.cfg.Connectors {
		if c := &s.cfg.Connectors[i]; c.Background() != nil {
			s.cfg.Readiness.Warn("connector "+c.ID, func(context.Context) error { return c.Ready() })
		}
	}
	s.cfg.Metrics.Keys(s.keyAges)
	s.cfg.Readiness.Add("provider", func(context.Context) error {
		if s.provider.Load() == nil {
			return errors.New("signing keys are not loaded yet")
		}
		return nil
	})
}

// checkDatabase asks the database for its clock: that it answers is readiness,
// what it says is the skew.
func (s *Server) checkDatabase(ctx context.Context) error {
	before := s.cfg.Now()
	theirs, err := s.cfg.Store.Ping(ctx)
	if err != nil {
		return err
	}
	after := s.cfg.Now()
	d := skew(before, after, theirs)
	s.skew.Store(int64(d))
	s.cfg.Metrics.ClockSkew(d)
	s.sayClock(ctx, d)
	return nil
}

// sayClock logs when our clock leaves the database's, and when it is back.
func (s *Server) sayClock(ctx context.Context, d time.Duration) {
	off := d.Abs() > maxClockSkew
	switch was := s.clockOff.Swap(off); {
	case off && !was:
		s.cfg.Logger.LogAttrs(ctx, slog.LevelError, "this machine's clock and the database's differ, so that valid tokens may be refused and expired ones accepted: check NTP",
			slog.Duration("ahead", d.Round(time.Millisecond)))
	case !off && was:
		s.cfg.Logger.LogAttrs(ctx, slog.LevelInfo, "this machine's clock and the database's agree again")
	}
}

// followClock compares the clocks until ctx ends.
func (s *Server) followClock(ctx context.Context) {
	ticker := time.NewTicker(cmp.Or(s.cfg.ClockInterval, clockInterval))
	defer ticker.Stop()
	for {
		_ = s.checkDatabase(ctx) // readiness says whether it is away
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// skew is how far theirs is outside of the time in which it was asked for;
// positive when our clock is ahead.
func skew(before, after, theirs time.Time) time.Duration {
	switch {
	case theirs.Before(before):
		return before.Sub(theirs)
	case theirs.After(after):
		return -theirs.Sub(after)
	}
	return 0
}

// checkClock says so when the last answer of the database showed another time
// than ours.
func (s *Server) checkClock(context.Context) error {
	d := time.Duration(s.skew.Load())
	if d.Abs() <= maxClockSkew {
		return nil
	}
	return fmt.Errorf("this machine's clock is %s off the database's, so that valid tokens may be refused and expired ones accepted: check NTP", d.Round(time.Second))
}

// keyAges is how long the keys have been signing.
func (s *Server) keyAges() (ages []telemetry.KeyAge) {
	p := s.provider.Load()
	if p == nil {
		return nil
	}
	for alg, age := range p.keys.Ages(s.cfg.Now()) {
		ages = append(ages, telemetry.KeyAge{Algorithm: alg, State: "active", Age: age})
	}
	return ages
}
