package listen

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"
)

// Server is one or two listeners over one handler.
type Server struct {
	config      Config
	certificate *certificate // nil without https

	plain, secure *endpoint // nil if not configured or not bound
}

// endpoint is one bound listener with its server.
type endpoint struct {
	listener net.Listener
	server   *http.Server
	tls      bool
}

// New checks the configuration and loads the certificate. It binds nothing.
func New(config Config) (*Server, error) {
	config = config.withDefaults()
	if err := config.check(); err != nil {
		return nil, fmt.Errorf("configuring listeners: %w", err)
	}
	s := &Server{config: config}
	if config.HTTPS == "" {
		return s, nil
	}
	pair, err := newCertificate(config.CertFile, config.KeyFile, config.Logger)
	if err != nil {
		return nil, err
	}
	s.certificate = pair
	return s, nil
}

// Listen binds the addresses, all or none. Nothing is accepted before Run;
// clients wait in the kernel's queue until then.
func (s *Server) Listen() error {
	if s.plain != nil || s.secure != nil {
		return errors.New("listening: already bound")
	}
	if s.config.HTTP != "" {
		l, err := net.Listen("tcp", s.config.HTTP)
		if err != nil {
			return fmt.Errorf("listening for http: %w", err)
		}
		s.plain = s.endpoint(l, false)
	}
	if s.config.HTTPS != "" {
		l, err := net.Listen("tcp", s.config.HTTPS)
		if err != nil {
			s.Close()
			return fmt.Errorf("listening for https: %w", err)
		}
		s.secure = s.endpoint(l, true)
	}
	return nil
}

// HTTPAddr is where http is bound, nil if it is not.
func (s *Server) HTTPAddr() net.Addr { return s.plain.addr() }

// HTTPSAddr is where https is bound, nil if it is not.
func (s *Server) HTTPSAddr() net.Addr { return s.secure.addr() }

func (e *endpoint) addr() net.Addr {
	if e == nil {
		return nil
	}
	return e.listener.Addr()
}

// endpoint puts the limits on a listener and makes its server.
func (s *Server) endpoint(l net.Listener, secure bool) *endpoint {
	c := s.config
	limited := newConnections(l, c.MaxConnections, c.Patience)
	server := &http.Server{
		ConnState:         limited.state,
		Handler:           c.Handler,
		ReadHeaderTimeout: c.ReadHeaderTimeout,
		ReadTimeout:       c.ReadTimeout,
		WriteTimeout:      c.WriteTimeout,
		IdleTimeout:       c.IdleTimeout,
		MaxHeaderBytes:    c.MaxHeaderBytes,
		ErrorLog:          errorLog(c.Logger),
		Protocols:         new(http.Protocols),
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: c.MaxStreams,
			// A peer that vanished, or that reads nothing of what it asked for,
			// must not hold its connection.
			SendPingTimeout:  c.ReadTimeout,
			PingTimeout:      c.ReadHeaderTimeout,
			WriteByteTimeout: c.WriteTimeout,
		},
	}
	// Plain HTTP/2 is left off: nobody needs it here, and proxies disagree with
	// servers about where an upgraded request ends.
	server.Protocols.SetHTTP1(true)
	if secure {
		server.Protocols.SetHTTP2(true)
		server.TLSConfig = c.tlsConfig(s.certificate)
	}
	return &endpoint{
		listener: limited,
		server:   server,
		tls:      secure,
	}
}

// endpoints are the bound ones.
func (s *Server) endpoints() []*endpoint {
	var all []*endpoint
	for _, e := range []*endpoint{s.plain, s.secure} {
		if e != nil {
			all = append(all, e)
		}
	}
	return all
}

// Close releases the listeners and cuts all connections. Run does it by itself;
// Close is for those who bound and did not run.
func (s *Server) Close() {
	for _, e := range s.endpoints() {
		e.listener.Close()
		e.server.Close()
	}
}

// Run serves what Listen has bound until ctx ends, then drains: it announces the
// end, waits DrainDelay, stops accepting, and lets requests in progress finish
// within DrainTimeout. It returns nil after that, and an error if a listener
// fails before. A Server runs once.
func (s *Server) Run(ctx context.Context) error {
	all := s.endpoints()
	if len(all) == 0 {
		return errors.New("serving: nothing is bound, Listen comes first")
	}
	following, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	if s.certificate != nil {
		go s.certificate.follow(following, s.config.CertInterval)
	}
	failed := make(chan error, len(all))
	for _, e := range all {
		s.config.Logger.Info("listening", "address", e.addr().String(), "tls", e.tls)
		go func() { failed <- e.serve() }()
	}
	select {
	case err := <-failed:
		s.Close()
		return err
	case <-ctx.Done():
		return s.drain(failed)
	}
}

// serve blocks until the endpoint is shut down or fails.
func (e *endpoint) serve() error {
	if e.tls {
		return fmt.Errorf("serving https: %w", e.server.ServeTLS(e.listener, "", ""))
	}
	return fmt.Errorf("serving http: %w", e.server.Serve(e.listener))
}

// drain ends the service in the order that loses no request: readiness fails,
// load balancers turn away, the listeners close, what is running finishes.
func (s *Server) drain(failed <-chan error) error {
	s.config.Logger.Info("draining", "delay", s.config.DrainDelay, "timeout", s.config.DrainTimeout)
	s.config.Draining()
	delay := time.NewTimer(s.config.DrainDelay)
	defer delay.Stop()
	select {
	case err := <-failed:
		s.Close()
		return err
	case <-delay.C:
	}
	s.shutdown()
	return nil
}

// shutdown lets every endpoint finish at the same time, and cuts off what does
// not within the bound.
func (s *Server) shutdown() {
	ctx, cancel := context.WithTimeout(context.Background(), s.config.DrainTimeout)
	defer cancel()
	all := s.endpoints()
	done := make(chan error, len(all))
	for _, e := range all {
		go func() { done <- e.server.Shutdown(ctx) }()
	}
	var late error
	for range all {
		late = errors.Join(late, <-done)
	}
	if late != nil {
		s.Close()
		s.config.Logger.Warn("requests were still running at the end of draining and were cut off",
			"timeout", s.config.DrainTimeout)
	}
}
