// Package connectortest has upstreams for tests that speak the documented protocol of
// real ones over real HTTP, where the real ones cannot be had.
package connectortest

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
)

// What every GitHub knows our client by.
const (
	GitHubClientID     = "Iv1.8a61f9b3a7aba766"
	GitHubClientSecret = "a-client-secret"
)

// GitHub speaks what GitHub documents of its OAuth endpoints and its REST API (version
// 2022-11-28), as far as a sign-in needs it.
type GitHub struct {
	*httptest.Server
	// Prefix is where the API is below the server's address: /api/v3 at GitHub
	// Enterprise Server, empty at github.com.
	Prefix string
	now    func() time.Time

	mu       sync.Mutex
	callback string
	people   map[string]*Account
	codes    map[string]grant
	tokens   map[string]*token
	refresh  map[string]*token
	handlers map[string]http.HandlerFunc
	seen     []Request
	// expiring: tokens are as those of a GitHub App that opted in to expiration.
	expiring bool
	// used and limit are of the primary rate limit; all accounts share it.
	used, limit int
	reset       time.Time
}

// Account is a person at GitHub.
type Account struct {
	ID    int64
	Login string
	Name  string
	// PublicEmail is shown in the profile.
	PublicEmail string
	Emails      []Email
	Orgs        []Membership
	Teams       []Team
	// Suspended accounts are told so.
	Suspended bool
}

// Email is an address of an account.
type Email struct {
	Email      string  `json:"email"`
	Primary    bool    `json:"primary"`
	Verified   bool    `json:"verified"`
	Visibility *string `json:"visibility"`
}

// Membership is one of an organization. State is active or pending; Blocked: the
// organization has not approved our app.
type Membership struct {
	Org, State string
	Blocked    bool
}

// Team is a team that an account is in.
type Team struct{ Org, Name, Slug string }

// Request is one that was answered.
type Request struct {
	Path   string
	Query  url.Values
	Form   url.Values
	Status int
}

type grant struct {
	login, challenge, redirect string
}

type token struct {
	login   string
	expires time.Time
	access  string
	refresh string
}

// NewGitHub starts one with start (httptest.NewServer), until the test ends. now is its
// clock.
func NewGitHub(t testing.TB, prefix string, now func() time.Time, start func(http.Handler) *httptest.Server) *GitHub {
	t.Helper()
	g := &GitHub{
		Prefix: prefix, now: now,
		people: map[string]*Account{}, codes: map[string]grant{}, tokens: map[string]*token{}, refresh: map[string]*token{},
		handlers: map[string]http.HandlerFunc{}, limit: 5000,
	}
	g.Server = start(http.HandlerFunc(g.serve))
	t.Cleanup(g.Close)
	return g
}

// Register sets the callback address of our client.
func (g *GitHub) Register(callback string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.callback = callback
}

// APIURL is that of the REST API.
func (g *GitHub) APIURL() string { return g.URL + g.Prefix + "/" }

// Put adds an account, or replaces it.
func (g *GitHub) Put(a Account) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.people[a.Login] = &a
}

// Change changes an account.
func (g *GitHub) Change(login string, change func(*Account)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	a := *g.people[login]
	change(&a)
	delete(g.people, login)
	g.people[a.Login] = &a
	if a.Login != login { // tokens belong to the account
		for _, t := range g.tokens {
			if t.login == login {
				t.login = a.Login
			}
		}
	}
}

// Expiring makes it give out tokens that end, as GitHub Apps have them.
func (g *GitHub) Expiring() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.expiring = true
}

// Revoke ends all tokens of an account, as a person does in their settings.
func (g *GitHub) Revoke(login string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, all := range []map[string]*token{g.tokens, g.refresh} {
		for value, t := range all {
			if t.login == login {
				delete(all, value)
			}
		}
	}
}

// Swap makes all tokens of an account those of another.
func (g *GitHub) Swap(login, other string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, t := range g.tokens {
		if t.login == login {
			t.login = other
		}
	}
}

// Limit sets the primary rate limit, from now on, until the time of the reset.
func (g *GitHub) Limit(requests int, reset time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.limit, g.used, g.reset = requests, 0, reset
}

// Handle answers an API path differently; nil: as documented again.
func (g *GitHub) Handle(path string, h http.HandlerFunc) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.handlers[path] = h
}

// Seen are the requests since it was called last.
func (g *GitHub) Seen() []Request {
	g.mu.Lock()
	defer g.mu.Unlock()
	seen := g.seen
	g.seen = nil
	return seen
}

// recorder remembers the status.
type recorder struct {
	http.ResponseWriter
	status int
}

func (r *recorder) WriteHeader(status int) {
	r.status = status
	r.ResponseWriter.WriteHeader(status)
}

func (g *GitHub) serve(out http.ResponseWriter, r *http.Request) {
	_ = r.ParseForm()
	w := &recorder{out, http.StatusOK}
	path := strings.TrimPrefix(r.URL.Path, g.Prefix)
	g.mu.Lock()
	h := g.handlers[path]
	g.mu.Unlock()
	defer func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.seen = append(g.seen, Request{Path: path, Query: r.URL.Query(), Form: r.PostForm, Status: w.status})
	}()
	switch {
	case h != nil:
		h(w, r)
	case r.URL.Path == "/login/oauth/authorize":
		g.authorize(w, r)
	case r.URL.Path == "/login/oauth/access_token" && r.Method == http.MethodPost:
		g.accessToken(w, r)
	case strings.HasPrefix(r.URL.Path, g.Prefix+"/"):
		g.api(w, r, path)
	default:
		answer(w, http.StatusNotFound, map[string]any{"message": "Not Found"})
	}
}

func answer(w http.ResponseWriter, status int, document any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(document)
}

// word is a token with GitHub's prefix of its kind.
func word(prefix string) string { return prefix + rand.Text() }

func slug(name string) string { return strings.ReplaceAll(strings.ToLower(name), " ", "-") }

func fail(w http.ResponseWriter, status int, message string) {
	answer(w, status, map[string]any{"message": message, "documentation_url": "https://docs.github.com/rest", "status": fmt.Sprint(status)})
}
