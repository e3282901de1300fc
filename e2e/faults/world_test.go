// Package faults_test lets things go wrong around the built program while
// clients refresh at it: replicas are killed, PostgreSQL crashes or fails over,
// disks are full, answers are lost on the way, strangers take every connection.
// What must hold throughout is counted, printed and checked.
//
// It refuses to look inside: it knows what a client knows, what an operator does
// and what PostgreSQL says on the wire.
//
// Threat: a promise that holds on a quiet day only.
package faults_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/countersign/countersign/e2e/binary"
	"github.com/countersign/countersign/e2e/script"
	"github.com/countersign/countersign/storage/storagetest"
	"github.com/countersign/countersign/storage/storagetest/freeport"
	"github.com/countersign/countersign/storage/storagetest/pgcluster"
	"github.com/countersign/countersign/storage/storagetest/pgproxy"
	"github.com/countersign/countersign/storage/storagetest/smalldisk"
	"github.com/countersign/countersign/storage/storagetest/tcpproxy"
)

// dose is the short one, or the full one where it was asked for: the variable is
// that of the races of the stores.
func dose(short, full int) int {
	if os.Getenv(storagetest.Long) != "" {
		return full
	}
	return short
}

// patience bounds every wait: far more than anything takes.
const patience = 2 * time.Minute

// TestMain removes the program that the tests built.
func TestMain(m *testing.M) {
	code := smalldisk.Run(m)
	binary.Remove()
	os.Exit(code)
}

// Secrets, none of which may be in a log.
const (
	masterSecret = "the-master-secret-of-the-fault-tests"
	clientSecret = "the-client-secret-of-the-fault-tests"
	password     = "correct horse"
)

// configuration is of one replica. Its password is hashed the cheapest way that
// is allowed: the tests are about refreshing. At tool a token may be repeated for
// so long that no client is ever late, at brief nearly never.
const configuration = `
issuer: %s
storage: {type: postgres, config: {dsn: %q}}
web: {http: %q, limits: {shutdownDelay: 10ms}}
telemetry: {http: %q}
signer: {type: local, config: {keysRotationPeriod: %s}}
secrets: [%s]
oauth2: {skipApprovalScreen: true}
staticClients:
- {id: tool, secret: %[7]s, redirectURIs: ["http://127.0.0.1:9/callback"], refreshTokens: {reuseInterval: 5m}}
- {id: brief, secret: %[7]s, redirectURIs: ["http://127.0.0.1:9/callback"], refreshTokens: {reuseInterval: 1s}}
enablePasswordDB: true
staticPasswords:
- email: alice@example.com
  hash: $argon2id$v=19$m=7168,t=1,p=1$c2FsdCBvZiBzY3JpcHRzIQ$jlzuLkTMA7NywF9ljgSTe2RqPmsNhv1ks43B9ekHgYk
  username: alice
  userID: user-alice
`

// world is two replicas, and what they have their database behind.
type world struct {
	t        *testing.T
	cluster  *pgcluster.Cluster
	proxy    *pgproxy.Proxy  // where answers of the database are lost
	network  *tcpproxy.Proxy // where the network is parted
	issuer   string
	replicas [2]*replica
	turn     atomic.Int64
	outages  outages
	// doors let a few people sign in at once: more would be told to wait, since
	// checking a password is work.
	doors chan struct{}
}

// empty is a world without anything in it.
func empty(t *testing.T) *world { return &world{t: t, doors: make(chan struct{}, 4)} }

// newWorld starts everything. keys is how long a signing key signs.
func newWorld(t *testing.T, keys string) *world {
	t.Helper()
	w := empty(t)
	w.cluster = startCluster(t, pgcluster.Options{})
	w.proxy = pgproxy.New(t, w.cluster.Address())
	w.serve(keys, t.TempDir(), w.cluster.DSNAt(w.proxy.Address()))
	return w
}

func startCluster(t *testing.T, o pgcluster.Options) *pgcluster.Cluster {
	t.Helper()
	c, err := pgcluster.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// serve starts the replicas in a folder.
func (w *world) serve(keys, dir, dsn string) {
	w.t.Helper()
	w.issuer = "http://" + address(w.t) + "/dex"
	for i := range w.replicas {
		r := &replica{t: w.t, dir: dir, name: fmt.Sprint("replica-", i), transport: &http.Transport{MaxIdleConnsPerHost: 100}}
		r.config = func(public, telemetry string) string {
			return fmt.Sprintf(configuration, w.issuer, dsn, public, telemetry, keys, masterSecret, clientSecret)
		}
		w.replicas[i] = r
		r.settle()
		w.t.Cleanup(r.kill)
		r.start()
	}
}

// in makes everything report to a test.
func (w *world) in(t *testing.T) {
	w.t = t
	for _, r := range w.replicas {
		r.t = t
	}
}

// fault is one kind of what goes wrong in a world W.
type fault[W any] struct {
	name string
	test func(*testing.T, W)
}

// deal has one thing after the other go wrong in a world. What its replicas wrote
// down about it, they wrote without secrets (I7).
func deal[W interface {
	in(*testing.T)
	leave(*book)
}](t *testing.T, w W, faults []fault[W]) {
	t.Helper()
	for _, f := range faults {
		if !t.Run(f.name, func(t *testing.T) { w.in(t); f.test(t, w) }) {
			break
		}
	}
	w.in(t)
	b := newBook(t)
	w.leave(b)
	b.print(noSecrets)
}

func address(t *testing.T) string {
	t.Helper()
	port, err := freeport.Find()
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint("127.0.0.1:", port)
}

// RoundTrip leads each request to the next replica, dead or alive.
func (w *world) RoundTrip(r *http.Request) (*http.Response, error) {
	return w.replicas[w.turn.Add(1)%int64(len(w.replicas))].RoundTrip(r)
}

// leave stops the replicas as an operator would, and looks into their logs (I7).
func (w *world) leave(b *book) {
	w.t.Helper()
	for _, r := range w.replicas {
		if err := r.process.Signal(syscall.SIGTERM); err != nil {
			w.t.Error(err)
		}
		if how, err := r.process.Wait(); err != nil || how != "0" {
			w.t.Errorf("%s ended with %s, %v", r.name, how, err)
		}
		b.searchLogs(r.logs())
	}
}

// replica is one process of the program, at addresses that it keeps if it can.
type replica struct {
	t         *testing.T
	dir, name string
	config    func(public, telemetry string) string
	public    atomic.Pointer[string]
	telemetry string
	transport *http.Transport
	process   *script.Process
	starts    int
}

// settle gives the replica new addresses.
func (r *replica) settle() {
	r.t.Helper()
	public := address(r.t)
	r.telemetry = address(r.t)
	if err := os.WriteFile(r.path(".yaml"), []byte(r.config(public, r.telemetry)), 0o600); err != nil {
		r.t.Fatal(err)
	}
	r.public.Store(&public)
}

func (r *replica) path(suffix string) string { return filepath.Join(r.dir, r.name+suffix) }

// RoundTrip leads a request to this replica.
func (r *replica) RoundTrip(req *http.Request) (*http.Response, error) {
	here := req.Clone(req.Context())
	here.URL.Host, here.Host = *r.public.Load(), req.URL.Host
	return r.transport.RoundTrip(here)
}

// start starts the replica, and returns how long it took to be ready. While it was
// dead, somebody else may have taken its address.
func (r *replica) start() time.Duration {
	r.t.Helper()
	for range 3 {
		took, err := r.launch()
		if err == nil {
			return took
		}
		if !strings.Contains(err.Error(), "address already in use") {
			r.t.Fatal(err)
		}
		r.settle()
	}
	r.t.Fatal("the addresses were taken three times")
	return 0
}

func (r *replica) launch() (time.Duration, error) {
	r.starts++
	cmd := exec.Command(binary.Path(r.t), "serve", r.path(".yaml"))
	cmd.Dir = r.dir
	began := time.Now()
	var err error
	if r.process, err = script.Start(cmd, r.path(fmt.Sprintf("-%d.out", r.starts)), r.path(fmt.Sprintf("-%d.log", r.starts))); err != nil {
		return 0, err
	}
	for !r.ready() {
		if r.process.Ended() || time.Since(began) > patience {
			log, _ := os.ReadFile(r.path(fmt.Sprintf("-%d.log", r.starts)))
			return 0, fmt.Errorf("%s does not become ready:\n%s", r.name, log)
		}
		time.Sleep(2 * time.Millisecond)
	}
	return time.Since(began), nil
}

// ready asks the operator's listener.
func (r *replica) ready() bool {
	resp, err := http.Get("http://" + r.telemetry + "/readyz")
	if err != nil {
		return false
	}
	resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// kill is kill -9.
func (r *replica) kill() {
	if r.process != nil {
		r.process.Kill()
	}
}

// logs are the files that the replica has written in all its lives.
func (r *replica) logs() []string {
	files, err := filepath.Glob(r.path("-*"))
	if err != nil || len(files) != 2*r.starts {
		r.t.Errorf("%d files of %d starts, %v", len(files), r.starts, err)
	}
	return files
}

// outages says whether the database certainly fails.
type outages struct {
	// readable: it can still be read, so that what is revoked there may be refused.
	readable atomic.Bool

	mu     sync.Mutex
	number int // odd: it fails
	asked  int // in this one
}

// begin and end are called when the database fails, and before it is mended.
func (o *outages) begin() { o.change() }
func (o *outages) end()   { o.change() }

func (o *outages) change() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.number++
	o.asked = 0
}

func (o *outages) now() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.number
}

// within reports that the database failed from when now returned before.
func (o *outages) within(before int) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	down := before == o.number && before%2 == 1
	if down {
		o.asked++
	}
	return down
}

// await waits until so many were answered in this outage.
func (o *outages) await(t *testing.T, n int) {
	t.Helper()
	eventually(t, "answers while the database fails", func() bool {
		o.mu.Lock()
		defer o.mu.Unlock()
		return o.asked >= n
	})
}

func eventually(t *testing.T, what string, met func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !met(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

// limited is a context for one request.
func limited(t *testing.T) (context.Context, context.CancelFunc) {
	return context.WithTimeout(t.Context(), patience)
}

// secretive must not be logged, and neither must tokens.
var secretive = []string{masterSecret, clientSecret, password, strings.ReplaceAll(password, " ", "+")}
