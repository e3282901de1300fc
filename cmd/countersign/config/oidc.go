package config

import (
	"net/url"
	"regexp"
	"strings"

	"github.com/countersign/countersign/connector/oidc/groups"
)

// OIDC is an OpenID provider upstream. The keys are Dex's.
type OIDC struct {
	// Issuer is the provider's address, exactly as its tokens say it. Required.
	Issuer string `mapstructure:"issuer"`
	// IssuerAlias is what its tokens say where that is something else.
	IssuerAlias string `mapstructure:"issuerAlias"`
	// ClientID (required) and ClientSecret are ours at the provider.
	ClientID     string `mapstructure:"clientID" config:"env,file"`
	ClientSecret string `mapstructure:"clientSecret" config:"env,file"`
	// RedirectURI is registered there. Default: the issuer followed by /callback.
	RedirectURI string `mapstructure:"redirectURI"`
	// Scopes to ask for. Default: openid, profile, email, and offline_access where
	// the provider knows it.
	Scopes []string `mapstructure:"scopes"`
	// BasicAuthUnsupported sends the secret in the body.
	BasicAuthUnsupported bool     `mapstructure:"basicAuthUnsupported"`
	ACRValues            []string `mapstructure:"acrValues"`
	PromptType           string   `mapstructure:"promptType"`
	// PKCEChallenge may say S256, which is always used.
	PKCEChallenge             string `mapstructure:"pkceChallenge"`
	GetUserInfo               bool   `mapstructure:"getUserInfo"`
	InsecureSkipEmailVerified bool   `mapstructure:"insecureSkipEmailVerified"`
	InsecureEnableGroups      bool   `mapstructure:"insecureEnableGroups"`
	// AllowedGroups are those beside config, and leave out the provider's others.
	AllowedGroups        []string     `mapstructure:"allowedGroups"`
	UserIDKey            string       `mapstructure:"userIDKey"`
	UserNameKey          string       `mapstructure:"userNameKey"`
	OverrideClaimMapping bool         `mapstructure:"overrideClaimMapping"`
	ClaimMapping         ClaimMapping `mapstructure:"claimMapping"`
	// ClaimModifications filter groups, and make more of them of other claims.
	ClaimModifications ClaimModifications `mapstructure:"claimModifications"`
	// LogoutUpstream ends the session at the provider, too, when people sign out here.
	// Default: false. Dex has no such key.
	LogoutUpstream bool `mapstructure:"logoutUpstream"`
	// ProviderDiscoveryOverrides replace addresses of the discovery document.
	ProviderDiscoveryOverrides DiscoveryOverrides `mapstructure:"providerDiscoveryOverrides"`

	// ServiceAccountFilePath is the key of a service account that asks Google for
	// groups, in the name of the administrator that DomainToAdminEmail has for the
	// domain of the person's address; "*" is every other.
	ServiceAccountFilePath         string            `mapstructure:"serviceAccountFilePath"`
	DomainToAdminEmail             map[string]string `mapstructure:"domainToAdminEmail"`
	FetchTransitiveGroupMembership bool              `mapstructure:"fetchTransitiveGroupMembership"`
	// GroupNameFormat says what a group of Entra ID is called: id or name. Default: id.
	GroupNameFormat string `mapstructure:"groupNameFormat"`
	// OnlySecurityGroups leaves out groups that are for mail only.
	OnlySecurityGroups bool `mapstructure:"onlySecurityGroups"`
	// GraphURL is Microsoft Graph. Default: that of the issuer's cloud.
	GraphURL string `mapstructure:"graphURL"`

	RootCAs            []string `mapstructure:"rootCAs"`
	ClientCert         string   `mapstructure:"clientCert"`
	ClientKey          string   `mapstructure:"clientKey"`
	InsecureSkipVerify bool     `mapstructure:"insecureSkipVerify"`

	// Read from ServiceAccountFilePath.
	ServiceAccount *groups.ServiceAccount `mapstructure:"-"`
}

// ClaimMapping names the claims of providers that do not use the standard's.
type ClaimMapping struct {
	PreferredUsername string `mapstructure:"preferred_username"`
	Email             string `mapstructure:"email"`
	Groups            string `mapstructure:"groups"`
}

// ClaimModifications are Dex's. What they do, claims.groups can do, too.
type ClaimModifications struct {
	NewGroupFromClaims []NewGroup   `mapstructure:"newGroupFromClaims"`
	FilterGroupClaims  FilterGroups `mapstructure:"filterGroupClaims"`
}

// NewGroup is a group that is made of claims: see oidc.NewGroup.
type NewGroup struct {
	// Claims are required.
	Claims         []string `mapstructure:"claims"`
	Delimiter      string   `mapstructure:"delimiter" config:"literal"`
	ClearDelimiter bool     `mapstructure:"clearDelimiter"`
	Prefix         string   `mapstructure:"prefix" config:"literal"`
}

// FilterGroups leaves out groups.
type FilterGroups struct {
	// GroupsFilter is a regular expression (RE2) that the groups to keep match.
	GroupsFilter string `mapstructure:"groupsFilter" config:"literal"`

	// Made of GroupsFilter.
	Compiled *regexp.Regexp `mapstructure:"-"`
}

// DiscoveryOverrides replace addresses of the discovery document.
type DiscoveryOverrides struct {
	AuthURL  string `mapstructure:"authURL"`
	TokenURL string `mapstructure:"tokenURL"`
	JWKSURL  string `mapstructure:"jwksURL"`
}

func (c *checker) oidc(path string, conn *Connector) {
	o := conn.OIDC
	if c.required(path+".issuer", o.Issuer, "write the provider's address, as its tokens say it") {
		c.upstreamURL(path+".issuer", o.Issuer)
	}
	c.required(path+".clientID", o.ClientID, "write the id that the provider knows this server by")
	c.notEmpty(path+".clientSecret", o.ClientSecret)
	o.RedirectURI = c.redirectBack(path+".redirectURI", o.RedirectURI, conn.ID)
	c.oneOf(path+".pkceChallenge", orElse(o.PKCEChallenge, "S256"), "S256")
	for _, prompt := range strings.Fields(o.PromptType) {
		c.oneOf(path+".promptType", prompt, "none", "login", "consent", "select_account")
	}
	for key, address := range map[string]string{
		"authURL": o.ProviderDiscoveryOverrides.AuthURL, "tokenURL": o.ProviderDiscoveryOverrides.TokenURL,
		"jwksURL": o.ProviderDiscoveryOverrides.JWKSURL,
	} {
		if address != "" {
			c.upstreamURL(path+".providerDiscoveryOverrides."+key, address)
		}
	}
	c.claimModifications(path+".claimModifications", &o.ClaimModifications)
	c.google(path, o)
	c.microsoft(path, o)
	c.trust(path, o.RootCAs, o.ClientCert, o.ClientKey)
	c.sameGroups(path, conn, o.AllowedGroups, false)
}

func (c *checker) claimModifications(path string, m *ClaimModifications) {
	for i, group := range m.NewGroupFromClaims {
		at := index(path+".newGroupFromClaims", i)
		if len(group.Claims) == 0 {
			c.problem(at+".claims", "is missing: name the claims that make the group")
		}
	}
	if filter := &m.FilterGroupClaims; filter.GroupsFilter != "" {
		var err error
		if filter.Compiled, err = regexp.Compile(filter.GroupsFilter); err != nil {
			c.problem(path+".filterGroupClaims.groupsFilter", "is no regular expression: %v", err)
		}
	}
}

// redirectBack is where the upstream of a connector sends people back to: the
// address of all, or its own.
func (c *checker) redirectBack(path, uri, id string) string {
	if uri == "" {
		c.notEmpty(path, uri)
		return strings.TrimSuffix(c.cfg.Issuer, "/") + "/callback"
	}
	issuer, err := url.Parse(c.cfg.Issuer)
	got, err2 := url.Parse(uri)
	if err != nil || err2 != nil || issuer.Host == "" {
		return uri // the issuer's problem is reported already
	}
	back := issuer.Path + "/callback"
	if got.Scheme != issuer.Scheme || got.Host != issuer.Host || got.Path != back && got.Path != back+"/"+id || got.RawQuery != "" || got.Fragment != "" {
		c.problem(path, "is %q, where nobody would come back to us: write %s, or remove the key", clip(uri), strings.TrimSuffix(c.cfg.Issuer, "/")+"/callback")
	}
	return uri
}

// upstreamURL reports what is no address of an upstream.
func (c *checker) upstreamURL(path, address string) {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil || u.Fragment != "" {
		c.problem(path, "%q is no address: write https:// and a host", clip(address))
	}
}

// trust checks the files that say whom to believe, and who we are.
func (c *checker) trust(path string, roots []string, cert, key string) {
	for i, file := range roots {
		c.readable(index(path+".rootCAs", i), file)
	}
	c.readable(path+".clientCert", cert)
	c.readable(path+".clientKey", key)
	if (cert == "") != (key == "") {
		c.problem(path, "clientCert and clientKey belong together: give both, or none")
	}
}

// sameGroups takes the keys that Dex has in config, and this program beside it for
// every type.
func (c *checker) sameGroups(path string, conn *Connector, allowed []string, filter bool) {
	if len(allowed) > 0 && len(conn.AllowedGroups) > 0 {
		c.problem(path+".allowedGroups", "is there twice: in config, and beside it; remove one")
	}
	if len(allowed) > 0 {
		conn.AllowedGroups = allowed
	}
	conn.FilterGroups = conn.FilterGroups || filter
}
