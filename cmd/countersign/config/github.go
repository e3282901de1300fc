package config

import (
	"net/url"
	"strings"
)

// GitHub is github.com or a GitHub Enterprise upstream. The keys are Dex's.
type GitHub struct {
	// ClientID and ClientSecret are those of the OAuth app or the GitHub App.
	// Required.
	ClientID     string `mapstructure:"clientID" config:"env,file"`
	ClientSecret string `mapstructure:"clientSecret" config:"env,file"`
	// RedirectURI is registered there. Default: the issuer followed by /callback.
	RedirectURI string `mapstructure:"redirectURI"`
	// Orgs are the organizations whose people may come in. Default: everybody with
	// an account.
	Orgs []GitHubOrg `mapstructure:"orgs"`
	// Org is the only one. Its groups have no organization before them. Deprecated.
	Org string `mapstructure:"org"`
	// HostName is that of GitHub Enterprise. Default: github.com.
	HostName string `mapstructure:"hostName"`
	// RootCA is a file with the authorities to believe instead of the system's.
	RootCA string `mapstructure:"rootCA"`
	// ClientCert and ClientKey are files of our own certificate, for a GitHub
	// Enterprise behind a proxy that wants one. Read again for each connection.
	ClientCert string `mapstructure:"clientCert"`
	ClientKey  string `mapstructure:"clientKey"`
	// TeamNameField says what a team is called in groups. Default: name.
	TeamNameField string `mapstructure:"teamNameField"`
	// LoadAllGroups takes all organizations and teams for groups, when none is
	// asked for.
	LoadAllGroups bool `mapstructure:"loadAllGroups"`
	// UseLoginAsID takes the login for the user's id. It can be given to others.
	UseLoginAsID bool `mapstructure:"useLoginAsID"`
	// PreferredEmailDomain is that of the address to prefer to the primary one.
	PreferredEmailDomain string `mapstructure:"preferredEmailDomain"`
}

// GitHubOrg is an organization whose people may come in.
type GitHubOrg struct {
	// Name is the organization's login. Required.
	Name string `mapstructure:"name"`
	// Teams are those of it that may. Default: all of its people.
	Teams []string `mapstructure:"teams"`
}

func (c *checker) github(path string, conn *Connector) {
	g := conn.GitHub
	c.required(path+".clientID", g.ClientID, "write the client ID of the app at GitHub")
	c.required(path+".clientSecret", g.ClientSecret, "write the client secret of the app at GitHub")
	g.RedirectURI = c.redirectBack(path+".redirectURI", g.RedirectURI, conn.ID)
	g.TeamNameField = orElse(g.TeamNameField, "name")
	c.oneOf(path+".teamNameField", g.TeamNameField, "name", "slug", "both")
	c.notEmpty(path+".org", g.Org)
	if g.Org != "" && len(g.Orgs) > 0 {
		c.problem(path+".org", "is given beside orgs: write orgs only")
	}
	if g.UseLoginAsID {
		c.warn(path+".useLoginAsID", "GitHub gives logins that were changed or deleted to others, with all that the person may do")
	}
	for i, org := range g.Orgs {
		at := index(path+".orgs", i)
		c.required(at+".name", org.Name, "name an organization, or remove it")
		for j, team := range org.Teams {
			c.required(index(at+".teams", j), team, "name a team, or remove it")
		}
	}
	c.notEmpty(path+".hostName", g.HostName)
	if u, err := url.Parse("https://" + g.HostName); g.HostName != "" && (err != nil || u.Host != g.HostName) {
		c.problem(path+".hostName", "%q is no host: write a name such as github.example.com, without https:// and path", clip(g.HostName))
	}
	c.readable(path+".rootCA", g.RootCA)
	c.onlyEnterprise(path+".rootCA", g.RootCA, g.HostName)
	c.onlyEnterprise(path+".clientCert", g.ClientCert, g.HostName)
	if domain := strings.ReplaceAll(strings.ToLower(g.PreferredEmailDomain), "*", "x"); domain != "" && !domainName.MatchString(domain) || strings.HasSuffix(g.PreferredEmailDomain, "*") {
		c.problem(path+".preferredEmailDomain", "%q is no domain: write what stands behind the @, such as example.com or *.example.com", clip(g.PreferredEmailDomain))
	}
	c.trust(path, nil, g.ClientCert, g.ClientKey) // last: it may find fault with the whole
}

// onlyEnterprise reports a file that github.com has no use for.
func (c *checker) onlyEnterprise(path, file, hostName string) {
	if file != "" && hostName == "" {
		c.problem(path, "does nothing at github.com: add hostName, or remove it")
	}
}
