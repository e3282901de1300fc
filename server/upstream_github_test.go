package server_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/countersign/countersign/connector/connectortest"
	"github.com/countersign/countersign/connector/github"
	upstreams "github.com/countersign/countersign/connector/upstream"
	"github.com/countersign/countersign/e2e/person"
	"github.com/countersign/countersign/server"
	"github.com/countersign/countersign/server/flow"
	"github.com/countersign/countersign/server/oauth"
)

// hub is a provider behind a GitHub with one account, octocat.
type hub struct {
	t     *testing.T
	clock *clock
	up    *connectortest.GitHub
	down  *world
}

func newHub(t *testing.T, engine string) *hub {
	t.Helper()
	h := &hub{t: t, clock: new(clock)}
	h.up = connectortest.NewGitHub(t, "", h.clock.now, httptest.NewServer)
	h.up.Put(connectortest.Account{
		ID: 583231, Login: "octocat", Name: "The Octocat",
		Emails: []connectortest.Email{{Email: "octocat@example.com", Primary: true, Verified: true}},
		Orgs:   []connectortest.Membership{{Org: "octo-org", State: "active"}},
		Teams:  []connectortest.Team{{Org: "octo-org", Name: "dev"}, {Org: "octo-org", Name: "ops"}},
	})
	h.down = newDatabase(t, engine).replica(t, h.clock, h.connect)
	return h
}

func (h *hub) connect(c *server.Config) {
	client, err := upstreams.Client(upstreams.TLS{})
	if err != nil {
		h.t.Fatal(err)
	}
	h.up.Register(c.Policy.Issuer + "/callback")
	conn, err := github.New(github.Config{
		WebURL: h.up.URL, APIURL: h.up.APIURL(), ClientID: connectortest.GitHubClientID, ClientSecret: connectortest.GitHubClientSecret,
		CallbackURL: c.Policy.Issuer + "/callback", Orgs: []github.Org{{Name: "octo-org"}}, Client: client, Now: h.clock.now,
	})
	if err != nil {
		h.t.Fatal(err)
	}
	c.Connectors = []flow.Connector{{
		Connector: oauth.Connector{ID: "github"}, Name: "GitHub", Type: "github", Redirect: conn,
		Recheck: oauth.Recheck{After: 5 * time.Minute, StaleIfError: time.Hour},
	}}
}

// back is where a person comes to who has pressed a button on GitHub's page.
func (h *hub) back(button, value string) (*person.Person, *person.Page) {
	h.t.Helper()
	p := h.down.browser()
	page := h.down.get(p, h.down.request("scope", "openid profile email groups offline_access"))
	if !strings.HasPrefix(page.URL.String(), h.up.URL+"/login/oauth/authorize?") {
		h.t.Fatalf("not at GitHub: %d at %s\n%s", page.Status, page.URL, page.Body)
	}
	return p, h.down.submit(p, page, button, value)
}

// tokens signs octocat in.
func (h *hub) tokens() answer {
	h.t.Helper()
	p, page := h.back("login", "octocat")
	return h.down.redeem(h.down.response(h.down.approve(p, page)).Get("code"))
}

// later is when people are asked about again.
func (h *hub) later() { h.clock.advance(5*time.Minute + time.Second) }

// octocat signs in with their teams, loses one, and then the token.
func TestGitHubUpstream(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		h := newHub(t, engine)
		a := h.tokens()
		got := claims(t, a.str("id_token"))
		groups := groupsOf(got)
		if got["sub"] != oauth.Subject("583231", "github") || got["email"] != "octocat@example.com" || got["email_verified"] != true ||
			got["preferred_username"] != "octocat" || len(groups) != 2 || groups[0] != "octo-org:dev" || groups[1] != "octo-org:ops" {
			t.Errorf("claims %v", got)
		}

		h.up.Change("octocat", func(a *connectortest.Account) { a.Teams = a.Teams[1:] })
		h.later()
		a = h.down.goOn(a.str("refresh_token"))
		if got := groupsOf(claims(t, a.str("id_token"))); len(got) != 1 || got[0] != "octo-org:ops" {
			t.Errorf("after a team was taken away: %v", got)
		}

		h.up.Revoke("octocat")
		h.later()
		h.down.refresh(a.str("refresh_token")).expect(t, "a revoked token", 400, "invalid_grant")
	})
}

func TestGitHubMembershipEnds(t *testing.T) {
	h := newHub(t, "sqlite")
	a := h.tokens()
	h.up.Change("octocat", func(a *connectortest.Account) { a.Orgs = nil })
	h.later()
	h.down.refresh(a.str("refresh_token")).expect(t, "a lost membership", 400, "invalid_grant")
	if _, page := h.back("login", "octocat"); page.Status != http.StatusForbidden || !strings.Contains(page.Body, "You are in none of the GitHub organizations") {
		t.Errorf("signing in again: %d\n%s", page.Status, page.Body)
	}
	if _, page := h.back("cancel", "1"); page.Status != http.StatusForbidden || !strings.Contains(page.Body, "You are not signed in") {
		t.Errorf("turned back: %d\n%s", page.Status, page.Body)
	}
}

// A rate limit is no verdict: people keep working, for staleIfError.
func TestGitHubRateLimit(t *testing.T) {
	h := newHub(t, "sqlite")
	a := h.tokens()
	h.up.Limit(0, h.clock.now().Add(2*time.Hour))
	h.up.Change("octocat", func(a *connectortest.Account) { a.Teams = nil })
	h.later()
	a = h.down.goOn(a.str("refresh_token"))
	if got := groupsOf(claims(t, a.str("id_token"))); len(got) != 2 {
		t.Errorf("while GitHub does not want to be asked: %v", got)
	}
	h.clock.advance(time.Hour)
	h.down.refresh(a.str("refresh_token")).expect(t, "after staleIfError", 503, "temporarily_unavailable")
	h.clock.advance(time.Hour + time.Minute)
	h.up.Limit(5000, h.clock.now().Add(time.Hour))
	a = h.down.goOn(a.str("refresh_token"))
	if got := groupsOf(claims(t, a.str("id_token"))); len(got) != 0 {
		t.Errorf("afterwards: %v", got)
	}
}

// Tokens that end are changed and kept, also when GitHub fails in between.
func TestGitHubExpiringTokens(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		h := newHub(t, engine)
		h.up.Expiring()
		a := h.tokens()
		for range 3 {
			h.clock.advance(9 * time.Hour)
			h.up.Handle("/user", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) })
			h.down.refresh(a.str("refresh_token")).expect(t, "while the API fails", 503, "temporarily_unavailable")
			h.up.Handle("/user", nil)
			h.clock.advance(time.Minute)
			a = h.down.goOn(a.str("refresh_token"))
		}
		h.up.Revoke("octocat")
		h.later()
		h.down.refresh(a.str("refresh_token")).expect(t, "a revoked app", 400, "invalid_grant")
	})
}
