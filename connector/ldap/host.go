package ldap

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	goldap "github.com/go-ldap/ldap/v3"
)

// purpose is what a connection is for. What was bound with a person's password is
// never searched with.
type purpose int

const (
	searches purpose = iota
	binds
)

const (
	// maxUnused is how long an unused connection is kept: shorter than servers and
	// firewalls forget it.
	maxUnused = time.Minute
	// maxBinds is how often a password is sent at most, when servers go away: each
	// time may count as a wrong one.
	maxBinds = 2
	// pause is how long a host that failed is asked only when no other is left.
	pause = 30 * time.Second
	// maxPause is the longest wait, growing from pause, after which the service
	// account is tried again where it was refused.
	maxPause = 10 * time.Minute
)

// host is one server, with the connections to it.
type host struct {
	d       *directory
	address string
	tls     *tls.Config
	slots   chan struct{}

	mu   sync.Mutex
	idle [2][]*conn
	// left: the domain does not name the host any more, nobody looks after it.
	left bool
	// trouble is why the host is avoided until downUntil; seen: it has answered or
	// failed at all.
	trouble   error
	downUntil time.Time
	seen      bool
	// refused is what the host has said of the service account, and not asked about
	// again until refusedUntil: asked at every login, it would lock the account.
	refused      error
	refusedUntil time.Time
	refusals     int
}

func newHost(d *directory, address string) *host {
	h := &host{d: d, address: address, tls: d.cfg.TLS.Clone(), slots: make(chan struct{}, d.cfg.MaxConns)}
	h.tls.ServerName, _, _ = net.SplitHostPort(address) // made by withPort
	return h
}

// attempt does something on a connection to the host. A connection that was kept may
// have ended meanwhile: then a new one gets a try, unless another host could have the
// second try of a bind.
func (h *host) attempt(ctx context.Context, why purpose, left int, sent *int, op func(*goldap.Conn) error) error {
	select {
	case h.slots <- struct{}{}:
		defer func() { <-h.slots }()
	case <-ctx.Done():
		return fmt.Errorf("%d connections are in use: %w", cap(h.slots), ctx.Err())
	}
	if c := h.take(why); c != nil {
		*sent++
		err := h.use(ctx, c, why, op)
		if !hostFailed(err) || ctx.Err() != nil || why == binds && (left > 0 || *sent >= maxBinds) {
			return err
		}
		h.drop()
	}
	c, err := h.connect(ctx, why)
	if err != nil {
		return err
	}
	*sent++
	return h.use(ctx, c, why, op)
}

func (h *host) use(ctx context.Context, c *conn, why purpose, op func(*goldap.Conn) error) error {
	err := c.within(ctx, op)
	if hostFailed(err) || ctx.Err() != nil {
		c.end()
		return err
	}
	c.used = h.d.cfg.Now()
	h.put(c, why)
	return err
}

// take is a kept connection, or nil.
func (h *host) take(why purpose) *conn {
	h.mu.Lock()
	defer h.mu.Unlock()
	for n := len(h.idle[why]); n > 0; n = len(h.idle[why]) {
		c := h.idle[why][n-1]
		h.idle[why] = h.idle[why][:n-1]
		if !c.IsClosing() && h.d.cfg.Now().Sub(c.used) < maxUnused {
			return c
		}
		go c.end()
	}
	return nil
}

func (h *host) put(c *conn, why purpose) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.left || h.d.closed.Load() || c.IsClosing() || len(h.idle[why]) >= h.d.cfg.MaxIdle {
		go c.end()
		return
	}
	h.idle[why] = append(h.idle[why], c)
}

// leave closes what is kept, and what is in use when it is put back.
func (h *host) leave() {
	h.mu.Lock()
	h.left = true
	h.mu.Unlock()
	h.drop()
}

// drop closes what is kept.
func (h *host) drop() {
	h.mu.Lock()
	kept := append(h.idle[searches], h.idle[binds]...)
	h.idle = [2][]*conn{}
	h.mu.Unlock()
	for _, c := range kept {
		c.end()
	}
}

// connect makes a connection, with the service account for searches.
func (h *host) connect(ctx context.Context, why purpose) (*conn, error) {
	account := why == searches && h.d.cfg.BindDN != ""
	if account {
		if err := h.refusal(); err != nil {
			return nil, err
		}
	}
	c, err := dial(ctx, h.d.cfg.Resolver, h.address, h.d.cfg.Security, h.tls)
	if err != nil || !account {
		return c, err
	}
	if err := c.within(ctx, func(l *goldap.Conn) error { return l.Bind(h.d.cfg.BindDN, h.d.cfg.BindPassword) }); err != nil {
		c.end()
		return nil, h.refuse(err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.refused, h.refusals = nil, 0
	return c, nil
}

func (h *host) refusal() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.refused != nil && h.d.cfg.Now().Before(h.refusedUntil) {
		return h.refused
	}
	return nil
}

// refuse remembers that the service account may not bind. It is no answer about
// anybody else: %v.
func (h *host) refuse(err error) error {
	failed := fmt.Errorf("binding as the service account %q: %v", h.d.cfg.BindDN, err)
	if !hostFailed(err) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.refused, h.refusedUntil = failed, h.d.cfg.Now().Add(min(pause<<h.refusals, maxPause))
		h.refusals = min(h.refusals+1, 8)
	}
	return failed
}

// up: the host answers.
func (h *host) up() {
	h.mu.Lock()
	was := h.trouble
	h.trouble, h.downUntil, h.seen = nil, time.Time{}, true
	h.mu.Unlock()
	if was != nil {
		h.d.cfg.Logger.Info("an LDAP server answers again", "host", h.address)
	}
}

// down: the host does not.
func (h *host) down(err error) {
	h.mu.Lock()
	first := h.trouble == nil
	h.trouble, h.downUntil, h.seen = err, h.d.cfg.Now().Add(pause), true
	h.mu.Unlock()
	if first {
		h.d.cfg.Logger.Warn("an LDAP server does not answer as it should", "host", h.address, "error", err)
	}
}

// avoided: the host failed a moment ago.
func (h *host) avoided() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.d.cfg.Now().Before(h.downUntil)
}

var errNotSeen = errors.New("it has not been asked yet")

// state is nil when the host answered the last time.
func (h *host) state() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.seen {
		return errNotSeen
	}
	return h.trouble
}
