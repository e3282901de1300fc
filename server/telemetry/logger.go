package telemetry

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"

	"github.com/countersign/countersign/server/jsonline"
)

// NewLogger makes the logger of the configuration: level debug, info, warn or
// error, format text or json; empty means info and text.
//
// Both formats write a record as one line: what could break or forge one is
// quoted. Attributes whose name says that they are secret are not written; that
// is the last net, not the rule.
func NewLogger(w io.Writer, level, format string) (*slog.Logger, error) {
	least, err := logLevel(level)
	if err != nil {
		return nil, err
	}
	w = &serial{w: w}
	rendering := &slog.HandlerOptions{Level: least, ReplaceAttr: render}
	switch strings.ToLower(format) {
	case "", "text":
		return slog.New(handler{slog.NewTextHandler(w, &slog.HandlerOptions{Level: least}), slog.NewTextHandler(w, rendering)}), nil
	case "json":
		return slog.New(handler{jsonline.NewHandler(w, least), slog.NewJSONHandler(w, rendering)}), nil
	}
	return nil, fmt.Errorf("log format %q is neither text nor json", format)
}

// handler asks for the rendering of attributes only where there is something to
// render, which is in few records: slog is faster without.
type handler struct{ plain, rendered slog.Handler }

func (h handler) Enabled(ctx context.Context, l slog.Level) bool { return h.plain.Enabled(ctx, l) }

func (h handler) Handle(ctx context.Context, r slog.Record) error {
	to := h.plain
	r.Attrs(func(a slog.Attr) bool {
		if renders(a) {
			to = h.rendered
		}
		return to == h.plain
	})
	return to.Handle(ctx, r)
}

// WithAttrs renders what is written with each record.
func (h handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	if slices.ContainsFunc(attrs, renders) {
		h.plain = h.rendered
	}
	return handler{h.plain.WithAttrs(attrs), h.rendered.WithAttrs(attrs)}
}

func (h handler) WithGroup(name string) slog.Handler {
	return handler{h.plain.WithGroup(name), h.rendered.WithGroup(name)}
}

// serial lets two handlers write to one place: each has a lock of its own.
type serial struct {
	mu sync.Mutex
	w  io.Writer
}

func (s *serial) Write(line []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.w.Write(line)
}

func logLevel(name string) (slog.Level, error) {
	switch strings.ToLower(name) {
	case "debug":
		return slog.LevelDebug, nil
	case "", "info":
		return slog.LevelInfo, nil
	case "warn", "warning":
		return slog.LevelWarn, nil
	case "error":
		return slog.LevelError, nil
	}
	return 0, fmt.Errorf("log level %q is none of debug, info, warn, error", name)
}

// secretNames are attributes that nobody writes on purpose.
var secretNames = setOf(
	"password", "secret", "client_secret", "token", "access_token", "refresh_token", "id_token",
	"code_verifier", "authorization", "cookie", "set-cookie", "assertion", "samlresponse",
)

// renders reports whether render may change an attribute or one inside it. What
// resolves itself may be anything.
func renders(a slog.Attr) bool {
	switch a.Value.Kind() {
	case slog.KindDuration, slog.KindLogValuer:
		return true
	case slog.KindGroup:
		if slices.ContainsFunc(a.Value.Group(), renders) {
			return true
		}
	}
	return secretNames[strings.ToLower(a.Key)]
}

// render withholds secrets, and gives durations their unit: JSON would have them
// as a number of nanoseconds.
func render(_ []string, a slog.Attr) slog.Attr {
	switch {
	case secretNames[strings.ToLower(a.Key)]:
		return slog.String(a.Key, "[withheld]")
	case a.Value.Kind() == slog.KindDuration:
		return slog.String(a.Key, a.Value.Duration().String())
	}
	return a
}
