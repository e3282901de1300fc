package config

import (
	"crypto/sha256"
	"strings"
	"time"

	"github.com/countersign/countersign/storage"
)

// StaticClient is a relying party: an OAuth 2.0 client.
type StaticClient struct {
	// ID is the client_id. Required.
	ID string `mapstructure:"id" config:"env"`
	// Name is shown to people. Default: ID.
	Name string `mapstructure:"name"`
	// LogoURL is shown to people: an https URL, or the name of a file in the folder
	// "static" of frontend.dir.
	LogoURL string `mapstructure:"logoURL"`
	// Secret is the client_secret of a confidential client.
	Secret string `mapstructure:"secret" config:"env,file"`
	// Secrets are further secrets that are valid, while one is being replaced.
	// An entry may be {env: NAME} or {file: PATH}. In a checked Config they
	// include Secret, first.
	Secrets []string `mapstructure:"secrets" config:"sources"`
	// Public clients cannot keep a secret: command-line tools, apps. They use
	// PKCE. Default: false.
	Public bool `mapstructure:"public"`
	// RedirectURIs are compared letter by letter, the port of a loopback address
	// excepted (see oauth.MatchRedirectURI). A public client without any may use
	// loopback.
	RedirectURIs []string `mapstructure:"redirectURIs"`
	// TrustedPeers are clients that may ask for tokens for this one.
	TrustedPeers []string `mapstructure:"trustedPeers"`
	// AllowedConnectors limits the connectors people may use. Default: all.
	AllowedConnectors []string `mapstructure:"allowedConnectors"`
	// SkipApprovalScreen overrides oauth2.skipApprovalScreen.
	SkipApprovalScreen *bool `mapstructure:"skipApprovalScreen"`
	// SSOSharedWith are the clients that may reuse a sign-in made at this one;
	// "*" is all, [] is none. Default: sessions.ssoSharedWithDefault.
	SSOSharedWith []string `mapstructure:"ssoSharedWith"`
	// IDTokenLifetime overrides expiry.idTokens, at least 1m.
	IDTokenLifetime time.Duration `mapstructure:"idTokenLifetime"`
	// IDTokenSigningAlg overrides the algorithm: RS256, ES256 or EdDSA.
	IDTokenSigningAlg string `mapstructure:"idTokenSigningAlg"`
	// AccessTokenFormat overrides oauth2.accessTokenFormat: opaque or jwt.
	AccessTokenFormat string `mapstructure:"accessTokenFormat"`
	// RefreshTokens override expiry.refreshTokens.
	RefreshTokens RefreshTokens `mapstructure:"refreshTokens"`
	// RefreshTokenLifetime is "standalone", or "session": the client's refresh
	// tokens end when the person signs out. Default: standalone.
	RefreshTokenLifetime string `mapstructure:"refreshTokenLifetime"`
	// PostLogoutRedirectURIs are where people may be sent after signing out,
	// compared letter by letter.
	PostLogoutRedirectURIs []string `mapstructure:"postLogoutRedirectURIs"`
	// BackchannelLogoutURI is told when a person signs out.
	BackchannelLogoutURI string `mapstructure:"backchannelLogoutURI"`
	// BackchannelLogoutAllowPrivate lets it lead to a private address.
	// Default: false.
	BackchannelLogoutAllowPrivate bool `mapstructure:"backchannelLogoutAllowPrivate"`
}

// Record is the client as the provider knows it, its secrets hashed.
func (s StaticClient) Record() storage.Client {
	var hashes [][32]byte
	for _, secret := range s.Secrets {
		hashes = append(hashes, sha256.Sum256([]byte(secret)))
	}
	return storage.Client{
		ID:                s.ID,
		Name:              orElse(s.Name, s.ID),
		LogoURL:           s.LogoURL,
		SecretHashes:      hashes,
		Public:            s.Public,
		RedirectURIs:      s.RedirectURIs,
		TrustedPeers:      s.TrustedPeers,
		AllowedConnectors: s.AllowedConnectors,
		SkipApproval:      s.SkipApprovalScreen,
		SSOSharedWith:     s.SSOSharedWith,
		IDTokenLifetime:   s.IDTokenLifetime,
		IDTokenSigningAlg: s.IDTokenSigningAlg,
		AccessTokenFormat: s.AccessTokenFormat,
		RefreshTokens: storage.RefreshTokens{
			ReuseInterval:    s.RefreshTokens.ReuseInterval,
			IdleLifetime:     valueOf(s.RefreshTokens.ValidIfNotUsedFor),
			AbsoluteLifetime: valueOf(s.RefreshTokens.AbsoluteLifetime),
			DisableRotation:  s.RefreshTokens.DisableRotation,
		},
		EndsWithSession:          s.RefreshTokenLifetime == lifetimeSession,
		PostLogoutRedirectURIs:   s.PostLogoutRedirectURIs,
		BackchannelLogoutURI:     s.BackchannelLogoutURI,
		BackchannelLogoutPrivate: s.BackchannelLogoutAllowPrivate,
	}
}

func valueOf(d *time.Duration) time.Duration {
	if d == nil {
		return 0
	}
	return *d
}

func (c *checker) staticClients() {
	clients := c.cfg.StaticClients
	ids, known := c.unique(), make(map[string]bool)
	for i, s := range clients {
		path := index("staticClients", i)
		c.clientID(path+".id", s.ID)
		ids.add(path+".id", s.ID)
		known[s.ID] = true
	}
	for i := range clients {
		path := index("staticClients", i)
		c.client(path, &clients[i])
		c.peers(path, clients[i], known)
	}
}

// clientID checks RFC 6749 appendix A.1: visible ASCII.
func (c *checker) clientID(path, id string) {
	if !c.required(path, id, "every client needs its client_id") {
		return
	}
	for _, r := range id {
		if r < 0x21 || r > 0x7e {
			c.problem(path, "%q has a space or a letter outside ASCII (RFC 6749 appendix A.1): use letters, digits and punctuation", clip(id))
			return
		}
	}
}

func (c *checker) client(path string, s *StaticClient) {
	c.clientSecrets(path, s)
	for i, uri := range s.RedirectURIs {
		c.redirectURI(index(path+".redirectURIs", i), uri)
	}
	if !s.Public && len(s.RedirectURIs) == 0 {
		c.problem(path+".redirectURIs", "is missing: only a public client may go without, and then uses loopback addresses")
	}
	if !printable(s.Name) {
		c.problem(path+".name", "has letters that cannot be shown: remove them")
	}
	c.logo(path+".logoURL", s.LogoURL)
	if s.IDTokenLifetime != 0 {
		c.lifetime(path+".idTokenLifetime", s.IDTokenLifetime, time.Minute, 30*24*time.Hour)
	}
	c.refreshTokens(path+".refreshTokens", s.RefreshTokens)
	c.publicRotation(path, s)
	c.oneOf(path+".idTokenSigningAlg", s.IDTokenSigningAlg, "RS256", "ES256", "EdDSA")
	c.oneOf(path+".accessTokenFormat", s.AccessTokenFormat, "opaque", "jwt")
	c.clientLogout(path, *s)
}

// clientSecrets checks the secrets of a client and gathers them in Secrets.
func (c *checker) clientSecrets(path string, s *StaticClient) {
	c.notEmpty(path+".secret", s.Secret)
	for i, secret := range s.Secrets {
		if secret == "" {
			c.problem(index(path+".secrets", i), "is empty: fill it in, or remove it")
		}
	}
	if s.Secret != "" {
		s.Secrets = append([]string{s.Secret}, s.Secrets...)
	}
	switch {
	case s.Public && len(s.Secrets) > 0:
		c.warn(path, "is public and has a secret: whatever has the program has the secret too, so that it proves nothing (RFC 8252 section 8.5)")
	case !s.Public && len(s.Secrets) == 0:
		c.problem(path+".secret", "is missing: give secret, secretEnv or secretFile, or make the client public")
	}
	for _, secret := range s.Secrets {
		if !s.Public && secret != "" && len(secret) < 16 {
			c.warn(path, "has a secret of %d characters, which can be guessed: make one with \"openssl rand -hex 32\"", len(secret))
		}
	}
}

// peers checks that every name in a client is the name of something.
func (c *checker) peers(path string, s StaticClient, clients map[string]bool) {
	c.names(path+".trustedPeers", s.TrustedPeers, clients, "client")
	c.names(path+".allowedConnectors", s.AllowedConnectors, c.connectorIDs(), "connector")
	all := map[string]bool{"*": true}
	for id := range clients {
		all[id] = true
	}
	c.names(path+".ssoSharedWith", s.SSOSharedWith, all, "client")
}

func (c *checker) names(path string, names []string, known map[string]bool, kind string) {
	for i, name := range names {
		if known[name] {
			continue
		}
		hint := ""
		if near := nearest(name, keysOf(known)); near != "" {
			hint = "; did you mean \"" + near + "\"?"
		}
		c.problem(index(path, i), "%q is the id of no %s in this file%s", clip(name), kind, hint)
	}
}

// logo checks where a picture is: https, or a file in the folder "static", which has
// no folders.
func (c *checker) logo(path, logo string) {
	if logo == "" || isWebURL(logo) && strings.HasPrefix(logo, "https:") {
		return
	}
	if strings.ContainsAny(logo, ":\\/ ?#") || !printable(logo) {
		c.problem(path, "%q is neither an https URL nor the name of a file such as logo.svg", clip(logo))
	}
}
