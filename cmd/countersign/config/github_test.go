package config_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/countersign/countersign/cmd/countersign/config"
)

// A connector section of Dex's documentation means the same here.
func TestGitHub(t *testing.T) {
	const file = `issuer: http://127.0.0.1:5556/dex
web: {http: 127.0.0.1:5556}
connectors:
- type: github
  id: github
  name: GitHub
  config:
    clientID: $SECRET
    clientSecret: $SECRET
    redirectURI: http://127.0.0.1:5556/dex/callback
    orgs:
    - name: my-organization
    - name: my-organization-with-teams
      teams: [red-team, blue-team]
    loadAllGroups: false
    teamNameField: both
    useLoginAsID: true
- type: github
  id: ghe
  config: {clientID: a, clientSecret: b, org: my-organization, hostName: "git.example.com:8443", preferredEmailDomain: "*.example.com"}
`
	cfg, err := config.Parse("FILE", []byte(file), config.Outside{Env: env})
	if err != nil {
		t.Fatal(err)
	}
	secret, _ := env("SECRET")
	for i, want := range []config.GitHub{
		{
			ClientID: secret, ClientSecret: secret, RedirectURI: "http://127.0.0.1:5556/dex/callback", TeamNameField: "both", UseLoginAsID: true,
			Orgs: []config.GitHubOrg{{Name: "my-organization"}, {Name: "my-organization-with-teams", Teams: []string{"red-team", "blue-team"}}},
		},
		{
			ClientID: "a", ClientSecret: "b", RedirectURI: "http://127.0.0.1:5556/dex/callback", TeamNameField: "name", Org: "my-organization",
			HostName: "git.example.com:8443", PreferredEmailDomain: "*.example.com",
		},
	} {
		if diff := cmp.Diff(&want, cfg.Connectors[i].GitHub); diff != "" {
			t.Error(diff)
		}
	}
	if len(cfg.Warnings) != 1 || !strings.HasPrefix(cfg.Warnings[0], "connectors[0].config.useLoginAsID: ") {
		t.Errorf("warnings %q", cfg.Warnings)
	}
}
