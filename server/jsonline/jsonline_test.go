package jsonline_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/countersign/countersign/e2e/fuzz"
	"github.com/countersign/countersign/server/jsonline"
)

var at = time.Date(2026, 3, 4, 5, 6, 7, 89_000_000, time.FixedZone("", 3600))

// handlers write to one output each: ours, and the one that it is to be like.
func handlers() (ours, theirs slog.Handler, one, other *bytes.Buffer) {
	one, other = new(bytes.Buffer), new(bytes.Buffer)
	return jsonline.NewHandler(one, slog.LevelInfo), slog.NewJSONHandler(other, nil), one, other
}

func record(at time.Time, attrs ...slog.Attr) slog.Record {
	r := slog.NewRecord(at, slog.LevelWarn, "a message", 0)
	r.AddAttrs(attrs...)
	return r
}

// What is written is, byte for byte, what log/slog writes.
func TestSameAsSlog(t *testing.T) {
	for name, attrs := range map[string][]slog.Attr{
		"nothing": nil,
		"texts":   {slog.String("a", "b"), slog.String("empty", ""), slog.String("quoted", `"\/<>&`), slog.String("foreign", "müller 🗝\u2028")},
		"numbers": {slog.Int("n", -1), slog.Int64("max", math.MaxInt64), slog.Uint64("u", math.MaxUint64),
			slog.Float64("f", 1.5), slog.Float64("zero", 0), slog.Float64("ms", 0.017), slog.Float64("small", 1e-7),
			slog.Float64("large", 1e21), slog.Float64("inf", math.Inf(1)), slog.Float64("nan", math.NaN())},
		"a truth":           {slog.Bool("a", true), slog.Bool("b", false)},
		"times":             {slog.Time("t", at), slog.Time("utc", at.UTC()), slog.Time("never", time.Time{}), slog.Time("late", at.AddDate(9000, 0, 0))},
		"groups":            {slog.Group("g", "a", 1, slog.Group("h", "b", "c")), slog.Int("after", 1)},
		"an empty group":    {slog.Group("g"), slog.Int("after", 1)},
		"a nameless group":  {slog.Group("", "a", 1), slog.Int("after", 1)},
		"a nameless text":   {slog.String("", "a")},
		"an empty one":      {{}, slog.Int("after", 1)},
		"errors":            {slog.Any("error", errors.New("it \"broke\"")), slog.Any("list", []string{"a"})},
		"deep in a group":   {slog.Group("g", slog.Group("h", "list", []string{"a"}), "b", 1)},
		"a duration":        {slog.Duration("d", time.Second)},
		"a key with quotes": {slog.String("a\"b\n", "c")},
	} {
		for _, when := range []time.Time{at, {}} {
			ours, theirs, got, want := handlers()
			for _, err := range []error{ours.Handle(context.Background(), record(when, attrs...)), theirs.Handle(context.Background(), record(when, attrs...))} {
				if err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
			if got.String() != want.String() {
				t.Errorf("%s:\n%s%s", name, got, want)
			}
		}
	}
}

// So are the lines of a logger that has attributes or groups of its own.
func TestSameAsSlogWithAttributes(t *testing.T) {
	for name, with := range map[string]func(*slog.Logger) *slog.Logger{
		"plain":         func(l *slog.Logger) *slog.Logger { return l.With("a", 1, "b", "c") },
		"twice":         func(l *slog.Logger) *slog.Logger { return l.With("a", 1).With("b", "c") },
		"what is slogs": func(l *slog.Logger) *slog.Logger { return l.With("a", []int{1}).With("b", "c") },
		"in a group":    func(l *slog.Logger) *slog.Logger { return l.With("a", 1).WithGroup("g").With("b", "c") },
	} {
		ours, theirs, got, want := handlers()
		of := func(h slog.Handler) slog.Handler { return with(slog.New(h)).Handler() }
		a, b := of(ours), of(theirs)
		for range 2 {
			if err := errors.Join(a.Handle(context.Background(), record(at, slog.Int("n", 1))), b.Handle(context.Background(), record(at, slog.Int("n", 1)))); err != nil {
				t.Fatal(err)
			}
		}
		if got.String() != want.String() {
			t.Errorf("%s:\n%s%s", name, got, want)
		}
	}
}

// Loggers that come of one do not write into each other's memory.
func TestBrothers(t *testing.T) {
	ours, _, got, _ := handlers()
	parent := slog.New(ours).With("parent", 1)
	a, b := parent.With("a", 1), parent.With("b", 2)
	a.Warn("m")
	b.Warn("m")
	if strings.Contains(got.String(), `"a":1,"b"`) || !strings.Contains(got.String(), `"parent":1,"a":1}`) || !strings.Contains(got.String(), `"parent":1,"b":2}`) {
		t.Error(got)
	}
}

func TestLevels(t *testing.T) {
	ours, _, got, _ := handlers()
	slog.New(ours).Debug("not this")
	slog.New(ours).Info("this")
	if strings.Contains(got.String(), "not") || !strings.Contains(got.String(), `"msg":"this"`) {
		t.Error(got)
	}
}

// Whatever is in a text, it is one value of one line.
func FuzzText(f *testing.F) {
	fuzz.Widely(f)
	for _, s := range []string{"a", "\"", "\\", "\r\n", "\x00\x1f\x7f", "\xff\xc3(", "\u2028\u2029", "<script>", "müller", "\xed\xa0\xbd"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		ours, _, got, _ := handlers()
		if err := ours.Handle(context.Background(), record(at, slog.String("k", s), slog.Int("after", 1))); err != nil {
			t.Fatal(err)
		}
		var read map[string]any
		if err := json.Unmarshal(got.Bytes(), &read); err != nil || bytes.Count(got.Bytes(), []byte("\n")) != 1 || bytes.ContainsRune(got.Bytes(), '\r') {
			t.Fatalf("%v: %q", err, got)
		}
		want := map[string]any{"time": at.Format(time.RFC3339Nano), "level": "WARN", "msg": "a message", "k": strings.ToValidUTF8(s, "\ufffd"), "after": 1.0}
		// Each byte that is not UTF-8 becomes one mark; ToValidUTF8 makes one of a row.
		if k, _ := read["k"].(string); strings.Contains(k, "\ufffd\ufffd") {
			want["k"] = k
		}
		if !reflect.DeepEqual(read, want) {
			t.Errorf("%q became %v", s, read)
		}
	})
}

// BenchmarkHandler is the record of a request.
func BenchmarkHandler(b *testing.B) {
	r := slog.NewRecord(at, slog.LevelInfo, "request", 0)
	r.AddAttrs(slog.String("request_id", "0123456789abcdef0123456789abcdef"), slog.String("method", "POST"), slog.String("route", "POST /dex/token"),
		slog.Int("status", 200), slog.Float64("duration_ms", 5.123), slog.Int64("bytes", 1234), slog.String("client", "127.0.0.1"),
		slog.String("user_agent", "kubectl/v1.34.1 (linux/amd64) kubernetes/93248f9"),
		slog.GroupAttrs("parameters", slog.String("grant_type", "refresh_token")), slog.String("client_id", "kubernetes"))
	for name, h := range map[string]slog.Handler{
		"ours": jsonline.NewHandler(io.Discard, slog.LevelInfo), "slog": slog.NewJSONHandler(io.Discard, nil),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := h.Handle(context.Background(), r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
