package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"slices"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
	"golang.org/x/term"

	"github.com/countersign/countersign/cmd/countersign/config"
	"github.com/countersign/countersign/server"
	"github.com/countersign/countersign/server/audit"
	"github.com/countersign/countersign/server/listen"
	"github.com/countersign/countersign/server/oauth"
	"github.com/countersign/countersign/server/telemetry"
	"github.com/countersign/countersign/server/web"
	"github.com/countersign/countersign/storage"
)

func serveCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "serve CONFIG",
		Short: "Run the provider",
		Long: `Run the provider that CONFIG describes, until SIGTERM or SIGINT.

It starts also when the database cannot be reached: it then answers 503, says
so in its log and at /readyz, and goes on trying. On SIGTERM readiness fails
first, then running requests are given web.limits.shutdownTimeout to finish.`,
		Example: "  countersign serve /etc/countersign/config.yaml",
		Args:    usage(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := config.Load(args[0], os.LookupEnv)
			if err != nil {
				return err
			}
			// When what reads our log or our records goes away, writing fails as it does
			// on a full disk. Go would end the process instead.
			signal.Ignore(syscall.SIGPIPE)
			// Others read their files again when they are told to; ours are followed. Who
			// closes the terminal that shows the log means the end.
			if !term.IsTerminal(int(os.Stderr.Fd())) {
				signal.Ignore(syscall.SIGHUP)
			}
			return serve(cmd.Context(), cfg, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
}

// serve runs the provider until ctx ends. Logs go to logs. Audit records go to out
// if they have no file, and else a hint for people who try it out.
func serve(ctx context.Context, cfg *config.Config, out, logs io.Writer) error {
	logger, err := telemetry.NewLogger(logs, cfg.Logger.Level.String(), cfg.Logger.Format)
	if err != nil {
		return err
	}
	for _, w := range cfg.Warnings {
		logger.Warn(w)
	}
	records, closeRecords, err := auditOutput(cfg.Audit, out)
	if err != nil {
		return err
	}
	defer closeRecords()
	p, err := compose(cfg, records, logger)
	if err != nil {
		return err
	}
	defer p.store.Close()
	if err := p.listen(); err != nil {
		return err
	}
	if records != out { // a stream of records holds nothing else
		go p.hint(ctx, out)
	}
	floor := make([]byte, heapFloor)
	defer runtime.KeepAlive(&floor)
	return p.run(ctx)
}

// heapFloor is memory that is never touched, and so never resident. Go collects
// garbage whenever there is as much of it as there is of what lives; that is 5 MB
// here, and refreshes make so much more that a twentieth of their time went into
// collecting. This counts as living.
const heapFloor = 3 << 20

// process is everything that runs.
type process struct {
	cfg      *config.Config
	logger   *slog.Logger
	store    server.Store
	provider *server.Server
	tracing  *telemetry.Tracing
	main     *listen.Server
	inside   *listen.Server // nil without telemetry.http
}

// compose builds the process from the configuration, with audit records for an
// output that is not nil. Nothing runs yet.
func compose(cfg *config.Config, auditing io.Writer, logger *slog.Logger) (p *process, err error) {
	p = &process{cfg: cfg, logger: logger}
	connectors, err := newConnectors(cfg, logger)
	if err != nil {
		return nil, err
	}
	ids := make([]string, len(connectors))
	for i, c := range connectors {
		ids[i] = c.ID
	}
	info, _ := debug.ReadBuildInfo()
	release, revision := identify(version, info)
	metrics := telemetry.NewMetrics(telemetry.MetricsConfig{Version: release, Revision: revision, Now: time.Now, Connectors: ids})
	var auditLog *audit.Log
	if auditing != nil {
		auditLog, err = audit.New(audit.Config{Output: auditing, Count: metrics.AuditRecord, Logger: logger, Now: time.Now})
		if err != nil {
			return nil, err
		}
	}
	readiness, err := telemetry.NewReadiness(telemetry.ReadinessConfig{Now: time.Now})
	if err != nil {
		return nil, err
	}
	if p.tracing, err = newTracing(cfg.Telemetry.OTLP, release, logger); err != nil {
		return nil, err
	}
	if p.store, err = openStore(cfg.Storage, metrics); err != nil {
		return nil, err
	}
	p.provider, err = server.New(server.Config{
		Policy: newPolicy(cfg), Clients: records(cfg.StaticClients), Connectors: connectors,
		Store: p.store, Secrets: cfg.Secrets,
		KeyRotation: cfg.Signer.Local.KeysRotationPeriod,
		Sessions: server.Sessions{
			CookieName:       cfg.Sessions.CookieName,
			AbsoluteLifetime: cfg.Sessions.AbsoluteLifetime,
			IdleTimeout:      cfg.Sessions.ValidIfNotUsedFor,
			RememberLifetime: cfg.Sessions.RememberMeLifetime,
			RememberDefault:  cfg.Sessions.RememberMeCheckedByDefault,
		},
		FlowLifetime:   cfg.Expiry.AuthRequests,
		Frontend:       newFrontend(cfg.Frontend),
		AllowedOrigins: cfg.Web.AllowedOrigins, TrustedProxies: cfg.Web.TrustedProxies,
		MaxBody: int64(cfg.Web.Limits.MaxBodyBytes), MaxBodies: cfg.Web.Limits.MaxConnections,
		Metrics: metrics, Readiness: readiness, Tracing: p.tracing,
		Logger: logger, Audit: auditLog, Now: time.Now, Random: rand.Reader,
	})
	if err != nil {
		return nil, err
	}
	return p, p.newListeners(metrics, readiness)
}

// newListeners prepares the public listener, and the operator's if there is one.
func (p *process) newListeners(metrics *telemetry.Metrics, readiness *telemetry.Readiness) (err error) {
	w, l := p.cfg.Web, p.cfg.Web.Limits
	p.main, err = listen.New(listen.Config{
		HTTP: w.HTTP, HTTPS: w.HTTPS, CertFile: w.TLSCert, KeyFile: w.TLSKey,
		MinVersion: uint16(w.TLSMinVersion), MaxVersion: uint16(w.TLSMaxVersion),
		Handler:           p.provider.Handler(),
		ReadHeaderTimeout: l.ReadHeaderTimeout, ReadTimeout: l.ReadTimeout, WriteTimeout: l.WriteTimeout,
		IdleTimeout: l.IdleTimeout, MaxHeaderBytes: l.MaxHeaderBytes, MaxConnections: l.MaxConnections,
		DrainDelay: l.ShutdownDelay, DrainTimeout: l.ShutdownTimeout,
		Draining: readiness.Drain, Logger: p.logger,
	})
	if err != nil || p.cfg.Telemetry.HTTP == "" {
		return err
	}
	handler, err := telemetry.Handler(telemetry.HandlerConfig{Metrics: metrics, Readiness: readiness, Pprof: p.cfg.Telemetry.EnableProfiling})
	if err != nil {
		return err
	}
	p.inside, err = listen.New(listen.Config{
		HTTP: p.cfg.Telemetry.HTTP, Handler: handler, MaxConnections: 64,
		WriteTimeout: time.Minute + 30*time.Second, // a CPU profile takes its time
		Logger:       p.logger.With("listener", "telemetry"),
	})
	return err
}

// listen binds every address, so that a taken one fails the start.
func (p *process) listen() error {
	if err := p.main.Listen(); err != nil {
		return err
	}
	if p.inside == nil {
		return nil
	}
	if err := p.inside.Listen(); err != nil {
		p.main.Close()
		return err
	}
	return nil
}

// run serves until ctx ends or a part fails. The operator's listener ends last:
// readiness is to be seen failing while requests drain.
func (p *process) run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	rest, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	group.Go(func() error {
		defer stop()
		return p.main.Run(ctx)
	})
	// The keys and the traces are needed until the last request has been
	// answered.
	group.Go(func() error { return p.provider.Run(rest) })
	if p.inside != nil {
		group.Go(func() error { return p.inside.Run(rest) })
	}
	if p.tracing != nil {
		group.Go(func() error { return p.tracing.Run(rest) })
	}
	return group.Wait()
}

// hint tells somebody who tries it out on their own machine what to type next.
func (p *process) hint(ctx context.Context, out io.Writer) {
	select {
	case <-ctx.Done():
		return
	case <-p.provider.Ready():
	}
	issuer := p.cfg.Issuer
	u, err := url.Parse(issuer)
	if err != nil || !isLoopback(u.Hostname()) {
		return
	}
	fmt.Fprintf(out, "\nCountersign is ready at %s\n", issuer)
	i := slices.IndexFunc(p.cfg.StaticClients, func(c config.StaticClient) bool { return c.Public })
	if i >= 0 {
		fmt.Fprintf(out, "Sign in from another terminal:\n\n  %s login --issuer %s --client-id %s\n\n", os.Args[0], issuer, p.cfg.StaticClients[i].ID)
	}
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// newPolicy is what the operator decided for all clients.
func newPolicy(cfg *config.Config) oauth.Policy {
	return oauth.Policy{
		Issuer:                cfg.Issuer,
		PKCERequired:          cfg.OAuth2.PKCE.Enforce,
		PKCEPlain:             slices.Contains(cfg.OAuth2.PKCE.CodeChallengeMethodsSupported, oauth.MethodPlain),
		SkipApproval:          cfg.OAuth2.SkipApprovalScreen,
		AlwaysChooseConnector: cfg.OAuth2.AlwaysShowLoginScreen,
		SSOSharedWithAll:      cfg.Sessions.SSOSharedWithDefault == "all",
		SigningAlg:            cfg.Signer.Local.Algorithm,
		AccessTokenFormat:     cfg.OAuth2.AccessTokenFormat,
		Refresh: oauth.RefreshPolicy{
			ReuseInterval:    *cfg.Expiry.RefreshTokens.ReuseInterval,
			IdleLifetime:     *cfg.Expiry.RefreshTokens.ValidIfNotUsedFor,
			AbsoluteLifetime: *cfg.Expiry.RefreshTokens.AbsoluteLifetime,
			DisableRotation:  *cfg.Expiry.RefreshTokens.DisableRotation,
		},
		CodeLifetime:        cfg.Expiry.AuthCodes,
		IDTokenLifetime:     cfg.Expiry.IDTokens,
		AccessTokenLifetime: cfg.Expiry.AccessTokens,
	}
}

func records(clients []config.StaticClient) []storage.Client {
	out := make([]storage.Client, len(clients))
	for i, c := range clients {
		out[i] = c.Record()
	}
	return out
}

func newFrontend(f config.Frontend) web.Frontend {
	return web.Frontend{
		IssuerName: f.Issuer, LogoURL: f.LogoURL, Theme: f.Theme, Dir: f.Dir, Extra: f.Extra,
		Colors: web.Colors{
			Accent: f.Colors.Accent, AccentDark: f.Colors.AccentDark,
			Background: f.Colors.Background, BackgroundDark: f.Colors.BackgroundDark,
		},
	}
}

// newTracing returns nil without an endpoint.
func newTracing(c config.OTLP, version string, logger *slog.Logger) (*telemetry.Tracing, error) {
	if c.Endpoint == "" {
		return nil, nil
	}
	endpoint := c.Endpoint
	if u, err := url.Parse(endpoint); err != nil || u.Scheme != "http" && u.Scheme != "https" {
		scheme := "https://"
		if c.Insecure {
			scheme = "http://"
		}
		endpoint = scheme + endpoint
	}
	return telemetry.NewTracing(telemetry.TracingConfig{
		Endpoint: endpoint, Headers: c.Headers, Ratio: c.SampleRatio,
		TrustParent: func(*http.Request) bool { return false },
		Service:     "countersign", Version: version, Logger: logger,
	})
}
