package main

import (
	"strings"
	"time"

	"github.com/countersign/countersign/cmd/countersign/config"
	"github.com/countersign/countersign/connector/github"
	"github.com/countersign/countersign/connector/upstream"
)

func newGitHub(c config.GitHub) (*github.Connector, error) {
	trust := upstream.TLS{CertFile: c.ClientCert, KeyFile: c.ClientKey}
	if c.RootCA != "" {
		trust.RootCAs = []string{c.RootCA}
	}
	client, err := upstream.Client(trust)
	if err != nil {
		return nil, err
	}
	web, api := github.Addresses(c.HostName)
	orgs := make([]github.Org, len(c.Orgs))
	for i, org := range c.Orgs {
		orgs[i] = github.Org{Name: org.Name, Teams: org.Teams}
	}
	return github.New(github.Config{
		WebURL: web, APIURL: api, Unverified: strings.HasSuffix(api, "/api/v3/"),
		ClientID: c.ClientID, ClientSecret: c.ClientSecret, CallbackURL: c.RedirectURI,
		Orgs: orgs, LegacyOrg: c.Org, AllGroups: c.LoadAllGroups, TeamName: github.TeamName(c.TeamNameField),
		LoginAsID: c.UseLoginAsID, EmailDomain: c.PreferredEmailDomain,
		Client: client, Now: time.Now,
	})
}
