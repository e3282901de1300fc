package telemetry

import (
	"context"
	"log/slog"
	"net/http"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/countersign/countersign/server/request"
)

// Handler makes a span of each request of next, and notes its trace id in the
// request's record. It belongs under request.Entry and above the ServeMux.
//
// It is not the usual instrumentation, because that writes the path with its
// flow ids, the user agent, and the client address that X-Forwarded-For claims.
// A span here has the method, the route's pattern, the status and the request
// id, and so never a query, a code or a token.
func (t *Tracing) Handler(next http.Handler) http.Handler {
	if t == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if request.IsProbe(r.URL.Path) {
			next.ServeHTTP(w, r)
			return
		}
		method := methods.fold(r.Method)
		ctx, span := t.start(r, method)
		in, out, served := r.WithContext(ctx), &statusWriter{ResponseWriter: w}, false
		// span.End stands in a function of its own: deferred directly it would
		// recover a panic and write its value into the span.
		defer func() {
			r.Pattern = in.Pattern
			finish(span, method, in.Pattern, out.final(served))
		}()
		next.ServeHTTP(out, in)
		served = true
	})
}

// start begins the span of a request: the root of a trace of its own, unless its
// sender is trusted to have begun one.
func (t *Tracing) start(r *http.Request, method string) (context.Context, trace.Span) {
	ctx, options := r.Context(), []trace.SpanStartOption{
		trace.WithSpanKind(trace.SpanKindServer),
		trace.WithAttributes(
			attribute.String("http.request.method", method),
			attribute.String("countersign.request_id", request.ID(r.Context())),
		),
	}
	if t.config.TrustParent(r) {
		ctx = propagator.Extract(ctx, propagation.HeaderCarrier(r.Header))
	} else {
		options = append(options, trace.WithNewRoot())
	}
	ctx, span := t.tracer.Start(ctx, method, options...)
	request.Note(ctx, slog.String("trace_id", span.SpanContext().TraceID().String()))
	return ctx, span
}

// finish names the span after its route and ends it.
func finish(span trace.Span, method, pattern string, status int) {
	route := routeOf(pattern)
	span.SetName(method + " " + route)
	span.SetAttributes(attribute.String("http.route", route), attribute.Int("http.response.status_code", status))
	if status >= 500 {
		span.SetStatus(codes.Error, "")
	}
	span.End()
}

// child begins a span within the one of ctx, if there is one. The returned
// function ends it; of an error it tells only that there was one.
func child(ctx context.Context, name string) (context.Context, func(failed bool)) {
	parent := trace.SpanFromContext(ctx)
	if !parent.SpanContext().IsValid() {
		return ctx, func(bool) {}
	}
	ctx, span := parent.TracerProvider().Tracer(scope).Start(ctx, name)
	return ctx, func(failed bool) {
		if failed {
			span.SetStatus(codes.Error, "")
		}
		span.End()
	}
}
