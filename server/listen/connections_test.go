package listen

import (
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"testing"
	"time"
)

// full returns a listener with as many connections as it may hold, and their
// other ends.
func full(t *testing.T, limit int, patience time.Duration) (c *connections, ours, theirs []net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c = newConnections(l, limit, patience)
	t.Cleanup(func() { c.Close() })
	for range limit {
		theirs = append(theirs, knock(t, c))
		conn, err := c.Accept()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		ours = append(ours, conn)
	}
	return c, ours, theirs
}

func knock(t *testing.T, c *connections) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", c.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// ends waits for the other side to close.
func ends(t *testing.T, conn net.Conn) {
	t.Helper()
	conn.SetReadDeadline(time.Now().Add(20 * time.Second))
	_, err := conn.Read(make([]byte, 1))
	if nerr, ok := err.(net.Error); err == nil || ok && nerr.Timeout() {
		t.Fatalf("the connection is still open: %v", err)
	}
}

// Idle ones go before silent ones, the longest idle first, and those that are
// being answered never.
func TestWhoMakesRoom(t *testing.T) {
	c, ours, theirs := full(t, 4, 0)
	c.state(ours[0], http.StateNew)
	c.state(ours[1], http.StateActive)
	c.state(ours[2], http.StateNew)
	c.state(ours[3], http.StateIdle)
	c.state(ours[2], http.StateActive)
	c.state(ours[2], http.StateIdle)
	for _, next := range []int{3, 2, 0} {
		knock(t, c)
		if _, err := c.Accept(); err != nil {
			t.Fatal(err)
		}
		ends(t, theirs[next])
	}
	knock(t, c)
	waits := make(chan error, 1)
	go func() { _, err := c.Accept(); waits <- err }()
	theirs[1].SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if _, err := theirs[1].Read(make([]byte, 1)); err == nil || !err.(net.Error).Timeout() {
		t.Errorf("a connection that is being answered was closed: %v", err)
	}
	ours[1].Close()
	if err := <-waits; err != nil {
		t.Error(err)
	}
}

// A connection that becomes idle while somebody waits makes room at once.
func TestWaitingForTheFirstIdle(t *testing.T) {
	c, ours, theirs := full(t, 2, time.Hour)
	c.state(ours[0], http.StateNew)
	c.state(ours[1], http.StateActive)
	knock(t, c)
	waits := make(chan error, 1)
	go func() { _, err := c.Accept(); waits <- err }()
	c.state(ours[1], http.StateIdle)
	ends(t, theirs[1])
	if err := <-waits; err != nil {
		t.Error(err)
	}
}

func TestClosedWhileWaiting(t *testing.T) {
	c, _, _ := full(t, 1, time.Hour)
	knock(t, c)
	waits := make(chan error, 1)
	go func() { _, err := c.Accept(); waits <- err }()
	c.Close()
	if err := <-waits; err == nil {
		t.Error("accepted by a closed listener")
	}
}

// Nothing is remembered of connections that have ended.
func TestEndedConnectionsAreForgotten(t *testing.T) {
	c, ours, _ := full(t, 2, time.Hour)
	for _, conn := range ours {
		c.state(conn, http.StateNew)
		c.state(conn, http.StateActive)
		c.state(conn, http.StateIdle)
		conn.Close()
		conn.Close() // its place is given back once
		c.state(conn, http.StateClosed)
	}
	if len(c.known)+len(of(&c.idle))+len(of(&c.fresh))+len(c.slots) != 0 {
		t.Errorf("left: %d, %d, %d, %d", len(c.known), len(of(&c.idle)), len(of(&c.fresh)), len(c.slots))
	}
}

// of are the members of a queue, read from both ends.
func of(q *queue) (all []*member) {
	for m := q.first; m != nil; m = m.after {
		all = append(all, m)
	}
	for m, i := q.last, len(all)-1; m != nil || i >= 0; m, i = m.before, i-1 {
		if i < 0 || m != all[i] || m.in != q {
			return nil
		}
	}
	return all
}

// Whoever joins and leaves, the others keep their order.
func TestQueue(t *testing.T) {
	var q, other queue
	members := make([]member, 5)
	var want []*member
	random := rand.New(rand.NewPCG(1, 2))
	for range 10_000 {
		m := &members[random.IntN(len(members))]
		m.leave()
		want = slices.DeleteFunc(want, func(w *member) bool { return w == m })
		switch random.IntN(3) {
		case 0:
			q.join(m)
			want = append(want, m)
		case 1:
			other.join(m)
		}
		if got := of(&q); !slices.Equal(got, want) {
			t.Fatalf("got %v, want %v", got, want)
		}
	}
}
