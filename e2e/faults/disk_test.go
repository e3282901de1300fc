package faults_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/countersign/countersign/e2e/person"
	"github.com/countersign/countersign/storage/storagetest/pgcluster"
	"github.com/countersign/countersign/storage/storagetest/smalldisk"
)

// room is the size of a small disk: enough for an empty cluster, and for what the
// load writes meanwhile.
const room = 256 << 20

// disks are what fills up.
type disks struct {
	*world
	// logs, data and wal have the program's logs, the database's tables and its
	// write-ahead log.
	logs, data, wal *smalldisk.Disk
}

// TestFullDisks fills one disk after the other, and frees it. The program is never
// restarted.
func TestFullDisks(t *testing.T) {
	t.Parallel()
	d := newDisks(t)
	deal(t, d, []fault[*disks]{
		{"logs", fullLogs},
		{"data", fullData},
		{"write-ahead log", fullWriteAheadLog},
	})
}

func newDisks(t *testing.T) *disks {
	t.Helper()
	d := &disks{world: empty(t)}
	// Checkpoints that come early keep the log of the database small.
	o := pgcluster.Options{Settings: map[string]string{"max_wal_size": "64MB", "min_wal_size": "32MB"}}
	made := [3]*smalldisk.Disk{smalldisk.New(t, room), smalldisk.New(t, room), smalldisk.New(t, room)}
	d.logs, d.data, d.wal = made[0], made[1], made[2]
	o.Disk, o.LogDisk = made[1].Folder(), made[2].Folder()
	d.cluster = startCluster(t, o)
	d.serve("24h", made[0].Folder(), d.cluster.DSN())
	return d
}

// F7: neither the log nor the audit can be written. Requests go on, the operator
// can see it, and both go on when there is room.
func fullLogs(t *testing.T, d *disks) {
	b := newBook(t)
	l := d.party(b).begin()
	for range dose(1, 5) {
		l.await(t, 100)
		d.logs.Fill()
		b.count("times that the disk of the logs was full")
		for _, r := range d.replicas {
			eventually(t, "readiness says so", func() bool { return strings.Contains(r.verbose(), "[!] audit: ") })
		}
		l.await(t, dose(200, 2000))
		for _, r := range d.replicas {
			// A busy database may answer too late now and then.
			eventually(t, "ready without a log", func() bool { return strings.Contains(r.verbose(), "[!] audit: ") && r.ready() })
		}
		d.logs.Free()
		up := time.Now()
		for _, r := range d.replicas {
			eventually(t, "readiness says that it is over", func() bool { return strings.Contains(r.verbose(), "[+] audit: ok") })
			b.readyAfter(time.Since(up))
			for _, suffix := range []string{".out", ".log"} {
				name := r.path(fmt.Sprintf("-%d%s", r.starts, suffix))
				before := length(name)
				eventually(t, "a longer "+name, func() bool { return length(name) > before })
			}
		}
	}
	l.settle()
	b.print(always...)
}

func length(name string) int64 {
	info, err := os.Stat(name)
	if err != nil {
		return 0
	}
	return info.Size()
}

// F7: tables cannot grow. What needs no room goes on, everything else is refused
// until there is some.
func fullData(t *testing.T, d *disks) {
	b := newBook(t)
	l := d.party(b).begin()
	for range dose(1, 5) {
		l.await(t, 100)
		before := d.refused()
		d.data.Fill()
		b.count("times that the disk of the data was full")
		eventually(t, "calls that the store refuses", func() bool {
			l.comes()
			return d.refused() >= before+dose(10, 50)
		})
		d.data.Free()
		l.heals()
		l.await(t, 100)
	}
	l.settle()
	b.print(append(always, saysSo)...)
}

// F7: the database cannot write down what it is about to do. PostgreSQL panics,
// and comes back when it is started again with room.
func fullWriteAheadLog(t *testing.T, d *disks) {
	b := newBook(t)
	l := d.party(b).begin()
	for range dose(1, 5) {
		l.await(t, 100)
		before := d.panics()
		d.wal.Fill()
		b.count("times that the disk of the write-ahead log was full")
		eventually(t, "a panic", func() bool {
			d.switchLog()
			return d.panics() > before
		})
		if err := d.cluster.Stop(pgcluster.Immediate); err != nil {
			t.Fatal(err)
		}
		l.fails(nil)
		d.wal.Free()
		if err := d.cluster.Start(); err != nil {
			t.Fatal(err)
		}
		l.heals()
		l.await(t, 100)
	}
	l.settle()
	b.print(append(always, failedStore, saysSo)...)
}

// comes is a person who signs in, if that is possible. The doors are not for them:
// devices stand there until they can sign in.
func (l *load) comes() bool {
	_, err := l.loginOnce(person.New(callback, l.world), tool)
	l.check(saysSo, err == nil || errors.Is(err, errAgain), "signing in: %v", err)
	return err == nil
}

// heals waits until people can sign in at replicas that nobody has restarted.
func (l *load) heals() {
	l.t.Helper()
	up := time.Now()
	for _, r := range l.replicas {
		eventually(l.t, "ready again", r.ready)
	}
	eventually(l.t, "somebody can sign in", l.comes)
	l.readyAfter(time.Since(up))
}

// switchLog has the database begin another file of its log.
func (d *disks) switchLog() {
	ctx, cancel := limited(d.t)
	defer cancel()
	conn, err := pgx.Connect(ctx, d.cluster.DSN())
	if err != nil {
		return // it has panicked
	}
	defer conn.Close(ctx)
	_, _ = conn.Exec(ctx, `SELECT pg_switch_wal()`) // it may panic at this one
}

// panics is how often the database has said that it panics.
func (d *disks) panics() int {
	log, err := os.ReadFile(filepath.Join(d.cluster.Folder(), "log"))
	if err != nil {
		d.t.Fatal(err)
	}
	return strings.Count(string(log), "PANIC:")
}

// refused is how often the store was unavailable, at all replicas.
func (w *world) refused() (n int) {
	w.t.Helper()
	for _, r := range w.replicas {
		body, err := r.ask("/metrics")
		if err != nil {
			w.t.Fatal(err)
		}
		for line := range strings.Lines(body) {
			if !strings.HasPrefix(line, "countersign_store_calls_total{") || !strings.Contains(line, `result="unavailable"`) {
				continue
			}
			value, err := strconv.ParseFloat(strings.TrimSpace(line[strings.LastIndexByte(line, ' '):]), 64)
			if err != nil {
				w.t.Fatal(err)
			}
			n += int(value)
		}
	}
	return n
}

// verbose is what readiness says in full.
func (r *replica) verbose() string {
	body, _ := r.ask("/readyz?verbose") // nothing: nothing is learned
	return body
}

// ask asks the operator's listener.
func (r *replica) ask(path string) (string, error) {
	resp, err := http.Get("http://" + r.telemetry + path)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return string(body), err
}
