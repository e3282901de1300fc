package listen

import (
	"container/list"
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
	idle  *list.List // of quiet, longest first: between two requests
	fresh *list.List // of quiet, longest first: nothing asked yet
	where map[net.Conn]place
}

// quiet is a connection that nobody waits for an answer on.
type quiet struct {
	conn  net.Conn
	since time.Time
}

// place is where a connection is listed.
type place struct {
	list    *list.List
	element *list.Element
}

func newConnections(l net.Listener, limit int, patience time.Duration) *connections {
	return &connections{
		Listener: l,
		patience: patience,
		slots:    make(chan struct{}, limit),
		closed:   make(chan struct{}),
		quieter:  make(chan struct{}, 1),
		idle:     list.New(),
		fresh:    list.New(),
		where:    map[net.Conn]place{},
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

// useless takes the connection to close off its list, or tells after what time
// there may be one.
func (c *connections) useless() (net.Conn, time.Duration) {
	if first := c.idle.Front(); first != nil {
		return c.forget(first.Value.(quiet).conn), 0
	}
	first := c.fresh.Front()
	if first == nil {
		return nil, 0
	}
	if wait := c.patience - time.Since(first.Value.(quiet).since); wait > 0 {
		return nil, wait
	}
	return c.forget(first.Value.(quiet).conn), 0
}

// forget takes a connection off its list. It returns the one below TLS: closing
// that one writes no farewell, and so waits for nobody.
func (c *connections) forget(conn net.Conn) net.Conn {
	if at, ok := c.where[conn]; ok {
		at.list.Remove(at.element)
		delete(c.where, conn)
	}
	if secure, ok := conn.(*tls.Conn); ok {
		return secure.NetConn()
	}
	return conn
}

// state is the ConnState of the http.Server over this listener.
func (c *connections) state(conn net.Conn, state http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.forget(conn)
	var to *list.List
	switch state {
	case http.StateNew:
		to = c.fresh
	case http.StateIdle:
		to = c.idle
	default:
		return
	}
	c.where[conn] = place{to, to.PushBack(quiet{conn, time.Now()})}
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
