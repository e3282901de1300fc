// Package pgcluster starts throwaway PostgreSQL clusters for tests, and gives
// each test a schema of its own. It refuses to touch a cluster that it did not
// start, but for schemas it creates in the one of COUNTERSIGN_TEST_POSTGRES.
//
// Threat: a test run that is killed must leave neither a server nor files
// behind. A keeper process holds the other end of a pipe: when the test process
// is gone, however it went, the pipe closes and the keeper stops the server and
// deletes its folder.
package pgcluster

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/countersign/countersign/storage/storagetest/freeport"
)

// Options say how the cluster differs from one for tests that only need SQL.
type Options struct {
	// Fsync makes commits survive a crash of the machine, slowly. Default: off;
	// they still survive a crash of the server.
	Fsync bool
	// Settings are server settings by name, such as max_connections.
	Settings map[string]string
	// Disk and LogDisk are where the data and the write-ahead log lie: folders
	// that are there, such as small file systems of their own. Default: /tmp, and
	// with the data.
	Disk, LogDisk string
}

// Cluster is a PostgreSQL server with its data in a temporary folder.
type Cluster struct {
	bin      string
	dir      string
	wal      string // empty: with the data
	port     int
	password string
	settings []string
	owner    *syscall.Credential
	keeper   io.Closer
	kept     *exec.Cmd
	server   *exec.Cmd
	exited   chan struct{}
}

// Mode is how a server is stopped.
type Mode syscall.Signal

const (
	// Fast rolls back what is running, and writes everything down.
	Fast = Mode(syscall.SIGINT)
	// Immediate is a crash: the next start recovers from the log.
	Immediate = Mode(syscall.SIGQUIT)
)

// patience bounds every wait for the server.
const patience = time.Minute

// Binaries returns the folder with the newest PostgreSQL server programs: of
// PATH, or where Debian puts them.
func Binaries() (string, error) {
	if path, err := exec.LookPath("initdb"); err == nil {
		if dir, complete := folderOf(path); complete {
			return dir, nil
		}
	}
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	if err != nil || len(found) == 0 {
		return "", errors.New("no PostgreSQL server on PATH or under /usr/lib/postgresql: install the package postgresql")
	}
	newest := slices.MaxFunc(found, func(a, b string) int { return version(a) - version(b) })
	return filepath.Dir(newest), nil
}

// folderOf returns where a program is that may be a link to it, and whether the
// others are there too.
func folderOf(path string) (dir string, complete bool) {
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target
	}
	dir = filepath.Dir(path)
	for _, name := range []string{"initdb", "postgres", "pg_basebackup"} {
		if _, err := exec.LookPath(filepath.Join(dir, name)); err != nil {
			return "", false
		}
	}
	return dir, true
}

// version is NN of /usr/lib/postgresql/NN/bin/postgres.
func version(path string) int {
	n, _ := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(path)))) // 0 is older than any
	return n
}

// Start creates a cluster and starts its server. Stop it with Close.
func Start(o Options) (*Cluster, error) {
	return start(o, &Cluster{password: rand.Text()}, (*Cluster).initialize)
}

// start starts the server of a cluster whose data fill has made.
func start(o Options, c *Cluster, fill func(*Cluster) error) (_ *Cluster, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("starting a PostgreSQL cluster: %w", err)
			_ = c.Close() // the first error says more
		}
	}()
	if c.bin, err = Binaries(); err != nil {
		return nil, err
	}
	if err = c.createFolders(o); err != nil {
		return nil, err
	}
	if err = fill(c); err != nil {
		return nil, err
	}
	if c.port, err = freeport.Find(); err != nil {
		return nil, err
	}
	c.settings = settings(o, c.port, c.dir)
	if err = c.Start(); err != nil {
		return nil, err
	}
	return c, nil
}

func settings(o Options, port int, dir string) []string {
	set := map[string]string{
		"port": strconv.Itoa(port), "listen_addresses": "127.0.0.1", "unix_socket_directories": dir,
		"max_connections": "200", "shared_buffers": "64MB", "logging_collector": "off",
	}
	if !o.Fsync {
		set["fsync"] = "off"
	}
	maps.Copy(set, o.Settings)
	var args []string
	for name, value := range set {
		args = append(args, "-c", name+"="+value)
	}
	return args
}

// createFolders makes folders owned by the user that the server runs as, the first
// with a name short enough for a socket, and the keeper that deletes them.
func (c *Cluster) createFolders(o Options) error {
	var err error
	if c.dir, err = os.MkdirTemp(cmp.Or(o.Disk, "/tmp"), "pg-"); err != nil {
		return err
	}
	if o.LogDisk != "" {
		if c.wal, err = os.MkdirTemp(o.LogDisk, "wal-"); err != nil {
			return err
		}
	}
	if err := c.startKeeper(); err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		return nil
	}
	if c.owner, err = unprivileged(); err != nil {
		return err
	}
	for _, dir := range []string{c.dir, c.wal} {
		if dir == "" {
			continue
		}
		if err := os.Chown(dir, int(c.owner.Uid), int(c.owner.Gid)); err != nil {
			return err
		}
	}
	return nil
}

// unprivileged finds somebody to be: the server refuses to run as root.
func unprivileged() (*syscall.Credential, error) {
	for _, name := range []string{"postgres", "nobody"} {
		someone, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err := strconv.ParseUint(someone.Uid, 10, 32)
		if err != nil {
			continue
		}
		gid, err := strconv.ParseUint(someone.Gid, 10, 32)
		if err != nil {
			continue
		}
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
	}
	return nil, errors.New("the server refuses to run as root, and there is no user postgres or nobody")
}

// keeping waits for the end of its standard input, then cleans up.
const keeping = `
cat >/dev/null
pid=$(head -n 1 "$1/data/postmaster.pid" 2>/dev/null)
if [ -n "$pid" ]; then
	kill -QUIT "$pid" 2>/dev/null
	while kill -0 "$pid" 2>/dev/null; do sleep 0.1; done
fi
rm -rf "$@"`

func (c *Cluster) startKeeper() error {
	c.kept = exec.Command("/bin/sh", "-c", keeping, "keeper", c.dir)
	if c.wal != "" {
		c.kept.Args = append(c.kept.Args, c.wal)
	}
	c.kept.Dir = "/"
	// A group of its own: the interrupt key must not end it with the tests.
	c.kept.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	pipe, err := c.kept.StdinPipe()
	if err != nil {
		return err
	}
	if err := c.kept.Start(); err != nil {
		return err
	}
	c.keeper = pipe
	return nil
}

// command is a program of PostgreSQL, run as the owner of the folder.
func (c *Cluster) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(c.bin, name), args...)
	cmd.Dir = c.dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C", "TZ=UTC"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: c.owner}
	return cmd
}

func (c *Cluster) data() string { return filepath.Join(c.dir, "data") }

func (c *Cluster) initialize() error {
	passwords := filepath.Join(c.dir, "password")
	if err := os.WriteFile(passwords, []byte(c.password), 0o600); err != nil {
		return err
	}
	if c.owner != nil {
		if err := os.Chown(passwords, int(c.owner.Uid), int(c.owner.Gid)); err != nil {
			return err
		}
	}
	cmd := c.command("initdb", "--pgdata", c.data(), "--username", "postgres", "--pwfile", passwords,
		"--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C", "--no-sync")
	if c.wal != "" {
		cmd.Args = append(cmd.Args, "--waldir", c.wal)
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w\n%s", err, out)
	}
	return nil
}

// Start starts the server after Stop, on the same port, and waits until it
// answers.
func (c *Cluster) Start() error {
	log, err := os.OpenFile(c.logFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := c.command("postgres", append([]string{"-D", c.data()}, c.settings...)...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return err
	}
	exited := make(chan struct{})
	go func() {
		_ = cmd.Wait() // how it ended is in its log
		close(exited)
	}()
	c.server, c.exited = cmd, exited
	if err := c.awaitReady(); err != nil {
		log, _ := os.ReadFile(c.logFile())
		return fmt.Errorf("%w\n%s", err, log)
	}
	return nil
}

func (c *Cluster) logFile() string { return filepath.Join(c.dir, "log") }

func (c *Cluster) awaitReady() error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		conn, err := pgx.Connect(ctx, c.DSN())
		if err == nil {
			return conn.Close(ctx)
		}
		select {
		case <-c.exited:
			return errors.New("the server ended")
		case <-ctx.Done():
			return fmt.Errorf("the server does not answer: %w", err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Stop stops the server and waits until it is gone. Its data stays.
func (c *Cluster) Stop(mode Mode) error {
	if c.server == nil {
		return nil
	}
	// A server that has ended already is what we want.
	_ = c.server.Process.Signal(syscall.Signal(mode))
	select {
	case <-c.exited:
		c.server = nil
		return nil
	case <-time.After(patience):
		return errors.New("the server does not stop")
	}
}

// Restart stops the server and starts it again.
func (c *Cluster) Restart(mode Mode) error {
	if err := c.Stop(mode); err != nil {
		return err
	}
	return c.Start()
}

// Close stops the server and deletes its data.
func (c *Cluster) Close() error {
	if c.keeper == nil {
		return nil
	}
	stopped := c.Stop(Immediate)
	closed := c.keeper.Close()
	c.keeper = nil
	return errors.Join(stopped, closed, c.kept.Wait())
}

// Address is where the server listens, host:port.
func (c *Cluster) Address() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(c.port)) }

// DSN is the URL of the database, over TCP.
func (c *Cluster) DSN() string { return c.DSNAt(c.Address()) }

// DSNAt is DSN with other hosts, "host:port,host:port", such as a proxy's.
func (c *Cluster) DSNAt(hosts string) string {
	return "postgres://postgres:" + c.password + "@" + hosts + "/postgres?sslmode=disable"
}

// With adds a setting to a DSN of either form.
func With(dsn, name, value string) string {
	if !strings.Contains(dsn, "://") {
		return dsn + " " + name + "='" + value + "'"
	}
	separator := "?"
	if strings.Contains(dsn, "?") {
		separator = "&"
	}
	return dsn + separator + name + "=" + strings.ReplaceAll(url.QueryEscape(value), "+", "%20")
}

// Folder is where everything of the cluster is.
func (c *Cluster) Folder() string { return c.dir }
