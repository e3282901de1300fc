// Package telemetry is what an operator sees of a running server: metrics,
// health, traces, the logger, and the listener's handler that serves them.
//
// It refuses to let strangers choose what it stores: labels come from closed
// sets, spans carry an allow-list of attributes, a foreign trace context decides
// nothing. It starts nothing by itself and has no package state.
//
// Threat: what is measured is caused by strangers. Invented paths and methods
// would fill the memory with series; codes and tokens in addresses would travel
// to a trace store that many can read; a flood of probes would become a flood of
// database queries; details of failures would tell an attacker where it hurts.
package telemetry

import (
	"errors"
	"io"
	"net/http"
	"net/http/pprof"
)

// HandlerConfig says what the telemetry listener serves.
type HandlerConfig struct {
	// Metrics are served at /metrics. Required.
	Metrics *Metrics

	// Readiness is served at /readyz and /healthz/ready. Required.
	Readiness *Readiness

	// Pprof serves /debug/pprof/. Profiles tell much about a process and cost it
	// time: off unless somebody asks.
	Pprof bool
}

// Handler is the handler of the telemetry listener, which must not be reachable
// for everybody.
func Handler(c HandlerConfig) (http.Handler, error) {
	if c.Metrics == nil || c.Readiness == nil {
		return nil, errors.New("configuring telemetry: metrics and readiness are required")
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", c.Metrics.Exposition())
	mux.Handle("GET /healthz", Alive())
	mux.Handle("GET /healthz/live", Alive())
	mux.Handle("GET /healthz/ready", c.Readiness.Handler())
	mux.Handle("GET /readyz", c.Readiness.Handler())
	if c.Pprof {
		// Importing net/http/pprof also registers with http.DefaultServeMux, which
		// nothing here serves. The command line is left out.
		mux.HandleFunc("GET /debug/pprof/", pprof.Index)
		mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
		mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("POST /debug/pprof/symbol", pprof.Symbol)
	}
	return mux, nil
}

// Alive answers that the process runs and serves, and nothing else: who restarts
// on it must not restart because a database is away.
func Alive() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		plainText(w, http.StatusOK)
		io.WriteString(w, "ok\n")
	})
}

// plainText begins an answer that no cache keeps.
func plainText(w http.ResponseWriter, status int) {
	header := w.Header()
	header.Set("Content-Type", "text/plain; charset=utf-8")
	header.Set("Cache-Control", "no-store")
	header.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
}
