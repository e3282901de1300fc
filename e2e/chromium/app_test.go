package chromium_test

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

// app is a relying party that nobody here wrote: go-oidc and x/oauth2 behind a web
// server. It knows the issuer's address and its own registration, nothing else.
//
//	/login      sends the person to the provider; its query goes along
//	/callback   verifies what comes back, and shows it
//	/arrived    shows what another app has verified
type app struct {
	w          *world
	id, secret string
	host       string
	server     *httptest.Server
	// onward is the app, of another origin, to whose /arrived the callback sends
	// people; nil: the callback itself shows the result.
	onward *app
	// busy makes the callback answer 204, so that people stay where they are.
	busy atomic.Bool

	mu      sync.Mutex
	pending map[string]login // by state
	results map[string]string
	// refreshToken is that of the last login, if it asked for one.
	refreshToken string

	discover sync.Once
	provider *oidc.Provider
	err      error
}

// login is one that the app has begun.
type login struct{ nonce, verifier string }

// newApp starts an app that people reach by the name host, which leads to the
// loopback interface.
func newApp(t *testing.T, w *world, id, secret, host string) *app {
	t.Helper()
	a := &app{w: w, id: id, secret: secret, host: host, pending: map[string]login{}, results: map[string]string{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", a.front)
	mux.HandleFunc("GET /login", a.login)
	mux.HandleFunc("GET /post", a.post)
	mux.HandleFunc("/callback", a.callback)
	mux.HandleFunc("GET /arrived", a.arrived)
	a.server = httptest.NewServer(mux)
	t.Cleanup(a.server.Close)
	return a
}

// address is an address of the app.
func (a *app) address(path string) string {
	_, port, err := net.SplitHostPort(a.server.Listener.Addr().String())
	if err != nil {
		panic(err) // it is a TCP address
	}
	return "http://" + net.JoinHostPort(a.host, port) + path
}

// config is what the app knows: discovery happens at the first login.
func (a *app) config() (*oauth2.Config, error) {
	a.discover.Do(func() {
		a.provider, a.err = oidc.NewProvider(a.context(context.Background()), a.w.issuer)
	})
	if a.err != nil {
		return nil, fmt.Errorf("discovery: %w", a.err)
	}
	return &oauth2.Config{
		ClientID: a.id, ClientSecret: a.secret, Endpoint: a.provider.Endpoint(), RedirectURL: a.address("/callback"),
		Scopes: []string{oidc.ScopeOpenID, "profile", "email", "groups"},
	}, nil
}

func (a *app) context(ctx context.Context) context.Context {
	return oidc.ClientContext(ctx, a.w.client)
}

// appPage is the look of every page of the apps.
var appPage = template.Must(template.New("").Parse(`<!doctype html><html lang="en"><meta charset="utf-8">
<title>An app</title><link rel="icon" href="data:,"><main>{{block "main" .}}{{end}}</main></html>`))

func appTemplate(text string) *template.Template {
	return template.Must(template.Must(appPage.Clone()).New("main").Parse(text))
}

var (
	frontPage  = appTemplate(`<h1>An app</h1><a id="login" href="/login">Log in</a>`)
	resultPage = appTemplate(`<h1>Welcome</h1><pre id="claims">{{.}}</pre>`)
	errorPage  = appTemplate(`<h1>Not logged in</h1><p id="error">{{.}}</p>`)
	postPage   = appTemplate(`<h1>One moment</h1><form method="post" action="{{.Action}}">{{range $name, $values := .Values}}
<input type="hidden" name="{{$name}}" value="{{index $values 0}}">{{end}}</form><script>document.forms[0].submit()</script>`)
)

func render(w http.ResponseWriter, page *template.Template, data any) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	page.ExecuteTemplate(w, "", data)
}

func (a *app) front(w http.ResponseWriter, _ *http.Request) { render(w, frontPage, nil) }

// login sends the person to the provider.
func (a *app) login(w http.ResponseWriter, r *http.Request) {
	address, err := a.authorization(r.URL.Query())
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	http.Redirect(w, r, address, http.StatusFound)
}

// post does the same with a form that submits itself (OpenID Connect Core 1.0
// section 3.1.2.1 allows POST).
func (a *app) post(w http.ResponseWriter, r *http.Request) {
	address, err := a.authorization(r.URL.Query())
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	u, err := url.Parse(address)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	values := u.Query()
	u.RawQuery = ""
	render(w, postPage, map[string]any{"Action": u.String(), "Values": values})
}

// authorization begins a login. more are further parameters of the request.
func (a *app) authorization(more url.Values) (string, error) {
	config, err := a.config()
	if err != nil {
		return "", err
	}
	state, l := rand.Text(), login{nonce: rand.Text(), verifier: oauth2.GenerateVerifier()}
	a.mu.Lock()
	a.pending[state] = l
	a.mu.Unlock()
	options := []oauth2.AuthCodeOption{oidc.Nonce(l.nonce), oauth2.S256ChallengeOption(l.verifier)}
	for name, values := range more {
		options = append(options, oauth2.SetAuthURLParam(name, values[0]))
	}
	return config.AuthCodeURL(state, options...), nil
}

// callback takes the answer: a query, or a form (response_mode=form_post).
func (a *app) callback(w http.ResponseWriter, r *http.Request) {
	if a.busy.Load() {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	claims, err := a.verify(r)
	refused := (*refusal)(nil)
	switch {
	case errors.As(err, &refused):
		render(w, errorPage, refused.code)
	case err != nil:
		w.WriteHeader(http.StatusBadGateway)
		render(w, errorPage, "failed: "+err.Error())
	case a.onward != nil:
		key := rand.Text()
		a.onward.mu.Lock()
		a.onward.results[key] = claims
		a.onward.mu.Unlock()
		http.Redirect(w, r, a.onward.address("/arrived?key="+key), http.StatusFound)
	default:
		render(w, resultPage, claims)
	}
}

func (a *app) arrived(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	render(w, resultPage, a.results[r.URL.Query().Get("key")])
}

// refusal is an authorization error response.
type refusal struct{ code string }

func (r *refusal) Error() string { return r.code }

// verify makes the claims of an authorization response, as JSON. It holds the
// provider to everything that a careful relying party can check.
func (a *app) verify(r *http.Request) (string, error) {
	if err := r.ParseForm(); err != nil {
		return "", err
	}
	answer := r.Form
	l, ok := a.take(answer.Get("state"))
	if !ok {
		return "", errors.New("a state that nobody waits for")
	}
	if got := answer.Get("iss"); got != a.w.issuer { // RFC 9207
		return "", fmt.Errorf("iss is %q", got)
	}
	if code := answer.Get("error"); code != "" {
		return "", &refusal{code}
	}
	config, err := a.config()
	if err != nil {
		return "", err
	}
	ctx := a.context(r.Context())
	token, err := config.Exchange(ctx, answer.Get("code"), oauth2.VerifierOption(l.verifier))
	if err != nil {
		return "", fmt.Errorf("exchange: %w", err)
	}
	a.mu.Lock()
	a.refreshToken = token.RefreshToken
	a.mu.Unlock()
	raw, _ := token.Extra("id_token").(string)
	idToken, err := a.provider.Verifier(&oidc.Config{ClientID: a.id}).Verify(ctx, raw)
	if err != nil {
		return "", err
	}
	if idToken.Nonce != l.nonce {
		return "", fmt.Errorf("nonce is %q", idToken.Nonce)
	}
	if err := idToken.VerifyAccessToken(token.AccessToken); err != nil {
		return "", fmt.Errorf("at_hash: %w", err)
	}
	var claims json.RawMessage
	if err := idToken.Claims(&claims); err != nil {
		return "", err
	}
	return string(claims), nil
}

// take ends a login that was begun.
func (a *app) take(state string) (login, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	l, ok := a.pending[state]
	delete(a.pending, state)
	return l, ok
}

// yaml is the registration of the app.
func (a *app) yaml(name string) string {
	secret := "public: true"
	if a.secret != "" {
		secret = "secret: " + a.secret
	}
	return fmt.Sprintf("- {id: %s, name: %s, %s, redirectURIs: ['%s']}\n", a.id, cmp.Or(name, a.id), secret, a.address("/callback"))
}

// refresh redeems the refresh token, and returns the claims of the new id_token. It
// verifies all but the nonce, which need not be there.
func (a *app) refresh(ctx context.Context) (claims map[string]any, err error) {
	config, err := a.config()
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	token, err := config.TokenSource(a.context(ctx), &oauth2.Token{RefreshToken: a.refreshToken}).Token()
	if err != nil {
		return nil, err
	}
	a.refreshToken = token.RefreshToken
	raw, _ := token.Extra("id_token").(string)
	idToken, err := a.provider.Verifier(&oidc.Config{ClientID: a.id}).Verify(a.context(ctx), raw)
	if err != nil {
		return nil, err
	}
	return claims, idToken.Claims(&claims)
}
