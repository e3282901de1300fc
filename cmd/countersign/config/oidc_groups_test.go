package config_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/countersign/countersign/cmd/countersign/config"
	"github.com/countersign/countersign/connector/connectortest"
)

// What asks Google and Microsoft for groups.
func TestGroupsOfProviders(t *testing.T) {
	const file = `issuer: https://login.example.com
web: {http: 127.0.0.1:5556}
connectors:
- type: oidc
  id: google
  config:
    issuer: https://accounts.google.com
    clientID: us
    serviceAccountFilePath: account.json
    domainToAdminEmail: {Sub.Example.com: admin@example.com, "*": other@example.com}
    fetchTransitiveGroupMembership: true
- type: oidc
  id: entra
  config:
    issuer: https://login.microsoftonline.us/00000000-0000-0000-0000-000000000000/v2.0
    clientID: us
    insecureEnableGroups: true
    scopes: [openid, GroupMember.Read.All]
    groupNameFormat: name
    onlySecurityGroups: true
- type: oidc
  id: defense
  config:
    issuer: https://login.microsoftonline.us/00000000-0000-0000-0000-000000000000/v2.0
    clientID: us
    insecureEnableGroups: true
    graphURL: https://dod-graph.microsoft.us
`
	account := connectortest.NewWorkspace(t, time.Now).KeyFile(t)
	cfg, err := config.Parse("FILE", []byte(file), config.Outside{Env: env, ReadFile: func(string) ([]byte, error) { return account, nil }})
	if err != nil {
		t.Fatal(err)
	}
	google, entra, defense := cfg.Connectors[0].OIDC, cfg.Connectors[1].OIDC, cfg.Connectors[2].OIDC
	if diff := cmp.Diff(map[string]string{"Sub.Example.com": "admin@example.com", "*": "other@example.com"}, google.DomainToAdminEmail); diff != "" {
		t.Error(diff)
	}
	if google.ServiceAccount == nil || !google.FetchTransitiveGroupMembership || google.GraphURL != "" {
		t.Errorf("google: %+v", google)
	}
	if entra.GraphURL != "https://graph.microsoft.us" || entra.GroupNameFormat != "name" || !entra.OnlySecurityGroups || entra.ServiceAccount != nil {
		t.Errorf("entra: %+v", entra)
	}
	if defense.GraphURL != "https://dod-graph.microsoft.us" {
		t.Errorf("defense: %+v", defense)
	}
	if len(cfg.Warnings) != 1 || !strings.HasPrefix(cfg.Warnings[0], "connectors[1].config.groupNameFormat: ") {
		t.Errorf("warnings %q", cfg.Warnings)
	}
}
