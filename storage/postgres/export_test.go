package postgres

import (
	"context"
	"io/fs"
)

// MigrateFiles is Migrate with other migrations.
func (s *Store) MigrateFiles(ctx context.Context, files fs.FS) error { return s.migrate(ctx, files) }

// Connections is how many connections the pool has.
func (s *Store) Connections() (total, max int) {
	stat := s.pool.Stat()
	return int(stat.TotalConns()), int(stat.MaxConns())
}

// Pool shows how the configuration was understood.
var Pool = Config.pool

// RevokeGrantsQuery and EndSessionsQuery are the statements that find what ends.
var RevokeGrantsQuery, EndSessionsQuery = revokeGrants, lockSessions
