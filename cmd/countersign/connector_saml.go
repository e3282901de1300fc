package main

import (
	"log/slog"
	"net/url"
	"strings"
	"time"

	"github.com/countersign/countersign/cmd/countersign/config"
	"github.com/countersign/countersign/connector/saml"
	"github.com/countersign/countersign/connector/upstream"
	"github.com/countersign/countersign/server/flow"
	"github.com/countersign/countersign/server/logout"
	"github.com/countersign/countersign/server/oauth"
)

// newSAML makes a SAML connector. What its provider says is good for maxAge, and
// then people have to sign in again.
func newSAML(out *flow.Connector, c config.SAML, issuer string, logger *slog.Logger) error {
	cfg := c.Provider
	var err error
	if c.MetadataURL != "" {
		if cfg.Client, err = upstream.Client(upstream.TLS{RootCAs: c.RootCAs, CertFile: c.ClientCert, KeyFile: c.ClientKey}); err != nil {
			return err
		}
	}
	cfg.ACSURL, cfg.EntityID = c.RedirectURI, c.EntityIssuer
	cfg.SSOURL, cfg.Issuer, cfg.MetadataURL, cfg.MetadataFile = c.SSOURL, c.SSOIssuer, c.MetadataURL, c.MetadataFile
	cfg.Binding, cfg.NameIDFormat, cfg.AuthnContexts = c.Binding, c.NameIDPolicyFormat, c.RequestedAuthnContext
	cfg.Attributes = saml.Attributes{
		ID: c.IDAttr, Name: c.UsernameAttr, PreferredUsername: c.PreferredUsernameAttr, Email: c.EmailAttr,
		Groups: c.GroupsAttr, GroupsDelimiter: c.GroupsDelim,
	}
	if c.LogoutUpstream {
		cfg.SignOutURL, cfg.SLOURL = strings.TrimSuffix(issuer, "/")+logout.PathCallback+"/"+url.PathEscape(out.ID), c.SLOURL
	}
	cfg.Now, cfg.Logger = time.Now, logger
	out.Recheck, out.KnownWhileSigningIn = oauth.Recheck{After: c.MaxAge}, true
	conn, err := saml.New(cfg)
	if err != nil {
		return err
	}
	out.Redirect = conn
	return nil
}
