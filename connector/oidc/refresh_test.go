package oidc_test

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/countersign/countersign/connector"
	"github.com/countersign/countersign/connector/oidc"
)

func TestRefresh(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	c := p.connect()
	before, err := p.signIn(c)
	if err != nil {
		t.Fatal(err)
	}
	delete(p.claims, "nonce")
	p.claims["groups"] = []string{"b"}
	p.token["refresh_token"] = "refresh-2"
	who, err := c.Refresh(t.Context(), connector.Identity{UserID: before.UserID, Secret: before.Secret})
	if err != nil || !slices.Equal(who.Groups, []string{"b"}) || !strings.Contains(string(who.Secret), "refresh-2") {
		t.Fatalf("%+v, %v", who, err)
	}
	if form := p.forms[len(p.forms)-1]; form.Get("grant_type") != "refresh_token" || form.Get("refresh_token") != "refresh-1" {
		t.Errorf("refreshed with %v", form)
	}
	// A provider that does not rotate, and gives no id_token: userinfo says the rest.
	p.token["refresh_token"], p.token["id_token"] = "", ""
	p.documents["/userinfo"] = map[string]any{"sub": "subject", "groups": []string{"c"}}
	who, err = c.Refresh(t.Context(), connector.Identity{UserID: who.UserID, Secret: who.Secret})
	if err != nil || !slices.Equal(who.Groups, []string{"c"}) || !strings.Contains(string(who.Secret), "refresh-2") {
		t.Errorf("%+v, %v", who, err)
	}
}

// Whose next refresh token may have been in an answer that was lost is not gone because
// the one before is used up: they sign in again.
func TestRefreshWhoseAnswerWasLost(t *testing.T) {
	t.Parallel()
	hangsUp := func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
	refuses := func(code string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { answer(w, 400, map[string]any{"error": code}) }
	}
	for name, tt := range map[string]struct {
		first http.HandlerFunc
		want  error
	}{
		"no answer":             {hangsUp, connector.ErrCannotAsk},
		"a gateway's answer":    {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(502) }, connector.ErrCannotAsk},
		"half an answer":        {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"access_token":`)) }, connector.ErrCannotAsk},
		"an answer of refusal":  {refuses("temporarily_unavailable"), connector.ErrGone},
		"of somebody else's id": {refuses("invalid_client"), connector.ErrGone},
	} {
		p := newProvider(t)
		c := p.connect()
		before := connector.Identity{UserID: "subject", Secret: []byte(`{"r":"refresh-1","s":"subject"}`)}
		ask := func(h http.HandlerFunc) (connector.Identity, error) {
			p.mu.Lock()
			p.handlers["/token"] = h
			p.mu.Unlock()
			who, err := c.Refresh(t.Context(), before)
			if len(who.Secret) > 0 {
				before.Secret = who.Secret
			}
			return who, err
		}
		for range 2 {
			if _, err := ask(tt.first); !errors.Is(err, connector.ErrUpstream) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if _, err := ask(refuses("invalid_grant")); !errors.Is(err, tt.want) || errors.Is(err, connector.ErrUpstream) {
			t.Errorf("%s, then invalid_grant: %v", name, err)
		}
		// It was not used up after all: then what is said later is meant.
		if _, err := ask(nil); err != nil {
			t.Errorf("%s, then an answer: %v", name, err)
		}
		if _, err := ask(refuses("invalid_grant")); !errors.Is(err, connector.ErrGone) {
			t.Errorf("%s, then an answer, then invalid_grant: %v", name, err)
		}
	}
}

// A refresh without an id_token, whose groups userinfo does not say either, takes
// nobody for somebody without groups. The rotated refresh token is kept.
func TestRefreshSaysNoGroups(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change   func(*oidc.Config)
		userinfo map[string]any
		want     error
	}{
		"silent":            {func(*oidc.Config) {}, map[string]any{}, connector.ErrCannotAsk},
		"none":              {func(*oidc.Config) {}, map[string]any{"groups": []string{}}, nil},
		"by another claim":  {func(c *oidc.Config) { c.Keys.Groups = "roles" }, map[string]any{"roles": []string{}}, nil},
		"another is silent": {func(c *oidc.Config) { c.Keys.Groups = "roles" }, map[string]any{}, connector.ErrCannotAsk},
		"nobody wants them": {func(c *oidc.Config) { c.Groups = false }, map[string]any{}, nil},
		"userinfo has them": {func(c *oidc.Config) { c.UserInfo = true }, map[string]any{}, nil},
	} {
		p := newProvider(t)
		p.token["refresh_token"], p.token["id_token"] = "refresh-2", ""
		c.userinfo["sub"] = "subject"
		p.documents["/userinfo"] = c.userinfo
		before := connector.Identity{UserID: "subject", Groups: []string{"a"}, Secret: []byte(`{"r":"refresh-1","s":"subject"}`)}
		who, err := p.connect(c.change).Refresh(t.Context(), before)
		if !errors.Is(err, c.want) || err != nil && !errors.Is(err, connector.ErrUpstream) || string(who.Secret) != `{"r":"refresh-2","s":"subject"}` {
			t.Errorf("%s: %+v, %v", name, who, err)
		}
	}
}

func TestRefreshFails(t *testing.T) {
	t.Parallel()
	secret := []byte(`{"r":"refresh-1","s":"subject"}`)
	failing := func(status int, document any) func(*fakeProvider) {
		return func(p *fakeProvider) {
			p.handlers["/token"] = func(w http.ResponseWriter, _ *http.Request) { answer(w, status, document) }
		}
	}
	for name, c := range map[string]struct {
		secret []byte
		change func(*fakeProvider)
		want   error
	}{
		"no refresh token":    {nil, func(*fakeProvider) {}, connector.ErrCannotAsk},
		"nonsense was kept":   {[]byte("{"), func(*fakeProvider) {}, connector.ErrUpstream},
		"revoked":             {secret, failing(400, map[string]any{"error": "invalid_grant", "error_description": "Session not active"}), connector.ErrGone},
		"our own mistake":     {secret, failing(401, map[string]any{"error": "invalid_client"}), connector.ErrUpstream},
		"overloaded":          {secret, failing(503, "no"), connector.ErrUpstream},
		"a page":              {secret, failing(200, "<html>"), connector.ErrUpstream},
		"somebody else":       {secret, func(p *fakeProvider) { p.claims["sub"] = "other" }, connector.ErrUpstream},
		"an expired id_token": {secret, func(p *fakeProvider) { p.claims["exp"] = 1 }, connector.ErrUpstream},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newProvider(t)
			c.change(p)
			if who, err := p.connect().Refresh(t.Context(), connector.Identity{UserID: "subject", Secret: c.secret}); !errors.Is(err, c.want) {
				t.Errorf("%+v, %v", who, err)
			}
		})
	}
}

// A refresh token that was rotated before something else failed is not lost.
func TestRotationBeforeFailure(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*fakeProvider){
		"the id_token":          func(p *fakeProvider) { p.claims["exp"] = 1 },
		"the userinfo endpoint": func(p *fakeProvider) { p.token["id_token"] = "" },
	} {
		p := newProvider(t)
		p.token["refresh_token"] = "refresh-2"
		change(p)
		who, err := p.connect().Refresh(t.Context(), connector.Identity{UserID: "subject", Secret: []byte(`{"r":"refresh-1","s":"subject"}`)})
		if !errors.Is(err, connector.ErrUpstream) || who.UserID != "subject" || string(who.Secret) != `{"r":"refresh-2","s":"subject"}` {
			t.Errorf("%s fails: %+v, %v", name, who, err)
		}
	}
}
