package telemetry_test

import (
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/countersign/countersign/server/telemetry"
)

// sink is an OTLP collector over HTTP.
type sink struct {
	mu    sync.Mutex
	raw   strings.Builder
	spans []*tracepb.Span
	keys  []string
}

func (s *sink) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body := io.Reader(r.Body)
	if r.Header.Get("Content-Encoding") == "gzip" {
		unzipped, err := gzip.NewReader(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		body = unzipped
	}
	message, err := io.ReadAll(body)
	var export collector.ExportTraceServiceRequest
	if err != nil || r.URL.Path != "/v1/traces" || proto.Unmarshal(message, &export) != nil {
		http.Error(w, "not an export", http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.raw.WriteString(export.String())
	s.keys = append(s.keys, r.Header.Get("X-Api-Key"))
	for _, resource := range export.ResourceSpans {
		for _, scope := range resource.ScopeSpans {
			s.spans = append(s.spans, scope.Spans...)
		}
	}
}

// tracing runs a Tracing; the returned function ends it, so that all is flushed.
func tracing(t *testing.T, c telemetry.TracingConfig) (*telemetry.Tracing, func()) {
	t.Helper()
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	c.Service, c.Version = "countersign", "v1"
	tr, err := telemetry.NewTracing(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- tr.Run(ctx) }()
	<-tr.Started()
	end := sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("Run returned %v", err)
			}
		case <-time.After(deadline):
			t.Error("Run does not return")
		}
	})
	t.Cleanup(end)
	return tr, end
}

func attributes(s *tracepb.Span) map[string]string {
	got := map[string]string{}
	for _, a := range s.Attributes {
		got[a.Key] = fmt.Sprint(a.Value.GetStringValue(), a.Value.GetIntValue())
	}
	return got
}

const foreign = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

// The whole of what is exported for a request full of secrets.
func TestSpansHoldNoSecrets(t *testing.T) {
	s := &sink{}
	tr, end := tracing(t, telemetry.TracingConfig{Endpoint: serve(t, s), Headers: map[string]string{"X-Api-Key": "k"}})
	mux := http.NewServeMux()
	m := telemetry.NewMetrics(telemetry.MetricsConfig{})
	store := m.Store(nil)
	mux.HandleFunc("GET /flow/{id}/callback", func(w http.ResponseWriter, r *http.Request) {
		defer func() { recover() }()
		store.Ping(r.Context())
	})
	mux.HandleFunc("GET /panics", func(http.ResponseWriter, *http.Request) { panic("S3CRET in a panic") })
	log := &buffer{}
	url := serve(t, entry(t, log, m.Handler(tr.Handler(mux))))
	headers := []string{
		"Traceparent", foreign, "Tracestate", "evil=S3CRET", "Baggage", "user=S3CRET", "User-Agent", "S3CRET",
		"Cookie", "session=S3CRET", "Authorization", "Bearer S3CRET", "X-Forwarded-For", "S3CRET", "Referer", "https://x/?S3CRET",
	}
	do(t, http.MethodGet, url+"/flow/S3CRET/callback?code=S3CRET&state=S3CRET", headers...)
	do(t, http.MethodGet, url+"/panics?token=S3CRET", headers...)
	do(t, "S3CRET", url+"/S3CRET", headers...)
	end()
	if strings.Contains(s.raw.String(), "S3CRET") {
		t.Errorf("a secret is exported: %s", s.raw.String())
	}
	names := map[string]*tracepb.Span{}
	for _, span := range s.spans {
		names[span.Name] = span
	}
	got := names["GET /flow/{id}/callback"]
	if got == nil || names["GET /panics"] == nil || names["other unmatched"] == nil || names["store Ping"] == nil {
		t.Fatalf("spans are %v", s.spans)
	}
	a := attributes(got)
	if a["http.route"] != "/flow/{id}/callback0" || a["http.response.status_code"] != "200" || len(a) != 4 {
		t.Errorf("attributes are %v", a)
	}
	if names["GET /panics"].Status.GetCode() != tracepb.Status_STATUS_CODE_ERROR || len(names["GET /panics"].Events) != 0 {
		t.Errorf("the span of a panic is %v", names["GET /panics"])
	}
	if string(names["store Ping"].ParentSpanId) != string(got.SpanId) {
		t.Error("the call of the store is not within its request")
	}
	if fmt.Sprintf("%x", got.TraceId) == "0af7651916cd43dd8448eb211c80319c" || len(got.ParentSpanId) != 0 || len(got.Links) != 0 {
		t.Errorf("a stranger's trace is continued: %v", got)
	}
	if want := fmt.Sprintf("trace_id=%x", got.TraceId); !strings.Contains(log.String(), want) {
		t.Errorf("no %s in the record of the request: %s", want, log)
	}
	if s.keys[0] != "k" {
		t.Errorf("headers of the export are %q", s.keys)
	}
}

// A sampled flag in a stranger's traceparent buys nothing.
func TestStrangersDoNotForceSampling(t *testing.T) {
	for name, test := range map[string]struct {
		trust func(*http.Request) bool
		want  int
	}{
		"a stranger":    {nil, 0},
		"a trusted one": {func(*http.Request) bool { return true }, 20},
	} {
		t.Run(name, func(t *testing.T) {
			s := &sink{}
			tr, end := tracing(t, telemetry.TracingConfig{Endpoint: serve(t, s), Ratio: 1e-12, TrustParent: test.trust})
			url := serve(t, entry(t, io.Discard, tr.Handler(http.NotFoundHandler())))
			for range 20 {
				do(t, http.MethodGet, url, "Traceparent", foreign)
			}
			end()
			if len(s.spans) != test.want {
				t.Errorf("%d spans, want %d", len(s.spans), test.want)
			}
		})
	}
}

func TestProbesAreNotTraced(t *testing.T) {
	s := &sink{}
	tr, end := tracing(t, telemetry.TracingConfig{Endpoint: serve(t, s)})
	url := serve(t, entry(t, io.Discard, tr.Handler(telemetry.Alive())))
	do(t, http.MethodGet, url+"/healthz")
	do(t, http.MethodGet, url+"/else")
	end()
	if len(s.spans) != 1 {
		t.Errorf("%d spans", len(s.spans))
	}
}

// The route reaches those above although the span travels in a copy of the
// request.
func TestRouteReachesTheLayersAbove(t *testing.T) {
	tr, _ := tracing(t, telemetry.TracingConfig{Endpoint: serve(t, &sink{})})
	mux := http.NewServeMux()
	mux.Handle("GET /keys", telemetry.Alive())
	m := telemetry.NewMetrics(telemetry.MetricsConfig{})
	log := &buffer{}
	do(t, http.MethodGet, serve(t, entry(t, log, m.Handler(tr.Handler(mux))))+"/keys")
	has(t, expose(t, m), `countersign_http_requests_total{method="GET",route="/keys",status="2xx"} 1`)
	await(t, "the record is written", func() bool { return strings.Contains(log.String(), `route="GET /keys"`) })
}

func TestWithoutEndpointNothingHappens(t *testing.T) {
	tr, err := telemetry.NewTracing(telemetry.TracingConfig{})
	if tr != nil || err != nil {
		t.Fatalf("got %v, %v", tr, err)
	}
	next := http.NotFoundHandler()
	if got := tr.Handler(next); fmt.Sprintf("%p", got) != fmt.Sprintf("%p", next) {
		t.Error("the handler is wrapped")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := tr.Run(ctx); err != nil {
		t.Error(err)
	}
}

// A collector that fails is said once and again when it works; one that hangs
// does not keep the process.
func TestCollectorIsAway(t *testing.T) {
	var broken atomic.Bool
	broken.Store(true)
	s, hits := &sink{}, make(chan struct{}, 100)
	endpoint := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		hits <- struct{}{}
		if broken.Load() {
			http.Error(w, "no", http.StatusBadRequest) // not to be repeated
			return
		}
		s.ServeHTTP(w, r)
	}))
	log := &buffer{}
	tr, end := tracing(t, telemetry.TracingConfig{Endpoint: endpoint, Logger: slog.New(slog.NewTextHandler(log, nil))})
	url := serve(t, entry(t, io.Discard, tr.Handler(http.NotFoundHandler())))
	do(t, http.MethodGet, url)
	<-hits
	await(t, "the failure is logged", func() bool { return strings.Contains(log.String(), "cannot be exported") })
	broken.Store(false)
	do(t, http.MethodGet, url)
	end()
	if !strings.Contains(log.String(), "exported again") || len(s.spans) != 1 {
		t.Errorf("%d spans, log: %s", len(s.spans), log)
	}
}

func TestCollectorHangs(t *testing.T) {
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	t.Cleanup(func() { close(release); server.Close() })
	log := &buffer{}
	tr, end := tracing(t, telemetry.TracingConfig{
		Endpoint: server.URL, FlushTimeout: 50 * time.Millisecond, Logger: slog.New(slog.NewTextHandler(log, nil)),
	})
	do(t, http.MethodGet, serve(t, entry(t, io.Discard, tr.Handler(http.NotFoundHandler()))))
	end()
	if !strings.Contains(log.String(), "not exported") && !strings.Contains(log.String(), "cannot be exported") {
		t.Errorf("log: %s", log)
	}
}

func TestTracingConfigurationIsChecked(t *testing.T) {
	logger := slog.New(slog.DiscardHandler)
	for name, c := range map[string]telemetry.TracingConfig{
		"no scheme":  {Endpoint: "collector:4318", Service: "s", Logger: logger},
		"grpc":       {Endpoint: "grpc://collector:4317", Service: "s", Logger: logger},
		"no host":    {Endpoint: "http:///v1/traces", Service: "s", Logger: logger},
		"a password": {Endpoint: "http://u:p@collector:4318", Service: "s", Logger: logger},
		"no URL":     {Endpoint: "http://\x00", Service: "s", Logger: logger},
		"no service": {Endpoint: "http://collector:4318", Logger: logger},
		"no logger":  {Endpoint: "http://collector:4318", Service: "s"},
		"ratio":      {Endpoint: "http://collector:4318", Service: "s", Logger: logger, Ratio: 1.5},
		"negative":   {Endpoint: "http://collector:4318", Service: "s", Logger: logger, FlushTimeout: -1},
	} {
		if _, err := telemetry.NewTracing(c); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}
