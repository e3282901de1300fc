package main

import (
	"log/slog"
	"time"

	"github.com/countersign/countersign/cmd/countersign/config"
	"github.com/countersign/countersign/connector/ldap"
)

func newLDAP(l config.LDAP, timeout time.Duration, logger *slog.Logger) (*ldap.Connector, error) {
	trust, err := l.TLS()
	if err != nil {
		return nil, err
	}
	cfg := l.Directory()
	if cfg.TLS, err = trust.Config(); err != nil {
		return nil, err
	}
	cfg.Timeout, cfg.Now, cfg.Logger = timeout, time.Now, logger
	return ldap.New(cfg)
}
