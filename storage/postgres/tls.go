package postgres

import (
	"context"
	"sync"

	"github.com/jackc/pgx/v5"
)

// renewed has each new connection use what is then in the files that the connection
// settings name: authorities, our certificate and key, passwords in ~/.pgpass. They
// are renewed by others, and what has expired must not need a restart. While they
// cannot be read, such as a key that has no certificate yet, it is what was there
// before.
type renewed struct {
	dsn string

	mu   sync.Mutex
	last *pgx.ConnConfig
}

// beforeConnect is pgx's hook.
func (r *renewed) beforeConnect(_ context.Context, c *pgx.ConnConfig) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now, err := pgx.ParseConfig(r.dsn); err == nil {
		r.last = now
	}
	if r.last != nil {
		c.TLSConfig, c.Fallbacks, c.Password = r.last.TLSConfig, r.last.Fallbacks, r.last.Password
	}
	return nil
}
