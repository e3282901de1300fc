package config

import "time"

// Storage is where records live. Exactly one of SQLite3 and Postgres is set.
type Storage struct {
	// Type is "sqlite3" (default; "sqlite" is the same) or "postgres".
	Type string `mapstructure:"type"`
	// SQLite3 is config: of the type sqlite3.
	SQLite3 *SQLite3 `mapstructure:"sqlite3" config:"variant=sqlite3|sqlite"`
	// Postgres is config: of the type postgres.
	Postgres *Postgres `mapstructure:"postgres" config:"variant"`
}

// SQLite3 is one file on this machine, for one server process.
type SQLite3 struct {
	// File is created when it does not exist. A relative path is relative to the
	// working folder. Default: data/countersign.db.
	File string `mapstructure:"file"`
	// StatementTimeout bounds one call to the database. Default: 5s.
	StatementTimeout time.Duration `mapstructure:"statementTimeout"`
}

// Postgres is a PostgreSQL database, or one that speaks its protocol.
type Postgres struct {
	// DSN is a connection string or URL, with several hosts if need be. It stands
	// instead of the keys from Host to SSL.
	DSN string `mapstructure:"dsn" config:"env,file"`
	// Host is a name, an address, or the folder of a Unix socket.
	Host string `mapstructure:"host"`
	// Port is that of the server. Default: 5432.
	Port int `mapstructure:"port"`
	// Database is the database's name.
	Database string `mapstructure:"database"`
	// User is the role to connect as.
	User string `mapstructure:"user"`
	// Password is the role's.
	Password string `mapstructure:"password" config:"env,file"`
	// SSL is how the connection is protected.
	SSL SSL `mapstructure:"ssl"`
	// ConnectionTimeout bounds making a connection; a bare number is seconds.
	// Default: 5s.
	ConnectionTimeout time.Duration `mapstructure:"connectionTimeout" config:"seconds"`
	// MaxOpenConns bounds the connections of this process. Default: 20.
	MaxOpenConns int `mapstructure:"maxOpenConns"`
	// MaxIdleConns is how many idle connections are kept. Default: all.
	MaxIdleConns int `mapstructure:"maxIdleConns"`
	// ConnMaxLifetime is when a connection is replaced; a bare number is seconds.
	// Default: 30m.
	ConnMaxLifetime time.Duration `mapstructure:"connMaxLifetime" config:"seconds"`
	// StatementTimeout bounds one statement. Default: 5s.
	StatementTimeout time.Duration `mapstructure:"statementTimeout"`
	// AcquireTimeout bounds the wait for a free connection. Default: 2s.
	AcquireTimeout time.Duration `mapstructure:"acquireTimeout"`
}

// SSL is how a PostgreSQL connection is protected, in libpq's terms.
type SSL struct {
	// Mode is disable, allow, prefer, require, verify-ca or verify-full.
	// Default: verify-full.
	Mode string `mapstructure:"mode"`
	// CAFile holds the certificates that may sign the server's. Default: the
	// system's.
	CAFile string `mapstructure:"caFile"`
	// KeyFile and CertFile are this client's certificate.
	KeyFile  string `mapstructure:"keyFile"`
	CertFile string `mapstructure:"certFile"`
}

// defaultStorage fits the storage block of the file.
func defaultStorage(block any) Storage {
	if b, ok := block.(map[string]any); ok && b["postgres"] != nil {
		return Storage{Type: "postgres", Postgres: &Postgres{
			Port:              5432,
			SSL:               SSL{Mode: "verify-full"},
			ConnectionTimeout: 5 * time.Second,
			MaxOpenConns:      20,
			ConnMaxLifetime:   30 * time.Minute,
			StatementTimeout:  5 * time.Second,
			AcquireTimeout:    2 * time.Second,
		}}
	}
	return Storage{Type: "sqlite3", SQLite3: &SQLite3{File: "data/countersign.db", StatementTimeout: 5 * time.Second}}
}

func (c *checker) storage() {
	const path = "storage.config"
	if p := c.cfg.Storage.Postgres; p != nil {
		c.postgres(p, path)
	}
	if s := c.cfg.Storage.SQLite3; s != nil {
		if s.File == ":memory:" {
			c.problem(path+".file", "names no file: a store in memory would forget its signing keys; give the path of a file")
		}
		c.notEmpty(path+".file", s.File)
	}
}

func (c *checker) postgres(p *Postgres, path string) {
	c.notEmpty(path+".dsn", p.DSN)
	if c.given(path + ".dsn") {
		for _, key := range []string{"host", "port", "database", "user", "password", "ssl"} {
			if c.given(path + "." + key) {
				c.problem(path+"."+key, "stands beside dsn, which says it already: keep one of them")
			}
		}
	} else {
		c.required(path+".host", p.Host, "give host and database, or dsn")
		c.required(path+".database", p.Database, "give the name of the database")
	}
	c.notEmpty(path+".password", p.Password)
	c.between(path+".port", p.Port, 1, 65535)
	c.between(path+".maxOpenConns", p.MaxOpenConns, 1, 10_000)
	c.between(path+".maxIdleConns", p.MaxIdleConns, 0, p.MaxOpenConns)
	c.ssl(p.SSL, path+".ssl")
}

func (c *checker) ssl(s SSL, path string) {
	c.oneOf(path+".mode", s.Mode, "disable", "allow", "prefer", "require", "verify-ca", "verify-full")
	c.readable(path+".caFile", s.CAFile)
	c.readable(path+".certFile", s.CertFile)
	c.readable(path+".keyFile", s.KeyFile)
	if (s.CertFile == "") != (s.KeyFile == "") {
		c.problem(path, "has one of certFile and keyFile: give both or none")
	}
}

// between reports a number outside its bounds.
func (c *checker) between(path string, n, low, high int) {
	if n < low || n > high {
		c.problem(path, "is %d: give a number from %d to %d", n, low, high)
	}
}
