package faults_test

import (
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/countersign/countersign/e2e/person"
	"github.com/countersign/countersign/storage/storagetest/pgcluster"
	"github.com/countersign/countersign/storage/storagetest/tcpproxy"
)

// TestSilenceAndStrangers has the network say nothing, and then strangers who say
// nothing, or never come to an end.
func TestSilenceAndStrangers(t *testing.T) {
	t.Parallel()
	w := empty(t)
	w.cluster = startCluster(t, pgcluster.Options{})
	w.network = tcpproxy.New(t, w.cluster.Address())
	w.serve("24h", t.TempDir(), w.cluster.DSNAt(w.network.Address()))
	deal(t, w, []fault[*world]{
		{"partition", partition},
		{"strangers", strangers},
	})
}

// F4: the database is there, and nothing of what is said to it arrives. Clients
// wait or are told to come back; what waits for them is bounded, however long it
// lasts, and goes away.
func partition(t *testing.T, w *world) {
	b := newBook(t)
	l := w.party(b).begin()
	l.await(t, 300)
	watched := w.watch(b, goroutines, 6*devices)
	lasting := []time.Duration{time.Second}
	if dose(0, 1) > 0 {
		lasting = append(lasting, 10*time.Second, time.Minute)
	}
	for _, d := range lasting {
		l.await(t, 100)
		w.network.Swallow()
		l.outages.begin()
		b.count("partitions")
		time.Sleep(d) // is what is dealt
		l.outages.end()
		w.network.Forward()
		up := time.Now()
		for _, r := range w.replicas {
			eventually(t, "ready again", r.ready)
		}
		b.readyAfter(time.Since(up))
	}
	l.await(t, 100)
	l.settle()
	watched.calm(devices)
	must := append(always, bounded)
	if len(lasting) > 1 {
		must = append(must, failedStore, saysSo)
	}
	b.print(must...)
}

// F14: strangers take all connections there are, and hold them as long as they
// may. People's refreshes go on at the replica that is attacked.
func strangers(t *testing.T, w *world) {
	b := newBook(t)
	l := w.party(b).begin()
	victim := w.replicas[0]
	c := l.login(person.New(callback, w), tool)
	l.await(t, dose(500, 3000))
	const memory = 64 << 20
	size := w.watch(b, residentBytes, memory)
	running := w.watch(b, goroutines, 3*maxConnections)
	for _, kind := range []struct {
		name string
		n    int
		back bool
		act  func(net.Conn, <-chan struct{}) error
	}{
		{"strangers who say nothing", dose(1500, 10000), false, sayNothing},
		{"strangers who ask once and stay", dose(1500, 10000), false, askOnce},
		{"strangers who never end their headers", dose(200, 1000), true, neverEndHeaders},
		{"strangers who never end their body", dose(200, 1000), true, neverEndBody},
		{"strangers who announce a terabyte", dose(50, 500), true, announce},
		{"strangers who send chunks without end", dose(50, 500), true, endlessChunks},
	} {
		crowd := attack(b, *victim.public.Load(), kind.name, allowed(t, kind.n), kind.back, kind.act)
		crowd.await(t)
		for range dose(20, 200) {
			l.check(rotationKept, l.refresh(c, victim), "grant %d", c.number)
		}
		l.await(t, dose(50, 1000))
		crowd.leave()
	}
	l.settle()
	running.calm(devices)
	size.calm(memory)
	b.print(append(always, bounded)...)
}

// maxConnections is the default of web.limits.maxConnections, which a stranger's
// connection may have three goroutines for.
const maxConnections = 1024

// allowed is how many connections this process may open, if so many are too many.
func allowed(t *testing.T, n int) int {
	t.Helper()
	var limit syscall.Rlimit // Go has raised the soft one already
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	const others = 1000
	if most := int(min(limit.Cur, 1<<20)) - others; n > most {
		fmt.Printf("%s: ONLY %d OF %d CONNECTIONS, because this process may have no more than %d files open (ulimit -n)\n", t.Name(), most, n, limit.Cur)
		return most
	}
	return n
}

// crowd is many strangers of one kind.
type crowd struct {
	stop    chan struct{}
	people  sync.WaitGroup
	want    int
	reached atomic.Int64
}

// attack has n strangers come to an address, and those who are thrown out come back
// if they are of that kind.
func attack(b *book, address, name string, n int, back bool, act func(net.Conn, <-chan struct{}) error) *crowd {
	c := &crowd{stop: make(chan struct{}), want: n}
	dialer := net.Dialer{Timeout: patience}
	for range n {
		c.people.Go(func() {
			for first := true; ; first = false {
				conn, err := dialer.Dial("tcp", address)
				if first {
					c.reached.Add(1)
				}
				if err == nil {
					b.count(name)
					hold(conn, c.stop, act)
				}
				if err == nil && !back {
					return
				}
				select {
				case <-c.stop:
					return
				case <-time.After(time.Second):
				}
			}
		})
	}
	return c
}

// hold keeps a connection until the server ends it or the stranger leaves.
func hold(conn net.Conn, stop <-chan struct{}, act func(net.Conn, <-chan struct{}) error) {
	gone := make(chan struct{})
	var reading sync.WaitGroup
	reading.Go(func() {
		defer close(gone)
		_, _ = io.Copy(io.Discard, conn) // until it is closed, by whomever
	})
	over := make(chan struct{})
	var ending sync.WaitGroup
	ending.Go(func() {
		select {
		case <-stop:
		case <-gone:
		}
		close(over)
		conn.Close()
	})
	_ = act(conn, over) // fails when the server has had enough
	ending.Wait()
	reading.Wait()
}

// await waits until all have come once.
func (c *crowd) await(t *testing.T) {
	t.Helper()
	eventually(t, "all strangers", func() bool { return c.reached.Load() >= int64(c.want) })
}

func (c *crowd) leave() {
	close(c.stop)
	c.people.Wait()
}

func sayNothing(_ net.Conn, over <-chan struct{}) error {
	<-over
	return nil
}

func askOnce(conn net.Conn, over <-chan struct{}) error {
	_, err := io.WriteString(conn, "GET /dex/keys HTTP/1.1\r\nHost: localhost\r\n\r\n")
	<-over
	return err
}

// drip sends something again and again.
func drip(conn net.Conn, over <-chan struct{}, what string, every time.Duration) error {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		if _, err := io.WriteString(conn, what); err != nil {
			return err
		}
		select {
		case <-over:
			return nil
		case <-ticker.C:
		}
	}
}

const tokenRequest = "POST /dex/token HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n"

func neverEndHeaders(conn net.Conn, over <-chan struct{}) error {
	if _, err := io.WriteString(conn, tokenRequest); err != nil {
		return err
	}
	return drip(conn, over, "X-More: and more\r\n", time.Second)
}

func neverEndBody(conn net.Conn, over <-chan struct{}) error {
	if _, err := io.WriteString(conn, tokenRequest+"Content-Length: 60000\r\n\r\n"); err != nil {
		return err
	}
	return drip(conn, over, "a", time.Second)
}

func announce(conn net.Conn, over <-chan struct{}) error {
	if _, err := fmt.Fprintf(conn, "%sContent-Length: %d\r\n\r\n", tokenRequest, 1<<40); err != nil {
		return err
	}
	return drip(conn, over, strings.Repeat("a", 1<<16), 10*time.Millisecond)
}

func endlessChunks(conn net.Conn, over <-chan struct{}) error {
	if _, err := io.WriteString(conn, tokenRequest+"Transfer-Encoding: chunked\r\n\r\n"); err != nil {
		return err
	}
	return drip(conn, over, "10000\r\n"+strings.Repeat("a", 1<<16)+"\r\n", 10*time.Millisecond)
}

// Metrics that are watched.
const (
	goroutines    = "go_goroutines"
	residentBytes = "process_resident_memory_bytes"
)

// watched is a metric of each replica, looked at all the time.
type watched struct {
	*world
	book   *book
	metric string
	base   [2]float64
	stop   chan struct{}
	ended  sync.WaitGroup
}

// watch checks from now on that a metric stays within room of what it is now.
func (w *world) watch(b *book, metric string, room float64) *watched {
	w.t.Helper()
	m := &watched{world: w, book: b, metric: metric, stop: make(chan struct{})}
	for i, r := range w.replicas {
		var err error
		if m.base[i], err = r.measure(metric); err != nil {
			w.t.Fatal(err)
		}
	}
	m.ended.Go(func() {
		for {
			select {
			case <-m.stop:
				return
			case <-time.After(100 * time.Millisecond):
			}
			for i, r := range w.replicas {
				if now, err := r.measure(metric); err == nil {
					b.check(bounded, now <= m.base[i]+room, "%s of %s was %.0f and is %.0f", metric, r.name, m.base[i], now)
					b.most(metric+" more than before, at most", int(now-m.base[i]))
				}
			}
		}
	})
	return m
}

// calm ends the watch, and waits until the metric is back, but for a little.
func (m *watched) calm(little float64) {
	m.t.Helper()
	close(m.stop)
	m.ended.Wait()
	for i, r := range m.replicas {
		eventually(m.t, m.metric+" as before", func() bool {
			now, err := r.measure(m.metric)
			return err == nil && now <= m.base[i]+little
		})
	}
	m.book.check(bounded, true, "")
}

// measure reads a metric that has no labels.
func (r *replica) measure(metric string) (float64, error) {
	body, err := r.ask("/metrics")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(body) {
		if value, ok := strings.CutPrefix(line, metric+" "); ok {
			return strconv.ParseFloat(strings.TrimSpace(value), 64)
		}
	}
	return 0, fmt.Errorf("%s has no %s", r.name, metric)
}
