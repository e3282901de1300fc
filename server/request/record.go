package request

import (
	"context"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"
)

// record is what becomes one line of the log.
type record struct {
	id      string
	client  netip.Addr
	address string // client as text
	trusted bool
	// agent is the header as it came.
	agent string

	mu         sync.Mutex
	parameters []slog.Attr
	notes      []slog.Attr
	cause      error
	panicked   *Panic
	aborted    bool
}

type recordKey struct{}

// from returns the record of a context, an unread one outside of a request.
func from(ctx context.Context) *record {
	if r, ok := ctx.Value(recordKey{}).(*record); ok {
		return r
	}
	return &record{}
}

// maxNotes bounds what handlers can add to one record.
const maxNotes = 32

// Note adds attributes to the record of the request that ctx belongs to. What is
// noted is logged as it is, so it must be neither secret nor unbounded. Outside
// of a request, and after its end, it does nothing.
func Note(ctx context.Context, attrs ...slog.Attr) {
	r := from(ctx)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.notes = append(r.notes, attrs[:min(len(attrs), maxNotes-len(r.notes))]...)
}

// Cause puts an error into the record of the request that ctx belongs to, bounded
// and without the queries of addresses, as Handle does with the errors of handlers.
// It is for a fault that people see as a page of its own.
func Cause(ctx context.Context, err error) { from(ctx).setCause(err) }

// setCause keeps the first error: later ones are its consequences.
func (r *record) setCause(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cause == nil {
		r.cause = err
	}
}

// open begins the record of a request.
func (e *Entry) open(r *http.Request) (*record, error) {
	from := peer(r)
	rec := &record{client: from, trusted: from.IsValid() && e.trusts(from), agent: r.UserAgent()}
	if rec.trusted {
		if r.Header.Get("X-Forwarded-For") != "" {
			rec.client = e.client(r, from)
		}
		if id := r.Header.Get(idHeader); usableID(id) {
			rec.id = id
		}
	}
	rec.address = rec.client.String()
	rec.addQuery(r.URL)
	if rec.id != "" {
		return rec, nil
	}
	var err error
	rec.id, err = newID(e.config.Random)
	return rec, err
}

// log writes the one line.
func (e *Entry) log(rec *record, out *response, r *http.Request, started time.Time) {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	attrs := []slog.Attr{
		slog.String("request_id", rec.id),
		slog.String("method", Bounded(r.Method, maxMethod)),
		slog.String("route", r.Pattern),
		slog.Int("status", rec.status(out)),
		slog.Float64("duration_ms", float64(e.config.Now().Sub(started).Microseconds())/1000),
		slog.Int64("bytes", out.bytes),
		slog.String("client", rec.address),
		slog.String("user_agent", Bounded(r.UserAgent(), maxAgent)),
	}
	if r.Pattern == "" {
		attrs = append(attrs, slog.String("path", safePath(r.URL.Path)))
	}
	if len(rec.parameters) > 0 {
		attrs = append(attrs, slog.GroupAttrs("parameters", rec.parameters...))
	}
	attrs = append(attrs, rec.notes...)
	attrs = append(attrs, rec.failure()...)
	e.config.Logger.LogAttrs(r.Context(), rec.level(out, r), "request", attrs...)
}

// status is what the client got, 0 if it got nothing.
func (r *record) status(out *response) int {
	if !out.begun() && !r.aborted {
		return http.StatusOK // net/http answers so when nobody does
	}
	return out.status
}

// failure is why.
func (r *record) failure() []slog.Attr {
	var attrs []slog.Attr
	if r.cause != nil {
		attrs = append(attrs, slog.String("cause", Bounded(cause(r.cause), maxCause)))
	}
	if r.panicked != nil {
		attrs = append(attrs, slog.String("stack", r.panicked.Stack))
	}
	if r.aborted {
		attrs = append(attrs, slog.Bool("aborted", true))
	}
	return attrs
}

// level is Error when we failed somebody who is still there, Debug for a probe
// that found all well.
func (r *record) level(out *response, req *http.Request) slog.Level {
	switch {
	case r.panicked != nil:
		return slog.LevelError
	case out.status >= 500 && req.Context().Err() == nil:
		if IsProbe(route(req.Pattern)) {
			return slog.LevelInfo // a failing probe is the answer, not the fault
		}
		return slog.LevelError
	case out.status < 400 && IsProbe(route(req.Pattern)):
		return slog.LevelDebug
	}
	return slog.LevelInfo
}

// IsProbe reports whether a path is one that machines ask every few seconds.
func IsProbe(path string) bool {
	for _, end := range []string{"/healthz", "/healthz/live", "/healthz/ready", "/readyz", "/metrics"} {
		if strings.HasSuffix(path, end) {
			return true
		}
	}
	return false
}

// route is a ServeMux pattern without its method.
func route(pattern string) string {
	if _, path, ok := strings.Cut(pattern, " "); ok {
		return path
	}
	return pattern
}
