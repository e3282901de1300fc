package main

import (
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/countersign/countersign/cmd/countersign/config"
	"github.com/countersign/countersign/connector/local"
	"github.com/countersign/countersign/connector/oidc"
	"github.com/countersign/countersign/connector/upstream"
	"github.com/countersign/countersign/server/flow"
	"github.com/countersign/countersign/server/logout"
	"github.com/countersign/countersign/server/oauth"
)

// passwordDB is the connector that enablePasswordDB adds, as in Dex.
const (
	passwordDBID   = "local"
	passwordDBName = "Email"
)

// newConnectors makes the configured upstreams, in the order people see them.
func newConnectors(cfg *config.Config, logger *slog.Logger) ([]flow.Connector, error) {
	var out []flow.Connector
	for _, c := range cfg.Connectors {
		conn, err := newConnector(c, cfg.Issuer, logger.With("connector", c.ID))
		if err != nil {
			return nil, fmt.Errorf("connector %s: %w", c.ID, err)
		}
		out = append(out, conn)
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

// newConnector makes what is the same for all types, and that of its own type.
func newConnector(c config.Connector, issuer string, logger *slog.Logger) (flow.Connector, error) {
	out := flow.Connector{
		Connector: oauth.Connector{ID: c.ID, Hidden: c.Hidden, EmailDomains: c.EmailDomains},
		Name:      c.Name, Type: c.Type, Timeout: c.Timeout,
		Recheck: oauth.Recheck{After: *c.Recheck, StaleIfError: *c.StaleIfError},
	}
	rules, err := c.NewRules()
	if err != nil {
		return out, err
	}
	out.Accept = rules.Accept
	switch {
	case c.Local != nil:
		out.Password, err = newLocal(c.Local.Passwords)
	case c.OIDC != nil:
		out.Redirect, err = newOIDC(*c.OIDC, issuer, logger)
	case c.GitHub != nil:
		out.Redirect, err = newGitHub(*c.GitHub)
	case c.LDAP != nil:
		out.Password, err = newLDAP(*c.LDAP, c.Timeout, logger)
	case c.SAML != nil:
		err = newSAML(&out, *c.SAML, issuer, logger)
	}
	return out, err
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

func newOIDC(c config.OIDC, issuer string, logger *slog.Logger) (*oidc.Connector, error) {
	signOutURL := ""
	if c.LogoutUpstream {
		signOutURL = strings.TrimSuffix(issuer, "/") + logout.PathCallback
	}
	client, err := upstream.Client(upstream.TLS{
		RootCAs: c.RootCAs, CertFile: c.ClientCert, KeyFile: c.ClientKey, InsecureSkipVerify: c.InsecureSkipVerify,
	})
	if err != nil {
		return nil, err
	}
	directory, err := newDirectory(c, client)
	if err != nil {
		return nil, err
	}
	return oidc.New(oidc.Config{
		Issuer: c.Issuer, IssuerAlias: c.IssuerAlias, ClientID: c.ClientID, ClientSecret: c.ClientSecret,
		CallbackURL: c.RedirectURI, SignOutURL: signOutURL, Scopes: c.Scopes, SecretInBody: c.BasicAuthUnsupported, ACRValues: c.ACRValues,
		Prompt: c.PromptType, UserInfo: c.GetUserInfo, SkipEmailVerified: c.InsecureSkipEmailVerified,
		Groups: c.InsecureEnableGroups, Directory: directory,
		GroupsFilter: c.ClaimModifications.FilterGroupClaims.Compiled, OnlyGroups: c.AllowedGroups, NewGroups: newGroups(c.ClaimModifications.NewGroupFromClaims),
		Keys: oidc.Keys{
			UserID: c.UserIDKey, Name: c.UserNameKey, PreferredUsername: c.ClaimMapping.PreferredUsername,
			Email: c.ClaimMapping.Email, Groups: c.ClaimMapping.Groups, Force: c.OverrideClaimMapping,
		},
		Override: oidc.Override{
			AuthURL: c.ProviderDiscoveryOverrides.AuthURL, TokenURL: c.ProviderDiscoveryOverrides.TokenURL,
			JWKSURL: c.ProviderDiscoveryOverrides.JWKSURL,
		},
		Client: client, Now: time.Now, Logger: logger,
	})
}
