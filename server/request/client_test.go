package request_test

import (
	"bufio"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/countersign/countersign/e2e/fuzz"
	"github.com/countersign/countersign/server/request"
)

// clientOf returns the address that an Entry takes a request for.
func clientOf(t *testing.T, proxies []netip.Prefix, peer string, forwarded ...string) string {
	t.Helper()
	entry, err := request.New(request.Config{
		Logger: slog.New(slog.DiscardHandler), Random: rand.Reader, Now: time.Now, TrustedProxies: proxies,
	})
	if err != nil {
		t.Fatal(err)
	}
	var got netip.Addr
	handler := entry.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { got = request.ClientAddress(r.Context()) }))
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.RemoteAddr = peer
	for _, f := range forwarded {
		r.Header.Add("X-Forwarded-For", f)
	}
	handler.ServeHTTP(httptest.NewRecorder(), r)
	return got.String()
}

func TestClientAddress(t *testing.T) {
	trusted := []netip.Prefix{
		netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8"), netip.MustParsePrefix("::ffff:192.168.0.0/112"),
	}
	for name, test := range map[string]struct {
		proxies   []netip.Prefix
		peer      string
		forwarded []string
		want      string
	}{
		"direct":                      {trusted, "198.51.100.7:1", nil, "198.51.100.7"},
		"stranger forges":             {trusted, "198.51.100.7:1", []string{"127.0.0.1"}, "198.51.100.7"},
		"no proxy is trusted":         {nil, "127.0.0.1:1", []string{"198.51.100.7"}, "127.0.0.1"},
		"through one proxy":           {trusted, "10.0.0.1:1", []string{"198.51.100.7"}, "198.51.100.7"},
		"through two proxies":         {trusted, "10.0.0.1:1", []string{"198.51.100.7, 10.0.0.2"}, "198.51.100.7"},
		"client forges before it":     {trusted, "10.0.0.1:1", []string{"127.0.0.1, 198.51.100.7"}, "198.51.100.7"},
		"client forges a proxy":       {trusted, "10.0.0.1:1", []string{"1.1.1.1, 10.0.0.9, 198.51.100.7"}, "198.51.100.7"},
		"client forges another line":  {trusted, "10.0.0.1:1", []string{"1.1.1.1", "198.51.100.7"}, "198.51.100.7"},
		"garbage where strangers are": {trusted, "10.0.0.1:1", []string{"<script>, 198.51.100.7"}, "198.51.100.7"},
		"garbage where proxies are":   {trusted, "10.0.0.1:1", []string{"198.51.100.7, unknown"}, "10.0.0.1"},
		"garbage between proxies":     {trusted, "10.0.0.1:1", []string{"198.51.100.7, _hidden, 10.0.0.2"}, "10.0.0.1"},
		"empty header":                {trusted, "10.0.0.1:1", []string{""}, "10.0.0.1"},
		"only commas":                 {trusted, "10.0.0.1:1", []string{",,,"}, "10.0.0.1"},
		"trailing comma":              {trusted, "10.0.0.1:1", []string{"198.51.100.7,"}, "10.0.0.1"},
		"all trusted":                 {trusted, "10.0.0.1:1", []string{"10.1.1.1, 10.0.0.2"}, "10.1.1.1"},
		"mapped peer":                 {trusted, "[::ffff:198.51.100.7]:1", nil, "198.51.100.7"},
		"mapped proxy":                {trusted, "[::ffff:10.0.0.1]:1", []string{"198.51.100.7"}, "198.51.100.7"},
		"mapped client":               {trusted, "10.0.0.1:1", []string{"::ffff:198.51.100.7"}, "198.51.100.7"},
		"mapped prefix":               {trusted, "192.168.3.4:1", []string{"198.51.100.7"}, "198.51.100.7"},
		"IPv6":                        {trusted, "[fd00::1]:1", []string{"2001:db8::1"}, "2001:db8::1"},
		"with a port":                 {trusted, "10.0.0.1:1", []string{"198.51.100.7:4711"}, "198.51.100.7"},
		"IPv6 with a port":            {trusted, "10.0.0.1:1", []string{"[2001:db8::1]:4711"}, "2001:db8::1"},
		"a zone":                      {trusted, "10.0.0.1:1", []string{"fe80::1%eth0"}, "10.0.0.1"},
		"leading zeros":               {trusted, "10.0.0.1:1", []string{"198.051.100.7"}, "10.0.0.1"},
		"a name":                      {trusted, "10.0.0.1:1", []string{"localhost"}, "10.0.0.1"},
		"line break":                  {trusted, "10.0.0.1:1", []string{"198.51.100.7\r\n"}, "10.0.0.1"},
		"no IP at all":                {trusted, "@", []string{"198.51.100.7"}, "invalid IP"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := clientOf(t, test.proxies, test.peer, test.forwarded...); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

func FuzzForwardedFor(f *testing.F) {
	fuzz.Widely(f)
	for _, s := range []string{"198.51.100.7", "a,b", "[::1]:1, 10.0.0.1", "fe80::1%\x00", ",", "::ffff:1.2.3.4"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, header string) {
		trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
		if got := clientOf(t, trusted, "198.51.100.7:1", header); got != "198.51.100.7" {
			t.Errorf("a stranger became %s", got)
		}
		got := clientOf(t, trusted, "10.0.0.1:1", header)
		if addr, err := netip.ParseAddr(got); err != nil || addr.Is4In6() || addr.Zone() != "" {
			t.Errorf("got %q", got)
		}
	})
}

// Over a real socket: nothing forwarded by a stranger has an effect.
func TestForwardedHeadersOfStrangers(t *testing.T) {
	url, log := serve(t, request.Config{}, single(func(w http.ResponseWriter, r *http.Request) error {
		if request.FromTrustedProxy(r.Context()) {
			t.Error("a stranger is a trusted proxy")
		}
		return nil
	}))
	resp, _ := get(t, url, "X-Forwarded-For", "8.8.8.8", "X-Request-Id", "chosen-by-a-stranger", "X-Forwarded-Proto", "https", "X-Forwarded-Host", "evil.example")
	record := log.next(t)
	if record["client"] != "127.0.0.1" {
		t.Errorf("client is %v", record["client"])
	}
	if id := resp.Header.Get("X-Request-Id"); !regexp.MustCompile(`^[0-9a-f]{32}$`).MatchString(id) {
		t.Errorf("request id is %q", id)
	}
}

func TestRequestIDOfATrustedProxy(t *testing.T) {
	url, log := serve(t, request.Config{TrustedProxies: local}, single(func(w http.ResponseWriter, r *http.Request) error {
		_, err := io.WriteString(w, request.ID(r.Context()))
		return err
	}))
	for id, kept := range map[string]bool{
		"4bf92f3577b34da6-A_b.9": true,
		"short":                  false,
		strings.Repeat("a", 65):  false,
		"with space":             false,
		"semi;colon":             false,
		"<script>alert(1)":       false,
		"änderung":               false,
	} {
		resp, body := get(t, url, "X-Request-Id", id)
		if (body == id) != kept || resp.Header.Get("X-Request-Id") != body || log.next(t)["request_id"] != body {
			t.Errorf("%q became %q", id, body)
		}
	}
}

// Without randomness there is no request, rather than one without a name.
func TestNoRandomness(t *testing.T) {
	var log strings.Builder
	entry, err := request.New(request.Config{
		Logger: slog.New(slog.NewTextHandler(&log, nil)), Now: time.Now, Random: iotest.ErrReader(errors.New("the well is dry")),
	})
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	entry.Wrap(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("served") })).
		ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
	if w.Code != 500 || !strings.Contains(log.String(), "the well is dry") {
		t.Errorf("got %d, log %q", w.Code, log.String())
	}
}

// A request in raw bytes, as no client library would send it.
func raw(t *testing.T, url, request string) *http.Response {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	go io.WriteString(conn, request)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	return resp
}
