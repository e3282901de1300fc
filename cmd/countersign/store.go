package main

import (
	"context"
	"fmt"
	"time"

	"github.com/countersign/countersign/cmd/countersign/config"
	"github.com/countersign/countersign/server"
	"github.com/countersign/countersign/server/telemetry"
	"github.com/countersign/countersign/storage"
	"github.com/countersign/countersign/storage/postgres"
	"github.com/countersign/countersign/storage/sqlite"
)

// openStore opens the configured engine, its calls counted and traced. It does
// not reach for the database yet.
func openStore(c config.Storage, metrics *telemetry.Metrics, tracing *telemetry.Tracing) (server.Store, error) {
	engine, err := openEngine(c)
	if err != nil {
		return nil, fmt.Errorf("opening the storage: %w", err)
	}
	observe := func(ctx context.Context, method string, err error, took time.Duration) {
		metrics.StoreCall(method, err, took)
	}
	return observedStore{storage.Observed(engine, time.Now, observe), engine}, nil
}

func openEngine(c config.Storage) (server.Store, error) {
	if s := c.SQLite3; s != nil {
		return sqlite.Open(sqlite.Config{File: s.File, StatementTimeout: s.StatementTimeout})
	}
	p := c.Postgres
	return postgres.Open(postgres.Config{
		DSN: p.DSN, Host: p.Host, Port: uint16(p.Port), Database: p.Database, User: p.User, Password: p.Password,
		SSL:               postgres.SSL{Mode: p.SSL.Mode, CAFile: p.SSL.CAFile, KeyFile: p.SSL.KeyFile, CertFile: p.SSL.CertFile},
		ConnectionTimeout: p.ConnectionTimeout, MaxOpenConns: p.MaxOpenConns, MaxIdleConns: p.MaxIdleConns,
		ConnMaxLifetime: p.ConnMaxLifetime, StatementTimeout: p.StatementTimeout, AcquireTimeout: p.AcquireTimeout,
	})
}

// observedStore is an observed engine that can still migrate.
type observedStore struct {
	storage.Store
	engine server.Store
}

func (s observedStore) Migrate(ctx context.Context) error { return s.engine.Migrate(ctx) }
