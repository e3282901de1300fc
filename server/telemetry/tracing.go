package telemetry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// TracingConfig says where traces go.
type TracingConfig struct {
	// Endpoint is the OTLP/HTTP address of a collector, http or https; without a
	// path it is /v1/traces. Empty: no traces, and nothing is started.
	Endpoint string

	// Headers go with every export, such as an API key.
	Headers map[string]string

	// Ratio of requests that are traced, above 0 and up to 1: 1.
	Ratio float64

	// TrustParent tells whether the trace context of a request may be continued,
	// with its decision to be sampled. Most proxies hand on what strangers send,
	// so a trusted address alone is not a reason. Default: never.
	TrustParent func(*http.Request) bool

	// FlushTimeout bounds the last export: 5 s.
	FlushTimeout time.Duration

	// Service and Version name the process in the traces. Service is required
	// with Endpoint.
	Service string
	Version string

	// Logger learns when exporting begins and ceases to fail. Required with
	// Endpoint.
	Logger *slog.Logger
}

// Tracing makes spans and exports them. A nil Tracing does neither.
type Tracing struct {
	config   TracingConfig
	provider *sdktrace.TracerProvider
	tracer   trace.Tracer
	started  chan struct{}
}

// scope names the instrumentation that makes the spans.
const scope = "github.com/countersign/countersign"

// NewTracing checks the configuration. It returns nil if no endpoint is
// configured, and exports nothing before Run.
func NewTracing(c TracingConfig) (*Tracing, error) {
	if c.Endpoint == "" {
		return nil, nil
	}
	c, err := c.complete()
	if err != nil {
		return nil, fmt.Errorf("configuring tracing: %w", err)
	}
	provider := sdktrace.NewTracerProvider(
		// Only spans of our own are parents here, unless TrustParent said so.
		sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.TraceIDRatioBased(c.Ratio))),
		sdktrace.WithResource(resource.NewSchemaless(
			attribute.String("service.name", c.Service),
			attribute.String("service.version", c.Version),
		)),
	)
	return &Tracing{config: c, provider: provider, tracer: provider.Tracer(scope), started: make(chan struct{})}, nil
}

// complete checks the configuration and sets the defaults.
func (c TracingConfig) complete() (TracingConfig, error) {
	u, err := url.Parse(c.Endpoint)
	switch {
	case err != nil:
		return c, errors.New("the endpoint is not a URL")
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil:
		return c, errors.New("the endpoint is not http(s)://host[:port][/path] without a user")
	case c.Service == "":
		return c, errors.New("no name of the service")
	case c.Logger == nil:
		return c, errors.New("no logger")
	case c.Ratio < 0 || c.Ratio > 1:
		return c, fmt.Errorf("the ratio %v is not between 0 and 1", c.Ratio)
	case c.FlushTimeout < 0:
		return c, errors.New("negative timeout")
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = "/v1/traces"
	}
	c.Endpoint = u.String()
	if c.Ratio == 0 {
		c.Ratio = 1
	}
	if c.FlushTimeout == 0 {
		c.FlushTimeout = 5 * time.Second
	}
	if c.TrustParent == nil {
		c.TrustParent = func(*http.Request) bool { return false }
	}
	return c, nil
}

// Started is closed once Run collects spans; what ends before is not exported. Of
// a nil Tracing it is closed.
func (t *Tracing) Started() <-chan struct{} {
	if t == nil {
		closed := make(chan struct{})
		close(closed)
		return closed
	}
	return t.started
}

// Run exports until ctx ends, then sends what is left within FlushTimeout. It
// should end after the listeners have, and runs once. A collector that is away is
// logged and is never an error: traces are not worth a failed shutdown.
func (t *Tracing) Run(ctx context.Context) error {
	if t == nil {
		<-ctx.Done()
		return nil
	}
	exporter, err := otlptracehttp.New(context.WithoutCancel(ctx),
		otlptracehttp.WithEndpointURL(t.config.Endpoint),
		otlptracehttp.WithHeaders(t.config.Headers),
		otlptracehttp.WithTimeout(10*time.Second),
	)
	if err != nil {
		return fmt.Errorf("starting the export of traces: %w", err)
	}
	reporting := &reportingExporter{SpanExporter: exporter, logger: t.config.Logger}
	t.provider.RegisterSpanProcessor(sdktrace.NewBatchSpanProcessor(reporting))
	close(t.started)
	<-ctx.Done()
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), t.config.FlushTimeout)
	defer cancel()
	if err := t.provider.Shutdown(last); err != nil {
		t.config.Logger.Warn("the last traces were not exported", "error", err)
	}
	return nil
}

// reportingExporter logs failures, which the SDK would otherwise hand to a
// global handler. The processor exports one batch at a time.
type reportingExporter struct {
	sdktrace.SpanExporter
	logger  *slog.Logger
	failing bool
}

// ExportSpans logs the first failure of a row, and its end.
func (e *reportingExporter) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	err := e.SpanExporter.ExportSpans(ctx, spans)
	switch {
	case err != nil && !e.failing:
		e.logger.Warn("traces cannot be exported", "error", err)
	case err == nil && e.failing:
		e.logger.Info("traces are exported again")
	}
	e.failing = err != nil
	return nil
}

// propagator reads W3C Trace Context, and no baggage.
var propagator = propagation.TraceContext{}
