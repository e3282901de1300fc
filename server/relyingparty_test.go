package server_test

import (
	"context"
	"crypto/sha256"
	"net/http"
	"slices"
	"testing"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/countersign/countersign/e2e/person"
	"github.com/countersign/countersign/server"
	"github.com/countersign/countersign/server/oauth"
)

// party is a relying party that nobody here wrote: go-oidc and x/oauth2. It
// knows the issuer's address and its own registration, nothing else.
type party struct {
	ctx      context.Context
	provider *oidc.Provider
	config   oauth2.Config
	verifier string
}

func newParty(t *testing.T, w *world, id, secret, redirect string, style oauth2.AuthStyle) *party {
	t.Helper()
	ctx := oidc.ClientContext(t.Context(), w.http.Client())
	provider, err := oidc.NewProvider(ctx, w.issuer)
	if err != nil {
		t.Fatalf("discovery: %v", err)
	}
	endpoint := provider.Endpoint()
	endpoint.AuthStyle = style
	return &party{ctx: ctx, provider: provider, verifier: oauth2.GenerateVerifier(), config: oauth2.Config{
		ClientID: id, ClientSecret: secret, RedirectURL: redirect, Endpoint: endpoint,
		Scopes: []string{oidc.ScopeOpenID, "email", "profile", "groups"},
	}}
}

// signIn sends a person through the whole flow and verifies what comes back.
func (p *party) signIn(t *testing.T, w *world, who *person.Person, options ...oauth2.AuthCodeOption) (*oauth2.Token, *oidc.IDToken) {
	t.Helper()
	options = append(options, oauth2.S256ChallengeOption(p.verifier), oidc.Nonce("n-0S6_WzA2Mj"))
	back := w.response(w.signIn(who, p.config.AuthCodeURL("st", options...)))
	if back.Get("state") != "st" || back.Get("iss") != w.issuer {
		t.Errorf("state %q and iss %q, want st and %s", back.Get("state"), back.Get("iss"), w.issuer)
	}
	token, err := p.config.Exchange(p.ctx, back.Get("code"), oauth2.VerifierOption(p.verifier))
	if err != nil {
		t.Fatalf("exchange: %v", err)
	}
	raw, _ := token.Extra("id_token").(string)
	idToken, err := p.provider.Verifier(&oidc.Config{ClientID: p.config.ClientID}).Verify(p.ctx, raw)
	if err != nil {
		t.Fatalf("verifying the id_token: %v", err)
	}
	if err := idToken.VerifyAccessToken(token.AccessToken); err != nil {
		t.Errorf("at_hash: %v", err)
	}
	if idToken.Nonce != "n-0S6_WzA2Mj" {
		t.Errorf("nonce = %q", idToken.Nonce)
	}
	return token, idToken
}

func TestRelyingParty(t *testing.T) {
	styles := map[string]oauth2.AuthStyle{"basic": oauth2.AuthStyleInHeader, "post": oauth2.AuthStyleInParams, "none": oauth2.AuthStyleInParams}
	onEngines(t, func(t *testing.T, engine string) {
		for _, alg := range []string{"RS256", "ES256", "EdDSA"} {
			t.Run(alg, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, engine, func(c *server.Config) { c.Policy.SigningAlg = alg })
				for name, style := range styles {
					t.Run(name, func(t *testing.T) {
						p := newParty(t, w, "app", "app-secret", callback, style)
						if name == "none" {
							p = newParty(t, w, "native", "", nativeApp, style)
						}
						p.check(t, w, alg)
					})
				}
			})
		}
	})
}

// check signs alice in and compares what the relying party learns.
func (p *party) check(t *testing.T, w *world, alg string) {
	t.Helper()
	token, idToken := p.signIn(t, w, w.browser())
	var c struct {
		Email    string   `json:"email"`
		Verified bool     `json:"email_verified"`
		Name     string   `json:"name"`
		Username string   `json:"preferred_username"`
		Groups   []string `json:"groups"`
		AuthTime int64    `json:"auth_time"`
		AMR      []string `json:"amr"`
		ACR      string   `json:"acr"`
		SID      string   `json:"sid"`
	}
	if err := idToken.Claims(&c); err != nil {
		t.Fatal(err)
	}
	if c.Email != alice || !c.Verified || c.Name != "Alice Liddell" || c.Username != "alice" || !slices.Equal(c.Groups, []string{"staff", "admins"}) {
		t.Errorf("claims of the person: %+v", c)
	}
	if c.AuthTime == 0 || !slices.Equal(c.AMR, []string{"pwd"}) || c.ACR == "" || c.SID == "" {
		t.Errorf("claims of the authentication: %+v", c)
	}
	if want := oauth.Subject("user-alice", "staff"); idToken.Subject != want {
		t.Errorf("sub = %q, want %q", idToken.Subject, want)
	}
	info, err := p.provider.UserInfo(p.ctx, oauth2.StaticTokenSource(token))
	if err != nil {
		t.Fatalf("userinfo: %v", err)
	}
	if info.Subject != idToken.Subject || info.Email != alice {
		t.Errorf("userinfo: %+v", info)
	}
}

// A relying party of one algorithm is not disturbed by another's.
func TestSigningAlgPerClient(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		w := newWorld(t, engine, func(c *server.Config) {
			c.Policy.SigningAlg = "RS256"
			c.Clients[1].IDTokenSigningAlg = "EdDSA"
		})
		for id, want := range map[string]string{"app": "RS256", "other": "EdDSA"} {
			redirect := map[string]string{"app": callback, "other": otherCallback}[id]
			p := newParty(t, w, id, id+"-secret", redirect, oauth2.AuthStyleInHeader)
			verifier := p.provider.Verifier(&oidc.Config{ClientID: id, SupportedSigningAlgs: []string{want}})
			token, _ := p.signIn(t, w, w.browser())
			if _, err := verifier.Verify(p.ctx, token.Extra("id_token").(string)); err != nil {
				t.Errorf("%s: %v", id, err)
			}
		}
	})
}

// Several replicas on one database are one provider: a flow may begin, go on and
// end at any of them.
func TestReplicas(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		db, c := newDatabase(t, engine), new(clock)
		first := db.replica(t, c)
		second := db.replica(t, c, func(cfg *server.Config) { cfg.Policy.Issuer = first.issuer })
		who := first.browser()
		// The person's browser is led to the second replica for every other request.
		turns := 0
		who.HTTPTransport(roundTripper(func(r *http.Request) (*http.Response, error) {
			if r.URL.Host == first.http.Listener.Addr().String() {
				if turns++; turns%2 == 0 {
					r.URL.Host = second.http.Listener.Addr().String()
				}
			}
			return (&leaver{http.DefaultTransport}).RoundTrip(r)
		}))
		code := first.code(who, first.request())
		if a := second.redeem(code); a.status != http.StatusOK {
			t.Fatalf("redeeming at the second replica: %d %s", a.status, a.raw)
		}
		if a := first.redeem(code); a.status != http.StatusBadRequest || a.str("error") != "invalid_grant" {
			t.Errorf("redeeming again at the first replica: %d %s", a.status, a.raw)
		}
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// A client with two live secrets is one that replaces its secret.
func TestTwoSecrets(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		w := newWorld(t, engine, func(c *server.Config) {
			c.Clients[0].SecretHashes = append(c.Clients[0].SecretHashes, sha256.Sum256([]byte("new-secret")))
		})
		for _, secret := range []string{"app-secret", "new-secret"} {
			if a := w.redeem(w.code(w.browser(), w.request()), "client_secret", secret); a.status != http.StatusOK {
				t.Errorf("%s: %d %s", secret, a.status, a.raw)
			}
		}
	})
}
