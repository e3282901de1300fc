package main

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"text/tabwriter"
	"time"

	"github.com/countersign/countersign/server/seal"
	"github.com/countersign/countersign/storage/storagetest/pgcluster"
)

// smallRows are the grants of the table that most is measured on.
const smallRows = 2 * grantsEach

// bench is a run.
type bench struct {
	o       options
	dir     string
	cluster *pgcluster.Cluster
	tokens  *seal.Tokens
	small   *world
	// servers are all that were started.
	servers []*server
	out     *tabwriter.Writer
	got     measured
	// failures are all requests that went wrong, failure the first.
	failures int
	failure  error
}

// measured is what targets are compared with.
type measured struct {
	pgbench                     float64            // updates in a second
	signatures                  map[string]float64 // in a second, by algorithm
	grants                      map[string]float64 // in a second at 32 callers
	serverCPU, databaseCPU      time.Duration      // of a grant with ES256 at 32 callers
	logBytes, statements        float64            // of the same
	hot                         float64            // share of the updates
	resident                    int64
	coldStart                   time.Duration
	rows                        int
	smallMedian, largeMedian    time.Duration
	smallTail, largeTail        time.Duration
	quietTail, drainingTail     time.Duration
	expired                     int
	quietMedian, drainingMedian time.Duration
}

// world is a database and the program over it.
type world struct {
	db     *database
	server *server
	rows   int
	// chains of each client, and the keys to check its answers with.
	chains [len(clientIDs)][]chain
	keys   keySet
}

func newBench(ctx context.Context, o options) (b *bench, err error) {
	b = &bench{o: o, out: tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)}
	b.got.signatures, b.got.grants = map[string]float64{}, map[string]float64{}
	defer func() {
		if err != nil {
			b.close()
		}
	}()
	if b.o.binary, err = filepath.Abs(o.binary); err != nil {
		return nil, err
	}
	if b.tokens, err = newRefreshTokens(); err != nil {
		return nil, err
	}
	if b.dir, err = os.MkdirTemp("", "countersign-load-"); err != nil {
		return nil, err
	}
	if b.cluster, err = newCluster(); err != nil {
		return nil, err
	}
	b.small, err = b.newWorld(ctx, "small", smallRows)
	return b, err
}

// newWorld makes a database of so many grants, and starts the program over it.
func (b *bench) newWorld(ctx context.Context, name string, rows int) (*world, error) {
	db, err := newDatabase(ctx, b.cluster, name)
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(b.dir, name)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	w := &world{db: db, rows: rows}
	if w.server, err = newServer(b.o.binary, dir, db.dsn); err != nil {
		return nil, err
	}
	b.servers = append(b.servers, w.server)
	if _, err = w.server.start(ctx); err != nil { // it makes the schema and its keys
		return nil, err
	}
	took, err := db.seed(ctx, rows)
	if err != nil {
		return nil, err
	}
	heap, indexes, err := db.size(ctx)
	if err != nil {
		return nil, err
	}
	fmt.Printf("table %s: %d grants of %d people, %d MB and %d MB of indexes, made in %.1f s\n",
		name, rows, rows/5, heap>>20, indexes>>20, took.Seconds())
	for client := range clientIDs {
		w.chains[client] = chains(client, rows)
	}
	w.keys, err = w.server.keys()
	return w, err
}

func (b *bench) close() {
	for _, s := range b.servers {
		s.stop()
	}
	if b.cluster != nil {
		if err := b.cluster.Close(); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}
	if err := os.RemoveAll(b.dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
}

// machine says what this was measured on.
func (b *bench) machine(when string) {
	fmt.Printf("%s: %d cores, load average %s, %s\n", when, runtime.NumCPU(), loadAverage(), runtime.Version())
}

// count keeps what went wrong.
func (b *bench) count(doing string, o outcome) {
	if o.failures > 0 && b.failure == nil {
		b.failure = fmt.Errorf("%s: %w", doing, o.failure)
	}
	b.failures += o.failures
}

func (b *bench) failed() error {
	if b.failures == 0 {
		fmt.Println("every answer was right")
		return nil
	}
	return fmt.Errorf("%d answers were wrong; the first: %w", b.failures, b.failure)
}

// limits are what the machine can do at all.
func (b *bench) limits(ctx context.Context) (err error) {
	if b.got.pgbench, err = b.small.db.pgbench(ctx, b.o.measure); err != nil {
		return err
	}
	fmt.Printf("pgbench, one row updated by primary key, 32 clients: %.0f/s\n", b.got.pgbench)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	digest := sha256.Sum256([]byte("what is signed"))
	for alg, sign := range map[string]func() error{
		"RS256": func() error { _, err := rsa.SignPKCS1v15(nil, rsaKey, crypto.SHA256, digest[:]); return err },
		"ES256": func() error { _, _, err := ecdsa.Sign(rand.Reader, ecKey, digest[:]); return err },
	} {
		if b.got.signatures[alg], err = onAllCores(min(b.o.measure, 2*time.Second), sign); err != nil {
			return err
		}
		fmt.Printf("bare %s signatures on all cores: %.0f/s\n", alg, b.got.signatures[alg])
	}
	return nil
}

// onAllCores is how often something can be done in a second.
func onAllCores(d time.Duration, do func() error) (float64, error) {
	var done atomic.Int64
	errs := make([]error, runtime.NumCPU())
	began := time.Now()
	var running sync.WaitGroup
	for i := range errs {
		running.Go(func() {
			for time.Since(began) < d && errs[i] == nil {
				errs[i] = do()
				done.Add(1)
			}
		})
	}
	running.Wait()
	return float64(done.Load()) / time.Since(began).Seconds(), errors.Join(errs...)
}
