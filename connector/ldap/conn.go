package ldap

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	goldap "github.com/go-ldap/ldap/v3"
)

// maxResponse is how much is read of the answers to one operation, in bytes.
const maxResponse = 16 << 20

var errTooLarge = fmt.Errorf("the answers have more than %d bytes", maxResponse)

// wire is the connection below TLS, where the limits are. The library knows neither
// contexts nor sizes.
type wire struct {
	net.Conn
	left atomic.Int64
}

// Read implements net.Conn.
func (w *wire) Read(p []byte) (int, error) {
	n, err := w.Conn.Read(p)
	if w.left.Add(-int64(n)) < 0 {
		_ = w.Conn.Close()
		return 0, errTooLarge
	}
	return n, err
}

// conn is a connection to a host.
type conn struct {
	*goldap.Conn
	wire *wire
	// used is when it was put back.
	used time.Time
}

// within does something on the connection until ctx is done, which ends the
// connection, too.
func (c *conn) within(ctx context.Context, op func(*goldap.Conn) error) error {
	c.wire.left.Store(maxResponse)
	stop := context.AfterFunc(ctx, func() { _ = c.wire.Close() })
	err := op(c.Conn)
	stop()
	switch {
	case !hostFailed(err):
		return err
	case c.wire.left.Load() < 0:
		return errTooLarge
	case ctx.Err() != nil:
		return fmt.Errorf("it did not answer in time: %w", ctx.Err())
	}
	return err
}

// end closes the connection, whatever the other side does.
func (c *conn) end() {
	_ = c.wire.Close() // first: it frees whoever is writing or reading
	_ = c.Conn.Close()
}

// dial connects to a host and protects the connection.
func dial(ctx context.Context, names *net.Resolver, address string, security Security, trust *tls.Config) (*conn, error) {
	raw, err := (&net.Dialer{Resolver: names}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	w := &wire{Conn: raw}
	w.left.Store(maxResponse)
	if security != LDAPS {
		return plain(ctx, w, security, trust)
	}
	protected := tls.Client(w, trust)
	if err := protected.HandshakeContext(ctx); err != nil {
		_ = raw.Close()
		return nil, fmt.Errorf("TLS: %w", err)
	}
	c := &conn{Conn: goldap.NewConn(protected, true), wire: w}
	c.Start()
	return c, nil
}

func plain(ctx context.Context, w *wire, security Security, trust *tls.Config) (*conn, error) {
	c := &conn{Conn: goldap.NewConn(w, false), wire: w}
	c.Start()
	if security != StartTLS {
		return c, nil
	}
	if err := c.within(ctx, func(l *goldap.Conn) error { return l.StartTLS(trust) }); err != nil {
		c.end()
		return nil, fmt.Errorf("StartTLS: %w", err)
	}
	return c, nil
}

// answered is an error of ours about what a host that works has said.
type answered struct{ error }

func (a answered) Unwrap() error { return a.error }

// hostFailed: it is no answer. Another host may have one.
func hostFailed(err error) bool {
	if err == nil {
		return false
	}
	if _, ok := errors.AsType[answered](err); ok {
		return false
	}
	e, ok := errors.AsType[*goldap.Error](err)
	if !ok {
		return true
	}
	switch e.ResultCode {
	case goldap.ErrorNetwork, goldap.ErrorUnexpectedMessage, goldap.ErrorUnexpectedResponse,
		goldap.LDAPResultBusy, goldap.LDAPResultUnavailable:
		return true
	}
	return false
}
