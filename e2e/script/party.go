package script

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/countersign/countersign/e2e/person"
)

// leave is where relying parties of scripts want people back: an address that a
// public client may use, and that nobody asks.
const leave = "http://127.0.0.1:9/callback"

// Party is a relying party: go-oidc and x/oauth2, which nobody here wrote.
type Party struct {
	http     *http.Client
	provider *oidc.Provider
	config   oauth2.Config
}

// NewParty reads the discovery document.
func NewParty(ctx context.Context, client *http.Client, issuer, id, secret string) (*Party, error) {
	provider, err := oidc.NewProvider(oidc.ClientContext(ctx, client), issuer)
	if err != nil {
		return nil, err
	}
	return &Party{http: client, provider: provider, config: oauth2.Config{
		ClientID: id, ClientSecret: secret, Endpoint: provider.Endpoint(), RedirectURL: leave,
		Scopes: []string{oidc.ScopeOpenID, "email", "profile", "groups"},
	}}, nil
}

// Tokens are what a sign-in gave, verified.
type Tokens struct{ ID, Access string }

// code is an authorization code, with what it takes to redeem it.
type code struct{ value, nonce, verifier string }

// SignIn sends a person through everything, and redeems and verifies what comes
// back.
func (p *Party) SignIn(ctx context.Context, who *person.Person, as Account) (Tokens, error) {
	c, err := p.authorize(ctx, who, as)
	if err != nil {
		return Tokens{}, err
	}
	return p.redeem(ctx, c)
}

// authorize sends a person through all pages.
func (p *Party) authorize(ctx context.Context, who *person.Person, as Account) (code, error) {
	who.Leave = leave
	state, nonce, verifier := oauth2.GenerateVerifier(), oauth2.GenerateVerifier(), oauth2.GenerateVerifier()
	page, err := walk(ctx, who, p.config.AuthCodeURL(state, oidc.Nonce(nonce), oauth2.S256ChallengeOption(verifier)), as)
	if err != nil {
		return code{}, err
	}
	if !page.Left {
		return code{}, &stuckError{page}
	}
	answer := page.URL.Query()
	if answer.Get("state") != state {
		return code{}, fmt.Errorf("the answer has another state: %v", answer)
	}
	return code{answer.Get("code"), nonce, verifier}, nil
}

// redeem asks for the tokens of a code, and verifies them.
func (p *Party) redeem(ctx context.Context, c code) (Tokens, error) {
	ctx = oidc.ClientContext(ctx, p.http)
	token, err := p.config.Exchange(ctx, c.value, oauth2.VerifierOption(c.verifier))
	if err != nil {
		return Tokens{}, err
	}
	raw, _ := token.Extra("id_token").(string)
	idToken, err := p.Verify(ctx, raw)
	if err != nil {
		return Tokens{}, err
	}
	if idToken.Nonce != c.nonce {
		return Tokens{}, errors.New("the id_token has another nonce")
	}
	return Tokens{raw, token.AccessToken}, idToken.VerifyAccessToken(token.AccessToken)
}

// Verify checks an id_token with the published keys.
func (p *Party) Verify(ctx context.Context, raw string) (*oidc.IDToken, error) {
	ctx = oidc.ClientContext(ctx, p.http)
	return p.provider.VerifierContext(ctx, &oidc.Config{ClientID: p.config.ClientID}).Verify(ctx, raw)
}

// UserInfo asks who an access token stands for.
func (p *Party) UserInfo(ctx context.Context, access string) (*oidc.UserInfo, error) {
	return p.provider.UserInfo(oidc.ClientContext(ctx, p.http), oauth2.StaticTokenSource(&oauth2.Token{AccessToken: access}))
}

// stuckError is a page that does not lead on.
type stuckError struct{ page *person.Page }

func (e *stuckError) Error() string {
	return fmt.Sprintf("%d at %s:\n%s", e.page.Status, e.page.URL, e.page.Body)
}

func (w *world) tokens(args []string) error {
	set, args := options(args, "-sso")
	if len(args) != 5 {
		return usageError{}
	}
	party, err := NewParty(w.t.Context(), w.client, args[1], args[2], one(set, "-secret", ""))
	if err != nil {
		return err
	}
	who := Account{Email: args[3], Password: args[4], SSO: set["-sso"] != nil}
	got, err := party.SignIn(w.t.Context(), w.person(one(set, "-as", "")), who)
	if err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(w.path(args[0]+".id"), []byte(got.ID+"\n"), 0o600),
		os.WriteFile(w.path(args[0]+".access"), []byte(got.Access+"\n"), 0o600))
}

func (w *world) verify(args []string) error {
	if len(args) != 3 {
		return usageError{}
	}
	party, err := NewParty(w.t.Context(), w.client, args[0], args[1], "")
	if err != nil {
		w.ts.Fatalf("discovery: %v", err)
	}
	_, err = party.Verify(w.t.Context(), strings.TrimSpace(w.ts.ReadFile(args[2])))
	return err
}

// keptCode is a code that a script redeems later.
type keptCode struct {
	party *Party
	code
}

func (w *world) authorize(args []string) error {
	if len(args) != 5 {
		return usageError{}
	}
	party, err := NewParty(w.t.Context(), w.client, args[1], args[2], "")
	if err != nil {
		return err
	}
	c, err := party.authorize(w.t.Context(), w.newPerson(), Account{Email: args[3], Password: args[4]})
	w.codes[args[0]] = keptCode{party, c}
	return err
}

func (w *world) redeem(args []string) error {
	if len(args) != 2 {
		return usageError{}
	}
	kept, ok := w.codes[args[0]]
	if !ok {
		return fmt.Errorf("no code was kept as %s", args[0])
	}
	_, err := kept.party.redeem(w.t.Context(), kept.code)
	status := http.StatusOK
	if refused := (*oauth2.RetrieveError)(nil); errors.As(err, &refused) {
		status, err = refused.Response.StatusCode, nil
		fmt.Fprint(w.ts.Stdout(), string(refused.Body))
		_ = refused.Response.Header.Write(w.ts.Stderr()) // it is memory
	}
	if got := strconv.Itoa(status); err == nil && got != args[1] {
		err = fmt.Errorf("the token endpoint answers %s, want %s", got, args[1])
	}
	return err
}
