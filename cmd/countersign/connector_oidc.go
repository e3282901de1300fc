package main

import (
	"net/http"
	"time"

	"github.com/countersign/countersign/cmd/countersign/config"
	"github.com/countersign/countersign/connector/oidc"
	"github.com/countersign/countersign/connector/oidc/groups"
)

func newGroups(all []config.NewGroup) (made []oidc.NewGroup) {
	for _, g := range all {
		made = append(made, oidc.NewGroup{Claims: g.Claims, Delimiter: g.Delimiter, ClearDelimiter: g.ClearDelimiter, Prefix: g.Prefix})
	}
	return made
}

// newDirectory makes what says groups that the provider's tokens do not; nil where
// nothing does.
func newDirectory(c config.OIDC, client *http.Client) (oidc.Directory, error) {
	switch {
	case c.ServiceAccount != nil:
		return groups.NewGoogle(groups.GoogleConfig{
			ServiceAccount: c.ServiceAccount, Admins: c.DomainToAdminEmail, Transitive: c.FetchTransitiveGroupMembership,
			Client: client, Now: time.Now,
		})
	case c.InsecureEnableGroups && c.GraphURL != "" && c.ClaimMapping.Groups == "":
		return groups.NewMicrosoft(groups.MicrosoftConfig{
			URL: c.GraphURL, Names: c.GroupNameFormat == "name", SecurityOnly: c.OnlySecurityGroups, Client: client, Now: time.Now,
		})
	}
	return nil, nil
}
