package listen

import (
	"crypto/tls"
	"net"
	"net/http"
	"sync"
	"time"
)

// connections is a listener that holds a bounded number of connections. When it
// is full and another arrives, room is made by closing the one that is longest
// of no use: idle between two requests, or, after some patience, open without
// having asked for anything. Connections that are being answered are never
// closed; then the newcomer waits, and the others in the kernel's queue.
//
// So a crowd of silent connections costs a bounded amount of memory and keeps
// nobody out, and a client whose idle connection went away opens another, as it
// must be ready to at any time (RFC 9112 9.3.1).
type connections struct {
	net.Listener
	patience time.Duration

	slots  chan struct{} // one element per open connection
	closed chan struct{}
	close  sync.Once

	// quieter is signalled when a connection became one that may be closed.
	quieter chan struct{}

	mu    sync.Mutex
	idle  queue // between two requests
	fresh queue // nothing asked yet
	known map[net.Conn]*member
}

// queue is of connections that nobody waits for an answer on, longest first.
type queue struct{ first, last *member }

// member is a connection that is open. It goes from queue to queue, twice with each
// request, so it is a part of them: container/list would make it anew each time.
type member struct {
	conn          net.Conn
	since         time.Time // when it joined
	in            *queue    // nil: it is being answered
	before, after *member
}

// join makes a member the last of a queue.
func (q *queue) join(m *member) {
	m.in, m.before, m.after = q, q.last, nil
	if q.last != nil {
		q.last.after = m
	} else {
		q.first = m
	}
	q.last = m
}

// leave takes a member out of its queue, if it is in one.
func (m *member) leave() {
	if m.in == nil {
		return
	}
	if m.before != nil {
		m.before.after = m.after
	} else {
		m.in.first = m.after
	}
	if m.after != nil {
		m.after.before = m.before
	} else {
		m.in.last = m.before
	}
	m.in, m.before, m.after = nil, nil, nil
}

func newConnections(l net.Listener, limit int, patience time.Duration) *connections {
	return &connections{
		Listener: l,
		patience: patience,
		slots:    make(chan struct{}, limit),
		closed:   make(chan struct{}),
		quieter:  make(chan struct{}, 1),
		known:    map[net.Conn]*member{},
	}
}

// Accept returns the next connection once there is room for it.
func (c *connections) Accept() (net.Conn, error) {
	conn, err := c.Listener.Accept()
	if err != nil {
		return nil, err
	}
	if !c.admit() {
		conn.Close()
		return nil, net.ErrClosed
	}
	return &slot{Conn: conn, release: sync.OnceFunc(func() { <-c.slots })}, nil
}

// Close ends the listener, and the wait for room.
func (c *connections) Close() error {
	c.close.Do(func() { close(c.closed) })
	return c.Listener.Close()
}

// admit takes a slot, and makes room for it if there is none. It reports false
// when the listener was closed meanwhile.
func (c *connections) admit() bool {
	for {
		select {
		case c.slots <- struct{}{}:
			return true
		default:
		}
		again, stop := c.makeRoom()
		select {
		case c.slots <- struct{}{}:
			stop()
			return true
		case <-c.closed:
			stop()
			return false
		case <-c.quieter:
		case <-again:
		}
		stop()
	}
}

// makeRoom closes one connection that is of no use, whose slot is free when this
// returns. Otherwise it returns when the first will have been silent for long
// enough: nil if there is none.
func (c *connections) makeRoom() (again <-chan time.Time, stop func()) {
	stop = func() {}
	c.mu.Lock()
	victim, wait := c.useless()
	c.mu.Unlock()
	if victim != nil {
		victim.Close()
		return nil, stop
	}
	if wait > 0 {
		timer := time.NewTimer(wait)
		return timer.C, func() { timer.Stop() }
	}
	return nil, stop
}

// useless takes the connection to close off its queue, or tells after what time
// there may be one.
func (c *connections) useless() (net.Conn, time.Duration) {
	if c.idle.first != nil {
		return c.forget(c.idle.first), 0
	}
	if c.fresh.first == nil {
		return nil, 0
	}
	if wait := c.patience - time.Since(c.fresh.first.since); wait > 0 {
		return nil, wait
	}
	return c.forget(c.fresh.first), 0
}

// forget takes a connection off all records. It returns the one below TLS: closing
// that one writes no farewell, and so waits for nobody.
func (c *connections) forget(m *member) net.Conn {
	m.leave()
	delete(c.known, m.conn)
	if secure, ok := m.conn.(*tls.Conn); ok {
		return secure.NetConn()
	}
	return m.conn
}

// state is the ConnState of the http.Server over this listener.
func (c *connections) state(conn net.Conn, state http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := c.known[conn]
	if m == nil {
		m = &member{conn: conn}
		c.known[conn] = m
	}
	m.leave()
	switch state {
	case http.StateNew:
		c.fresh.join(m)
	case http.StateIdle:
		c.idle.join(m)
	case http.StateActive:
		return
	default:
		c.forget(m)
		return
	}
	m.since = time.Now()
	select {
	case c.quieter <- struct{}{}:
	default:
	}
}

// slot is a connection that gives its place back when it is closed.
type slot struct {
	net.Conn
	release func()
}

func (s *slot) Close() error {
	err := s.Conn.Close()
	s.release()
	return err
}

// CloseWrite sends the end without taking back what was sent before: net/http
// asks for it before it closes on somebody who is still sending, so that they
// can read why (431).
func (s *slot) CloseWrite() error {
	if half, ok := s.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}
