// Package request is what every request passes on its way in: it gets an id and
// a client address, a bounded body, a net under panics, and leaves one record in
// the log.
//
// It refuses to write into that record what could be used: no codes, tokens,
// passwords, secrets, states, nonces, cookies, and no raw query; parameters are
// logged by allow-list. It refuses forwarded headers from whom the operator did
// not name as a proxy.
//
// Threat: everything in a request is chosen by a stranger. Forged forwarding
// headers would shift limits and blame to others; a request id of their making
// would fake another's record; line breaks would forge records; a large body, many
// of them at once, or a panic would cost everybody.
package request

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"time"
)

// Config says how requests are taken in.
type Config struct {
	// Logger takes the record of each request. Required.
	Logger *slog.Logger

	// Random is where request ids come from, safe for concurrent use:
	// crypto/rand.Reader. Required.
	Random io.Reader

	// Now is the clock that durations are measured with. Required.
	Now func() time.Time

	// TrustedProxies are the addresses of the operator's own proxies. Only from
	// them X-Forwarded-For and X-Request-Id are believed. Empty: from nobody.
	// They must hold the proxies and not the clients: whoever has a trusted
	// address can claim any other.
	TrustedProxies []netip.Prefix

	// MaxBody bounds every request body: 1 MiB.
	MaxBody int64

	// MaxForm bounds the bodies of Handle, which are forms: 64 KiB.
	MaxForm int64

	// MaxBodies bounds the requests with a body that are served at once by Handle:
	// 1024. Over HTTP/2, one connection has many.
	MaxBodies int

	// Failed writes the response to an error that a Handler returned, to a body
	// that is too large (*http.MaxBytesError) or one too many (ErrCrowded), and to a
	// panic (*Panic). It is
	// called only while nothing was written, and may Note what it made of the
	// error. Default: a line of text with the status and the request id.
	Failed func(w http.ResponseWriter, r *http.Request, err error)
}

// largeBodies is how many bodies above MaxForm are taken at once. A stranger's that is
// sent slowly is in memory until the listener's ReadTimeout, and a thousand of them
// would be all that there is.
const largeBodies = 32

// ErrCrowded: so many bodies are being taken that there is no room for one more.
var ErrCrowded = errors.New("too many bodies at once")

// Entry takes requests in. It is safe for concurrent use.
type Entry struct {
	config  Config
	proxies []netip.Prefix
	// small and large have an element per body that is being taken.
	small, large chan struct{}
}

// New checks the configuration.
func New(config Config) (*Entry, error) {
	var errs []error
	for _, required := range []struct {
		missing bool
		name    string
	}{
		{config.Logger == nil, "logger"},
		{config.Random == nil, "source of randomness"},
		{config.Now == nil, "clock"},
	} {
		if required.missing {
			errs = append(errs, fmt.Errorf("no %s", required.name))
		}
	}
	if config.MaxBody < 0 || config.MaxForm < 0 || config.MaxBodies < 0 {
		errs = append(errs, errors.New("negative body limit"))
	}
	proxies, err := unmapped(config.TrustedProxies)
	if err := errors.Join(append(errs, err)...); err != nil {
		return nil, fmt.Errorf("configuring requests: %w", err)
	}
	if config.MaxBody == 0 {
		config.MaxBody = 1 << 20
	}
	if config.MaxForm == 0 {
		config.MaxForm = 64 << 10
	}
	if config.MaxBodies == 0 {
		config.MaxBodies = 1024
	}
	if config.Failed == nil {
		config.Failed = plainFailure
	}
	return &Entry{
		config: config, proxies: proxies,
		small: make(chan struct{}, config.MaxBodies), large: make(chan struct{}, largeBodies),
	}, nil
}

// Wrap takes in every request for next, which is everything: it belongs around
// the whole handler, directly under the server.
func (e *Entry) Wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		started := e.config.Now()
		record, err := e.open(r)
		out := &response{ResponseWriter: w}
		in := r.WithContext(context.WithValue(r.Context(), recordKey{}, record))
		defer func() {
			r.Pattern = in.Pattern
			aborted := e.rescue(recover(), record, out, in)
			e.log(record, out, in, started)
			if aborted {
				panic(http.ErrAbortHandler)
			}
		}()
		if err != nil {
			e.fail(out, in, err)
			return
		}
		out.Header()[idHeader] = []string{record.id}
		// The server's own writer goes to MaxBytesReader, not ours: it can tell
		// the server to close the connection instead of reading on.
		e.bounded(w, out, in, e.config.MaxBody, next.ServeHTTP)
	})
}

// A Handler answers a request, or returns the error that an answer is to be made
// of. Having returned an error it must not have written anything.
type Handler func(w http.ResponseWriter, r *http.Request) error

// Handle serves h: its body is a form of at most MaxForm bytes, its errors
// become responses through Failed and causes in the record.
func (e *Entry) Handle(h Handler) http.Handler { return e.HandleUpTo(e.config.MaxForm, h) }

// HandleUpTo is Handle for bodies up to another limit; MaxBody stays above it. Of
// bodies above MaxForm it takes a few at once, of others MaxBodies, and fails what
// comes then with ErrCrowded.
func (e *Entry) HandleUpTo(limit int64, h Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		e.bounded(w, w, r, limit, func(w http.ResponseWriter, r *http.Request) {
			if room := e.room(r, limit); room != nil {
				select {
				case room <- struct{}{}:
					defer func() { <-room }()
				default:
					w.Header().Set("Connection", "close")
					e.fail(w, r, ErrCrowded)
					return
				}
			}
			record := from(r.Context())
			defer func() { record.addForm(r.PostForm) }()
			if err := h(w, r); err != nil {
				e.fail(w, r, err)
			}
		})
	})
}

// room is where the body of a request takes a place, which it keeps for as long as the
// request: what was read stays in memory. Nil: there is no body.
func (e *Entry) room(r *http.Request, limit int64) chan struct{} {
	switch n := r.ContentLength; {
	case n == 0:
		return nil
	case limit > e.config.MaxForm && (n < 0 || n > e.config.MaxForm):
		return e.large
	}
	return e.small
}

// bounded serves a request whose body ends with an error after limit bytes. One
// that announces more is refused before anything of it is read.
func (e *Entry) bounded(server, w http.ResponseWriter, r *http.Request, limit int64, serve http.HandlerFunc) {
	if r.ContentLength > limit {
		w.Header().Set("Connection", "close")
		e.fail(w, r, &http.MaxBytesError{Limit: limit})
		return
	}
	r.Body = http.MaxBytesReader(server, r.Body, limit)
	serve(w, r)
}

// fail records the cause and writes the response, unless one was begun: a second
// one in its middle would help nobody.
func (e *Entry) fail(w http.ResponseWriter, r *http.Request, err error) {
	from(r.Context()).setCause(err)
	if out := find(w); out != nil && out.begun() {
		return
	}
	e.config.Failed(w, r, err)
}

// plainFailure is the Failed of those who bring none. It tells the client
// nothing but the id under which the operator finds the cause.
func plainFailure(w http.ResponseWriter, r *http.Request, err error) {
	status := http.StatusInternalServerError
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		status = http.StatusRequestEntityTooLarge
	case errors.Is(err, ErrCrowded):
		status = http.StatusServiceUnavailable
	}
	http.Error(w, fmt.Sprintf("%s (request %s)", http.StatusText(status), ID(r.Context())), status)
}
