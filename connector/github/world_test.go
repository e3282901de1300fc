package github_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/countersign/countersign/connector"
	"github.com/countersign/countersign/connector/connectortest"
	"github.com/countersign/countersign/connector/github"
	"github.com/countersign/countersign/connector/upstream"
)

const callback = "https://we.example/dex/callback"

// world is a GitHub with one account, octocat.
type world struct {
	t *testing.T
	*connectortest.GitHub
	ahead atomic.Int64 // seconds that its clock and ours are ahead
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t}
	w.GitHub = connectortest.NewGitHub(t, "", w.now, httptest.NewServer)
	w.Register(callback)
	w.Put(connectortest.Account{
		ID: 583231, Login: "octocat", Name: "The Octocat", PublicEmail: "public@example.net",
		Emails: []connectortest.Email{
			{Email: "old@example.org", Verified: true}, {Email: "octocat@github.com", Primary: true, Verified: true},
			{Email: "octocat@corp.example.com", Verified: false},
		},
		Orgs: []connectortest.Membership{
			{Org: "octo-org", State: "active"}, {Org: "other", State: "active"}, {Org: "inviting", State: "pending"}, {Org: "closed", State: "active", Blocked: true},
		},
		Teams: []connectortest.Team{
			{Org: "octo-org", Name: "Justice League", Slug: "justice-league"}, {Org: "other", Name: "ops"}, {Org: "octo-org", Name: "dev"},
		},
	})
	return w
}

func (w *world) now() time.Time {
	return time.Unix(1_800_000_000+w.ahead.Load(), 0)
}

func (w *world) connect(change ...func(*github.Config)) *github.Connector {
	w.t.Helper()
	client, err := upstream.Client(upstream.TLS{})
	if err != nil {
		w.t.Fatal(err)
	}
	cfg := github.Config{
		WebURL: w.URL, APIURL: w.APIURL(), ClientID: connectortest.GitHubClientID, ClientSecret: connectortest.GitHubClientSecret,
		CallbackURL: callback, Client: client, Now: w.now,
	}
	for _, f := range change {
		f(&cfg)
	}
	c, err := github.New(cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

// authorize is octocat's way over GitHub's page, to the query of the way back.
func (w *world) authorize(away connector.Away, form url.Values) url.Values {
	w.t.Helper()
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.PostForm(away.URL, form)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	back, err := resp.Location()
	if err != nil {
		w.t.Fatalf("%s: %v", resp.Status, err)
	}
	return back.Query()
}

func (w *world) depart(c *github.Connector) connector.Away {
	w.t.Helper()
	away, err := c.Depart(w.t.Context(), connector.Departure{State: "flow"})
	if err != nil {
		w.t.Fatal(err)
	}
	return away
}

func (w *world) signIn(c *github.Connector) (connector.Identity, error) {
	w.t.Helper()
	away := w.depart(c)
	back := w.authorize(away, url.Values{"login": {"octocat"}})
	if back.Get("state") != "flow" {
		w.t.Errorf("the way back: %v", back)
	}
	return c.Arrive(w.t.Context(), connector.Arrival{Kept: away.Kept, Query: back})
}

// in signs octocat in, who may.
func (w *world) in(c *github.Connector) connector.Identity {
	w.t.Helper()
	who, err := w.signIn(c)
	if err != nil {
		w.t.Fatal(err)
	}
	return who
}

// again refreshes somebody who may.
func (w *world) again(c *github.Connector, who connector.Identity) connector.Identity {
	w.t.Helper()
	next, err := c.Refresh(w.t.Context(), who)
	if err != nil {
		w.t.Fatal(err)
	}
	return next
}

// statuses counts the answers since the last call, of the API only.
func (w *world) statuses() map[int]int {
	n := make(map[int]int)
	for _, r := range w.Seen() {
		if r.Path != "/login/oauth/authorize" && r.Path != "/login/oauth/access_token" {
			n[r.Status]++
		}
	}
	return n
}

// asked counts the requests for a path since the last call. After a failure others may
// still be on their way, whose answers nobody waits for.
func (w *world) asked(path string) (n int) {
	for _, r := range w.Seen() {
		if r.Path == path {
			n++
		}
	}
	return n
}

func isDenied(err error) bool {
	_, denied := errors.AsType[*connector.DeniedError](err)
	return denied
}

func orgs(orgs ...github.Org) func(*github.Config) {
	return func(c *github.Config) { c.Orgs = orgs }
}

func allGroups(c *github.Config) { c.AllGroups = true }

func (w *world) same(what string, got, want []string) {
	w.t.Helper()
	if !slices.Equal(got, want) {
		w.t.Errorf("%s: %q, want %q", what, got, want)
	}
}
