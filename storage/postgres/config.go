package postgres

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Config says how to reach the database and how long to wait for it.
type Config struct {
	// DSN is a libpq connection string or URL, with several hosts and
	// target_session_attrs if need be. Either DSN or Host is required.
	DSN string

	// Host (a name, an address, a folder of a Unix socket, or host:port), Port,
	// Database, User, Password and SSL are Dex's way to say the same.
	Host     string
	Port     uint16
	Database string
	User     string
	Password string
	SSL      SSL

	// ConnectionTimeout bounds connecting to one host. Default: the DSN's
	// connect_timeout, else 2 s.
	ConnectionTimeout time.Duration
	// MaxOpenConns bounds the pool. Default: the DSN's pool_max_conns, else 16.
	MaxOpenConns int
	// MaxIdleConns bounds the connections kept without work. Default: no bound
	// but MaxOpenConns. Below it, a load that comes and goes makes a connection
	// anew for many a statement, which costs more than the statement.
	MaxIdleConns int
	// ConnMaxLifetime is after how long a connection is replaced. Default: 1 h.
	ConnMaxLifetime time.Duration

	// AcquireTimeout bounds the wait for a connection of the pool: afterwards a
	// full pool is storage.ErrUnavailable. Default: 3 s.
	AcquireTimeout time.Duration
	// StatementTimeout bounds the wait for the database's answer. Default: 5 s.
	StatementTimeout time.Duration

	// Tracer is told of every statement, when set.
	Tracer pgx.QueryTracer
}

// SSL is used with Host; a DSN carries its own.
type SSL struct {
	// Mode is libpq's sslmode. Default: verify-full, the strictest.
	Mode string
	// CAFile, KeyFile and CertFile are paths of PEM files. They are read again for
	// each connection.
	CAFile   string
	KeyFile  string
	CertFile string
}

const (
	defaultConnectionTimeout = 2 * time.Second
	defaultAcquireTimeout    = 3 * time.Second
	defaultStatementTimeout  = 5 * time.Second
	defaultMaxOpenConns      = 16
	// cancelDelay is how long a connection whose statement was given up may take
	// to confirm that before it is closed.
	cancelDelay = time.Second
)

// pool translates the configuration into pgx's.
func (c Config) pool() (*pgxpool.Config, error) {
	dsn, err := c.connectionString()
	if err != nil {
		return nil, err
	}
	if min(c.ConnectionTimeout, c.ConnMaxLifetime, c.AcquireTimeout, c.StatementTimeout) < 0 || min(c.MaxOpenConns, c.MaxIdleConns) < 0 {
		return nil, errors.New("limits must not be negative")
	}
	pool, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		return nil, fmt.Errorf("reading the connection settings: %w", err) // pgx hides the password
	}
	if mode := pool.ConnConfig.DefaultQueryExecMode; mode == pgx.QueryExecModeExec || mode == pgx.QueryExecModeSimpleProtocol {
		return nil, fmt.Errorf("default_query_exec_mode %q sends values without their types: behind a pooler that keeps no prepared statements, write cache_describe", mode)
	}
	switch {
	case c.ConnectionTimeout > 0:
		pool.ConnConfig.ConnectTimeout = c.ConnectionTimeout
	case !strings.Contains(dsn, "connect_timeout"):
		pool.ConnConfig.ConnectTimeout = defaultConnectionTimeout
	}
	switch {
	case c.MaxOpenConns > 0:
		pool.MaxConns = int32(min(c.MaxOpenConns, 1<<16))
	case !strings.Contains(dsn, "pool_max_conns"):
		pool.MaxConns = defaultMaxOpenConns
	}
	if c.ConnMaxLifetime > 0 {
		pool.MaxConnLifetime = c.ConnMaxLifetime
	}
	// pgx makes room for 512 statements of either kind on each connection, a tenth of
	// all that lives in a process of this kind. There are fewer than these.
	if !strings.Contains(dsn, "statement_cache_capacity") {
		pool.ConnConfig.StatementCacheCapacity = 96
	}
	if !strings.Contains(dsn, "description_cache_capacity") {
		pool.ConnConfig.DescriptionCacheCapacity = 32
	}
	pool.MaxConnLifetimeJitter = pool.MaxConnLifetime / 10 // replicas do not reconnect all at once
	pool.ConnConfig.Tracer = c.Tracer
	pool.BeforeConnect = (&renewed{dsn: dsn}).beforeConnect
	pool.ConnConfig.OnNotice = heed
	// A statement that is given up is cancelled on the server too, so that
	// requests that go away do not leave work or a closed connection behind.
	pool.ConnConfig.BuildContextWatcherHandler = func(conn *pgconn.PgConn) ctxwatch.Handler {
		return &pgconn.CancelRequestContextWatcherHandler{Conn: conn, DeadlineDelay: cancelDelay}
	}
	return pool, nil
}

// connectionString is the DSN, or one made of Dex's fields.
func (c Config) connectionString() (string, error) {
	if c.DSN != "" {
		if c.Host != "" || c.Port != 0 || c.Database != "" || c.User != "" || c.Password != "" || c.SSL != (SSL{}) {
			return "", errors.New("dsn excludes host, port, database, user, password and ssl")
		}
		return c.DSN, nil
	}
	if c.Host == "" {
		return "", errors.New("dsn or host is required")
	}
	host, port := c.Host, ""
	if c.Port != 0 {
		port = strconv.Itoa(int(c.Port))
	} else if h, p, err := net.SplitHostPort(c.Host); err == nil {
		host, port = h, p
	}
	var dsn strings.Builder
	for _, setting := range [][2]string{
		{"host", host}, {"port", port}, {"dbname", c.Database}, {"user", c.User}, {"password", c.Password},
		{"sslmode", cmp.Or(c.SSL.Mode, "verify-full")},
		{"sslrootcert", c.SSL.CAFile}, {"sslkey", c.SSL.KeyFile}, {"sslcert", c.SSL.CertFile},
	} {
		if setting[1] != "" {
			fmt.Fprintf(&dsn, "%s='%s' ", setting[0], quoter.Replace(setting[1]))
		}
	}
	return dsn.String(), nil
}

// quoter escapes a value of a connection string.
var quoter = strings.NewReplacer(`\`, `\\`, `'`, `\'`)
