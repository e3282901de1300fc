package listen_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/countersign/countersign/server/listen"
)

// read returns everything the server says until it closes the connection.
func read(t *testing.T, conn net.Conn) string {
	t.Helper()
	b, err := io.ReadAll(conn)
	if nerr, ok := err.(net.Error); ok && nerr.Timeout() {
		t.Fatalf("the server keeps the connection; so far it said %q", b)
	}
	return string(b) // a reset is an end too
}

func TestSlowlorisIsCutOff(t *testing.T) {
	s := start(t, listen.Config{HTTP: "127.0.0.1:0", ReadHeaderTimeout: 100 * time.Millisecond})
	for name, start := range map[string]string{
		"silence":        "",
		"half a line":    "GET / HT",
		"endless header": "GET / HTTP/1.1\r\nHost: x\r\nX-A: b\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			conn := dial(t, s.HTTPAddr())
			io.WriteString(conn, start)
			if got := read(t, conn); strings.Contains(got, "200 OK") {
				t.Errorf("got %q", got)
			}
		})
	}
}

// Keeping the bytes flowing does not help: the time is for all of the headers.
func TestDrippingHeadersAreCutOff(t *testing.T) {
	s := start(t, listen.Config{HTTP: "127.0.0.1:0", ReadHeaderTimeout: 200 * time.Millisecond})
	conn := dial(t, s.HTTPAddr())
	io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n")
	await(t, "the server cuts off a dripping client", func() bool {
		_, err := io.WriteString(conn, "a:b\r\n")
		return err != nil
	})
}

// The headers may take their time: on a busy machine they do.
func TestSlowBodyIsCutOff(t *testing.T) {
	result := make(chan error, 1)
	s := start(t, listen.Config{
		HTTP: "127.0.0.1:0", ReadHeaderTimeout: time.Hour, ReadTimeout: 200 * time.Millisecond,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, err := io.ReadAll(r.Body)
			result <- err
		}),
	})
	conn := dial(t, s.HTTPAddr())
	io.WriteString(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\na")
	if err := <-result; err == nil {
		t.Error("the handler got a whole body out of one byte")
	}
}

func TestIdleConnectionsEnd(t *testing.T) {
	s := start(t, listen.Config{HTTP: "127.0.0.1:0", IdleTimeout: 100 * time.Millisecond})
	conn := dial(t, s.HTTPAddr())
	io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	if got := read(t, conn); !strings.Contains(got, "200 OK") {
		t.Errorf("got %q", got)
	}
}

func TestHugeHeadersAreRefused(t *testing.T) {
	s := start(t, listen.Config{HTTP: "127.0.0.1:0"})
	for name, request := range map[string]string{
		"one header":       "GET / HTTP/1.1\r\nHost: x\r\nX-A: " + strings.Repeat("a", 1<<20) + "\r\n\r\n",
		"many headers":     "GET / HTTP/1.1\r\nHost: x\r\n" + strings.Repeat("X-A: b\r\n", 1<<17) + "\r\n",
		"the request line": "GET /?" + strings.Repeat("a", 1<<20) + " HTTP/1.1\r\nHost: x\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			conn := dial(t, s.HTTPAddr())
			go io.WriteString(conn, request)
			line, err := bufio.NewReader(conn).ReadString('\n')
			if err == nil && !strings.HasPrefix(line, "HTTP/1.1 431 ") {
				t.Errorf("got %q", line)
			}
		})
	}
}

// Many more connections than the limit, that never say anything: who asks is
// answered, over http and https.
func TestSilentCrowdKeepsNobodyOut(t *testing.T) {
	pair := newPair(t)
	s := start(t, listen.Config{
		HTTP: "127.0.0.1:0", HTTPS: "127.0.0.1:0", CertFile: pair.cert, KeyFile: pair.key,
		MaxConnections: 4, Patience: 20 * time.Millisecond, ReadHeaderTimeout: time.Hour,
	})
	for range 40 {
		dial(t, s.HTTPAddr())
		dial(t, s.HTTPSAddr())
	}
	if status, _ := get(t, "http://"+s.HTTPAddr().String()); status != 200 {
		t.Errorf("got %d", status)
	}
	serial(t, s.HTTPSAddr(), &tls.Config{})
}

// Idle connections give way to new ones, however long they could have stayed.
func TestIdleConnectionsGiveWay(t *testing.T) {
	s := start(t, listen.Config{HTTP: "127.0.0.1:0", MaxConnections: 3, IdleTimeout: time.Hour, Patience: time.Hour})
	var ended atomic.Int32
	for range 10 {
		conn := dial(t, s.HTTPAddr())
		io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		buffered := bufio.NewReader(conn)
		resp, err := http.ReadResponse(buffered, nil)
		if err != nil || resp.StatusCode != 200 {
			t.Fatalf("got %v, %v", resp, err)
		}
		go func() {
			io.Copy(io.Discard, buffered)
			ended.Add(1)
		}()
	}
	await(t, "all beyond the limit have ended", func() bool { return ended.Load() == 7 })
}

// A listener that is full of running requests still ends when it is told to.
func TestAFullListenerDrains(t *testing.T) {
	entered, release := make(chan struct{}, 1), make(chan struct{})
	s := start(t, listen.Config{
		HTTP: "127.0.0.1:0", MaxConnections: 1, DrainTimeout: time.Hour,
		Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { entered <- struct{}{}; <-release }),
	})
	io.WriteString(dial(t, s.HTTPAddr()), "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	<-entered
	waiting := dial(t, s.HTTPAddr())
	io.WriteString(waiting, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	s.stop()
	read(t, waiting) // ends without an answer
	close(release)
	if err := s.wait(t); err != nil {
		t.Errorf("Run returned %v", err)
	}
}

func TestConnectionsStayWithinTheLimit(t *testing.T) {
	inside, release := make(chan struct{}, 100), make(chan struct{})
	s := start(t, listen.Config{
		HTTP: "127.0.0.1:0", MaxConnections: 2,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			inside <- struct{}{}
			<-release
		}),
	})
	for range 5 {
		io.WriteString(dial(t, s.HTTPAddr()), "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	}
	<-inside
	<-inside
	if n := len(inside); n != 0 {
		t.Errorf("%d requests more than the limit are inside", n)
	}
	close(release)
	for range 3 {
		<-inside // the others get their turn
	}
}

// Neither prior knowledge nor an upgrade gets HTTP/2 without TLS.
func TestNoPlainHTTP2(t *testing.T) {
	s := start(t, listen.Config{HTTP: "127.0.0.1:0"})
	conn := dial(t, s.HTTPAddr())
	io.WriteString(conn, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")
	if got := read(t, conn); !strings.HasPrefix(got, "HTTP/1.1 ") || !strings.Contains(got, "Connection: close") {
		t.Errorf("prior knowledge got %q", got)
	}
	conn = dial(t, s.HTTPAddr())
	io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n")
	if got := read(t, conn); !strings.HasPrefix(got, "HTTP/1.1 200 ") {
		t.Errorf("an upgrade got %q", got)
	}
}

func TestHTTP2OverTLSHasLimits(t *testing.T) {
	pair := newPair(t)
	s := start(t, listen.Config{HTTPS: "127.0.0.1:0", CertFile: pair.cert, KeyFile: pair.key, MaxStreams: 7})
	conn, err := tls.Dial("tcp", s.HTTPSAddr().String(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(deadline))
	if got := conn.ConnectionState().NegotiatedProtocol; got != "h2" {
		t.Fatalf("negotiated %q", got)
	}
	io.WriteString(conn, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")
	settings := readSettings(t, conn)
	if got := settings[3]; got != 7 { // RFC 9113 6.5.2: SETTINGS_MAX_CONCURRENT_STREAMS
		t.Errorf("the server allows %d streams", got)
	}
	if got := settings[6]; got == 0 || got > 64<<10 { // SETTINGS_MAX_HEADER_LIST_SIZE
		t.Errorf("the server allows %d bytes of headers", got)
	}
}

// readSettings reads the server's first frame, which is SETTINGS (RFC 9113 3.4).
func readSettings(t *testing.T, r io.Reader) map[uint16]uint32 {
	t.Helper()
	head := make([]byte, 9)
	if _, err := io.ReadFull(r, head); err != nil {
		t.Fatal(err)
	}
	payload := make([]byte, int(head[0])<<16|int(head[1])<<8|int(head[2]))
	if _, err := io.ReadFull(r, payload); err != nil {
		t.Fatal(err)
	}
	settings := map[uint16]uint32{}
	for p := payload; len(p) >= 6; p = p[6:] {
		id := uint16(p[0])<<8 | uint16(p[1])
		settings[id] = uint32(p[2])<<24 | uint32(p[3])<<16 | uint32(p[4])<<8 | uint32(p[5])
	}
	return settings
}

// What strangers can cause at will does not fill the operator's log.
func TestScannersAreLoggedAtDebug(t *testing.T) {
	pair := newPair(t)
	s := start(t, listen.Config{HTTPS: "127.0.0.1:0", CertFile: pair.cert, KeyFile: pair.key})
	conn := dial(t, s.HTTPSAddr())
	fmt.Fprint(conn, "\x16\x03\x01\x00\x05hello")
	await(t, "the failed handshake is logged", func() bool { return s.log.count("TLS handshake error") > 0 })
	if s.log.count("level=WARN")+s.log.count("level=ERROR") != 0 {
		t.Errorf("a stranger filled the log: %s", s.log)
	}
}
