package github

import (
	"fmt"
	"slices"
	"strings"

	gogithub "github.com/google/go-github/v89/github"

	"github.com/countersign/countersign/connector"
)

// restricted: not everybody with an account may come in.
func (c *Connector) restricted() bool { return len(c.organizations()) > 0 }

// wantsGroups: people have groups.
func (c *Connector) wantsGroups() bool { return c.restricted() || c.cfg.AllGroups }

// organizations are the names of those whose people may come in.
func (c *Connector) organizations() (names []string) {
	for _, org := range c.cfg.Orgs {
		if !slices.Contains(names, org.Name) {
			names = append(names, org.Name)
		}
	}
	if c.cfg.LegacyOrg != "" {
		names = append(names, c.cfg.LegacyOrg)
	}
	return names
}

var (
	// denied is for who is in none of the organizations or teams.
	denied = &connector.DeniedError{Message: "You are in none of the GitHub organizations or teams that may sign in here."}
	// untold is for whom there is an organization that may have them and does not tell.
	untold = &connector.DeniedError{Message: "A GitHub organization does not tell whether you are in it. Its owners may have to allow this application, or you to authorize it for the organization's single sign-on."}
)

// refusal is for who is in none of the organizations or teams, as far as they tell. One
// that does not, since it allows neither the app, nor this token, nor our address, lets
// nobody in, and says nothing about those who are: that is connector.ErrUpstream, too.
func (a *answers) refusal() error {
	if a.unsaid != nil {
		return fmt.Errorf("%w: %w", untold, a.unsaid)
	}
	return denied
}

// groups are those of a person, as Dex makes them, or a *connector.DeniedError.
func (c *Connector) groups(a *answers) ([]string, error) {
	switch {
	case len(c.cfg.Orgs) > 0:
		return c.ofOrgs(a)
	case c.cfg.LegacyOrg != "" && !a.member[c.cfg.LegacyOrg]:
		return nil, a.refusal()
	case c.cfg.LegacyOrg != "":
		return c.teams(a, c.cfg.LegacyOrg), nil
	case c.cfg.AllGroups:
		return c.all(a), nil
	}
	return nil, nil
}

// ofOrgs are teams of the configured organizations, "org:team". It lets in who is in
// one of the teams asked for, or in an organization of which none is asked for.
func (c *Connector) ofOrgs(a *answers) (groups []string, err error) {
	mayComeIn := false
	for _, org := range c.cfg.Orgs {
		if !a.member[org.Name] {
			continue
		}
		teams := c.teams(a, org.Name)
		if len(org.Teams) == 0 {
			mayComeIn = true
		} else {
			teams = slices.DeleteFunc(teams, func(team string) bool { return !slices.Contains(org.Teams, team) })
		}
		for _, team := range teams {
			groups = append(groups, org.Name+":"+team)
		}
	}
	if !mayComeIn && len(groups) == 0 {
		return nil, a.refusal()
	}
	return groups, nil
}

// all are all organizations, each followed by its teams.
func (c *Connector) all(a *answers) (groups []string) {
	for _, org := range a.orgs {
		groups = append(groups, org.GetLogin())
		for _, team := range c.teams(a, org.GetLogin()) {
			groups = append(groups, org.GetLogin()+":"+team)
		}
	}
	return groups
}

// teams are the names of a person's teams of an organization. GitHub does not tell
// apart names of organizations by their case.
func (c *Connector) teams(a *answers, org string) (names []string) {
	for _, team := range a.teams {
		if strings.EqualFold(team.GetOrganization().GetLogin(), org) {
			names = append(names, c.names(team)...)
		}
	}
	return names
}

func (c *Connector) names(team gogithub.Team) []string {
	switch c.cfg.TeamName {
	case ByBoth:
		return []string{team.GetName(), team.GetSlug()}
	case BySlug:
		return []string{team.GetSlug()}
	}
	return []string{team.GetName()}
}
