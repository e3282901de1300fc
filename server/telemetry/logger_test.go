package telemetry_test

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/countersign/countersign/server/telemetry"
)

// A value, a key or a message with line breaks is still one record of one line.
func TestRecordsCannotBeForged(t *testing.T) {
	attack := "x\r\ntime=2026-01-01T00:00:00Z level=ERROR msg=forged\n{\"level\":\"ERROR\"}"
	for _, format := range []string{"text", "json"} {
		var log bytes.Buffer
		logger, err := telemetry.NewLogger(&log, "info", format)
		if err != nil {
			t.Fatal(err)
		}
		logger.Info(attack, attack, attack, "error", errors.New(attack), "bytes", []byte(attack), "list", []string{attack},
			slog.Group(attack, "inner", attack))
		if n := strings.Count(log.String(), "\n"); n != 1 || strings.Contains(log.String(), "\r") {
			t.Errorf("%s: %d lines: %q", format, n, log.String())
		}
	}
}

func TestSecretAttributesAreWithheld(t *testing.T) {
	for _, format := range []string{"text", "json"} {
		var log bytes.Buffer
		logger, err := telemetry.NewLogger(&log, "debug", format)
		if err != nil {
			t.Fatal(err)
		}
		logger.Debug("login", "password", "S3CRET", "Client_Secret", []byte("S3CRET"), slog.Group("form", "refresh_token", "S3CRET"), "user", "jane")
		if got := log.String(); strings.Contains(got, "S3CRET") || !strings.Contains(got, "jane") {
			t.Errorf("%s: %s", format, got)
		}
	}
}

type valuer struct{}

func (valuer) LogValue() slog.Value {
	return slog.GroupValue(slog.String("secret", "S3CRET"), slog.Duration("took", time.Second))
}

// Wherever it hides: deep in groups, with the logger, behind a value.
func TestHiddenAttributesAreRendered(t *testing.T) {
	deep := slog.Group("a", "b", 1, slog.Group("c", "token", "S3CRET", "took", time.Second))
	for _, format := range []string{"text", "json"} {
		for name, write := range map[string]func(*slog.Logger){
			"in groups":            func(l *slog.Logger) { l.Info("m", deep) },
			"with the logger":      func(l *slog.Logger) { l.With("token", "S3CRET", "took", time.Second).With("n", 1).Info("m") },
			"in a group of it":     func(l *slog.Logger) { l.WithGroup("g").With(deep).Info("m", "n", 1) },
			"behind a value":       func(l *slog.Logger) { l.Info("m", "who", valuer{}) },
			"beside plain records": func(l *slog.Logger) { l.Info("m", "n", 1); l.Info("m", deep) },
		} {
			var log bytes.Buffer
			logger, err := telemetry.NewLogger(&log, "info", format)
			if err != nil {
				t.Fatal(err)
			}
			write(logger)
			if got := log.String(); strings.Contains(got, "S3CRET") || !strings.Contains(got, "1s") {
				t.Errorf("%s %s: %s", format, name, got)
			}
		}
	}
}

// onlyLines fails when it is written to by two at a time; the race detector tells.
type onlyLines struct{ lines int }

func (o *onlyLines) Write(line []byte) (int, error) {
	o.lines += bytes.Count(line, []byte("\n"))
	return len(line), nil
}

func TestRecordsAreWrittenOneByOne(t *testing.T) {
	var log onlyLines
	logger, err := telemetry.NewLogger(&log, "info", "json")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 100 {
				logger.Info("plain", "n", 1)
				logger.Info("rendered", "took", time.Second)
			}
		})
	}
	all.Wait()
	if log.lines != 800 {
		t.Errorf("%d lines", log.lines)
	}
}

// A number without its unit would have to be guessed at.
func TestDurationsHaveTheirUnit(t *testing.T) {
	for _, format := range []string{"text", "json"} {
		var log bytes.Buffer
		logger, err := telemetry.NewLogger(&log, "info", format)
		if err != nil {
			t.Fatal(err)
		}
		logger.Info("draining", "timeout", 30*time.Second)
		if !strings.Contains(log.String(), "30s") {
			t.Errorf("%s: %s", format, log.String())
		}
	}
}

func TestLoggerNames(t *testing.T) {
	for _, test := range []struct {
		level, format string
		good, info    bool
	}{
		{"", "", true, true},
		{"debug", "json", true, true},
		{"INFO", "TEXT", true, true},
		{"warn", "text", true, false},
		{"warning", "text", true, false},
		{"error", "text", true, false},
		{"loud", "text", false, false},
		{"info", "xml", false, false},
	} {
		logger, err := telemetry.NewLogger(&bytes.Buffer{}, test.level, test.format)
		if (err == nil) != test.good {
			t.Errorf("%+v: %v", test, err)
			continue
		}
		if err == nil && logger.Enabled(t.Context(), slog.LevelInfo) != test.info {
			t.Errorf("%+v: info is enabled: %v", test, !test.info)
		}
	}
}
