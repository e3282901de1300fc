package listen_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/countersign/countersign/server/listen"
)

// deadline bounds every wait: long enough for a busy machine, and only reached
// by a test that fails.
const deadline = 20 * time.Second

// await polls until the condition holds.
func await(t *testing.T, what string, condition func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-ctx.Done():
			t.Fatalf("never happened: %s", what)
		case <-tick.C:
		}
	}
}

// buffer is a log that can be read while it is written.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) count(s string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Count(b.b.String(), s)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// running is a server under test and how to end it.
type running struct {
	*listen.Server
	log  *buffer
	stop context.CancelFunc
	done chan error
}

// start runs a server of the configuration until the test ends.
func start(t *testing.T, c listen.Config) *running {
	t.Helper()
	r := &running{log: &buffer{}, done: make(chan error, 1)}
	c.Logger = slog.New(slog.NewTextHandler(r.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	if c.Handler == nil {
		c.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.Proto) })
	}
	s, err := listen.New(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Listen(); err != nil {
		t.Fatal(err)
	}
	r.Server = s
	ctx, cancel := context.WithCancel(context.Background())
	r.stop = cancel
	go func() { r.done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		s.Close()
	})
	return r
}

// wait returns what Run returned.
func (r *running) wait(t *testing.T) error {
	t.Helper()
	select {
	case err := <-r.done:
		return err
	case <-time.After(deadline):
		t.Fatal("Run does not return")
		return nil
	}
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	client := &http.Client{Timeout: deadline, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func dial(t *testing.T, addr net.Addr) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(deadline))
	return conn
}

func TestServesAndEnds(t *testing.T) {
	s := start(t, listen.Config{HTTP: "127.0.0.1:0"})
	if status, body := get(t, "http://"+s.HTTPAddr().String()); status != 200 || body != "HTTP/1.1" {
		t.Errorf("got %d %q", status, body)
	}
	if s.HTTPSAddr() != nil {
		t.Errorf("https is bound at %s", s.HTTPSAddr())
	}
	s.stop()
	if err := s.wait(t); err != nil {
		t.Errorf("Run returned %v", err)
	}
	if _, err := net.Dial("tcp", s.HTTPAddr().String()); err == nil {
		t.Error("still accepting after Run")
	}
}

func TestConfigurationIsChecked(t *testing.T) {
	logger, handler := slog.New(slog.DiscardHandler), http.NotFoundHandler()
	for name, test := range map[string]struct {
		config listen.Config
		want   []string
	}{
		"nothing":        {listen.Config{}, []string{"neither an http nor an https", "no handler", "no logger"}},
		"https alone":    {listen.Config{HTTPS: ":0", Handler: handler, Logger: logger}, []string{"without a certificate file", "without a private key file"}},
		"TLS 1.1":        {listen.Config{HTTP: ":0", Handler: handler, Logger: logger, MinVersion: 0x0302}, []string{"below 1.2"}},
		"max below min":  {listen.Config{HTTP: ":0", Handler: handler, Logger: logger, MinVersion: 0x0304, MaxVersion: 0x0303}, []string{"below the minimum"}},
		"negative limit": {listen.Config{HTTP: ":0", Handler: handler, Logger: logger, MaxConnections: -1}, []string{"-1 is not positive"}},
		"negative time":  {listen.Config{HTTP: ":0", Handler: handler, Logger: logger, ReadTimeout: -1}, []string{"negative duration"}},
		"no such file":   {listen.Config{HTTPS: ":0", Handler: handler, Logger: logger, CertFile: "absent.pem", KeyFile: "absent.pem"}, []string{"reading the certificate", "absent.pem"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := listen.New(test.config)
			if err == nil {
				t.Fatal("accepted")
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q does not say %q", err, want)
				}
			}
		})
	}
}

func TestAddressInUse(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	pair := newPair(t)
	s, err := listen.New(listen.Config{
		HTTP: "127.0.0.1:0", HTTPS: taken.Addr().String(),
		CertFile: pair.cert, KeyFile: pair.key,
		Handler: http.NotFoundHandler(), Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Listen(); err == nil || !strings.Contains(err.Error(), "listening for https") {
		t.Fatalf("Listen returned %v", err)
	}
	if _, err := net.Dial("tcp", s.HTTPAddr().String()); err == nil {
		t.Error("http stayed bound although https could not be")
	}
}

func TestRunNeedsListen(t *testing.T) {
	s, err := listen.New(listen.Config{HTTP: "127.0.0.1:0", Handler: http.NotFoundHandler(), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Run(t.Context()); err == nil {
		t.Error("Run without Listen succeeded")
	}
}

func TestVersionNames(t *testing.T) {
	for name, want := range map[string]uint16{"": 0, "1.2": 0x0303, "1.3": 0x0304} {
		if got, err := listen.Version(name); err != nil || got != want {
			t.Errorf("Version(%q) = %x, %v", name, got, err)
		}
	}
	for _, name := range []string{"1.1", "1.0", "TLS1.2", "1.4", " "} {
		if _, err := listen.Version(name); err == nil {
			t.Errorf("Version(%q) is accepted", name)
		}
	}
}
