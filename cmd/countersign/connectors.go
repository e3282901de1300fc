package main

import (
	"fmt"

	"github.com/countersign/countersign/cmd/countersign/config"
	"github.com/countersign/countersign/connector/local"
	"github.com/countersign/countersign/server/flow"
	"github.com/countersign/countersign/server/oauth"
)

// passwordDB is the connector that enablePasswordDB adds, as in Dex.
const (
	passwordDBID   = "local"
	passwordDBName = "Email"
)

// newConnectors makes the configured upstreams, in the order people see them.
func newConnectors(cfg *config.Config) ([]flow.Connector, error) {
	var out []flow.Connector
	for _, c := range cfg.Connectors {
		accepted, err := c.NewRules()
		if err != nil {
			return nil, fmt.Errorf("connector %s: %w", c.ID, err)
		}
		people, err := newLocal(c.Local.Passwords)
		if err != nil {
			return nil, fmt.Errorf("connector %s: %w", c.ID, err)
		}
		out = append(out, flow.Connector{
			Connector: oauth.Connector{ID: c.ID, Hidden: c.Hidden, EmailDomains: c.EmailDomains},
			Name:      c.Name, Type: c.Type, Password: people,
			Accept: accepted.Accept, Timeout: c.Timeout,
			Recheck: oauth.Recheck{After: *c.Recheck, StaleIfError: *c.StaleIfError},
		})
	}
	if !cfg.EnablePasswordDB {
		return out, nil
	}
	people, err := newLocal(cfg.StaticPasswords)
	if err != nil {
		return nil, fmt.Errorf("staticPasswords: %w", err)
	}
	return append(out, flow.Connector{
		Connector: oauth.Connector{ID: passwordDBID},
		Name:      passwordDBName, Type: "local", Password: people,
		Recheck: oauth.Recheck{After: config.DefaultRecheck, StaleIfError: config.DefaultStaleIfError},
	}), nil
}

func newLocal(passwords []config.Password) (*local.Connector, error) {
	people := make([]local.Password, len(passwords))
	for i, p := range passwords {
		people[i] = local.Password{
			Email: p.Email, Hash: p.Hash, Username: p.Username, Name: p.Name, PreferredUsername: p.PreferredUsername,
			EmailVerified: *p.EmailVerified, UserID: p.UserID, Groups: p.Groups,
		}
	}
	return local.New(people)
}
