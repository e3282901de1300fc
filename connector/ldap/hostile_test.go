package ldap_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	ber "github.com/go-asn1-ber/asn1-ber"

	"github.com/countersign/countersign/connector"
	"github.com/countersign/countersign/connector/ldap"
)

// liar is a server that answers each request with what answer makes of its number.
func liar(t *testing.T, answer func(c net.Conn, id int64, op ber.Tag)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				for {
					p, err := ber.ReadPacket(c)
					if err != nil || len(p.Children) < 2 {
						return
					}
					id, _ := p.Children[0].Value.(int64)
					answer(c, id, p.Children[1].Tag)
				}
			}()
		}
	}()
	return l.Addr().String()
}

// message is an LDAPMessage of one operation (RFC 4511 section 4.1.1).
func message(id int64, op ber.Tag, content ...*ber.Packet) []byte {
	m := ber.NewSequence("")
	m.AppendChild(ber.NewInteger(ber.ClassUniversal, ber.TypePrimitive, ber.TagInteger, id, ""))
	p := ber.Encode(ber.ClassApplication, ber.TypeConstructed, op, nil, "")
	for _, c := range content {
		p.AppendChild(c)
	}
	m.AppendChild(p)
	return m.Bytes()
}

func octets(s string) *ber.Packet {
	return ber.NewString(ber.ClassUniversal, ber.TypePrimitive, ber.TagOctetString, s, "")
}

// result is an LDAPResult.
func result(id int64, op ber.Tag, code int64, text string) []byte {
	return message(id, op, ber.NewInteger(ber.ClassUniversal, ber.TypePrimitive, ber.TagEnumerated, code, ""), octets(""), octets(text))
}

// entry is a SearchResultEntry with the attributes (name, value, …).
func entry(id int64, dn string, pairs ...string) []byte {
	list := ber.NewSequence("")
	for i := 0; i+1 < len(pairs); i += 2 {
		a := ber.NewSequence("")
		a.AppendChild(octets(pairs[i]))
		set := ber.Encode(ber.ClassUniversal, ber.TypeConstructed, ber.TagSet, nil, "")
		set.AppendChild(octets(pairs[i+1]))
		a.AppendChild(set)
		list.AppendChild(a)
	}
	return message(id, 4, octets(dn), list)
}

const (
	bindRequest, bindResponse = 0, 1
	searchRequest, searchDone = 3, 5
)

// scripted is a server that accepts every bind and answers searches so.
func scripted(t *testing.T, answer func(id int64) []byte) string {
	return liar(t, func(c net.Conn, id int64, op ber.Tag) {
		if op == bindRequest {
			_, _ = c.Write(result(id, bindResponse, 0, ""))
		} else {
			_, _ = c.Write(answer(id))
		}
	})
}

// Whatever a server says, nobody is signed in by nonsense, nothing takes longer than
// the deadline, and memory stays what it is.
func TestLies(t *testing.T) {
	before := runtime.NumGoroutine()
	one := func(id int64, dn string, pairs ...string) []byte {
		return append(entry(id, dn, pairs...), result(id, searchDone, 0, "")...)
	}
	for name, answer := range map[string]func(id int64) []byte{
		"an entry without a name":     func(id int64) []byte { return one(id, "", "uid", "bob") },
		"an entry without attributes": func(id int64) []byte { return one(id, "uid=bob") },
		"an id of 1 MB":               func(id int64) []byte { return one(id, "uid=bob", "uid", strings.Repeat("b", 1<<20)) },
		"a binary id":                 func(id int64) []byte { return one(id, "uid=bob", "uid", "\xff\xfe") },
		"entries without end": func(id int64) []byte {
			return bytes.Repeat(entry(id, "uid=bob", "uid", strings.Repeat("b", 1<<20)), 40)
		},
		"a length of 2 GB": func(int64) []byte {
			return append([]byte{0x30, 0x84, 0x7f, 0xff, 0xff, 0xff, 0x04, 0x84, 0x7f, 0xff, 0xff, 0xf0}, make([]byte, 64)...)
		},
		"a length of 2^64": func(int64) []byte { return binary.BigEndian.AppendUint64([]byte{0x30, 0x88}, 1<<64-1) },
		"nested without end": func(int64) []byte {
			return bytes.Repeat([]byte{0x30, 0x80}, 1<<20)
		},
		"HTTP":                  func(int64) []byte { return []byte("HTTP/1.1 400 Bad Request\r\n\r\n") },
		"another number":        func(id int64) []byte { return one(id+1, "uid=bob", "uid", "bob") },
		"an answer to a bind":   func(id int64) []byte { return result(id, bindResponse, 0, "") },
		"a referral":            func(id int64) []byte { return result(id, searchDone, 10, "ldap://evil.example/") },
		"too busy":              func(id int64) []byte { return result(id, searchDone, 51, "") },
		"no such object":        func(id int64) []byte { return result(id, searchDone, 32, "") },
		"invalid credentials":   func(id int64) []byte { return result(id, searchDone, 49, "data 533") },
		"a part, and no more":   func(id int64) []byte { return entry(id, "uid=bob", "uid", "bob")[:20] },
		"an entry, and no more": func(id int64) []byte { return entry(id, "uid=bob", "uid", "bob") },
		"a paging cookie of nonsense": func(id int64) []byte {
			return append(entry(id, "uid=bob", "uid", "bob"), 0x30, 0x03, 0x02, 0x01, byte(id))
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := open(t, nil, byUID, func(c *ldap.Config) {
				c.Hosts = []string{scripted(t, answer)}
				c.Timeout = 200 * time.Millisecond
			})
			run(t, c)
			var stats runtime.MemStats
			runtime.ReadMemStats(&stats)
			heap := stats.TotalAlloc
			if who, err := c.Login(t.Context(), "bob", password); !errors.Is(err, connector.ErrUpstream) {
				t.Errorf("login: %+v, %v", who, err)
			}
			if who, err := c.Refresh(t.Context(), connector.Identity{UserID: "bob"}); !errors.Is(err, connector.ErrUpstream) {
				t.Errorf("refresh: %+v, %v", who, err)
			}
			if runtime.ReadMemStats(&stats); stats.TotalAlloc-heap > 1<<30 {
				t.Errorf("%d MB were allocated", (stats.TotalAlloc-heap)>>20)
			}
		})
	}
	// All of what was begun ends.
	await(t, func() bool { return runtime.NumGoroutine() <= before+10 })
}

// A server that pages without end is left.
func TestPagesWithoutEnd(t *testing.T) {
	var searches atomic.Int64
	page := func(id int64) []byte {
		if searches.Add(1) == 1 {
			return append(entry(id, "uid=bob", "uid", "bob"), result(id, searchDone, 0, "")...)
		}
		var b bytes.Buffer
		for range 500 {
			b.Write(entry(id, "cn=again", "cn", "again"))
		}
		done := ber.DecodePacket(result(id, searchDone, 0, ""))
		controls := ber.Encode(ber.ClassContext, ber.TypeConstructed, 0, nil, "")
		control := ber.NewSequence("")
		control.AppendChild(octets("1.2.840.113556.1.4.319"))
		value := ber.NewSequence("")
		value.AppendChild(ber.NewInteger(ber.ClassUniversal, ber.TypePrimitive, ber.TagInteger, int64(0), ""))
		value.AppendChild(octets("more"))
		control.AppendChild(octets(string(value.Bytes())))
		controls.AppendChild(control)
		done.AppendChild(controls)
		b.Write(done.Bytes())
		return b.Bytes()
	}
	c := open(t, nil, byUID, func(c *ldap.Config) { c.Hosts = []string{scripted(t, page)} })
	if who, err := c.Login(t.Context(), "bob", password); !errors.Is(err, connector.ErrUpstream) || !strings.Contains(err.Error(), "groups") {
		t.Errorf("%d groups, %v", len(who.Groups), err)
	}
	if n := searches.Load(); n > 20 {
		t.Errorf("%d searches", n)
	}
}

// A listener that says nothing at all, in each way to speak to it.
func TestSilence(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(io.Discard, c) }()
		}
	}()
	for name, security := range map[string]ldap.Security{"plain": ldap.Plain, "StartTLS": ldap.StartTLS, "LDAPS": ldap.LDAPS} {
		c := open(t, nil, func(c *ldap.Config) { c.Hosts, c.Security = []string{l.Addr().String()}, security })
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		if _, err := c.Login(ctx, "bob", password); !errors.Is(err, connector.ErrUpstream) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v", name, err)
		}
		cancel()
	}
}

// A server that refuses StartTLS gets no password.
func TestNoStartTLS(t *testing.T) {
	var others atomic.Int64
	address := liar(t, func(c net.Conn, id int64, op ber.Tag) {
		if op != 23 {
			others.Add(1)
		}
		_, _ = c.Write(result(id, op+1, 2, "no TLS here"))
	})
	c := open(t, nil, func(c *ldap.Config) { c.Hosts, c.Security = []string{address}, ldap.StartTLS })
	if _, err := c.Login(t.Context(), "bob", password); !errors.Is(err, connector.ErrUpstream) || others.Load() != 0 {
		t.Errorf("%v, %d other operations", err, others.Load())
	}
}
