package main

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/countersign/countersign/cmd/countersign/config"
	"github.com/countersign/countersign/connector/connectortest"
	"github.com/countersign/countersign/connector/oidc/groups"
)

// What is configured says who is asked for groups.
func TestNewDirectory(t *testing.T) {
	t.Parallel()
	account, err := groups.ParseServiceAccount(connectortest.NewWorkspace(t, time.Now).KeyFile(t))
	if err != nil {
		t.Fatal(err)
	}
	const graph = "https://graph.microsoft.com"
	for name, c := range map[string]struct {
		config config.OIDC
		want   string
	}{
		"nobody":          {config.OIDC{InsecureEnableGroups: true}, "<nil>"},
		"Google":          {config.OIDC{ServiceAccount: account, DomainToAdminEmail: map[string]string{"*": "admin@example.com"}}, "*groups.Google"},
		"Microsoft":       {config.OIDC{InsecureEnableGroups: true, GraphURL: graph}, "*groups.Microsoft"},
		"no groups":       {config.OIDC{GraphURL: graph}, "<nil>"},
		"another claim's": {config.OIDC{InsecureEnableGroups: true, GraphURL: graph, ClaimMapping: config.ClaimMapping{Groups: "roles"}}, "<nil>"},
	} {
		directory, err := newDirectory(c.config, http.DefaultClient)
		if got := fmt.Sprintf("%T", directory); err != nil || got != c.want {
			t.Errorf("%s: %s, %v", name, got, err)
		}
	}
}
