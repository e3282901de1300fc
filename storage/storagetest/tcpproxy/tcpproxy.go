// Package tcpproxy is a network between two programs that can be made to fail:
// it forwards TCP connections, or swallows what they carry without closing them,
// as a firewall that drops packets does. It refuses to look into what it carries.
package tcpproxy

import (
	"io"
	"net"
	"sync"
	"testing"
)

// Proxy forwards connections to one target.
type Proxy struct {
	listener net.Listener
	target   string

	mu    sync.Mutex
	open  chan struct{} // closed while traffic flows
	conns map[net.Conn]bool
}

// New starts a proxy that ends with the test.
func New(t testing.TB, target string) *Proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{listener: listener, target: target, open: make(chan struct{}), conns: map[net.Conn]bool{}}
	close(p.open)
	var accepting sync.WaitGroup
	accepting.Go(p.accept)
	t.Cleanup(func() {
		_ = listener.Close() // ends accept
		p.Sever()
		accepting.Wait()
	})
	return p
}

// Address is where the proxy listens.
func (p *Proxy) Address() string { return p.listener.Addr().String() }

// Swallow lets nothing through any more, in either direction. Connections stay
// open, and new ones are accepted.
func (p *Proxy) Swallow() {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.open:
		p.open = make(chan struct{})
	default: // it does already
	}
}

// Forward lets everything through again, what was held back included.
func (p *Proxy) Forward() {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.open: // it does already
	default:
		close(p.open)
	}
}

// Sever closes every connection.
func (p *Proxy) Sever() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for conn := range p.conns {
		_ = conn.Close() // it is to be broken
	}
	select {
	case <-p.open:
	default:
		close(p.open) // whoever is held back finds the connection closed
		p.open = make(chan struct{})
	}
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		go p.serve(client)
	}
}

func (p *Proxy) serve(client net.Conn) {
	defer p.track(client)()
	server, err := net.Dial("tcp", p.target)
	if err != nil {
		return
	}
	defer p.track(server)()
	var copying sync.WaitGroup
	copying.Go(func() { p.copy(server, client) })
	p.copy(client, server)
	copying.Wait()
}

// track remembers a connection until the function it returns closes it.
func (p *Proxy) track(conn net.Conn) func() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conns[conn] = true
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.conns, conn)
		_ = conn.Close() // it is done with
	}
}

// copy carries bytes one way, and closes both ends when one is closed.
func (p *Proxy) copy(to, from net.Conn) {
	_, _ = io.Copy(gate{to, p}, from) // broken connections are our trade
	_, _ = to.Close(), from.Close()   // so are these
}

// gate lets writes through only while the proxy forwards.
type gate struct {
	to    io.Writer
	proxy *Proxy
}

// Write implements io.Writer.
func (g gate) Write(b []byte) (int, error) {
	g.proxy.mu.Lock()
	open := g.proxy.open
	g.proxy.mu.Unlock()
	<-open
	return g.to.Write(b)
}
