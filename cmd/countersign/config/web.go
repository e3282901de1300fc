package config

import (
	"crypto/tls"
	"net/netip"
	"time"

	"github.com/countersign/countersign/server/request"
)

// Web is the listener that people and relying parties talk to.
type Web struct {
	// HTTP is the address for plain HTTP, HOST:PORT: on loopback, or behind a
	// proxy that ends TLS. HTTP or HTTPS is required.
	HTTP string `mapstructure:"http"`
	// HTTPS is the address for HTTP over TLS.
	HTTPS string `mapstructure:"https"`
	// TLSCert is the PEM file of the certificate chain, required for HTTPS. It is
	// read again when it changes.
	TLSCert string `mapstructure:"tlsCert"`
	// TLSKey is the PEM file of the certificate's key, required for HTTPS.
	TLSKey string `mapstructure:"tlsKey"`
	// TLSMinVersion is the oldest TLS version to accept. Default: 1.2.
	TLSMinVersion TLSVersion `mapstructure:"tlsMinVersion"`
	// TLSMaxVersion is the newest TLS version to offer. Default: 1.3.
	TLSMaxVersion TLSVersion `mapstructure:"tlsMaxVersion"`
	// AllowedOrigins are the origins (https://app.example.com) whose scripts may
	// call discovery, keys, token and userinfo (CORS). "*" is all. Default: none.
	AllowedOrigins []string `mapstructure:"allowedOrigins"`
	// TrustedProxies are the networks whose X-Forwarded-For and X-Request-Id are
	// believed. Default: none.
	TrustedProxies []netip.Prefix `mapstructure:"trustedProxies"`
	// Limits bound what one client, and all together, can make the server hold.
	Limits Limits `mapstructure:"limits"`
}

// Limits bound connections, sizes and times of the listeners.
type Limits struct {
	// MaxConnections is the number of open connections per listener; more take the
	// place of silent ones, or wait. Default: 1024, which cost less than 64 MB
	// whatever strangers do with them.
	MaxConnections int `mapstructure:"maxConnections"`
	// MaxHeaderBytes bounds the header of a request. Default: 32768.
	MaxHeaderBytes int `mapstructure:"maxHeaderBytes"`
	// MaxBodyBytes bounds the body of a request. Default: 65536.
	MaxBodyBytes int `mapstructure:"maxBodyBytes"`
	// ReadHeaderTimeout bounds reading a header. Default: 10s.
	ReadHeaderTimeout time.Duration `mapstructure:"readHeaderTimeout"`
	// ReadTimeout bounds reading a request. Default: 30s.
	ReadTimeout time.Duration `mapstructure:"readTimeout"`
	// WriteTimeout bounds answering a request. Default: 30s.
	WriteTimeout time.Duration `mapstructure:"writeTimeout"`
	// IdleTimeout bounds how long a connection may stay open unused. Default: 2m.
	IdleTimeout time.Duration `mapstructure:"idleTimeout"`
	// ShutdownDelay is how long requests are still accepted after SIGTERM while
	// readiness already fails, so that load balancers turn away first. Default:
	// 1s.
	ShutdownDelay time.Duration `mapstructure:"shutdownDelay"`
	// ShutdownTimeout bounds how long running requests may take after SIGTERM.
	// Default: 30s.
	ShutdownTimeout time.Duration `mapstructure:"shutdownTimeout"`
}

func defaultWeb() Web {
	return Web{
		TLSMinVersion: tls.VersionTLS12,
		TLSMaxVersion: tls.VersionTLS13,
		Limits: Limits{
			MaxConnections:    1024,
			MaxHeaderBytes:    32 << 10,
			MaxBodyBytes:      64 << 10,
			ReadHeaderTimeout: 10 * time.Second,
			ReadTimeout:       30 * time.Second,
			WriteTimeout:      30 * time.Second,
			IdleTimeout:       2 * time.Minute,
			ShutdownDelay:     time.Second,
			ShutdownTimeout:   30 * time.Second,
		},
	}
}

func (c *checker) web() {
	w := c.cfg.Web
	if !c.given("web.http") && !c.given("web.https") {
		c.problem("web", "has neither http nor https: give the address to listen on, such as http: 127.0.0.1:5556")
	}
	c.address("web.http", w.HTTP)
	c.address("web.https", w.HTTPS)
	if w.HTTP != "" && w.HTTP == w.HTTPS {
		c.problem("web.https", "is the address of web.http: give each its own")
	}
	c.certificate()
	if w.TLSMinVersion > w.TLSMaxVersion {
		c.problem("web.tlsMinVersion", "is above web.tlsMaxVersion")
	}
	for i, origin := range w.AllowedOrigins {
		if err := request.CheckOrigin(origin); err != nil {
			c.problem(index("web.allowedOrigins", i), "%v", err)
		}
	}
	c.between("web.limits.maxConnections", w.Limits.MaxConnections, 1, 1_000_000)
	c.between("web.limits.maxHeaderBytes", w.Limits.MaxHeaderBytes, 8<<10, 1<<20)
	c.between("web.limits.maxBodyBytes", w.Limits.MaxBodyBytes, 8<<10, 16<<20)
}

// certificate checks that HTTPS has a certificate that can be used.
func (c *checker) certificate() {
	w := c.cfg.Web
	if c.given("web.https") {
		c.required("web.tlsCert", w.TLSCert, "web.https needs the PEM file of a certificate")
		c.required("web.tlsKey", w.TLSKey, "web.https needs the PEM file of the certificate's key")
	} else if w.TLSCert != "" || w.TLSKey != "" {
		c.problem("web.https", "is missing: tlsCert and tlsKey are for it")
	}
	cert, okCert := c.readable("web.tlsCert", w.TLSCert)
	key, okKey := c.readable("web.tlsKey", w.TLSKey)
	if !okCert || !okKey {
		return
	}
	if _, err := tls.X509KeyPair(cert, key); err != nil {
		c.problem("web.tlsCert", "does not work with web.tlsKey: %v", err)
	}
}
