// Package github is the connector to github.com and to GitHub Enterprise.
//
// It is OAuth 2.0's web flow, always with state and PKCE, and GitHub's REST API
// afterwards: who the person is, their e-mail addresses, organizations and teams. It
// refuses addresses that GitHub has not verified, memberships that are only invited,
// and to ask again before GitHub says that it may.
//
// Threat: codes of another sign-in that are slipped in; tokens that turn into somebody
// else's; a login that is given to somebody else; an API that answers nonsense, without
// end, or not at all, and one that is asked so often that it answers nobody any more.
package github

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	gogithub "github.com/google/go-github/v89/github"
	"golang.org/x/oauth2"

	"github.com/countersign/countersign/connector"
)

// Config is what New needs. ClientID, ClientSecret, CallbackURL, Client and Now are
// required.
type Config struct {
	// WebURL is where people sign in, https://github.com; APIURL is the REST API,
	// https://api.github.com/. Both are required: see Addresses.
	WebURL, APIURL string
	// Unverified: the server verifies no addresses, as GitHub Enterprise Server. Then
	// the primary one is taken, as one that is not verified.
	Unverified bool

	ClientID, ClientSecret string
	// CallbackURL is our redirect_uri, registered at GitHub.
	CallbackURL string
	// Orgs are who may come in; nil: everybody with an account.
	Orgs []Org
	// LegacyOrg is Dex's "org": one organization whose teams become groups without its
	// name before them. Not together with Orgs.
	LegacyOrg string
	// AllGroups takes all organizations and teams of people for groups, when neither
	// Orgs nor LegacyOrg is set.
	AllGroups bool
	// TeamName says what a team is called in groups.
	TeamName TeamName
	// LoginAsID takes the login for the user's id. GitHub gives logins that were
	// changed to others.
	LoginAsID bool
	// EmailDomain is that of the address that is preferred to the primary one; "*"
	// stands for one label of it. Optional.
	EmailDomain string

	// Client speaks to GitHub; see package upstream.
	Client *http.Client
	Now    func() time.Time
}

// Org is an organization whose people may come in.
type Org struct {
	Name string
	// Teams are those of it that may; none: all people of the organization.
	Teams []string
}

// TeamName says what a team is called in groups.
type TeamName string

// What a team may be called. Empty: ByName.
const (
	ByName TeamName = "name"
	BySlug TeamName = "slug"
	ByBoth TeamName = "both"
)

// Addresses are WebURL and APIURL of a host; of github.com when it is empty.
func Addresses(host string) (web, api string) {
	switch {
	case host == "" || host == "github.com":
		return "https://github.com", "https://api.github.com/"
	case strings.HasSuffix(host, ".ghe.com"): // Enterprise Cloud with data residency
		return "https://" + host, "https://api." + host + "/"
	}
	return "https://" + host, "https://" + host + "/api/v3/"
}

// Connector is safe for concurrent use.
type Connector struct {
	cfg    Config
	client *http.Client
	api    *gogithub.Client
}

var (
	_ connector.RedirectConnector = (*Connector)(nil)
	_ connector.SecretRefresher   = (*Connector)(nil)
)

// New checks the configuration. It asks nobody.
func New(cfg Config) (*Connector, error) {
	if cfg.WebURL == "" || cfg.APIURL == "" || cfg.ClientID == "" || cfg.ClientSecret == "" || cfg.CallbackURL == "" || cfg.Client == nil || cfg.Now == nil {
		return nil, errors.New("github: WebURL, APIURL, ClientID, ClientSecret, CallbackURL, Client and Now are required")
	}
	if cfg.LegacyOrg != "" && len(cfg.Orgs) > 0 {
		return nil, errors.New("github: LegacyOrg and Orgs cannot be used together")
	}
	client := *cfg.Client
	client.Transport = newTransport(cfg.Client.Transport, cfg.WebURL+tokenPath, cfg.Now)
	api, err := gogithub.NewClient(
		gogithub.WithHTTPClient(&client), gogithub.WithURLs(&cfg.APIURL, nil), gogithub.WithUserAgent("countersign"),
		gogithub.WithDisableRateLimitCheck(), // it knows one limit for all people; transport knows each person's
	)
	if err != nil {
		return nil, err
	}
	return &Connector{cfg: cfg, client: &client, api: api}, nil
}

// GitHub's OAuth endpoints.
const (
	authorizePath = "/login/oauth/authorize"
	tokenPath     = "/login/oauth/access_token"
)

// oauth2 is the client as the library wants it.
func (c *Connector) oauth2() *oauth2.Config {
	// user:email is for the addresses, read:org for memberships. GitHub Apps have
	// permissions instead, and do not look at scopes.
	scopes := []string{"user:email"}
	if c.wantsGroups() {
		scopes = append(scopes, "read:org")
	}
	return &oauth2.Config{
		ClientID: c.cfg.ClientID, ClientSecret: c.cfg.ClientSecret, RedirectURL: c.cfg.CallbackURL, Scopes: scopes,
		Endpoint: oauth2.Endpoint{
			AuthURL: c.cfg.WebURL + authorizePath, TokenURL: c.cfg.WebURL + tokenPath, AuthStyle: oauth2.AuthStyleInParams,
		},
	}
}

// context makes the library use our client.
func (c *Connector) context(ctx context.Context) context.Context {
	return context.WithValue(ctx, oauth2.HTTPClient, c.client)
}

// Depart implements connector.RedirectConnector. GitHub cannot be told to ask for the
// password again: for a fresh sign-in it asks which account it is.
func (c *Connector) Depart(_ context.Context, d connector.Departure) (connector.Away, error) {
	s, err := newSecret()
	if err != nil {
		return connector.Away{}, err
	}
	options := []oauth2.AuthCodeOption{oauth2.S256ChallengeOption(s.verifier())}
	if c.restricted() { // an account made just now is in no organization
		options = append(options, oauth2.SetAuthURLParam("allow_signup", "false"))
	}
	if d.Asks() {
		options = append(options, oauth2.SetAuthURLParam("prompt", "select_account"))
	}
	if d.LoginHint != "" && !strings.Contains(d.LoginHint, "@") { // it takes logins only
		options = append(options, oauth2.SetAuthURLParam("login", d.LoginHint))
	}
	return connector.Away{URL: c.oauth2().AuthCodeURL(d.State, options...), Kept: s}, nil
}

// ours reports whether iss (RFC 9207) is this GitHub.
func (c *Connector) ours(iss string) bool {
	u, err := url.Parse(iss)
	web, err2 := url.Parse(c.cfg.WebURL)
	if err != nil || err2 != nil || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return false
	}
	return u.Scheme == web.Scheme && u.Host == web.Host && (u.Path == "" || u.Path == "/login/oauth")
}
