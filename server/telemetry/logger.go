package telemetry

import (
	"fmt"
	"io"
	"log/slog"
	"strings"
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
	options := &slog.HandlerOptions{Level: least, ReplaceAttr: render}
	switch strings.ToLower(format) {
	case "", "text":
		return slog.New(slog.NewTextHandler(w, options)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, options)), nil
	}
	return nil, fmt.Errorf("log format %q is neither text nor json", format)
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
