package telemetry

import "net/http"

// Handler measures the requests of next. It belongs under request.Entry and
// above the ServeMux.
func (m *Metrics) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		started := m.now()
		out := &statusWriter{ResponseWriter: w}
		m.inFlight.Inc()
		served := false
		defer func() {
			m.inFlight.Dec()
			of := m.ofRequests.of(requestLabels{routeOf(r.Pattern), methods.fold(r.Method), class(out.final(served))})
			of.count.Inc()
			of.duration.Observe(m.now().Sub(started).Seconds())
		}()
		next.ServeHTTP(out, r)
		served = true
	})
}

// statusWriter notes the status.
type statusWriter struct {
	http.ResponseWriter
	status int
}

// WriteHeader notes the first final status.
func (w *statusWriter) WriteHeader(status int) {
	if w.status == 0 && status >= 200 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write implies 200.
func (w *statusWriter) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(p)
}

// Unwrap is for http.ResponseController.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// final is the status the client gets: of a handler that panicked, 500.
func (w *statusWriter) final(served bool) int {
	switch {
	case !served:
		return http.StatusInternalServerError
	case w.status == 0:
		return http.StatusOK
	}
	return w.status
}
