package oidcprovider_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/countersign/countersign/e2e/binary"
	"github.com/countersign/countersign/e2e/oidcprovider"
	"github.com/countersign/countersign/e2e/person"
)

// TestMain removes the program that the tests built.
func TestMain(m *testing.M) {
	code := m.Run()
	binary.Remove()
	os.Exit(code)
}

const (
	secret = "the-secret-of-the-app-32-characters"
	leave  = "http://app.example/callback" // nobody asks it
)

// party is the relying party: go-oidc and x/oauth2.
type party struct {
	t        *testing.T
	provider *oidc.Provider
	config   oauth2.Config
	issuer   string
	refresh  string
	claims   struct {
		Subject  string   `json:"sub"`
		Email    string   `json:"email"`
		Verified bool     `json:"email_verified"`
		Groups   []string `json:"groups"`
	}
}

func newParty(t *testing.T, issuer string) *party {
	t.Helper()
	provider, err := oidc.NewProvider(t.Context(), issuer)
	if err != nil {
		t.Fatal(err)
	}
	return &party{t: t, provider: provider, issuer: issuer, config: oauth2.Config{
		ClientID: "app", ClientSecret: secret, Endpoint: provider.Endpoint(), RedirectURL: leave,
		Scopes: []string{oidc.ScopeOpenID, "profile", "email", "groups", oidc.ScopeOfflineAccess},
	}}
}

// depart sends somebody to the upstream's page, by a connector of ours.
func (p *party) depart(who *person.Person, connector, nonce, verifier string) *person.Page {
	p.t.Helper()
	page, err := who.Get(p.t.Context(), p.config.AuthCodeURL("state", oidc.Nonce(nonce), oauth2.S256ChallengeOption(verifier), oauth2.SetAuthURLParam("connector_id", connector)))
	if err != nil {
		p.t.Fatal(err)
	}
	if len(page.Forms) != 1 || !page.Forms[0].Fields.Has("name") {
		p.t.Fatalf("not at the upstream's page, but at %s: %d\n%s", page.URL, page.Status, page.Body)
	}
	return page
}

// signIn goes there and back, and returns the addresses on the way.
func (p *party) signIn(connector, name string) (hops []string) {
	p.t.Helper()
	who := person.New(leave, nil)
	nonce, verifier := oauth2.GenerateVerifier(), oauth2.GenerateVerifier()
	page := p.depart(who, connector, nonce, verifier)
	hops = page.Hops
	page, err := who.Submit(p.t.Context(), page.Forms[0], url.Values{"name": {name}})
	if err != nil {
		p.t.Fatal(err)
	}
	if !page.Left {
		p.t.Fatalf("stuck at %s: %d\n%s", page.URL, page.Status, page.Body)
	}
	token, err := p.config.Exchange(p.t.Context(), page.URL.Query().Get("code"), oauth2.VerifierOption(verifier))
	if err != nil {
		p.t.Fatalf("redeeming the code of %s: %v", page.URL, err)
	}
	p.verify(token, nonce)
	return append(hops, page.Hops...)
}

func (p *party) verify(token *oauth2.Token, nonce string) {
	p.t.Helper()
	raw, _ := token.Extra("id_token").(string)
	t, err := p.provider.Verifier(&oidc.Config{ClientID: "app"}).Verify(p.t.Context(), raw)
	if err != nil {
		p.t.Fatal(err)
	}
	if t.Nonce != nonce {
		p.t.Errorf("nonce %q, want %q", t.Nonce, nonce)
	}
	p.claims.Groups = nil
	if err := t.Claims(&p.claims); err != nil {
		p.t.Fatal(err)
	}
	p.refresh = token.RefreshToken
}

// again refreshes.
func (p *party) again(ctx context.Context) error {
	token, err := p.config.TokenSource(ctx, &oauth2.Token{RefreshToken: p.refresh}).Token()
	if err == nil {
		p.verify(token, p.nonce(token))
	}
	return err
}

// nonce of a refreshed id_token need not be there (OpenID Connect Core 1.0 section
// 12.2): whatever it is.
func (p *party) nonce(token *oauth2.Token) string {
	raw, _ := token.Extra("id_token").(string)
	t, err := p.provider.Verifier(&oidc.Config{ClientID: "app"}).Verify(p.t.Context(), raw)
	if err != nil {
		p.t.Fatal(err)
	}
	return t.Nonce
}

func (p *party) groups(when string, want ...string) {
	p.t.Helper()
	if !slices.Equal(p.claims.Groups, want) {
		p.t.Errorf("%s: groups %q, want %q", when, p.claims.Groups, want)
	}
}

// hop is the query of the first address on the way that begins so.
func hop(t *testing.T, hops []string, begin string) url.Values {
	t.Helper()
	for _, address := range hops {
		if strings.HasPrefix(address, begin) {
			u, err := url.Parse(address)
			if err != nil {
				t.Fatal(err)
			}
			return u.Query()
		}
	}
	t.Fatalf("%s is not on the way: %q", begin, hops)
	return nil
}

// await waits until something is so.
func await(t *testing.T, what string, so func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !so() {
		select {
		case <-ctx.Done():
			t.Fatalf("never: %s", what)
		case <-tick.C:
		}
	}
}

// The whole way by a certified provider, with both ways that clients authenticate: who
// somebody is, what has changed, and that they are gone.
func TestWholeWay(t *testing.T) {
	t.Parallel()
	op := oidcprovider.Start(t)
	server, issuer := serve(t, connector(op, "basic", "")+connector(op, "post", "    basicAuthUnsupported: true\n"))
	op.Register("basic", "client_secret_basic", issuer+"/callback")
	op.Register("post", "client_secret_post", issuer+"/callback")
	await(t, "the upstreams are known", func() bool { return strings.Count(server.Log(), "an upstream is known") == 2 })
	for _, id := range []string{"basic", "post"} {
		t.Run(id, func(t *testing.T) { wholeWay(t, op, newParty(t, issuer), id) })
	}
	for _, secret := range []string{"basic-secret", "post-secret", "ada@example.org"} {
		if strings.Contains(server.Log(), secret) {
			t.Errorf("%s is in the log", secret)
		}
	}
}

// connector is one of ours to the provider. more is further configuration.
func connector(op *oidcprovider.Server, id, more string) string {
	return fmt.Sprintf(`- type: oidc
  id: %[1]s
  recheck: 1ms
  config:
    issuer: %[2]s
    clientID: %[1]s
    clientSecret: %[3]s
    scopes: [openid, profile, email, groups, offline_access]
    promptType: consent
    insecureEnableGroups: true
%[4]s`, id, op.Issuer, oidcprovider.Secret(id), more)
}

// serve runs the program with connectors, and returns it and its issuer.
func serve(t *testing.T, connectors string) (*binary.Server, string) {
	t.Helper()
	server := binary.Serve(t, `issuer: http://{address}/dex
web: {http: '{address}', limits: {shutdownDelay: 1ms}}
telemetry: {http: '{telemetry}'}
storage: {type: sqlite3, config: {file: '{dir}/countersign.db'}}
oauth2: {skipApprovalScreen: true}
staticClients: [{id: app, secret: `+secret+`, redirectURIs: ['`+leave+`']}]
connectors:
`+connectors)
	return server, "http://" + server.Address + "/dex"
}

func wholeWay(t *testing.T, op *oidcprovider.Server, p *party, id string) {
	op.Put("ada", "devs", "ops")
	hops := p.signIn(id, "ada")
	p.groups("signed in", "devs", "ops")
	if p.claims.Email != "ada@example.org" || !p.claims.Verified {
		t.Errorf("claims %+v", p.claims)
	}
	subject := p.claims.Subject
	there, back := hop(t, hops, op.Issuer+"/auth"), hop(t, hops, p.issuer+"/callback")
	if there.Get("code_challenge_method") != "S256" || there.Get("code_challenge") == "" || there.Get("nonce") == "" || there.Get("client_id") != id {
		t.Errorf("it was sent there with %v", there)
	}
	if back.Get("iss") != op.Issuer || back.Get("state") != there.Get("state") {
		t.Errorf("it was sent back with %v", back)
	}

	refresh := func(when string, want ...string) {
		if err := p.again(t.Context()); err != nil {
			t.Fatalf("%s: %v", when, err)
		}
		p.groups(when, want...)
	}
	refresh("nothing has changed", "devs", "ops")
	op.Put("ada", "devs")
	refresh("a group was taken away", "devs")
	op.Put("ada", "devs", "night shift")
	refresh("a group was added", "devs", "night shift")
	if p.claims.Subject != subject {
		t.Errorf("the subject was %s, and is %s", subject, p.claims.Subject)
	}
	// Each refresh redeemed a token that the one before has got: one that comes twice
	// would have ended them all.
	method := "client_secret_" + id
	for event, want := range map[string]int{
		"granted authorization_code " + method + " " + id: 1, "granted refresh_token " + method + " " + id: 3, "revoked": 0, "refused": 0,
	} {
		if got := strings.Count(op.Log()[since(op, id):], event); got != want {
			t.Errorf("%q %d times, want %d", event, got, want)
		}
	}

	op.Remove("ada")
	refused, ok := errors.AsType[*oauth2.RetrieveError](p.again(t.Context()))
	if !ok || refused.ErrorCode != "invalid_grant" {
		t.Errorf("after the account was removed: %v", refused)
	}
	who := person.New(leave, nil)
	page := p.depart(who, id, "nonce", oauth2.GenerateVerifier())
	page, err := who.Submit(t.Context(), page.Forms[0], url.Values{"name": {"ada"}})
	if err != nil || page.Left || page.Status != 403 {
		t.Errorf("who is gone signed in again: %+v, %v", page, err)
	}

	// An account of that name again: the provider says it is the same person.
	op.Put("ada", "new")
	p.signIn(id, "ada")
	p.groups("back again", "new")
}

// since is where the log of a connector begins.
func since(op *oidcprovider.Server, id string) int {
	return max(0, strings.Index(op.Log(), "client_secret_"+id)-len("granted authorization_code "))
}
