package telemetry_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/countersign/countersign/server/request"
	"github.com/countersign/countersign/server/telemetry"
	"github.com/countersign/countersign/storage"
)

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

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// serve runs a handler on a real socket.
func serve(t *testing.T, h http.Handler) string {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return server.URL
}

// entry puts the record of requests around a handler.
func entry(t *testing.T, log io.Writer, next http.Handler) http.Handler {
	t.Helper()
	e, err := request.New(request.Config{
		Logger: slog.New(slog.NewTextHandler(log, nil)), Random: rand.Reader, Now: time.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	return e.Wrap(next)
}

func do(t *testing.T, method, url string, headers ...string) (int, string) {
	t.Helper()
	r, err := http.NewRequest(method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	resp, err := (&http.Client{Timeout: deadline}).Do(r)
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

func readiness(t *testing.T) *telemetry.Readiness {
	t.Helper()
	r, err := telemetry.NewReadiness(telemetry.ReadinessConfig{Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func expose(t *testing.T, m *telemetry.Metrics) string {
	t.Helper()
	status, body := do(t, http.MethodGet, serve(t, m.Exposition()))
	if status != 200 {
		t.Fatalf("metrics: %d %s", status, body)
	}
	return body
}

// has checks that the exposition has exactly these lines.
func has(t *testing.T, exposition string, lines ...string) {
	t.Helper()
	for _, line := range lines {
		if !strings.Contains("\n"+exposition, "\n"+line+"\n") {
			t.Errorf("no line %q in\n%s", line, ours(exposition))
		}
	}
}

// ours are the lines of our own metrics.
func ours(exposition string) string {
	var out []string
	for line := range strings.Lines(exposition) {
		if strings.HasPrefix(line, "countersign_") && !strings.Contains(line, "_bucket{") {
			out = append(out, line)
		}
	}
	return strings.Join(out, "")
}

func TestHandlerServesTheOperator(t *testing.T) {
	for _, profiles := range []bool{false, true} {
		h, err := telemetry.Handler(telemetry.HandlerConfig{
			Metrics: telemetry.NewMetrics(telemetry.MetricsConfig{}), Readiness: readiness(t), Pprof: profiles,
		})
		if err != nil {
			t.Fatal(err)
		}
		url := serve(t, h)
		for path, want := range map[string]int{
			"/metrics": 200, "/healthz": 200, "/healthz/live": 200, "/healthz/ready": 200, "/readyz": 200, "/": 404,
			"/debug/pprof/": 404, "/debug/pprof/goroutine": 404, "/debug/pprof/symbol": 404, "/debug/pprof/cmdline": 404,
		} {
			if profiles && strings.HasPrefix(path, "/debug/") && path != "/debug/pprof/cmdline" {
				want = 200
			}
			if got, _ := do(t, http.MethodGet, url+path); got != want {
				t.Errorf("pprof %v: %s is %d, want %d", profiles, path, got, want)
			}
		}
	}
	if _, err := telemetry.Handler(telemetry.HandlerConfig{}); err == nil {
		t.Error("a handler without metrics and readiness is accepted")
	}
}

func TestRequestsAreCounted(t *testing.T) {
	m := telemetry.NewMetrics(telemetry.MetricsConfig{})
	mux := http.NewServeMux()
	mux.HandleFunc("GET /flow/{id}/callback", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "x") })
	mux.HandleFunc("/broken", func(w http.ResponseWriter, r *http.Request) { panic("broken") })
	mux.HandleFunc("/refused", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusForbidden) })
	url := serve(t, entry(t, io.Discard, m.Handler(mux)))
	do(t, "GET", url+"/flow/1/callback?code=secret")
	do(t, "GET", url+"/flow/2/callback")
	do(t, "POST", url+"/refused")
	do(t, "GET", url+"/broken")
	// What strangers invent is one series, not one each.
	for i := range 50 {
		do(t, "GET", fmt.Sprintf("%s/invented/%d", url, i))
		do(t, fmt.Sprintf("INVENTED%d", i), url+"/refused")
	}
	got := expose(t, m)
	has(t, got,
		`countersign_http_requests_total{method="GET",route="/flow/{id}/callback",status="2xx"} 2`,
		`countersign_http_requests_total{method="POST",route="/refused",status="4xx"} 1`,
		`countersign_http_requests_total{method="other",route="/refused",status="4xx"} 50`,
		`countersign_http_requests_total{method="GET",route="/broken",status="5xx"} 1`,
		`countersign_http_requests_total{method="GET",route="unmatched",status="4xx"} 50`,
		`countersign_http_request_duration_seconds_count{method="GET",route="unmatched",status="4xx"} 50`,
		`countersign_http_requests_in_flight 0`,
	)
	for _, bucket := range []string{`le="0.001"`, `le="0.0025"`, `le="10"`} {
		if !strings.Contains(got, bucket) {
			t.Errorf("no bucket %s", bucket)
		}
	}
	if n := strings.Count(got, "countersign_http_requests_total{"); n != 5 {
		t.Errorf("%d series of requests:\n%s", n, ours(got))
	}
}

func TestCountersFoldTheUnknown(t *testing.T) {
	m := telemetry.NewMetrics(telemetry.MetricsConfig{Version: "v1", Revision: "abc", Connectors: []string{"ldap", "local"}})
	m.Login("ldap", telemetry.Success)
	m.Login("local", telemetry.Failure)
	m.Token("authorization_code", telemetry.Success)
	m.Token("refresh_token", "invalid_grant")
	for i := range 50 {
		m.Login(fmt.Sprint("made-up-", i), fmt.Sprint("whatever-", i))
		m.Token(fmt.Sprint("urn:made-up:", i), fmt.Sprint("whatever-", i))
	}
	m.StoreCall("Ping", nil, 3*time.Millisecond)
	m.StoreCall("Ping", fmt.Errorf("pinging: %w", storage.ErrUnavailable), time.Second)
	m.StoreCall("Session", storage.ErrNotFound, 0)
	m.StoreCall("RedeemCode", storage.ErrConflict, 0)
	m.StoreCall("Grant", context.Canceled, 0)
	m.StoreCall("Grant", errors.New("odd"), 0)
	m.ClockSkew(-1500 * time.Millisecond)
	m.Garbage(storage.TableGrants, 300)
	m.Garbage(storage.TableGrants, 400)
	m.Garbage("a table of mine", 1)
	got := expose(t, m)
	has(t, got,
		`countersign_logins_total{connector="ldap",result="success"} 1`,
		`countersign_logins_total{connector="local",result="failure"} 1`,
		`countersign_logins_total{connector="other",result="other"} 50`,
		`countersign_token_requests_total{grant_type="authorization_code",result="success"} 1`,
		`countersign_token_requests_total{grant_type="refresh_token",result="invalid_grant"} 1`,
		`countersign_token_requests_total{grant_type="other",result="other"} 50`,
		`countersign_store_calls_total{method="Ping",result="ok"} 1`,
		`countersign_store_calls_total{method="Ping",result="unavailable"} 1`,
		`countersign_store_calls_total{method="Session",result="not_found"} 1`,
		`countersign_store_calls_total{method="RedeemCode",result="conflict"} 1`,
		`countersign_store_calls_total{method="Grant",result="cancelled"} 1`,
		`countersign_store_calls_total{method="Grant",result="error"} 1`,
		`countersign_store_call_duration_seconds_bucket{method="Ping",le="0.005"} 1`,
		`countersign_clock_skew_seconds -1.5`,
		`countersign_garbage_deleted_total{table="grants"} 700`,
		`countersign_garbage_deleted_total{table="sessions"} 0`,
		`countersign_garbage_deleted_total{table="other"} 1`,
	)
	for _, want := range []string{`countersign_build_info{go_version="go`, `revision="abc",version="v1"} 1`, "go_goroutines ", "process_open_fds "} {
		if !strings.Contains(got, want) {
			t.Errorf("no %s", want)
		}
	}
}

func TestKeyAges(t *testing.T) {
	m := telemetry.NewMetrics(telemetry.MetricsConfig{})
	if got := expose(t, m); strings.Contains(got, "countersign_key_age_seconds{") {
		t.Error("ages without keys")
	}
	m.Keys(func() []telemetry.KeyAge {
		return []telemetry.KeyAge{
			{Algorithm: "RS256", State: "active", Age: time.Hour},
			{Algorithm: "RS256", State: "retired", Age: 25 * time.Hour},
			{Algorithm: "RS256", State: "retired", Age: 49 * time.Hour},
		}
	})
	has(t, expose(t, m),
		`countersign_key_age_seconds{algorithm="RS256",state="active"} 3600`,
		`countersign_key_age_seconds{algorithm="RS256",state="retired"} 176400`,
	)
}

// Two in one process do not meet: nothing is global.
func TestMetricsHaveTheirOwnRegistry(t *testing.T) {
	one, two := telemetry.NewMetrics(telemetry.MetricsConfig{}), telemetry.NewMetrics(telemetry.MetricsConfig{})
	one.Login("x", telemetry.Success)
	if got := expose(t, two); strings.Contains(got, "countersign_logins_total{") {
		t.Error("a login of one is counted by the other")
	}
}

// A method that storage.Store gains and Store does not measure fails here. The
// methods are called on no store at all, so each panics, having been counted.
func TestEveryStoreCallIsMeasured(t *testing.T) {
	m := telemetry.NewMetrics(telemetry.MetricsConfig{})
	measured := reflect.ValueOf(m.Store(nil))
	contract := reflect.TypeFor[storage.Store]()
	for i := range contract.NumMethod() {
		method := contract.Method(i)
		arguments := make([]reflect.Value, method.Type.NumIn())
		for j := range arguments {
			arguments[j] = reflect.Zero(method.Type.In(j))
			if method.Type.In(j) == reflect.TypeFor[context.Context]() {
				arguments[j] = reflect.ValueOf(t.Context())
			}
		}
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s does not reach the store", method.Name)
				}
			}()
			measured.MethodByName(method.Name).Call(arguments)
		}()
		if method.Name == "Close" {
			continue
		}
		if !strings.Contains(expose(t, m), `countersign_store_calls_total{method="`+method.Name+`"`) {
			t.Errorf("%s is not measured", method.Name)
		}
	}
}
