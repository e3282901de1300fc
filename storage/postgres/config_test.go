package postgres_test

import (
	"strings"
	"testing"
	"time"

	"github.com/countersign/countersign/storage/postgres"
)

func TestConfigOfDex(t *testing.T) {
	pool, err := postgres.Pool(postgres.Config{
		Host: "db.example.com", Port: 5433, Database: "o'brien", User: `back\slash`, Password: `p ' \ "=`,
		SSL: postgres.SSL{Mode: "require"}, ConnectionTimeout: 7 * time.Second, MaxOpenConns: 3, ConnMaxLifetime: time.Minute,
	})
	if err != nil {
		t.Fatal(err)
	}
	c := pool.ConnConfig
	if c.Host != "db.example.com" || c.Port != 5433 || c.Database != "o'brien" || c.User != `back\slash` || c.Password != `p ' \ "=` {
		t.Errorf("understood as %s:%d %s %s %s", c.Host, c.Port, c.Database, c.User, c.Password)
	}
	if c.TLSConfig == nil || c.ConnectTimeout != 7*time.Second || pool.MaxConns != 3 || pool.MaxConnLifetime != time.Minute {
		t.Errorf("limits %v %d %v", c.ConnectTimeout, pool.MaxConns, pool.MaxConnLifetime)
	}
}

func TestConfigDefaults(t *testing.T) {
	pool, err := postgres.Pool(postgres.Config{Host: "db.example.com:5555"})
	if err != nil {
		t.Fatal(err)
	}
	if pool.ConnConfig.Host != "db.example.com" || pool.ConnConfig.Port != 5555 {
		t.Errorf("host:port understood as %s:%d", pool.ConnConfig.Host, pool.ConnConfig.Port)
	}
	// verify-full: the name is checked, and there is no way without TLS.
	if tls := pool.ConnConfig.TLSConfig; tls == nil || tls.InsecureSkipVerify || tls.ServerName != "db.example.com" {
		t.Errorf("TLS by default: %+v", tls)
	}
	for _, fallback := range pool.ConnConfig.Fallbacks {
		if fallback.TLSConfig == nil {
			t.Error("falls back to plain text")
		}
	}
	if pool.MaxConns != 16 || pool.ConnConfig.ConnectTimeout != 2*time.Second {
		t.Errorf("limits %d %v", pool.MaxConns, pool.ConnConfig.ConnectTimeout)
	}
}

func TestConfigOfDSN(t *testing.T) {
	pool, err := postgres.Pool(postgres.Config{
		DSN: "postgres://u:p@a.example.com:1,b.example.com:2/db?target_session_attrs=read-write&connect_timeout=9&pool_max_conns=5&sslmode=disable"})
	if err != nil {
		t.Fatal(err)
	}
	c := pool.ConnConfig
	if c.Host != "a.example.com" || len(c.Fallbacks) != 1 || c.Fallbacks[0].Host != "b.example.com" || c.Fallbacks[0].Port != 2 {
		t.Errorf("hosts %s, %v", c.Host, c.Fallbacks)
	}
	if c.ValidateConnect == nil || c.ConnectTimeout != 9*time.Second || pool.MaxConns != 5 {
		t.Errorf("limits %v %d", c.ConnectTimeout, pool.MaxConns)
	}
}

func TestBadConfig(t *testing.T) {
	for name, c := range map[string]postgres.Config{
		"neither dsn nor host":   {},
		"both":                   {DSN: "host=a", Host: "b"},
		"a dsn with a password":  {DSN: "host=a", Password: "secret"},
		"negative limit":         {DSN: "host=a", MaxOpenConns: -1},
		"negative time":          {DSN: "host=a", StatementTimeout: -1},
		"bad dsn":                {DSN: "postgres://u:secret@host:notaport/db"},
		"bad mode":               {Host: "a", SSL: postgres.SSL{Mode: "sometimes"}, Password: "secret"},
		"values without types":   {DSN: "host=a default_query_exec_mode=simple_protocol"},
		"and in one round trip":  {DSN: "host=a default_query_exec_mode=exec"},
		"missing authority file": {Host: "a", SSL: postgres.SSL{CAFile: "/does/not/exist"}, Password: "secret"},
	} {
		s, err := postgres.Open(c)
		if err == nil {
			t.Errorf("%s: accepted", name)
			_ = s.Close() // never fails
			continue
		}
		if strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: the error shows the password: %v", name, err)
		}
	}
}
