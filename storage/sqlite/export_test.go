package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"io/fs"
)

// MigrateFiles is Migrate with other migrations.
func (s *Store) MigrateFiles(ctx context.Context, files fs.FS) error { return s.migrate(ctx, files) }

// OpenDying is Open with a writer that calls part before each statement, BEGIN
// and COMMIT, and after the last.
func OpenDying(c Config, part func()) (*Store, error) {
	s, err := Open(c)
	if err != nil {
		return nil, err
	}
	dying := sql.OpenDB(dyingConnector{s.writer.Driver(), s.dsn(writing), part})
	dying.SetMaxOpenConns(1)
	s.writer = dying
	return s, nil
}

// dyingConnector makes the writer's connections.
type dyingConnector struct {
	driver driver.Driver
	dsn    string
	part   func()
}

func (c dyingConnector) Driver() driver.Driver { return c.driver }

func (c dyingConnector) Connect(context.Context) (driver.Conn, error) {
	conn, err := c.driver.Open(c.dsn)
	if err != nil {
		return nil, err
	}
	return dyingConn{conn.(wholeConn), c.part}, nil
}

// wholeConn is what the driver's connections can do.
type wholeConn interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ExecerContext
	driver.QueryerContext
}

type dyingConn struct {
	wholeConn
	part func()
}

func (c dyingConn) BeginTx(ctx context.Context, o driver.TxOptions) (driver.Tx, error) {
	c.part()
	tx, err := c.wholeConn.BeginTx(ctx, o)
	return dyingTx{tx, c.part}, err
}

func (c dyingConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	c.part()
	return c.wholeConn.ExecContext(ctx, query, args)
}

func (c dyingConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	c.part()
	return c.wholeConn.QueryContext(ctx, query, args)
}

type dyingTx struct {
	driver.Tx
	part func()
}

func (t dyingTx) Commit() error {
	t.part()
	err := t.Tx.Commit()
	t.part()
	return err
}
