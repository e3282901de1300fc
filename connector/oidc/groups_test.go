package oidc_test

import (
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/countersign/countersign/connector"
	"github.com/countersign/countersign/connector/connectortest"
	"github.com/countersign/countersign/connector/oidc"
	"github.com/countersign/countersign/connector/oidc/groups"
)

// tooMany makes the provider's tokens those of somebody in more groups than they hold.
func (p *fakeProvider) tooMany() {
	delete(p.claims, "groups")
	p.claims["_claim_names"] = map[string]any{"groups": "src1"}
	p.claims["_claim_sources"] = map[string]any{"src1": map[string]any{"endpoint": p.URL + "/retired"}}
}

func (p *fakeProvider) graph(g *connectortest.Graph) func(*oidc.Config) {
	return func(c *oidc.Config) {
		m, err := groups.NewMicrosoft(groups.MicrosoftConfig{URL: g.URL, Client: c.Client, Now: c.Now})
		if err != nil {
			p.t.Fatal(err)
		}
		c.Directory = m
	}
}

// Groups that are elsewhere, where nobody is to ask, are not none.
func TestGroupsElsewhere(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	p.tooMany()
	if who, err := p.signIn(p.connect()); !errors.Is(err, connector.ErrUpstream) {
		t.Errorf("%+v, %v", who, err)
	}
	if who, err := p.connect().Refresh(t.Context(), connector.Identity{UserID: "subject", Secret: []byte(`{"r":"refresh-1","s":"subject"}`)}); !errors.Is(err, connector.ErrUpstream) || who.Groups != nil {
		t.Errorf("refresh: %+v, %v", who, err)
	}
	if n := p.count("/retired"); n != 0 {
		t.Errorf("the address of the token was asked %d times", n)
	}
	// Nobody wants them, or only another claim.
	if _, err := p.signIn(p.connect(func(c *oidc.Config) { c.Groups = false })); err != nil {
		t.Errorf("without groups: %v", err)
	}
	none, err := p.signIn(p.connect(func(c *oidc.Config) { c.Keys.Groups = "roles" }))
	if err != nil || none.Groups != nil {
		t.Errorf("of another claim, which is not there: %+v, %v", none, err)
	}
	p.claims["roles"] = []string{"r"}
	who, err := p.signIn(p.connect(func(c *oidc.Config) { c.Keys.Groups = "roles" }))
	if err != nil || !slices.Equal(who.Groups, []string{"r"}) {
		t.Errorf("of another claim: %+v, %v", who, err)
	}
}

// Microsoft Graph is asked with the token of the sign-in, then with that of the
// refresh.
func TestGroupsOfGraph(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	p.tooMany()
	g := connectortest.NewGraph(t)
	scopes := []string{"User.Read"}
	g.Put("access", scopes, connectortest.GraphObject{Type: "group", ID: "g-1"}, connectortest.GraphObject{Type: "group", ID: "g-2"})
	c := p.connect(p.graph(g))
	who, err := p.signIn(c)
	if err != nil || !slices.Equal(who.Groups, []string{"g-1", "g-2"}) {
		t.Fatalf("%+v, %v", who, err)
	}
	if n := p.count("/retired"); n != 0 {
		t.Errorf("the address of the token was asked %d times", n)
	}
	delete(p.claims, "nonce")
	maps.Copy(p.token, map[string]any{"access_token": "access-2", "refresh_token": "refresh-2"})
	g.Put("access-2", scopes, connectortest.GraphObject{Type: "group", ID: "g-2"})
	next, err := c.Refresh(t.Context(), connector.Identity{UserID: who.UserID, Secret: who.Secret})
	if err != nil || !slices.Equal(next.Groups, []string{"g-2"}) {
		t.Fatalf("%+v, %v", next, err)
	}
	// Graph fails after the provider has rotated its token.
	p.token["refresh_token"] = "refresh-3"
	g.Handle(func(w http.ResponseWriter, _ *http.Request) {
		connectortest.GraphError(w, 503, "serviceNotAvailable", "no")
	})
	last, err := c.Refresh(t.Context(), connector.Identity{UserID: next.UserID, Secret: next.Secret})
	if !errors.Is(err, connector.ErrUpstream) || last.UserID != "subject" || !strings.Contains(string(last.Secret), "refresh-3") {
		t.Errorf("%+v, %v", last, err)
	}
	// The token says all: Graph is not needed.
	delete(p.claims, "_claim_names")
	p.claims["groups"] = []string{"of the token"}
	if who, err := p.signIn(c); err != nil || !slices.Equal(who.Groups, []string{"of the token"}) {
		t.Errorf("%+v, %v", who, err)
	}
}

// Google's directory, at a sign-in and at a refresh.
func TestGroupsOfGoogle(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	w := connectortest.NewWorkspace(t, p.clock, "admin@example.com")
	w.Put("jane@example.com", "devs@example.com", "ops@example.com")
	account, err := groups.ParseServiceAccount(w.KeyFile(t))
	if err != nil {
		t.Fatal(err)
	}
	c := p.connect(func(c *oidc.Config) {
		c.Groups = false
		c.Directory, err = groups.NewGoogle(groups.GoogleConfig{
			ServiceAccount: account, Admins: map[string]string{"*": "admin@example.com"}, APIURL: w.URL, Client: c.Client, Now: c.Now,
		})
		if err != nil {
			t.Fatal(err)
		}
	})
	_, err = p.signIn(c)
	if _, denied := errors.AsType[*connector.DeniedError](err); !denied {
		t.Errorf("a private account: %v", err)
	}
	p.claims["hd"] = "example.com"
	who, err := p.signIn(c)
	if err != nil || !slices.Equal(who.Groups, []string{"devs@example.com", "ops@example.com"}) {
		t.Fatalf("%+v, %v", who, err)
	}
	delete(p.claims, "nonce")
	w.Put("jane@example.com", "ops@example.com")
	next, err := c.Refresh(t.Context(), connector.Identity{UserID: who.UserID, Secret: who.Secret})
	if err != nil || !slices.Equal(next.Groups, []string{"ops@example.com"}) {
		t.Fatalf("%+v, %v", next, err)
	}
	w.Handle(connectortest.WorkspaceListPath, func(w http.ResponseWriter, _ *http.Request) {
		connectortest.GoogleError(w, 404, "notFound", "Resource Not Found: userKey")
	})
	if who, err := c.Refresh(t.Context(), connector.Identity{UserID: who.UserID, Secret: who.Secret}); !errors.Is(err, connector.ErrUpstream) || who.Groups != nil {
		t.Errorf("%+v, %v", who, err)
	}
}
