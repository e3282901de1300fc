package pgcluster

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/jackc/pgx/v5"
)

// Standby starts another server that follows this one and answers reads only.
func (c *Cluster) Standby(o Options) (*Cluster, error) {
	return c.StandbyAt(o, c.Address())
}

// StandbyAt is Standby for one that reaches this one at another address, such as a
// proxy's.
func (c *Cluster) StandbyAt(o Options, address string) (*Cluster, error) {
	return start(o, &Cluster{password: c.password}, func(standby *Cluster) error {
		return standby.copyFrom(c.DSNAt(address))
	})
}

// Follow forgets what this server knew, makes it one that follows another at an
// address, and starts it where it was: what becomes of an old primary.
func (c *Cluster) Follow(primary *Cluster, address string) error {
	if err := c.Stop(Immediate); err != nil {
		return err
	}
	if err := os.RemoveAll(c.data()); err != nil {
		return err
	}
	c.password = primary.password
	if err := c.copyFrom(primary.DSNAt(address)); err != nil {
		return err
	}
	return c.Start()
}

// copyFrom fills the folder of a server that is to follow another.
func (c *Cluster) copyFrom(dsn string) error {
	cmd := c.command("pg_basebackup", "--pgdata", c.data(), "--dbname", dsn,
		"--write-recovery-conf", "--wal-method", "stream", "--checkpoint", "fast", "--no-sync")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("pg_basebackup: %w\n%s", err, out)
	}
	return nil
}

// Promote makes a standby a primary, and waits until it takes writes.
func (c *Cluster) Promote(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, c.DSN())
	if err != nil {
		return fmt.Errorf("promoting a standby: %w", err)
	}
	defer conn.Close(ctx)
	var promoted bool
	if err := conn.QueryRow(ctx, `SELECT pg_promote(true, 60)`).Scan(&promoted); err != nil {
		return fmt.Errorf("promoting a standby: %w", err)
	}
	if !promoted {
		return errors.New("promoting a standby: it goes on following")
	}
	return nil
}
