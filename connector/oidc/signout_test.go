package oidc_test

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"testing"

	"github.com/countersign/countersign/connector"
	"github.com/countersign/countersign/connector/oidc"
)

const signOutURL = "https://we.example/logout/callback"

func withSignOut(c *oidc.Config) { c.SignOutURL = signOutURL }

// ends gives the provider an end_session_endpoint.
func (p *fakeProvider) ends(address string) *fakeProvider {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.documents["/.well-known/openid-configuration"].(map[string]any)["end_session_endpoint"] = address
	return p
}

func TestSignOut(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	p.ends(p.URL + "/end?realm=a%20b")
	c := p.connect(withSignOut)
	who, err := p.signIn(c)
	if err != nil || len(who.Session) == 0 {
		t.Fatalf("%d bytes are kept of the session, %v", len(who.Session), err)
	}
	for _, kept := range []string{string(who.Session), ""} {
		away, err := c.SignOut(t.Context(), connector.SignOut{Session: []byte(kept), State: "a state"})
		if err != nil {
			t.Fatal(err)
		}
		u, err := url.Parse(away.URL)
		if err != nil || u.Host != p.Listener.Addr().String() || u.Path != "/end" || away.Form != nil {
			t.Fatalf("leads to %s, %v", away.URL, err)
		}
		q := u.Query()
		for name, want := range map[string]string{
			"realm": "a b", "client_id": "us", "post_logout_redirect_uri": signOutURL, "state": "a state", "id_token_hint": kept,
		} {
			if q.Get(name) != want || q.Has(name) != (want != "") {
				t.Errorf("%s is %q, want %q", name, q[name], want)
			}
		}
	}
	if err := c.SignedOut(t.Context(), connector.Arrival{Query: url.Values{"state": {"a state"}}}); err != nil {
		t.Error(err)
	}
}

func TestSignOutLeadsNowhere(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		ends   bool
		change []func(*oidc.Config)
	}{
		"the operator does not want it":        {true, nil},
		"the provider has no address for that": {false, []func(*oidc.Config){withSignOut}},
	} {
		p := newProvider(t)
		if c.ends {
			p.ends(p.URL + "/end")
		}
		conn := p.connect(c.change...)
		who, err := p.signIn(conn)
		if err != nil || c.change == nil && who.Session != nil {
			t.Errorf("%s: %d bytes are kept, %v", name, len(who.Session), err)
		}
		away, err := conn.SignOut(t.Context(), connector.SignOut{State: "s"})
		if err != nil || away.URL != "" {
			t.Errorf("%s: leads to %q, %v", name, away.URL, err)
		}
	}
}

// A provider that is down, or not the one it was, is nowhere to lead a browser to.
func TestSignOutProviderDown(t *testing.T) {
	t.Parallel()
	for name, breaks := range map[string]func(p *fakeProvider, cancel func()){
		"gone": func(p *fakeProvider, _ func()) { p.Close() },
		"failing": func(p *fakeProvider, _ func()) {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.handlers["/.well-known/openid-configuration"] = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) }
		},
		"hanging": func(p *fakeProvider, cancel func()) { // until the caller has had enough
			p.mu.Lock()
			defer p.mu.Unlock()
			p.handlers["/.well-known/openid-configuration"] = func(_ http.ResponseWriter, r *http.Request) { cancel(); <-r.Context().Done() }
		},
		"elsewhere": func(p *fakeProvider, _ func()) { p.ends("javascript:alert(1)") },
	} {
		p := newProvider(t)
		p.ends(p.URL + "/end")
		c := p.connect(withSignOut)
		ctx, cancel := context.WithCancel(t.Context())
		breaks(p, cancel)
		away, err := c.SignOut(ctx, connector.SignOut{State: "s"})
		cancel()
		if !errors.Is(err, connector.ErrUpstream) || away.URL != "" {
			t.Errorf("%s: leads to %q, %v", name, away.URL, err)
		}
	}
	if _, err := newProvider(t).unknown(withSignOut, func(c *oidc.Config) { c.Issuer = "http://127.0.0.1:1" }).
		SignOut(t.Context(), connector.SignOut{State: "s"}); !errors.Is(err, connector.ErrUpstream) {
		t.Errorf("never there: %v", err)
	}
}
