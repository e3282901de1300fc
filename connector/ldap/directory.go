package ldap

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	goldap "github.com/go-ldap/ldap/v3"

	"github.com/countersign/countersign/connector"
)

const (
	// interval is how often Run looks after the hosts.
	interval = 5 * time.Second
	// lookTimeout bounds one look at one host.
	lookTimeout = 3 * time.Second
	// recordsFor is how long service records are believed.
	recordsFor = time.Minute
	// maxHosts is how many of them are taken.
	maxHosts = 16
)

// directory is the hosts that have the same entries.
type directory struct {
	cfg    *Config
	closed atomic.Bool

	mu    sync.Mutex
	hosts []*host
	// found is when hosts were looked for by Domain; lost is why none were found.
	found time.Time
	lost  error
}

func newDirectory(cfg *Config) *directory {
	d := &directory{cfg: cfg}
	for _, address := range cfg.Hosts {
		d.hosts = append(d.hosts, newHost(d, withPort(address, cfg.Security)))
	}
	return d
}

func withPort(address string, s Security) string {
	if _, _, err := net.SplitHostPort(address); err == nil {
		return address
	}
	port := goldap.DefaultLdapPort
	if s == LDAPS {
		port = goldap.DefaultLdapsPort
	}
	return net.JoinHostPort(strings.Trim(address, "[]"), port)
}

// errNotAsked marks errors that are no answer of the directory.
var errNotAsked = errors.New("the directory gave no answer")

// do does something on a connection to the first host that answers. When connections
// break it is done again, binds once: a wrong password may count twice then. Its error is op's, with a result of the directory's, or is errNotAsked and
// connector.ErrUpstream, or ctx.Err() when somebody gave up.
func (d *directory) do(ctx context.Context, why purpose, op func(*goldap.Conn) error) error {
	hosts, err := d.inOrder(ctx)
	sent := 0
	for i, h := range hosts {
		if err = d.attempt(ctx, h, len(hosts)-1-i, why, &sent, op); !hostFailed(err) {
			return err
		}
		err = fmt.Errorf("%s: %w", h.address, err)
		if ctx.Err() != nil || why == binds && sent >= maxBinds {
			break
		}
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		return fmt.Errorf("%w: %w", errNotAsked, ctx.Err())
	}
	if late := ctx.Err(); late != nil && !errors.Is(err, late) {
		err = fmt.Errorf("%w (%w)", err, late)
	}
	return fmt.Errorf("%w: %w: %w", connector.ErrUpstream, errNotAsked, err)
}

// asker does something at the directory.
type asker func(ctx context.Context, why purpose, op func(*goldap.Conn) error) error

// only is do at one host, while so many others are left.
func (d *directory) only(h *host, left int) asker {
	return func(ctx context.Context, why purpose, op func(*goldap.Conn) error) error {
		sent := 0
		err := d.attempt(ctx, h, left, why, &sent, op)
		if hostFailed(err) {
			return fmt.Errorf("%w: %w: %s: %w", connector.ErrUpstream, errNotAsked, h.address, err)
		}
		return err
	}
}

// attempt asks one host. While others are left it has half of the time.
func (d *directory) attempt(ctx context.Context, h *host, left int, why purpose, sent *int, op func(*goldap.Conn) error) error {
	bounded, cancel := ctx, context.CancelFunc(func() {})
	if deadline, ok := ctx.Deadline(); ok && left > 0 {
		bounded, cancel = context.WithTimeout(ctx, time.Until(deadline)/2)
	}
	defer cancel()
	err := h.attempt(bounded, why, left, sent, op)
	switch {
	case !hostFailed(err):
		h.up()
	case errors.Is(ctx.Err(), context.Canceled): // who asked gave up: says nothing of the host
	default:
		h.drop()
		h.down(err)
	}
	return err
}

// inOrder are the hosts to ask, those that failed a moment ago last.
func (d *directory) inOrder(ctx context.Context) ([]*host, error) {
	hosts, err := d.all(ctx)
	if err != nil {
		return nil, err
	}
	avoided := make(map[*host]int, len(hosts))
	for _, h := range hosts {
		if h.avoided() {
			avoided[h] = 1
		}
	}
	hosts = slices.Clone(hosts)
	slices.SortStableFunc(hosts, func(a, b *host) int { return cmp.Compare(avoided[a], avoided[b]) })
	return hosts, nil
}

// all are the hosts, found by their domain if need be.
func (d *directory) all(ctx context.Context) ([]*host, error) {
	d.mu.Lock()
	hosts, fresh := d.hosts, d.cfg.Domain == "" || d.cfg.Now().Sub(d.found) < recordsFor
	if !fresh { // one asks, also where nobody answers: the others have the old ones
		d.found = d.cfg.Now()
	}
	d.mu.Unlock()
	if fresh && len(hosts) > 0 {
		return hosts, nil
	}
	addresses, err := d.lookup(ctx)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.lost = err; err == nil {
		d.take(addresses)
	}
	if len(d.hosts) > 0 { // old ones are better than none
		return d.hosts, nil
	}
	return nil, err
}

// take makes these the hosts, and keeps those that are.
func (d *directory) take(addresses []string) {
	known := make(map[string]*host)
	for _, h := range d.hosts {
		known[h.address] = h
	}
	d.hosts = nil
	for _, address := range addresses {
		if known[address] == nil {
			known[address] = newHost(d, address)
		}
		d.hosts = append(d.hosts, known[address])
		delete(known, address)
	}
	for _, h := range known {
		go h.leave()
	}
}

// lookup finds the hosts of the domain (RFC 2782), in the order to ask them. DNS is
// not to be believed, and certificates are checked for the name it gives: so it has
// to be one of the domain's.
func (d *directory) lookup(ctx context.Context) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	service := "ldap"
	if d.cfg.Security == LDAPS {
		service = "ldaps"
	}
	_, records, err := d.cfg.Resolver.LookupSRV(ctx, service, "tcp", d.cfg.Domain)
	if err != nil {
		return nil, fmt.Errorf("looking for the LDAP servers of %s: %w", d.cfg.Domain, err)
	}
	var addresses []string
	domain := "." + strings.ToLower(strings.Trim(d.cfg.Domain, "."))
	for _, r := range records {
		target := strings.ToLower(strings.TrimSuffix(r.Target, "."))
		address := net.JoinHostPort(target, fmt.Sprint(r.Port))
		if strings.HasSuffix("."+target, domain) && !slices.Contains(addresses, address) && len(addresses) < maxHosts {
			addresses = append(addresses, address)
		}
	}
	if len(addresses) == 0 {
		return nil, fmt.Errorf("_%s._tcp.%s names no server of the domain", service, d.cfg.Domain)
	}
	return addresses, nil
}

// run looks after the hosts until ctx is done.
func (d *directory) run(ctx context.Context) {
	for {
		d.look(ctx)
		select {
		case <-ctx.Done():
			d.close()
			return
		case <-time.After(interval):
		}
	}
}

// look asks each host whether it answers, and tries the connections that are kept.
func (d *directory) look(ctx context.Context) {
	hosts, _ := d.all(ctx) // lost says why there are none
	var all sync.WaitGroup
	for _, h := range hosts {
		all.Go(func() { h.look(ctx) })
	}
	all.Wait()
}

// look finds a host that is back, and one that is gone before people do.
func (h *host) look(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	h.mu.Lock()
	kept := h.idle[searches]
	h.idle[searches] = nil
	h.mu.Unlock()
	for _, c := range kept {
		if c.IsClosing() || h.d.cfg.Now().Sub(c.used) > maxUnused || c.within(ctx, ping) != nil {
			c.end()
			continue
		}
		h.put(c, searches) // used when it was
	}
	sent := 0
	switch err := h.attempt(ctx, searches, 0, &sent, ping); {
	case !hostFailed(err):
		h.up()
	case !errors.Is(ctx.Err(), context.Canceled):
		h.drop()
		h.down(err)
	}
}

// ping reads of the server's own entry (RFC 4512 section 5.1) that it is there.
func ping(c *goldap.Conn) error {
	_, err := c.Search(goldap.NewSearchRequest("", goldap.ScopeBaseObject, goldap.NeverDerefAliases,
		1, int(lookTimeout/time.Second), false, "(objectClass=*)", []string{"1.1"}, nil))
	return err
}

func (d *directory) close() {
	d.closed.Store(true)
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, h := range d.hosts {
		h.drop()
	}
}

// ready says why nobody can sign in. One host that answers is enough.
func (d *directory) ready() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.hosts) == 0 {
		return cmp.Or(d.lost, errNotSeen)
	}
	var all []error
	for _, h := range d.hosts {
		err := h.state()
		if err == nil {
			return nil
		}
		all = append(all, fmt.Errorf("%s: %w", h.address, err))
	}
	return errors.Join(all...)
}
