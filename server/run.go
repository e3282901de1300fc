package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/countersign/countersign/storage"
)

// How long to wait between attempts to start, growing.
const (
	firstRetry = 100 * time.Millisecond
	lastRetry  = 5 * time.Second
)

// Run loads what the provider needs, for as long as it takes, and then keeps the
// signing keys fresh, deletes what has expired, tells clients of sessions that
// have ended, keeps an eye on the clock, and keeps up with upstreams, until ctx
// ends and upstreams that are being asked have answered. It returns nil then, and an error when waiting would not help: a damaged
// database, a schema from the future, sealed keys that none of the secrets opens.
func (s *Server) Run(ctx context.Context) error {
	p, err := s.start(ctx)
	if ctx.Err() != nil {
		return nil
	}
	if err != nil {
		return fmt.Errorf("starting: %w", err)
	}
	if len(s.cfg.Secrets) == 0 {
		s.cfg.Logger.Warn("no secrets are configured, so the master secret is kept in the database: " +
			"whoever can read the database can sign tokens; set secrets before production, with this one among them")
	}
	s.provider.Store(p)
	s.cfg.Readiness.Changed()
	close(s.ready)
	s.cfg.Logger.Info("ready", slog.String("issuer", s.cfg.Policy.Issuer))
	var running sync.WaitGroup
	running.Go(func() { s.followClock(ctx) })
	running.Go(func() { p.keys.Run(ctx) })
	running.Go(func() { p.garbage.Run(ctx) })
	running.Go(func() { p.telling.Run(ctx) })
	running.Go(func() { p.rechecker.Run(ctx) })
	for i := range s.cfg.Connectors {
		if b := s.cfg.Connectors[i].Background(); b != nil {
			running.Go(func() { b.Run(ctx) })
		}
	}
	running.Wait()
	return nil
}

// start tries until the database answers. It says what it waits for each time that
// this is something else: one that is up at last may still refuse the password.
func (s *Server) start(ctx context.Context) (*provider, error) {
	wait, said := firstRetry, ""
	for {
		p, err := s.load(ctx)
		if err == nil || !errors.Is(err, storage.ErrUnavailable) {
			return p, err
		}
		if cause := err.Error(); cause != said {
			s.cfg.Logger.Warn("waiting for the database", slog.String("cause", cause))
			said = cause
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(wait):
			wait = min(2*wait, lastRetry)
		}
	}
}

// load does one attempt.
func (s *Server) load(ctx context.Context) (*provider, error) {
	if err := s.cfg.Store.Migrate(ctx); err != nil {
		return nil, fmt.Errorf("updating the schema: %w", err)
	}
	keyring, err := s.keyring(ctx)
	if err != nil {
		return nil, err
	}
	return s.newProvider(ctx, keyring)
}
