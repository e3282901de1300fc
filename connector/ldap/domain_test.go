package ldap_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	ber "github.com/go-asn1-ber/asn1-ber"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/countersign/countersign/connector"
	"github.com/countersign/countersign/connector/ldap"
	"github.com/countersign/countersign/connector/ldaptest"
)

// dns is a DNS server that knows the service records of one name.
type dns struct {
	records atomic.Pointer[[]dnsmessage.SRVResource]
	asked   atomic.Pointer[string]
}

// resolver speaks to it.
func (d *dns) resolver(t *testing.T) *net.Resolver {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	go func() {
		b := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFrom(b)
			if err != nil {
				return
			}
			if answer := d.answer(b[:n]); answer != nil {
				_, _ = conn.WriteTo(answer, from)
			}
		}
	}()
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
}

func (d *dns) answer(question []byte) []byte {
	var m dnsmessage.Message
	if err := m.Unpack(question); err != nil || len(m.Questions) != 1 {
		return nil
	}
	q := m.Questions[0]
	name := q.Name.String()
	m.Response, m.RecursionAvailable, m.Additionals = true, true, nil
	switch {
	case q.Type == dnsmessage.TypeSRV:
		d.asked.Store(&name)
		for _, r := range *d.records.Load() {
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: 1}, Body: &r})
		}
	case q.Type == dnsmessage.TypeA && strings.HasSuffix(name, "dc.example.org."):
		m.Answers = []dnsmessage.Resource{{Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: 1}, Body: &dnsmessage.AResource{A: [4]byte{127, 0, 0, 1}}}}
	}
	packed, err := m.Pack()
	if err != nil {
		return nil
	}
	return packed
}

func (d *dns) set(t *testing.T, targets ...string) {
	t.Helper()
	var records []dnsmessage.SRVResource
	for i, target := range targets {
		host, port, err := net.SplitHostPort(target)
		if err != nil {
			t.Fatal(err)
		}
		n, err := net.LookupPort("tcp", port)
		if err != nil {
			t.Fatal(err)
		}
		records = append(records, dnsmessage.SRVResource{Priority: uint16(i), Port: uint16(n), Target: dnsmessage.MustNewName(host + ".")})
	}
	d.records.Store(&records)
}

// Servers are found by their domain, those with the lowest priority first; names of
// elsewhere, whose certificates would be good for their own names, are not asked.
func TestDomain(t *testing.T) {
	s := ldaptest.Start(t, ldaptest.Options{})
	s.Person(t, "bob", password)
	d := new(dns)
	resolver := d.resolver(t)
	_, port, _ := net.SplitHostPort(s.Address)
	domain := func(c *ldap.Config) {
		c.Hosts, c.Domain, c.Resolver = nil, "example.org", resolver
	}
	d.set(t, "ldap.evil.example:"+port, "evilexample.org:"+port)
	c := open(t, one(s), domain)
	if _, err := c.Login(t.Context(), "bob", password); !errors.Is(err, connector.ErrUpstream) || !strings.Contains(err.Error(), "no server of the domain") {
		t.Errorf("servers of elsewhere: %v", err)
	}
	if err := c.Ready(); err == nil || !strings.Contains(err.Error(), "no server of the domain") {
		t.Errorf("ready: %v", err)
	}
	d.set(t, "ldap.evil.example:1", "dead.dc.example.org:1", "live.dc.example.org:"+port)
	login(t, c, "bob")
	if err := c.Ready(); err != nil {
		t.Errorf("ready: %v", err)
	}
	d.set(t) // for a minute nobody asks, and then old ones are better than none
	login(t, c, "bob")
	if got := *d.asked.Load(); got != "_ldap._tcp.example.org." {
		t.Errorf("asked for %s", got)
	}
}

// A connection to a server that the domain does not name any more ends, also when it
// was in use: nobody would look after it.
func TestServerThatLeft(t *testing.T) {
	t.Parallel()
	asked, release := make(chan net.Conn, 1), make(chan struct{})
	found := func(id int64) []byte {
		return append(entry(id, "uid=bob", "uid", "bob"), result(id, searchDone, 0, "")...)
	}
	first := liar(t, func(c net.Conn, id int64, op ber.Tag) {
		if op == bindRequest {
			_, _ = c.Write(result(id, bindResponse, 0, ""))
			return
		}
		asked <- c
		<-release
		_, _ = c.Write(found(id))
	})
	second := scripted(t, found)
	at := func(address string) string { return strings.Replace(address, "127.0.0.1", "one.dc.example.org", 1) }
	d := new(dns)
	d.set(t, at(first))
	resolver, start := d.resolver(t), time.Now()
	var ahead atomic.Int64
	c := open(t, nil, byUID, func(c *ldap.Config) {
		c.Hosts, c.Domain, c.Resolver, c.Group = nil, "example.org", resolver, ldap.GroupSearch{}
		c.Now = func() time.Time { return start.Add(time.Duration(ahead.Load())) }
	})
	var all sync.WaitGroup
	all.Go(func() {
		if _, err := c.Login(t.Context(), "bob", password); err != nil {
			t.Error(err)
		}
	})
	conn := <-asked
	d.set(t, at(second))
	ahead.Add(int64(2 * time.Minute))
	if _, err := c.Refresh(t.Context(), connector.Identity{UserID: "bob"}); err != nil {
		t.Error(err)
	}
	close(release)
	all.Wait()
	await(t, func() bool { return conn.SetDeadline(time.Time{}) != nil })
}
