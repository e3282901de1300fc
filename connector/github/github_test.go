package github_test

import (
	"encoding/pem"
	"errors"
	"fmt"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/countersign/countersign/connector"
	"github.com/countersign/countersign/connector/connectortest"
	"github.com/countersign/countersign/connector/github"
	"github.com/countersign/countersign/connector/upstream"
)

func TestSignIn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	who := w.in(w.connect())
	if who.UserID != "583231" || who.Name != "The Octocat" || who.PreferredUsername != "octocat" || who.Email != "octocat@github.com" || !who.EmailVerified || who.Groups != nil {
		t.Errorf("%+v", who)
	}
	if who.Claims["two_factor_authentication"] != true || who.Claims["id"] != float64(583231) || len(who.Claims["emails"].([]any)) != 3 || who.Claims["teams"] != nil {
		t.Errorf("claims %v", who.Claims)
	}
	for _, r := range w.Seen() {
		switch r.Path {
		case "/login/oauth/authorize":
			if r.Query.Get("code_challenge_method") != "S256" || len(r.Query.Get("code_challenge")) != 43 || r.Query.Get("scope") != "user:email" || r.Query.Get("redirect_uri") != callback || r.Query.Has("allow_signup") {
				t.Errorf("authorize: %v", r.Query)
			}
		case "/login/oauth/access_token":
			if len(r.Form.Get("code_verifier")) != 43 || r.Form.Get("client_secret") != connectortest.GitHubClientSecret {
				t.Errorf("token: %v", r.Form)
			}
		}
	}
	// A name may be missing.
	w.Change("octocat", func(a *connectortest.Account) { a.Name = "" })
	if who := w.in(w.connect()); who.Name != "octocat" {
		t.Errorf("without a name: %q", who.Name)
	}
}

func TestDepart(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	away, err := w.connect(orgs(github.Org{Name: "octo-org"})).Depart(t.Context(), connector.Departure{State: "s", LoginHint: "octocat", SeenSince: w.now()})
	if err != nil || len(away.Kept) != 32 || away.Form != nil {
		t.Fatalf("%+v, %v", away, err)
	}
	u, err := url.Parse(away.URL)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	if q.Get("scope") != "user:email read:org" || q.Get("allow_signup") != "false" || q.Get("login") != "octocat" || q.Get("prompt") != "select_account" || q.Get("state") != "s" {
		t.Errorf("%v", q)
	}
	away, err = w.connect().Depart(t.Context(), connector.Departure{State: "s", LoginHint: "octocat@example.com"})
	if err != nil || strings.Contains(away.URL, "login=octocat") {
		t.Errorf("an address is no login: %s, %v", away.URL, err)
	}
}

// Who may come in, and with which groups, as Dex documents it.
func TestGroups(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change []func(*github.Config)
		want   []string
		denied bool
	}{
		"nothing asked for": {want: nil},
		"all groups": {[]func(*github.Config){allGroups},
			[]string{"octo-org", "octo-org:Justice League", "octo-org:dev", "other", "other:ops"}, false},
		"all groups by slug": {[]func(*github.Config){allGroups, func(c *github.Config) { c.TeamName = github.BySlug }},
			[]string{"octo-org", "octo-org:justice-league", "octo-org:dev", "other", "other:ops"}, false},
		"an org":              {[]func(*github.Config){orgs(github.Org{Name: "octo-org"})}, []string{"octo-org:Justice League", "octo-org:dev"}, false},
		"an org, all groups":  {[]func(*github.Config){orgs(github.Org{Name: "other"}), allGroups}, []string{"other:ops"}, false},
		"an org in its case":  {[]func(*github.Config){orgs(github.Org{Name: "Octo-Org", Teams: []string{"dev"}})}, []string{"Octo-Org:dev"}, false},
		"a team":              {[]func(*github.Config){orgs(github.Org{Name: "octo-org", Teams: []string{"dev", "qa"}})}, []string{"octo-org:dev"}, false},
		"a team by name":      {[]func(*github.Config){orgs(github.Org{Name: "octo-org", Teams: []string{"Justice League"}})}, []string{"octo-org:Justice League"}, false},
		"a slug asked for":    {[]func(*github.Config){orgs(github.Org{Name: "octo-org", Teams: []string{"justice-league"}})}, nil, true},
		"a team by slug":      {[]func(*github.Config){orgs(github.Org{Name: "octo-org", Teams: []string{"justice-league"}}), func(c *github.Config) { c.TeamName = github.BySlug }}, []string{"octo-org:justice-league"}, false},
		"both":                {[]func(*github.Config){orgs(github.Org{Name: "octo-org"}), func(c *github.Config) { c.TeamName = github.ByBoth }}, []string{"octo-org:Justice League", "octo-org:justice-league", "octo-org:dev", "octo-org:dev"}, false},
		"another team":        {[]func(*github.Config){orgs(github.Org{Name: "octo-org", Teams: []string{"qa"}})}, nil, true},
		"a team of another":   {[]func(*github.Config){orgs(github.Org{Name: "octo-org", Teams: []string{"ops"}})}, nil, true},
		"another org":         {[]func(*github.Config){orgs(github.Org{Name: "nobody"})}, nil, true},
		"an invitation":       {[]func(*github.Config){orgs(github.Org{Name: "inviting"})}, nil, true},
		"an org that says no": {[]func(*github.Config){orgs(github.Org{Name: "closed"})}, nil, true},
		"one of two orgs":     {[]func(*github.Config){orgs(github.Org{Name: "nobody"}, github.Org{Name: "other"})}, []string{"other:ops"}, false},
		"a team, and an org": {[]func(*github.Config){orgs(github.Org{Name: "octo-org", Teams: []string{"qa"}}, github.Org{Name: "other"})},
			[]string{"other:ops"}, false},
		"the deprecated org":         {[]func(*github.Config){func(c *github.Config) { c.LegacyOrg = "octo-org" }}, []string{"Justice League", "dev"}, false},
		"the deprecated org, not in": {[]func(*github.Config){func(c *github.Config) { c.LegacyOrg = "nobody" }}, nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			who, err := w.signIn(w.connect(c.change...))
			if isDenied(err) != c.denied || err != nil && !c.denied {
				t.Fatal(err)
			}
			if restricted := name == "an org that says no"; restricted != errors.Is(err, connector.ErrUpstream) {
				t.Errorf("as an answer about the person: %v", err)
			}
			if c.denied {
				who.Groups = nil
			}
			w.same("groups", who.Groups, c.want)
		})
	}
	// An organization without teams lets in, and gives no group: that is Dex's.
	w := newWorld(t)
	w.Change("octocat", func(a *connectortest.Account) { a.Teams = nil })
	w.same("without teams", w.in(w.connect(orgs(github.Org{Name: "other"}))).Groups, nil)
}

func TestEmail(t *testing.T) {
	t.Parallel()
	none := []connectortest.Email{{Email: "octocat@github.com", Primary: true}}
	for name, c := range map[string]struct {
		emails []connectortest.Email
		change func(*github.Config)
		want   string
		good   bool
	}{
		"primary":                      {nil, nil, "octocat@github.com", true},
		"preferred":                    {nil, func(c *github.Config) { c.EmailDomain = "EXAMPLE.org" }, "old@example.org", true},
		"preferred, with a wild card":  {nil, func(c *github.Config) { c.EmailDomain = "*.org" }, "old@example.org", true},
		"preferred, but not verified":  {nil, func(c *github.Config) { c.EmailDomain = "corp.example.com" }, "octocat@github.com", true},
		"preferred, but nobody's":      {nil, func(c *github.Config) { c.EmailDomain = "example.com" }, "octocat@github.com", true},
		"not verified":                 {none, nil, "", false},
		"a server that verifies none":  {none, func(c *github.Config) { c.Unverified = true }, "octocat@github.com", false},
		"a server that verified it":    {nil, func(c *github.Config) { c.Unverified = true }, "octocat@github.com", true},
		"verified, but not primary":    {[]connectortest.Email{{Email: "a@example.org", Verified: true}}, nil, "", false},
		"preferred, and a server like": {none, func(c *github.Config) { c.Unverified = true; c.EmailDomain = "github.com" }, "octocat@github.com", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			if c.emails != nil {
				w.Change("octocat", func(a *connectortest.Account) { a.Emails = c.emails })
			}
			if c.change == nil {
				c.change = func(*github.Config) {}
			}
			if who := w.in(w.connect(c.change)); who.Email != c.want || who.EmailVerified != c.good {
				t.Errorf("%q, verified: %v", who.Email, who.EmailVerified)
			}
		})
	}
}

// 250 teams are three pages, and stay in their order.
func TestPages(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var want []string
	w.Change("octocat", func(a *connectortest.Account) {
		a.Teams = nil
		for i := range 250 {
			a.Teams = append(a.Teams, connectortest.Team{Org: "octo-org", Name: fmt.Sprint("team ", i)})
			want = append(want, fmt.Sprint("octo-org:team ", i))
		}
	})
	w.same("groups", w.in(w.connect(orgs(github.Org{Name: "octo-org"}))).Groups, want)
	if pages := w.asked("/user/teams"); pages != 3 {
		t.Errorf("%d pages", pages)
	}
}

// At GitHub Enterprise Server the API is below /api/v3, behind an authority of the
// operator's.
func TestEnterprise(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g := connectortest.NewGitHub(t, "/api/v3", w.now, httptest.NewTLSServer)
	g.Register(callback)
	g.Put(connectortest.Account{ID: 7, Login: "octocat", Emails: []connectortest.Email{{Email: "a@corp.example", Primary: true}}})
	root := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(root, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: g.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	client, err := upstream.Client(upstream.TLS{RootCAs: []string{root}})
	if err != nil {
		t.Fatal(err)
	}
	c := w.connect(func(c *github.Config) {
		c.WebURL, c.APIURL = github.Addresses(strings.TrimPrefix(g.URL, "https://"))
		c.Client, c.Unverified = client, true
	})
	away := w.depart(c)
	u, err := url.Parse(away.URL)
	if err != nil || u.Scheme != "https" || u.Path != "/login/oauth/authorize" {
		t.Fatalf("%s, %v", away.URL, err)
	}
	page := g.Client()
	page.CheckRedirect = client.CheckRedirect
	resp, err := page.PostForm(away.URL, url.Values{"login": {"octocat"}})
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	back, err := resp.Location()
	if err != nil {
		t.Fatal(err)
	}
	who, err := c.Arrive(t.Context(), connector.Arrival{Kept: away.Kept, Query: back.Query()})
	if err != nil || who.UserID != "7" || who.Email != "a@corp.example" || who.EmailVerified {
		t.Errorf("%+v, %v", who, err)
	}
}

func TestAddresses(t *testing.T) {
	t.Parallel()
	for host, want := range map[string][2]string{
		"":                   {"https://github.com", "https://api.github.com/"},
		"github.com":         {"https://github.com", "https://api.github.com/"},
		"github.example.com": {"https://github.example.com", "https://github.example.com/api/v3/"},
		"octocorp.ghe.com":   {"https://octocorp.ghe.com", "https://api.octocorp.ghe.com/"},
	} {
		if web, api := github.Addresses(host); web != want[0] || api != want[1] {
			t.Errorf("%q: %s, %s", host, web, api)
		}
	}
}

func TestBadConfig(t *testing.T) {
	t.Parallel()
	if _, err := github.New(github.Config{}); err == nil {
		t.Error("an empty one is accepted")
	}
	w := newWorld(t)
	cfg := github.Config{WebURL: w.URL, APIURL: "no address\x7f", ClientID: "a", ClientSecret: "b", CallbackURL: callback, Client: w.Client(), Now: w.now}
	if _, err := github.New(cfg); err == nil {
		t.Error("an address that is none is accepted")
	}
	cfg.APIURL, cfg.LegacyOrg, cfg.Orgs = w.APIURL(), "a", []github.Org{{Name: "b"}}
	if _, err := github.New(cfg); err == nil {
		t.Error("org and orgs are accepted")
	}
}

// An answer for another departure, or for none.
func TestArrivals(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.connect()
	away, other := w.depart(c), w.depart(c)
	back := func() url.Values { return w.authorize(away, url.Values{"login": {"octocat"}}) }
	with := func(name string, values ...string) url.Values {
		q := back()
		q[name] = values
		return q
	}
	for name, a := range map[string]connector.Arrival{
		"another departure":   {Kept: other.Kept, Query: back()},
		"no departure":        {Query: back()},
		"half a departure":    {Kept: away.Kept[:16], Query: back()},
		"posted":              {Kept: away.Kept, Query: back(), Received: []byte("x")},
		"two codes":           {Kept: away.Kept, Query: with("code", "x", "y")},
		"another code":        {Kept: away.Kept, Query: with("code", "x")},
		"no code":             {Kept: away.Kept, Query: with("code")},
		"an error":            {Kept: away.Kept, Query: with("error", "redirect_uri_mismatch")},
		"another issuer":      {Kept: away.Kept, Query: with("iss", "https://evil.example")},
		"issuer with a user":  {Kept: away.Kept, Query: with("iss", strings.Replace(w.URL, "http://", "http://a@", 1))},
		"an empty issuer":     {Kept: away.Kept, Query: with("iss", "")},
		"turned back by them": {Kept: away.Kept, Query: url.Values{"error": {"access_denied"}, "iss": {"https://evil.example"}}},
	} {
		if who, err := c.Arrive(t.Context(), a); !errors.Is(err, connector.ErrUpstream) {
			t.Errorf("%s: %+v, %v", name, who, err)
		}
	}
	if _, err := c.Arrive(t.Context(), connector.Arrival{Kept: away.Kept, Query: w.authorize(away, url.Values{"cancel": {"1"}})}); !errors.Is(err, connector.ErrTurnedBack) {
		t.Errorf("turned back: %v", err)
	}
	a := connector.Arrival{Kept: away.Kept, Query: with("iss", w.URL+"/login/oauth")}
	if _, err := c.Arrive(t.Context(), a); err != nil {
		t.Errorf("the right one: %v", err)
	}
	if _, err := c.Arrive(t.Context(), a); !errors.Is(err, connector.ErrUpstream) {
		t.Errorf("a second time: %v", err)
	}
}

func TestLoginAsID(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.connect(func(c *github.Config) { c.LoginAsID = true })
	who := w.in(c)
	if who.UserID != "octocat" {
		t.Errorf("%q", who.UserID)
	}
	who = w.again(c, who)
	w.Change("octocat", func(a *connectortest.Account) { a.Login = "hubot" })
	if next, err := c.Refresh(t.Context(), who); !errors.Is(err, connector.ErrGone) {
		t.Errorf("a login that was changed: %+v, %v", next, err)
	}
	// With numbers it is the same person.
	c = w.connect()
	away := w.depart(c)
	who, err := c.Arrive(t.Context(), connector.Arrival{Kept: away.Kept, Query: w.authorize(away, url.Values{"login": {"hubot"}})})
	if err != nil {
		t.Fatal(err)
	}
	w.Change("hubot", func(a *connectortest.Account) { a.Login = "octocat" })
	if next := w.again(c, who); next.UserID != who.UserID || next.PreferredUsername != "octocat" {
		t.Errorf("%+v", next)
	}
	if !slices.Equal(who.Groups, nil) {
		t.Errorf("groups %q", who.Groups)
	}
}
