package config_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/countersign/countersign/storage"
)

// The keys of signing out reach the client's record; what is absent is off.
func TestClientLogout(t *testing.T) {
	const client = minimal + `
staticClients:
- {id: plain, public: true, refreshTokenLifetime: standalone}
- id: app
  public: true
  refreshTokenLifetime: session
  postLogoutRedirectURIs: [https://app.example.com/bye, com.example.app:/bye]
  backchannelLogoutURI: http://app.internal:8080/logout?tenant=1
  backchannelLogoutAllowPrivate: true
`
	cfg, err := parse(client)
	if err != nil {
		t.Fatal(err)
	}
	want := []storage.Client{
		{ID: "plain", Name: "plain", Public: true},
		{
			ID: "app", Name: "app", Public: true, EndsWithSession: true,
			PostLogoutRedirectURIs:   []string{"https://app.example.com/bye", "com.example.app:/bye"},
			BackchannelLogoutURI:     "http://app.internal:8080/logout?tenant=1",
			BackchannelLogoutPrivate: true,
		},
	}
	for i := range want {
		if diff := cmp.Diff(want[i], cfg.StaticClients[i].Record(), cmpopts.EquateEmpty()); diff != "" {
			t.Error(diff)
		}
	}
	if len(cfg.Warnings) == 0 || !strings.Contains(strings.Join(cfg.Warnings, "\n"), "staticClients[1].backchannelLogoutURI: is http") {
		t.Errorf("warnings %q", cfg.Warnings)
	}
}
