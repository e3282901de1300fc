package oauth_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/countersign/countersign/server/oauth"
)

var upstreams = []oauth.Connector{
	{ID: "local"},
	{ID: "ldap", EmailDomains: []string{"example.com", "example.org"}},
	{ID: "github", EmailDomains: []string{"example.org"}},
	{ID: "secret", Hidden: true, EmailDomains: []string{"hidden.example"}},
}

// Where somebody who is not signed in is sent.
func TestConnectorChoice(t *testing.T) {
	for _, test := range []struct {
		name       string
		connectors []oauth.Connector
		allowed    []string
		asked      string // connector_id of the request
		hint       string
		want       oauth.NextStep
		code       oauth.Code
	}{
		{"one", upstreams[:1], nil, "", "", oauth.NextStep{Step: oauth.StepLogin, ConnectorID: "local"}, ""},
		{"several", upstreams, nil, "", "", oauth.NextStep{Step: oauth.StepChooseConnector}, ""},
		{"one allowed of several", upstreams, []string{"ldap"}, "", "", oauth.NextStep{Step: oauth.StepLogin, ConnectorID: "ldap"}, ""},
		{"one visible", upstreams[2:], nil, "", "", oauth.NextStep{Step: oauth.StepLogin, ConnectorID: "github"}, ""},
		{"none allowed", upstreams, []string{"gone"}, "", "", oauth.NextStep{}, oauth.AccessDenied},
		{"only hidden ones allowed", upstreams, []string{"secret"}, "", "", oauth.NextStep{}, oauth.AccessDenied},
		{"no connectors", nil, nil, "", "", oauth.NextStep{}, oauth.AccessDenied},

		{"asked", upstreams, nil, "github", "", oauth.NextStep{Step: oauth.StepLogin, ConnectorID: "github"}, ""},
		{"asked for a hidden one", upstreams, nil, "secret", "", oauth.NextStep{Step: oauth.StepLogin, ConnectorID: "secret"}, ""},
		{"asked for one that is not allowed", upstreams, []string{"ldap"}, "github", "", oauth.NextStep{}, oauth.InvalidRequest},
		{"asked for one that is not there", upstreams, []string{"gone"}, "gone", "", oauth.NextStep{}, oauth.InvalidRequest},
		{"asked, whatever the hint says", upstreams, nil, "github", "x@example.com", oauth.NextStep{Step: oauth.StepLogin, ConnectorID: "github"}, ""},

		{"hinted", upstreams, nil, "", "jane@example.com", oauth.NextStep{Step: oauth.StepLogin, ConnectorID: "ldap"}, ""},
		{"hinted, another case", upstreams, nil, "", "Jane@EXAMPLE.com", oauth.NextStep{Step: oauth.StepLogin, ConnectorID: "ldap"}, ""},
		{"hinted, two have the domain", upstreams, nil, "", "jane@example.org", oauth.NextStep{Step: oauth.StepChooseConnector}, ""},
		{"hinted, one of the two allowed", upstreams, []string{"github", "local"}, "", "jane@example.org", oauth.NextStep{Step: oauth.StepLogin, ConnectorID: "github"}, ""},
		{"hinted, not allowed", upstreams, []string{"github", "local"}, "", "jane@example.com", oauth.NextStep{Step: oauth.StepChooseConnector}, ""},
		{"hinted, hidden", upstreams, nil, "", "jane@hidden.example", oauth.NextStep{Step: oauth.StepLogin, ConnectorID: "secret"}, ""},
		{"hinted, hidden, not allowed", upstreams, []string{"ldap", "local"}, "", "jane@hidden.example", oauth.NextStep{Step: oauth.StepChooseConnector}, ""},
		{"hinted, another domain", upstreams, nil, "", "jane@sub.example.com", oauth.NextStep{Step: oauth.StepChooseConnector}, ""},
		{"hinted, the last @ counts", upstreams, nil, "", "a@example.com@evil.example", oauth.NextStep{Step: oauth.StepChooseConnector}, ""},
		{"hinted without a domain", upstreams, nil, "", "jane@", oauth.NextStep{Step: oauth.StepChooseConnector}, ""},
		{"a user name", upstreams, nil, "", "example.com", oauth.NextStep{Step: oauth.StepChooseConnector}, ""},
	} {
		s := oauth.Situation{Client: webClient(), Connectors: test.connectors, Now: now,
			Request: oauth.AuthorizeRequest{ConnectorID: test.asked, LoginHint: test.hint, RedirectURI: "https://app.example.com/cb"}}
		s.Client.AllowedConnectors = test.allowed
		got, err := oauth.Next(s, policy())
		if codeOf(err) != test.code || got != test.want {
			t.Errorf("%s: %+v, %v, want %+v %q", test.name, got, err, test.want, test.code)
		}
		if err != nil {
			describe(t, err)
			if to := target(t, err); to == nil || to.RedirectURI != "https://app.example.com/cb" {
				t.Errorf("%s: the refusal goes to %+v", test.name, to)
			}
		}
	}
}

func TestChoices(t *testing.T) {
	all := []oauth.Connector{{ID: "a"}, {ID: "b", Hidden: true}, {ID: "c"}, {ID: "d"}}
	client := webClient()
	client.AllowedConnectors = []string{"d", "b", "a"}
	if diff := cmp.Diff([]oauth.Connector{{ID: "a"}, {ID: "d"}}, oauth.Choices(all, client)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if all[1].ID != "b" || all[2].ID != "c" {
		t.Errorf("the configured list was changed: %+v", all)
	}
}

// Dex GHSA-7qjx-gp9h-65qj: allowedConnectors holds at every door.
func TestAllowedConnector(t *testing.T) {
	for _, test := range []struct {
		name    string
		allowed []string
		asked   string
		id      string
		want    bool
	}{
		{"any", nil, "", "ldap", true},
		{"allowed", []string{"ldap"}, "", "ldap", true},
		{"asked for", nil, "ldap", "ldap", true},
		{"hidden, by its name", nil, "", "secret", true},
		{"not allowed", []string{"github"}, "", "ldap", false},
		{"another one asked for", nil, "github", "ldap", false},
		{"not configured", nil, "", "gone", false},
		{"allowed and not configured", []string{"gone"}, "gone", "gone", false},
		{"no name", nil, "", "", false},
		{"another case", nil, "", "LDAP", false},
	} {
		client := webClient()
		client.AllowedConnectors = test.allowed
		if got := oauth.AllowedConnector(oauth.AuthorizeRequest{ConnectorID: test.asked}, upstreams, client, test.id); got != test.want {
			t.Errorf("%s: %v", test.name, got)
		}
	}
}
