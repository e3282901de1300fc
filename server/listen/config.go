// Package listen owns the sockets: it binds the http and https listeners, bounds
// what one connection may cost, follows changed certificate files, and drains on
// the way out.
//
// It knows nothing of routes or of who asks, and it refuses TLS below 1.2, TLS
// 1.2 suites without forward secrecy and authenticated encryption, and HTTP/2
// without TLS.
//
// Threat: strangers reach the sockets before anything else of ours runs. They
// open connections and say nothing, send headers a byte at a time, or send
// headers without end; each is answered by a limit. A certificate that is renewed
// badly must neither stop the service nor loosen the policy that it had
// (CVE-2024-23656).
package listen

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"
)

// Config says where to listen, with what, and within which bounds. Zero values
// of bounds mean the defaults named beside them.
type Config struct {
	// HTTP is the address to serve plain HTTP/1.1 at, host:port; port 0 picks a
	// free one. Empty: no http listener.
	HTTP string

	// HTTPS is the address to serve HTTP/1.1 and HTTP/2 over TLS at. Empty: no
	// https listener. At least one of HTTP and HTTPS is required.
	HTTPS string

	// CertFile and KeyFile are PEM files, the certificate with its chain and its
	// private key. They are required with HTTPS, and read again when they change.
	CertFile string
	KeyFile  string

	// CertInterval is how often the files are looked at: 5 s.
	CertInterval time.Duration

	// MinVersion and MaxVersion bound the TLS version: 1.2, and no upper bound.
	MinVersion uint16
	MaxVersion uint16

	// Handler answers the requests of both listeners. Required.
	Handler http.Handler

	// ReadHeaderTimeout bounds reading the headers of one request, and the TLS
	// handshake: 10 s.
	ReadHeaderTimeout time.Duration

	// ReadTimeout bounds reading one request with its body: 30 s.
	ReadTimeout time.Duration

	// WriteTimeout bounds the time from the end of the headers to the end of the
	// response: 60 s. It must be longer than the slowest upstream is given.
	WriteTimeout time.Duration

	// IdleTimeout bounds how long a connection waits for its next request: 120 s,
	// longer than load balancers keep theirs.
	IdleTimeout time.Duration

	// MaxHeaderBytes bounds the request line and headers together: 32 KiB.
	MaxHeaderBytes int

	// MaxConnections bounds the open connections of each listener: 1024, which
	// full of idle ones is about 35 MB of memory for http and 55 MB for https.
	// Beyond it, newcomers take the place of connections that are idle, then of
	// silent ones; while all are being answered they wait.
	MaxConnections int

	// Patience is how long a new connection may be silent before it has to make
	// place for another: 1 s. It matters only at the limit.
	Patience time.Duration

	// MaxStreams bounds the concurrent requests of one HTTP/2 connection: 100.
	MaxStreams int

	// DrainDelay is how long to go on accepting after the end was announced, so
	// that load balancers notice the failing readiness first: none.
	DrainDelay time.Duration

	// DrainTimeout bounds the wait for requests in progress: 15 s. What is still
	// running then is cut off.
	DrainTimeout time.Duration

	// Draining, if set, is called once when the end begins, before DrainDelay:
	// the place to make readiness fail.
	Draining func()

	// Logger takes what happens to the listeners and certificates. Required.
	Logger *slog.Logger
}

// withDefaults returns the configuration with every bound set.
func (c Config) withDefaults() Config {
	durations := []struct {
		field *time.Duration
		value time.Duration
	}{
		{&c.CertInterval, 5 * time.Second},
		{&c.ReadHeaderTimeout, 10 * time.Second},
		{&c.ReadTimeout, 30 * time.Second},
		{&c.WriteTimeout, 60 * time.Second},
		{&c.IdleTimeout, 120 * time.Second},
		{&c.DrainTimeout, 15 * time.Second},
		{&c.Patience, time.Second},
	}
	for _, d := range durations {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	counts := []struct {
		field *int
		value int
	}{
		{&c.MaxHeaderBytes, 32 << 10},
		{&c.MaxConnections, 1024},
		{&c.MaxStreams, 100},
	}
	for _, n := range counts {
		if *n.field == 0 {
			*n.field = n.value
		}
	}
	if c.MinVersion == 0 {
		c.MinVersion = tls.VersionTLS12
	}
	if c.Draining == nil {
		c.Draining = func() {}
	}
	return c
}

// check returns everything that is wrong with the configuration, at once.
func (c Config) check() error {
	var errs []error
	require := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	require(c.HTTP != "" || c.HTTPS != "", "neither an http nor an https address")
	require(c.Handler != nil, "no handler")
	require(c.Logger != nil, "no logger")
	if c.HTTPS != "" {
		require(c.CertFile != "", "https without a certificate file")
		require(c.KeyFile != "", "https without a private key file")
	}
	// RFC 8996: TLS 1.0 and 1.1 are not to be used.
	require(c.MinVersion >= tls.VersionTLS12, "minimum TLS version is below 1.2")
	require(c.MaxVersion == 0 || c.MaxVersion >= c.MinVersion, "maximum TLS version is below the minimum")
	for _, d := range []time.Duration{
		c.CertInterval, c.ReadHeaderTimeout, c.ReadTimeout, c.WriteTimeout,
		c.IdleTimeout, c.DrainDelay, c.DrainTimeout, c.Patience,
	} {
		require(d >= 0, "negative duration %s", d)
	}
	for _, n := range []int{c.MaxHeaderBytes, c.MaxConnections, c.MaxStreams} {
		require(n > 0, "limit %d is not positive", n)
	}
	return errors.Join(errs...)
}
