// Package pgproxy is a network between a program and PostgreSQL that fails at a
// chosen message of their conversation: after any number of messages, or with
// the answer to a write that has been committed. It refuses to alter what it
// carries: a message arrives whole or not at all.
//
// Threat: a fault that hits at another moment than the test believes. The
// program learns of a broken connection only after the server has ended its side
// of it, so that whatever the server did is done and can be looked at.
package pgproxy

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"regexp"
	"strings"
	"sync"
	"testing"
)

// Proxy forwards connections to one server. They must not use TLS.
type Proxy struct {
	listener net.Listener
	target   string

	mu sync.Mutex
	// lose is how many answers to committed writes are still to be lost; lost is
	// how many were.
	lose, lost int
	// armed: after left more messages, a connection is cut.
	armed bool
	left  int
	links map[*link]bool
}

// New starts a proxy that ends with the test.
func New(t testing.TB, target string) *Proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{listener: listener, target: target, links: map[*link]bool{}}
	var serving sync.WaitGroup
	serving.Go(func() { p.accept(&serving) })
	t.Cleanup(func() {
		_ = listener.Close() // ends accept
		p.sever()
		serving.Wait()
	})
	return p
}

// Address is where the proxy listens.
func (p *Proxy) Address() string { return p.listener.Addr().String() }

// LoseCommits loses the answers to the next n transactions that changed a row
// and were committed, and cuts the connections that they were to come by.
func (p *Proxy) LoseCommits(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lose += n
}

// Lost is how many answers were lost so far.
func (p *Proxy) Lost() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lost
}

// CutAfter lets n more messages pass, of either side and on any connection, and
// cuts the connection of the next one.
func (p *Proxy) CutAfter(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.armed, p.left = true, n
}

// Disarm ends what CutAfter began. It reports whether a connection was cut.
func (p *Proxy) Disarm() (cut bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	cut = !p.armed
	p.armed = false
	return cut
}

// passes decides whether a message passes.
func (p *Proxy) passes() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.armed {
		return true
	}
	p.left--
	p.armed = p.left >= 0
	return p.armed
}

// loses decides whether an answer is lost.
func (p *Proxy) loses(answer []byte) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.lose == 0 || !committed(answer) {
		return false
	}
	p.lose--
	p.lost++
	return true
}

func (p *Proxy) sever() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		l.close()
	}
}

func (p *Proxy) accept(serving *sync.WaitGroup) {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		serving.Go(func() { p.serve(client) })
	}
}

func (p *Proxy) serve(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", p.target)
	if err != nil {
		return
	}
	defer server.Close()
	l := &link{proxy: p, client: client, server: server.(*net.TCPConn)}
	p.mu.Lock()
	p.links[l] = true
	p.mu.Unlock()
	var asking sync.WaitGroup
	asking.Go(l.ask)
	l.answer()
	l.close()
	asking.Wait()
	p.mu.Lock()
	delete(p.links, l)
	p.mu.Unlock()
}

// link is one connection of a program to the server.
type link struct {
	proxy  *Proxy
	client net.Conn
	server *net.TCPConn

	mu  sync.Mutex
	cut bool
}

func (l *link) close() { _, _ = l.client.Close(), l.server.Close() } // broken connections are our trade

// passes decides whether a message passes. One that does not is the end of the
// link: the server hears nothing more, finishes what it was asked, and hangs up.
func (l *link) passes() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.cut && !l.proxy.passes() {
		l.end()
	}
	return !l.cut
}

// lose is the end of the link because of an answer that is not to arrive.
func (l *link) lose() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.end()
}

// end is called with the lock held.
func (l *link) end() {
	l.cut = true
	_ = l.server.CloseWrite() // it may be closed already
}

// ask carries the program's messages. The first has no type (PostgreSQL,
// Frontend/Backend Protocol, section Message Formats: StartupMessage).
func (l *link) ask() {
	for head := 0; ; head = 1 {
		m, err := message(l.client, head)
		if err != nil {
			break
		}
		if !l.passes() {
			return // answer goes on until the server has hung up
		}
		if _, err := l.server.Write(m); err != nil {
			break
		}
	}
	_ = l.server.CloseWrite() // as above
}

// answer carries the server's messages, until it hangs up. From the first
// ReadyForQuery on they are held back until the next one, so that an answer can
// be lost as a whole.
func (l *link) answer() {
	var held bytes.Buffer
	ready := false
	for {
		m, err := message(l.server, 1)
		if err != nil {
			break
		}
		if !l.passes() {
			continue
		}
		held.Write(m)
		ended := m[0] == readyForQuery
		if ready && !ended {
			continue
		}
		ready = ready || ended
		if l.proxy.loses(held.Bytes()) {
			l.lose()
			continue
		}
		if _, err := l.client.Write(held.Bytes()); err != nil {
			break
		}
		held.Reset()
	}
	if l.passes() {
		_, _ = l.client.Write(held.Bytes()) // the last words of a server that ends
	}
}

// Types of messages, and the state in which a ReadyForQuery says that there is no
// transaction.
const (
	readyForQuery   = 'Z'
	commandComplete = 'C'
	idle            = 'I'
)

// message reads one message: head bytes of type, then four of the length, which
// counts itself.
func message(from io.Reader, head int) ([]byte, error) {
	m := make([]byte, head+4)
	if _, err := io.ReadFull(from, m); err != nil {
		return nil, err
	}
	size := int(binary.BigEndian.Uint32(m[head:]))
	if size < 4 || size > 1<<26 {
		return nil, errors.New("this is not PostgreSQL's protocol")
	}
	m = append(m, make([]byte, size-4)...)
	_, err := io.ReadFull(from, m[head+4:])
	return m, err
}

// changed is the tag of a command that changed a row.
var changed = regexp.MustCompile(`^(INSERT 0|UPDATE|DELETE) [1-9]`)

// committed reports that an answer, up to its ReadyForQuery, is to a transaction
// that changed something and is over.
func committed(answer []byte) bool {
	wrote, status := false, byte(0)
	for from := bytes.NewReader(answer); ; {
		m, err := message(from, 1)
		if err != nil {
			return wrote && status == idle
		}
		switch m[0] {
		case commandComplete:
			tag := strings.TrimSuffix(string(m[5:]), "\x00")
			wrote = (wrote || changed.MatchString(tag)) && tag != "ROLLBACK"
		case 'E':
			return false
		case readyForQuery:
			status = m[5]
		}
	}
}
