// Package oidc is the connector to any OpenID provider: Google, Entra ID, Okta,
// Keycloak, another Countersign.
//
// It is a relying party of the strict kind: authorization code flow, always with
// state, nonce and PKCE (OpenID Connect Core 1.0, RFC 9700). It refuses tokens that
// are not signed asymmetrically by a key of the provider's, and answers of another
// issuer (RFC 9207).
//
// Threat: codes and tokens of another client, session or provider that are slipped
// in; a provider that answers nonsense, without end, or not at all; somebody else
// who answers in its name.
package oidc

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/oauth2"

	"github.com/countersign/countersign/connector"
	"github.com/countersign/countersign/connector/upstream"
)

// Config is what New needs. Issuer, ClientID, CallbackURL, Client, Now and Logger
// are required.
type Config struct {
	// Issuer is the provider's address: discovery is below it, and its tokens say
	// so.
	Issuer string
	// IssuerAlias is what its tokens say instead, for providers that do not follow
	// the standard. Empty: Issuer.
	IssuerAlias  string
	ClientID     string
	ClientSecret string
	// CallbackURL is our redirect_uri, registered at the provider.
	CallbackURL string
	// SignOutURL is our post_logout_redirect_uri, registered there, too. Empty: people
	// are not signed out at the provider.
	SignOutURL string
	// Scopes to ask for; nil: openid, profile, email, and offline_access where the
	// provider knows it.
	Scopes []string
	// SecretInBody sends the client secret in the body of requests (client_secret_
	// post) instead of a header.
	SecretInBody bool
	// ACRValues are asked for.
	ACRValues []string
	// Prompt is OpenID Connect's prompt; empty: none.
	Prompt string
	// UserInfo asks the userinfo endpoint, too, whose claims come on top.
	UserInfo bool
	// SkipEmailVerified takes every address for verified.
	SkipEmailVerified bool
	// Groups takes the claim with groups. Without it nobody has any, except by the
	// operator's rules.
	Groups bool
	// Directory says the groups instead, where it knows more of them. Optional.
	Directory Directory
	// GroupsFilter leaves out the groups that it does not match, wherever they come
	// from; nil: none. So does OnlyGroups, unless it is empty, with all that it does not
	// name. NewGroups are made of claims, and not filtered.
	GroupsFilter *regexp.Regexp
	OnlyGroups   []string
	NewGroups    []NewGroup
	// Keys are the claims to take, by name. Empty fields: see Keys.
	Keys Keys
	// Override replaces addresses of the discovery document.
	Override Override

	// Client speaks to the provider; see package upstream.
	Client *http.Client
	Now    func() time.Time
	Logger *slog.Logger
}

// Keys are the names of claims.
type Keys struct {
	// UserID: sub. It must be one that is never given to somebody else.
	UserID string
	// Name: name.
	Name string
	// PreferredUsername: preferred_username. Email: email. Groups: groups. Unless
	// Force is set, these three are looked for only where the standard's own claim
	// is missing.
	PreferredUsername, Email, Groups string
	Force                            bool
}

// Override replaces addresses that the discovery document gives. Empty: as there.
type Override struct {
	AuthURL, TokenURL, JWKSURL string
}

// Connector is safe for concurrent use.
type Connector struct {
	cfg      Config
	provider atomic.Pointer[provider]
	trouble  atomic.Pointer[string]
}

var (
	_ connector.RedirectConnector = (*Connector)(nil)
	_ connector.SecretRefresher   = (*Connector)(nil)
	_ connector.Background        = (*Connector)(nil)
	_ connector.SignOuter         = (*Connector)(nil)
)

// New checks the configuration. It asks nobody; Run does.
func New(cfg Config) (*Connector, error) {
	if cfg.Issuer == "" || cfg.ClientID == "" || cfg.CallbackURL == "" || cfg.Client == nil || cfg.Now == nil || cfg.Logger == nil {
		return nil, errors.New("oidc: Issuer, ClientID, CallbackURL, Client, Now and Logger are required")
	}
	if cfg.IssuerAlias == "" {
		cfg.IssuerAlias = cfg.Issuer
	}
	if cfg.Keys.UserID == "" {
		cfg.Keys.UserID = "sub"
	}
	if cfg.Keys.Name == "" {
		cfg.Keys.Name = "name"
	}
	c := &Connector{cfg: cfg}
	c.failed(errors.New("the provider has not been asked yet"))
	return c, nil
}

// failed remembers why nobody can sign in.
func (c *Connector) failed(err error) {
	text := err.Error()
	c.trouble.Store(&text)
}

// Ready implements connector.Background.
func (c *Connector) Ready() error {
	if c.provider.Load() != nil {
		return nil
	}
	return errors.New(*c.trouble.Load())
}

// oauth2 is the client as the library wants it.
func (c *Connector) oauth2(p *provider) *oauth2.Config {
	style := oauth2.AuthStyleInHeader
	if c.cfg.SecretInBody || c.cfg.ClientSecret == "" {
		style = oauth2.AuthStyleInParams
	}
	return &oauth2.Config{
		ClientID: c.cfg.ClientID, ClientSecret: c.cfg.ClientSecret, RedirectURL: c.cfg.CallbackURL,
		Scopes:   c.scopes(p),
		Endpoint: oauth2.Endpoint{AuthURL: p.AuthURL, TokenURL: p.TokenURL, AuthStyle: style},
	}
}

const (
	scopeOffline = "offline_access"
	google       = "https://accounts.google.com"
)

func (c *Connector) scopes(p *provider) []string {
	scopes := slices.Clone(c.cfg.Scopes)
	if c.cfg.Scopes == nil {
		scopes = []string{"profile", "email"}
		if slices.Contains(p.Scopes, scopeOffline) {
			scopes = append(scopes, scopeOffline)
		}
	}
	if !slices.Contains(scopes, "openid") {
		scopes = append([]string{"openid"}, scopes...)
	}
	return scopes
}

// Depart implements connector.RedirectConnector.
func (c *Connector) Depart(_ context.Context, d connector.Departure) (connector.Away, error) {
	p, err := c.ready()
	if err != nil {
		return connector.Away{}, err
	}
	s, err := newSecrets()
	if err != nil {
		return connector.Away{}, err
	}
	options := []oauth2.AuthCodeOption{
		oauth2.S256ChallengeOption(s.verifier()), oauth2.SetAuthURLParam("nonce", s.nonce()),
	}
	for name, value := range map[string]string{
		"acr_values": strings.Join(c.cfg.ACRValues, " "), "prompt": c.prompt(d.Asks()), "login_hint": d.LoginHint,
	} {
		if value != "" {
			options = append(options, oauth2.SetAuthURLParam(name, value))
		}
	}
	if c.cfg.Issuer == google { // Google has no offline_access
		options = append(options, oauth2.AccessTypeOffline)
	}
	return connector.Away{URL: c.oauth2(p).AuthCodeURL(d.State, options...), Kept: upstream.KeepSince(s, d.SeenSince)}, nil
}

// prompt asks for the person where that matters. Google knows no "login", and refuses
// what it does not know: there they choose their account.
func (c *Connector) prompt(ask bool) string {
	word := "login"
	if c.cfg.Issuer == google {
		word = "select_account"
	}
	if !ask || slices.Contains(strings.Fields(c.cfg.Prompt), word) {
		return c.cfg.Prompt
	}
	return strings.TrimSpace(word + " " + strings.ReplaceAll(c.cfg.Prompt, "none", ""))
}
