package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/countersign/countersign/storage/storagetest/pgcluster"
)

// settings are those of a server that does nothing else than its defaults, but
// for room in memory and no checkpoint in the middle of a load: the first change
// of a page after one writes the whole page to the log, and with loads of seconds
// it would be chance whose seconds that is. pg_stat_statements counts.
var settings = map[string]string{
	"shared_buffers": "512MB", "max_wal_size": "16GB", "checkpoint_timeout": "1h",
	"shared_preload_libraries": "pg_stat_statements", "pg_stat_statements.track": "top",
}

// newCluster starts PostgreSQL as it runs where it matters: fsync on.
func newCluster() (*pgcluster.Cluster, error) {
	return pgcluster.Start(pgcluster.Options{Fsync: true, Settings: settings})
}

// database is one in the cluster, with a connection to it, and another to a
// database beside it that asks questions without being counted.
type database struct {
	name, dsn   string
	conn, aside *pgx.Conn
	postmaster  int
}

func newDatabase(ctx context.Context, cluster *pgcluster.Cluster, name string) (d *database, err error) {
	d = &database{name: name, dsn: strings.Replace(cluster.DSN(), "/postgres?", "/"+name+"?", 1)}
	if d.aside, err = pgx.Connect(ctx, cluster.DSN()); err != nil {
		return nil, err
	}
	for _, statement := range []string{"CREATE DATABASE " + name, "CREATE EXTENSION IF NOT EXISTS pg_stat_statements"} {
		if _, err := d.aside.Exec(ctx, statement); err != nil {
			return nil, fmt.Errorf("%s: %w", statement, err)
		}
	}
	if d.conn, err = pgx.Connect(ctx, d.dsn); err != nil {
		return nil, err
	}
	pid, err := os.ReadFile(filepath.Join(cluster.Folder(), "data", "postmaster.pid"))
	if err != nil {
		return nil, err
	}
	first, _, _ := strings.Cut(string(pid), "\n")
	d.postmaster, err = strconv.Atoi(first)
	return d, err
}

// counters are what the database has done so far.
type counters struct {
	statements, logBytes int64
	cpu                  time.Duration
}

func (d *database) counters(ctx context.Context) (c counters, err error) {
	err = d.aside.QueryRow(ctx, `
		SELECT coalesce(sum(s.calls), 0)::bigint, pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint
		FROM pg_stat_statements s JOIN pg_database d ON d.oid = s.dbid WHERE d.datname = $1`, d.name).
		Scan(&c.statements, &c.logBytes)
	if err != nil {
		return c, err
	}
	c.cpu, err = cpuOf(d.postmaster)
	return c, err
}

func (c counters) since(before counters) counters {
	return counters{c.statements - before.statements, c.logBytes - before.logBytes, c.cpu - before.cpu}
}

// updates are those of grants so far, and how many of them wrote no index.
func (d *database) updates(ctx context.Context) (all, hot int64, err error) {
	err = d.conn.QueryRow(ctx, `SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'grants'`).Scan(&all, &hot)
	return all, hot, err
}

// size is what the grants take on disk: the rows, and the indexes.
func (d *database) size(ctx context.Context) (rows, indexes int64, err error) {
	err = d.conn.QueryRow(ctx, `SELECT pg_table_size('grants'), pg_indexes_size('grants')`).Scan(&rows, &indexes)
	return rows, indexes, err
}

// settle leaves nothing to be done later that belongs to what was before.
func (d *database) settle(ctx context.Context) error {
	for _, statement := range []string{"VACUUM (ANALYZE) grants", "VACUUM (ANALYZE) identities", "CHECKPOINT"} {
		if _, err := d.conn.Exec(ctx, statement); err != nil {
			return fmt.Errorf("%s: %w", statement, err)
		}
	}
	return nil
}

// pgbench is updates of one row by primary key in a second, by 32 clients with
// prepared statements: what PostgreSQL can do here at all.
func (d *database) pgbench(ctx context.Context, measure time.Duration) (float64, error) {
	for _, statement := range []string{
		"CREATE TABLE rows_of_pgbench (id int PRIMARY KEY, n int NOT NULL, filler char(84) NOT NULL) WITH (fillfactor = 70)",
		"INSERT INTO rows_of_pgbench SELECT i, 0, '' FROM generate_series(1, 10000) i",
		"VACUUM ANALYZE rows_of_pgbench",
	} {
		if _, err := d.conn.Exec(ctx, statement); err != nil {
			return 0, err
		}
	}
	dir, err := pgcluster.Binaries()
	if err != nil {
		return 0, err
	}
	cmd := exec.CommandContext(ctx, filepath.Join(dir, "pgbench"), "-n", "-M", "prepared", "-c", "32", "-j", "2",
		"-T", strconv.Itoa(max(1, int(measure.Seconds()))), "-f", "/dev/stdin", d.dsn)
	cmd.Stdin = strings.NewReader("\\set id random(1, 10000)\nUPDATE rows_of_pgbench SET n = n + 1 WHERE id = :id;\n")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("pgbench: %w\n%s", err, out)
	}
	_, rest, found := strings.Cut(string(out), "\ntps = ")
	if !found {
		return 0, fmt.Errorf("pgbench says no tps:\n%s", out)
	}
	tps, _, _ := strings.Cut(rest, " ")
	return strconv.ParseFloat(tps, 64)
}
