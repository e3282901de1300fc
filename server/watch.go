package server

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// maxClockSkew is how far our clock may be from the database's before we say so.
const maxClockSkew = 30 * time.Second

// watch tells readiness and metrics where to look.
func (s *Server) watch() {
	s.cfg.Readiness.Add("database", s.checkDatabase)
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
	s.noteSkew(skew(before, after, theirs))
	return nil
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

func (s *Server) noteSkew(d time.Duration) {
	s.cfg.Metrics.ClockSkew(d)
	if d.Abs() <= maxClockSkew {
		s.cfg.Readiness.Warn("clock", "")
		return
	}
	s.cfg.Readiness.Warn("clock", fmt.Sprintf("this machine's clock is %s off the database's: tokens may be refused; check NTP", d.Round(time.Second)))
}
