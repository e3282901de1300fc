package telemetry

import (
	"net/http"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/countersign/countersign/storage"
)

// MetricsConfig is what the metrics are told beforehand.
type MetricsConfig struct {
	// Version and Revision of the build, for countersign_build_info.
	Version  string
	Revision string

	// Now is the clock that durations are measured with: time.Now.
	Now func() time.Time

	// Connectors are the ids that logins may be counted under; others are
	// counted as "other".
	Connectors []string
}

// Metrics counts and measures, in a registry of its own. It is safe for
// concurrent use.
type Metrics struct {
	registry *prometheus.Registry

	requests        *prometheus.CounterVec
	requestDuration *prometheus.HistogramVec
	inFlight        prometheus.Gauge
	logins          *prometheus.CounterVec
	tokens          *prometheus.CounterVec
	logoutTold      *prometheus.CounterVec
	storeCalls      *prometheus.CounterVec
	storeDuration   *prometheus.HistogramVec
	garbage         *prometheus.CounterVec
	audit           *prometheus.CounterVec
	clockSkew       prometheus.Gauge
	keys            *keyCollector

	// What each request and each call counts, found.
	ofRequests   *series[requestLabels, timed]
	ofTokens     *series[tokenLabels, prometheus.Counter]
	ofStoreCalls *series[storeLabels, timed]
	ofAudit      *series[string, prometheus.Counter]

	connectors closedSet
	now        func() time.Time
}

type (
	requestLabels struct{ route, method, status string }
	tokenLabels   struct{ grantType, result string }
	storeLabels   struct{ method, result string }
)

// buckets begin at 1 ms: most answers take less than what other servers start
// counting at.
var buckets = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}

// NewMetrics makes the metrics, those of the Go runtime and process among them.
func NewMetrics(c MetricsConfig) *Metrics {
	m := &Metrics{
		registry:   prometheus.NewRegistry(),
		connectors: setOf(c.Connectors...),
		keys:       newKeyCollector(),
		requests: counter("http_requests_total",
			"Requests by route, method and class of status.", "route", "method", "status"),
		requestDuration: histogram("http_request_duration_seconds",
			"Time to answer requests by route, method and class of status.", "route", "method", "status"),
		inFlight: gauge("http_requests_in_flight", "Requests that are being answered."),
		logins:   counter("logins_total", "Attempts to sign in by connector and result.", "connector", "result"),
		tokens:   counter("token_requests_total", "Answers of the token endpoint by grant type and result.", "grant_type", "result"),
		logoutTold: counter("logout_deliveries_total",
			"Attempts to tell clients of the end of a session by result.", "result"),
		storeCalls: counter("store_calls_total",
			"Calls of the storage by method and result.", "method", "result"),
		storeDuration: histogram("store_call_duration_seconds",
			"Time of calls of the storage by method.", "method"),
		garbage:   counter("garbage_deleted_total", "Expired records deleted by this process, by table.", "table"),
		audit:     counter("audit_records_total", "Audit records by result.", "result"),
		clockSkew: gauge("clock_skew_seconds", "How far the clock of this process is ahead of the database's."),
	}
	if m.now = c.Now; m.now == nil {
		m.now = time.Now
	}
	for _, table := range storage.Expiring() {
		m.Garbage(table, 0) // so that the first deletion is an increase
	}
	m.ofRequests = newSeries(func(l requestLabels) timed {
		return timed{m.requests.WithLabelValues(l.route, l.method, l.status), m.requestDuration.WithLabelValues(l.route, l.method, l.status)}
	})
	m.ofTokens = newSeries(func(l tokenLabels) prometheus.Counter { return m.tokens.WithLabelValues(l.grantType, l.result) })
	m.ofStoreCalls = newSeries(func(l storeLabels) timed {
		return timed{m.storeCalls.WithLabelValues(l.method, l.result), m.storeDuration.WithLabelValues(l.method)}
	})
	m.ofAudit = newSeries(func(result string) prometheus.Counter { return m.audit.WithLabelValues(result) })
	for _, result := range []string{"written", "failed"} {
		m.audit.WithLabelValues(result)
	}
	build := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Namespace: namespace, Name: "build_info", Help: "The build, always 1.",
	}, []string{"version", "revision", "go_version"})
	build.WithLabelValues(c.Version, c.Revision, runtime.Version()).Set(1)
	m.registry.MustRegister(
		m.requests, m.requestDuration, m.inFlight, m.logins, m.tokens, m.logoutTold,
		m.storeCalls, m.storeDuration, m.garbage, m.audit, m.clockSkew, m.keys, build,
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return m
}

// namespace begins the names of all metrics of ours.
const namespace = "countersign"

func counter(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}, labels)
}

func histogram(name, help string, labels ...string) *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: namespace, Name: name, Help: help, Buckets: buckets,
	}, labels)
}

func gauge(name, help string) prometheus.Gauge {
	return prometheus.NewGauge(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help})
}

// Results that Login and Token count, beside the error codes of RFC 6749 5.2,
// RFC 8628 3.5 and OpenID Connect Core 3.1.2.6. Others are counted as "other".
const (
	Success = "success"
	Failure = "failure" // somebody did not prove who they are
	Limited = "limited" // too many failures before
	Errored = "error"   // we, or an upstream, could not say
)

// Login counts an attempt to sign in at a connector.
func (m *Metrics) Login(connector, result string) {
	m.logins.WithLabelValues(m.connectors.fold(connector), results.fold(result)).Inc()
}

// Token counts an answer of the token endpoint.
func (m *Metrics) Token(grantType, result string) {
	m.ofTokens.of(tokenLabels{grantTypes.fold(grantType), results.fold(result)}).Inc()
}

// LogoutDelivery counts an attempt to tell a client of the end of a session:
// "delivered", "failed" (it will be tried again), "expired" or "dropped".
func (m *Metrics) LogoutDelivery(result string) { m.logoutTold.WithLabelValues(result).Inc() }

// StoreCall counts a call of the storage, by the name of its method, and how it
// ended.
func (m *Metrics) StoreCall(method string, err error, d time.Duration) {
	call := m.ofStoreCalls.of(storeLabels{method, storeResult(err)})
	call.count.Inc()
	call.duration.Observe(d.Seconds())
}

// Garbage counts expired records that were deleted.
func (m *Metrics) Garbage(table storage.Table, rows int) {
	m.garbage.WithLabelValues(tables.fold(string(table))).Add(float64(rows))
}

// AuditRecord counts an audit record: "written" or "failed".
func (m *Metrics) AuditRecord(result string) { m.ofAudit.of(result).Inc() }

// ClockSkew sets how far the process's clock is ahead of the database's.
func (m *Metrics) ClockSkew(d time.Duration) { m.clockSkew.Set(d.Seconds()) }

// Keys sets where the ages of the signing keys come from, when somebody asks for
// the metrics. It must answer from memory.
func (m *Metrics) Keys(ages func() []KeyAge) { m.keys.ages.Store(&ages) }

// Exposition serves the metrics in the format of Prometheus, to few at a time.
func (m *Metrics) Exposition() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		ErrorHandling:       promhttp.ContinueOnError,
		MaxRequestsInFlight: 4,
		Timeout:             5 * time.Second,
	})
}
