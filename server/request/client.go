package request

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
)

// ClientAddress returns the address that the request came from: of the peer, or,
// if that is a trusted proxy, of whom it speaks for. IPv4 is IPv4 also when it
// arrived mapped into IPv6. The zero Addr means outside of a request, or a peer
// without an IP address.
func ClientAddress(ctx context.Context) netip.Addr { return from(ctx).client }

// FromTrustedProxy reports whether the peer of the request is a trusted proxy.
// It says nothing about whom the proxy speaks for.
func FromTrustedProxy(ctx context.Context) bool { return from(ctx).trusted }

// unmapped returns prefixes as they are compared: IPv4 as IPv4.
func unmapped(prefixes []netip.Prefix) ([]netip.Prefix, error) {
	var out []netip.Prefix
	var errs []error
	for _, p := range prefixes {
		if !p.IsValid() {
			errs = append(errs, errors.New("invalid prefix among the trusted proxies"))
			continue
		}
		if p.Addr().Is4In6() {
			if p.Bits() < 96 {
				errs = append(errs, fmt.Errorf("trusted proxies %s hold more than mapped IPv4 addresses", p))
				continue
			}
			p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
		}
		out = append(out, p.Masked())
	}
	return out, errors.Join(errs...)
}

// peer is the other end of the connection.
func peer(r *http.Request) netip.Addr {
	at, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return at.Addr().Unmap().WithZone("")
}

// trusts reports whether addr is one of the operator's proxies.
func (e *Entry) trusts(addr netip.Addr) bool {
	for _, p := range e.proxies {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

// client walks X-Forwarded-For from the right, where our own proxies wrote, to
// the first address that is not one of them: what stands left of it is whatever
// the client sent. An entry on the way that is no address ends the trust in the
// whole header. If all are trusted, the leftmost is a client among them.
//
// X-Forwarded-Proto and X-Forwarded-Host are read nowhere: the issuer is what
// the configuration says.
func (e *Entry) client(r *http.Request, peer netip.Addr) netip.Addr {
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	client := peer
	for i := len(hops) - 1; i >= 0; i-- {
		addr, ok := hop(hops[i])
		if !ok {
			return peer
		}
		client = addr
		if !e.trusts(addr) {
			break
		}
	}
	return client
}

// hop parses one entry: an address, as some proxies write it with a port.
func hop(s string) (netip.Addr, bool) {
	s = strings.Trim(s, " \t")
	addr, err := netip.ParseAddr(s)
	if err != nil {
		at, err := netip.ParseAddrPort(s)
		if err != nil {
			return netip.Addr{}, false
		}
		addr = at.Addr()
	}
	if addr.Zone() != "" {
		return netip.Addr{}, false
	}
	return addr.Unmap(), true
}
