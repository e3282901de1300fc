package main

import (
	"context"
	"fmt"

	"github.com/countersign/countersign/cmd/countersign/config"
	"github.com/countersign/countersign/server"
	"github.com/countersign/countersign/server/telemetry"
	"github.com/countersign/countersign/storage"
	"github.com/countersign/countersign/storage/postgres"
	"github.com/countersign/countersign/storage/sqlite"
)

// openStore opens the configured engine, its calls measured and traced. It does
// not reach for the database yet.
func openStore(c config.Storage, metrics *telemetry.Metrics) (server.Store, error) {
	engine, err := openEngine(c)
	if err != nil {
		return nil, fmt.Errorf("opening the storage: %w", err)
	}
	return measuredStore{metrics.Store(engine), engine}, nil
}

func openEngine(c config.Storage) (server.Store, error) {
	if s := c.SQLite3; s != nil {
		return sqlite.Open(sqlite.Config{File: s.File, StatementTimeout: s.StatementTimeout})
	}
	p := *c.Postgres
	if p.DSN != "" {
		// It says all of where to connect: the defaults of the parts do not apply.
		p.Port, p.SSL = 0, config.SSL{}
	}
	return postgres.Open(postgres.Config{
		DSN: p.DSN, Host: p.Host, Port: uint16(p.Port), Database: p.Database, User: p.User, Password: p.Password,
		SSL:               postgres.SSL{Mode: p.SSL.Mode, CAFile: p.SSL.CAFile, KeyFile: p.SSL.KeyFile, CertFile: p.SSL.CertFile},
		ConnectionTimeout: p.ConnectionTimeout, MaxOpenConns: p.MaxOpenConns, MaxIdleConns: p.MaxIdleConns,
		ConnMaxLifetime: p.ConnMaxLifetime, StatementTimeout: p.StatementTimeout, AcquireTimeout: p.AcquireTimeout,
	})
}

// measuredStore is a measured engine that can still migrate.
type measuredStore struct {
	storage.Store
	engine server.Store
}

func (s measuredStore) Migrate(ctx context.Context) error { return s.engine.Migrate(ctx) }
