// Package server is the provider over HTTP: it composes the rooms below it into
// one handler, and keeps it alive.
//
// Config is the whole of what it depends on, routes.go is the one table of
// routes, failure.go the one translation of errors into responses. It refuses to
// know a connector or a storage engine by name; those are handed to it.
//
// Threat: a provider that half works. Until the database has been reached, its
// schema is current and the signing keys are loaded, every protocol request is
// answered 503, readiness says why, and it goes on trying.
package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/countersign/countersign/server/audit"
	"github.com/countersign/countersign/server/clients"
	"github.com/countersign/countersign/server/flow"
	"github.com/countersign/countersign/server/oauth"
	"github.com/countersign/countersign/server/request"
	"github.com/countersign/countersign/server/seal"
	"github.com/countersign/countersign/server/telemetry"
	"github.com/countersign/countersign/server/web"
	"github.com/countersign/countersign/storage"
)

// Store is a storage engine that can bring its schema up to date.
type Store interface {
	storage.Store
	// Migrate applies what is missing of the schema. It is safe when several
	// replicas do it at once, and does nothing when there is nothing to do.
	Migrate(ctx context.Context) error
}

// Sessions says how long a browser stays signed in.
type Sessions struct {
	CookieName       string
	AbsoluteLifetime time.Duration
	IdleTimeout      time.Duration
	// RememberLifetime stands for both where a person asked to stay signed in.
	RememberLifetime time.Duration
	// RememberDefault is whether "keep me signed in" starts checked.
	RememberDefault bool
}

// Config is what the provider depends on.
type Config struct {
	// Policy is what the operator decided; Policy.Issuer names the provider.
	Policy oauth.Policy
	// Clients are the relying parties.
	Clients []storage.Client
	// Connectors are the upstreams, in the order people see them.
	Connectors []flow.Connector
	Store      Store
	// Secrets are the master secrets, the one that makes first. Empty: one is
	// generated into the store.
	Secrets [][]byte
	// KeyRotation is how long a signing key signs.
	KeyRotation time.Duration
	// GarbageInterval is how often expired records are looked for; zero:
	// garbage.Interval.
	GarbageInterval time.Duration
	// ClockInterval is how often our clock is compared with the database's; zero:
	// 15 s.
	ClockInterval time.Duration
	Sessions      Sessions
	// FlowLifetime is how long a person may take to sign in.
	FlowLifetime time.Duration
	Frontend     web.Frontend
	// AllowedOrigins are the origins whose scripts may use the endpoints that
	// are meant for scripts (CORS).
	AllowedOrigins []string
	TrustedProxies []netip.Prefix
	// MaxBody bounds the body of a request, in bytes; that of upstreams is bounded by
	// flow.MaxPosted.
	MaxBody int64
	// MaxBodies bounds the requests with a body that are served at once; zero: 1024.
	MaxBodies int

	Metrics   *telemetry.Metrics
	Readiness *telemetry.Readiness
	Tracing   *telemetry.Tracing
	Logger    *slog.Logger
	// Audit takes the records of who did what; nil: there are none.
	Audit  *audit.Log
	Now    func() time.Time
	Random io.Reader
}

// Server is the provider.
type Server struct {
	cfg     Config
	issuer  *url.URL
	clients clients.Static
	site    *web.Site
	entry   *request.Entry
	handler http.Handler
	// readers says who reads what comes from an address; of others, people do.
	readers map[string]audience
	// provider is nil until everything it needs has been loaded.
	provider atomic.Pointer[provider]
	// ready is closed when provider is set.
	ready chan struct{}
	// skew is how far our clock is ahead of the database's, as last seen.
	skew atomic.Int64
	// clockOff: the log says that it is too far.
	clockOff atomic.Bool
}

// New checks the configuration. It reaches for nothing outside the process.
func New(cfg Config) (*Server, error) {
	if cfg.Store == nil || cfg.Metrics == nil || cfg.Readiness == nil || cfg.Logger == nil || cfg.Now == nil || cfg.Random == nil {
		return nil, errors.New("server: Store, Metrics, Readiness, Logger, Now and Random are required")
	}
	issuer, err := url.Parse(cfg.Policy.Issuer)
	if err != nil {
		return nil, fmt.Errorf("parsing the issuer: %w", err)
	}
	s := &Server{cfg: cfg, issuer: issuer, ready: make(chan struct{})}
	if s.clients, err = clients.NewStatic(cfg.Clients); err != nil {
		return nil, err
	}
	s.site, err = web.New(web.Config{
		BasePath: s.base(), HTTPS: s.secure(), Frontend: cfg.Frontend, Logger: cfg.Logger,
	})
	if err != nil {
		return nil, fmt.Errorf("preparing the pages: %w", err)
	}
	s.entry, err = request.New(request.Config{
		Logger: cfg.Logger, Random: cfg.Random, Now: cfg.Now,
		TrustedProxies: cfg.TrustedProxies, MaxBody: max(cfg.MaxBody, flow.MaxPosted), MaxForm: cfg.MaxBody, MaxBodies: cfg.MaxBodies, Failed: s.failed,
	})
	if err != nil {
		return nil, fmt.Errorf("preparing to take requests: %w", err)
	}
	if s.handler, err = s.newHandler(); err != nil {
		return nil, err
	}
	s.watch()
	return s, nil
}

// Handler serves the issuer's address.
func (s *Server) Handler() http.Handler { return s.handler }

// Ready is closed once everything has been loaded.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// base is the path of the issuer, without a slash at its end.
func (s *Server) base() string { return strings.TrimSuffix(s.issuer.EscapedPath(), "/") }

// secure reports whether cookies may be marked Secure.
func (s *Server) secure() bool { return s.issuer.Scheme == "https" }

// signingAlgs are the algorithms of the server and of its clients.
func (s *Server) signingAlgs() []string {
	algs := []string{s.cfg.Policy.SigningAlg}
	seen := map[string]bool{algs[0]: true}
	for _, c := range s.cfg.Clients {
		if alg := c.IDTokenSigningAlg; alg != "" && !seen[alg] {
			seen[alg] = true
			algs = append(algs, alg)
		}
	}
	return algs
}

// keyring makes the keyring of the configured secrets, or of the stored one.
func (s *Server) keyring(ctx context.Context) (*seal.Keyring, error) {
	if len(s.cfg.Secrets) > 0 {
		return seal.New(s.cfg.Secrets, s.cfg.Random)
	}
	candidate := make([]byte, seal.MinSecretBytes)
	if _, err := io.ReadFull(s.cfg.Random, candidate); err != nil {
		return nil, fmt.Errorf("reading randomness: %w", err)
	}
	secret, err := s.cfg.Store.MasterSecret(ctx, candidate, s.cfg.Now())
	if err != nil {
		return nil, fmt.Errorf("loading the master secret: %w", err)
	}
	return seal.New([][]byte{secret}, s.cfg.Random)
}
