package sqlite

import (
	"context"
	"io/fs"
)

// MigrateFiles is Migrate with other migrations.
func (s *Store) MigrateFiles(ctx context.Context, files fs.FS) error { return s.migrate(ctx, files) }
