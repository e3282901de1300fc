package server_test

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/countersign/countersign/connector"
	"github.com/countersign/countersign/connector/local"
	"github.com/countersign/countersign/connector/oidc"
	upstreams "github.com/countersign/countersign/connector/upstream"
	"github.com/countersign/countersign/e2e/person"
	"github.com/countersign/countersign/server"
	"github.com/countersign/countersign/server/flow"
	"github.com/countersign/countersign/server/oauth"
	"github.com/countersign/countersign/storage"
)

// changing is a list of people that changes while the provider runs.
type changing struct {
	atomic.Pointer[local.Connector]
}

func (c *changing) Prompt() string { return "" }

func (c *changing) Login(ctx context.Context, username, password string) (connector.Identity, error) {
	return c.Load().Login(ctx, username, password)
}

func (c *changing) Refresh(ctx context.Context, before connector.Identity) (connector.Identity, error) {
	return c.Load().Refresh(ctx, before)
}

// federation is a provider behind another one: people of up sign in at down's
// clients.
type federation struct {
	t        *testing.T
	clock    *clock
	up, down *world
	people   *changing
	// signOut: who signs out at down is signed out at up.
	signOut bool
	// mute: up gives down no refresh token.
	mute bool
}

// federate starts both, at one clock.
func federate(t *testing.T, engine string, options ...option) *federation {
	t.Helper()
	f := &federation{t: t, clock: new(clock), people: new(changing)}
	f.start(engine, options...)
	return f
}

// start starts up as soon as down's address is known.
func (f *federation) start(engine string, options ...option) {
	f.t.Helper()
	f.staff("dev", "ops")
	startUp := func(down *server.Config) {
		back := down.Policy.Issuer + "/logout/callback"
		f.up = newDatabase(f.t, engine).replica(f.t, f.clock, func(c *server.Config) {
			c.Sessions.CookieName = "upstream_session" // both are on one host
			c.Connectors[0].Password = f.people
			yes := true
			c.Clients = []storage.Client{{ID: "down", Public: true, SkipApproval: &yes,
				RedirectURIs: []string{"http://127.0.0.1/dex/callback"}, PostLogoutRedirectURIs: []string{back}}}
		})
	}
	f.down = newDatabase(f.t, engine).replica(f.t, f.clock, append([]option{startUp, f.connect("partner")}, options...)...)
}

// staff says whom up knows: alice with these groups, or without any, nobody.
func (f *federation) staff(groups ...string) {
	f.t.Helper()
	list := []local.Password{{Email: bob, Hash: hash(f.t, bobPassword), UserID: "user-bob", Username: "bob"}}
	if len(groups) > 0 {
		list = append(list, local.Password{
			Email: alice, Hash: hash(f.t, alicePassword), UserID: "user-alice", Username: "alice", Name: "Alice Liddell",
			PreferredUsername: "alice", EmailVerified: true, Groups: groups,
		})
	}
	f.people.Store(people(f.t, list...))
}

// connect gives a provider up as its only connector.
func (f *federation) connect(id string) option {
	return func(c *server.Config) {
		client, err := upstreams.Client(upstreams.TLS{})
		if err != nil {
			f.t.Fatal(err)
		}
		signOutURL := ""
		if f.signOut {
			signOutURL = c.Policy.Issuer + "/logout/callback"
		}
		scopes := []string{"openid", "profile", "email", "groups"}
		if !f.mute {
			scopes = append(scopes, "offline_access")
		}
		conn, err := oidc.New(oidc.Config{
			SignOutURL: signOutURL, Issuer: f.up.issuer, ClientID: "down", CallbackURL: c.Policy.Issuer + "/callback", Groups: true,
			Scopes: scopes,
			Client: client, Now: f.clock.now, Logger: c.Logger,
		})
		if err != nil {
			f.t.Fatal(err)
		}
		c.Connectors = []flow.Connector{{
			Connector: oauth.Connector{ID: id}, Name: "Partner", Type: "oidc", Redirect: conn,
			Recheck: oauth.Recheck{After: 5 * time.Minute, StaleIfError: time.Hour},
		}}
	}
}

// known waits until down knows up.
func (f *federation) known() {
	f.t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		page := f.down.get(f.down.browser(), f.down.request())
		if strings.HasPrefix(page.URL.String(), f.up.issuer) {
			return
		}
		if time.Now().After(deadline) {
			f.t.Fatalf("down does not know up: %d %s", page.Status, page.Body)
		}
	}
}

// atUp is a browser at up's password page, on the way to down's client.
func (f *federation) atUp(pairs ...string) (*person.Person, *person.Page) {
	f.t.Helper()
	p := f.down.browser()
	page := f.down.get(p, f.down.request(append([]string{"scope", offline}, pairs...)...))
	if !strings.HasPrefix(page.URL.String(), f.up.issuer+"/flow/") {
		f.t.Fatalf("not at the upstream: %d at %s\n%s", page.Status, page.URL, page.Body)
	}
	return p, page
}

// tokens signs alice in at down's client.
func (f *federation) tokens() answer {
	f.t.Helper()
	p, page := f.atUp()
	page = f.down.approve(p, f.down.submit(p, page, "login", alice, "password", alicePassword))
	return f.down.redeem(f.down.response(page).Get("code"))
}

// A person of one provider signs in at a client of another; their groups follow
// them, and so does their end.
func TestOIDCUpstream(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		f := federate(t, engine)
		f.known()
		a := f.tokens()
		got := claims(t, a.str("id_token"))
		sub := oauth.Subject(oauth.Subject("user-alice", "staff"), "partner")
		if got["sub"] != sub || got["email"] != alice || got["email_verified"] != true || len(groupsOf(got)) != 2 {
			t.Errorf("claims %v", got)
		}

		f.staff("ops")
		f.clock.advance(5*time.Minute + time.Second)
		a = f.down.goOn(a.str("refresh_token"))
		if got := groupsOf(claims(t, a.str("id_token"))); len(got) != 1 || got[0] != "ops" {
			t.Errorf("after a group was taken away: %v", got)
		}
		// Their upstream refresh token was rotated and kept.
		f.clock.advance(5*time.Minute + time.Second)
		a = f.down.goOn(a.str("refresh_token"))

		f.staff()
		f.clock.advance(5*time.Minute + time.Second)
		f.down.refresh(a.str("refresh_token")).expect(t, "somebody who is gone upstream", 400, "invalid_grant")
	})
}

// Single sign-on gives nobody a code whom a refresh would give nothing.
func TestOIDCUpstreamSingleSignOn(t *testing.T) {
	// signIn is a browser in which alice is signed in at down.
	signIn := func(f *federation, pairs ...string) *person.Person {
		f.t.Helper()
		p, page := f.atUp(pairs...)
		f.down.response(f.down.approve(p, f.down.submit(p, page, "login", alice, "password", alicePassword)))
		return p
	}
	silent := func(f *federation, p *person.Person) url.Values {
		f.t.Helper()
		return f.down.response(f.down.get(p, f.down.request("scope", offline, "prompt", "none")))
	}
	refused := func(f *federation, p *person.Person, what, want string) {
		f.t.Helper()
		if back := silent(f, p); back.Get("error") != want || back.Has("code") {
			f.t.Errorf("%s: %v, want %s", what, back, want)
		}
	}
	// again: in the browser they are led to the provider, and come back with a code.
	again := func(f *federation, p *person.Person) {
		f.t.Helper()
		page := f.down.get(p, f.down.request("scope", offline))
		if !strings.HasPrefix(page.URL.String(), f.up.issuer+"/flow/") {
			f.t.Fatalf("not at the upstream: %d at %s\n%s", page.Status, page.URL, page.Body)
		}
		back := f.down.response(f.down.approve(p, f.down.submit(p, page, "login", alice, "password", alicePassword)))
		if back.Get("code") == "" || silent(f, p).Get("code") == "" {
			f.t.Errorf("after signing in again: %v", back)
		}
	}
	onEngines(t, func(t *testing.T, engine string) {
		f := federate(t, engine)
		f.known()
		p := signIn(f)
		f.staff("ops")
		f.clock.advance(5*time.Minute + time.Second)
		a := f.down.redeem(silent(f, p).Get("code"))
		if got := groupsOf(claims(t, a.str("id_token"))); len(got) != 1 || got[0] != "ops" {
			t.Errorf("after a group was taken away: %v", got)
		}
		f.staff()
		f.clock.advance(5*time.Minute + time.Second)
		refused(f, p, "somebody who is gone upstream", "login_required")
		if f.down.signedIn(p) {
			t.Error("they are signed in")
		}
		f.down.refresh(a.str("refresh_token")).expect(t, "and so are their grants", 400, "invalid_grant")
	})
	t.Run("gone while a page asks", func(t *testing.T) {
		t.Parallel()
		f := federate(t, "sqlite")
		f.known()
		p := signIn(f)
		consent := f.down.get(p, f.down.request("scope", offline, "prompt", "consent"))
		f.staff()
		f.clock.advance(5*time.Minute + time.Second)
		if page := f.down.submit(p, consent, "approval", "approve"); !strings.HasPrefix(page.URL.String(), f.up.issuer+"/flow/") {
			t.Errorf("%d at %s\n%s", page.Status, page.URL, page.Body)
		}
	})
	t.Run("the upstream is away", func(t *testing.T) {
		t.Parallel()
		f := federate(t, "sqlite")
		f.known()
		p := signIn(f)
		f.up.http.Close()
		f.clock.advance(10 * time.Minute)
		if back := silent(f, p); back.Get("code") == "" {
			t.Errorf("for a moment: %v", back)
		}
		f.clock.advance(45 * time.Minute)
		f.down.get(p, f.down.request("scope", offline)) // keeps the session from being idle
		f.clock.advance(6 * time.Minute)
		refused(f, p, "for longer than staleIfError", "temporarily_unavailable")
		p.Leave = f.up.issuer
		if page := f.down.get(p, f.down.request("scope", offline)); !page.Left {
			t.Errorf("%d at %s\n%s", page.Status, page.URL, page.Body)
		}
	})
	t.Run("the upstream cannot be asked", func(t *testing.T) {
		t.Parallel()
		f := &federation{t: t, clock: new(clock), people: new(changing), mute: true}
		f.start("sqlite")
		f.known()
		p := signIn(f)
		f.clock.advance(55 * time.Minute)
		if back := silent(f, p); back.Get("code") == "" {
			t.Errorf("for a while: %v", back)
		}
		f.clock.advance(6 * time.Minute)
		refused(f, p, "for longer than staleIfError", "login_required")
		again(f, p)
	})
}

func groupsOf(claims map[string]any) []any { all, _ := claims["groups"].([]any); return all }

// OpenID Connect Core 1.0 section 3.1.2.1, max_age: who was seen too long ago is
// seen again, also where the upstream would let them through.
func TestOIDCUpstreamMaxAge(t *testing.T) {
	t.Parallel()
	f := federate(t, "sqlite")
	f.known()
	p, page := f.atUp()
	f.down.response(f.down.approve(p, f.down.submit(p, page, "login", alice, "password", alicePassword)))
	f.clock.advance(10 * time.Minute)
	if back := f.down.response(f.down.get(p, f.down.request("scope", offline, "max_age", "3600"))); back.Get("code") == "" {
		t.Errorf("young enough: %v", back)
	}
	if page = f.down.get(p, f.down.request("scope", offline, "max_age", "60")); !strings.HasPrefix(page.URL.String(), f.up.issuer+"/flow/") {
		t.Fatalf("too old: %d at %s", page.Status, page.URL)
	}
	f.down.response(f.down.approve(p, f.down.submit(p, page, "login", alice, "password", alicePassword)))
}

// Who wants another account than the one that the upstream knows them by, or was not
// let in with it, is asked there who they are: it would say the same for ever.
func TestOIDCUpstreamAnotherAccount(t *testing.T) {
	t.Parallel()
	f := federate(t, "sqlite", func(c *server.Config) {
		c.Connectors[0].Accept = func(who connector.Identity) (connector.Identity, error) {
			if who.Email == alice {
				return who, &connector.DeniedError{Message: "not her"}
			}
			return who, nil
		}
	})
	f.known()
	asBob := func(p *person.Person, page *person.Page) {
		t.Helper()
		if !strings.HasPrefix(page.URL.String(), f.up.issuer+"/flow/") {
			t.Fatalf("not asked at the upstream: %d at %s\n%s", page.Status, page.URL, page.Body)
		}
		page = f.down.approve(p, f.down.submit(p, page, "login", bob, "password", bobPassword))
		a := f.down.redeem(f.down.response(page).Get("code"))
		if got := claims(t, a.str("id_token"))["email"]; got != bob {
			t.Errorf("signed in as %v", got)
		}
	}
	p, page := f.atUp()
	retry := func(page *person.Page) *person.Page {
		t.Helper()
		i := slices.IndexFunc(page.Links(), func(link string) bool { return strings.HasSuffix(link, "/login/partner") })
		if page.Status != http.StatusForbidden || i < 0 {
			t.Fatalf("no way to try again: %d at %s\n%s", page.Status, page.URL, page.Body)
		}
		return f.down.get(p, page.Links()[i])
	}
	page = f.down.submit(p, page, "login", alice, "password", alicePassword)
	asBob(p, retry(page)) // she may not come in

	page = f.down.submit(p, f.down.get(p, f.down.request("scope", offline, "prompt", "select_account")), "account", "other")
	back := url.Values{"state": {flowIDOfUpstream(t, page)}, "iss": {f.up.issuer}, "error": {"access_denied"}}
	asBob(p, retry(f.down.get(p, f.down.issuer+"/callback?"+back.Encode()))) // they turned back there
}

// While the upstream is away people keep working, for staleIfError.
func TestOIDCUpstreamAway(t *testing.T) {
	f := federate(t, "sqlite")
	f.known()
	a := f.tokens()
	f.up.http.Close()
	f.clock.advance(10 * time.Minute)
	a = f.down.goOn(a.str("refresh_token"))
	f.clock.advance(51 * time.Minute)
	f.down.refresh(a.str("refresh_token")).expect(t, "after staleIfError", 503, "temporarily_unavailable")
	// Nobody can sign in, and is told so, with a way to try again.
	p := f.down.browser()
	p.Leave = f.up.issuer
	if page := f.down.get(p, f.down.request()); !page.Left {
		t.Errorf("what is known of the upstream is forgotten: %d at %s", page.Status, page.URL)
	}
}

// A provider whose upstream was never there starts, says so where people choose and
// to the operator, and works as soon as it is there.
func TestOIDCUpstreamNeverThere(t *testing.T) {
	f := &federation{t: t, clock: new(clock), people: new(changing)}
	f.up = &world{issuer: "http://127.0.0.1:1/dex"}
	f.down = newDatabase(t, "sqlite").replica(t, f.clock, f.connect("partner"), func(c *server.Config) {
		c.Connectors = append(c.Connectors, staff(t))
	})
	p := f.down.browser()
	choice := f.down.get(p, f.down.request())
	if !strings.Contains(choice.Body, "not available right now") {
		t.Errorf("the choice does not say so:\n%s", choice.Body)
	}
	page := f.down.get(p, flowOf(choice)+"/login/partner")
	if page.Status != http.StatusBadGateway || !strings.Contains(page.Body, "Partner could not be reached") && !strings.Contains(page.Body, "could not be reached") {
		t.Errorf("%d at %s\n%s", page.Status, page.URL, page.Body)
	}
	if page = f.down.approve(p, f.down.submit(p, f.down.get(p, flowOf(choice)+"/login/staff"), "login", alice, "password", alicePassword)); page.Header.Get("X-Client") == "" {
		t.Errorf("the other connector does not work: %d at %s", page.Status, page.URL)
	}
}

// The ways back that are not one's own, or not of this time.
func TestOIDCArrivals(t *testing.T) {
	f := federate(t, "sqlite", func(c *server.Config) {
		other := c.Connectors[0]
		other.ID, other.Hidden = "other", true
		c.Connectors = append(c.Connectors, other)
	})
	f.known()
	// back is the way back of a person who has signed in upstream: the address of
	// down's callback, not visited yet.
	back := func(p *person.Person, page *person.Page) *url.URL {
		t.Helper()
		p.Leave = f.down.issuer + "/callback"
		page = f.down.submit(p, page, "login", alice, "password", alicePassword)
		p.Leave = ""
		if !page.Left || !strings.HasPrefix(page.URL.String(), f.down.issuer+"/callback?") {
			t.Fatalf("not on the way back: %d at %s\n%s", page.Status, page.URL, page.Body)
		}
		return page.URL
	}
	with := func(u *url.URL, pairs ...string) string {
		q := u.Query()
		for i := 0; i+1 < len(pairs); i += 2 {
			q.Set(pairs[i], pairs[i+1])
			if pairs[i+1] == "" {
				q.Del(pairs[i])
			}
		}
		out := *u
		out.RawQuery = q.Encode()
		return out.String()
	}
	refused := func(t *testing.T, p *person.Person, address string, status int) *person.Page {
		t.Helper()
		page := f.down.get(p, address)
		if page.Header.Get("X-Client") != "" || page.Status != status || f.down.signedIn(p) {
			t.Errorf("GET %s: %d at %s, signed in: %v\n%s", address, page.Status, page.URL, f.down.signedIn(p), page.Body)
		}
		return page
	}

	t.Run("another browser", func(t *testing.T) {
		address := back(f.atUp())
		refused(t, f.down.browser(), address.String(), 400)
		thief, _ := f.atUp() // who has a flow of their own
		refused(t, thief, address.String(), 400)
	})
	t.Run("another flow of the same browser", func(t *testing.T) {
		p, page := f.atUp()
		first := back(p, page)
		second := f.down.get(p, f.down.request("scope", offline, "prompt", "login"))
		refused(t, p, with(first, "state", flowIDOfUpstream(t, second)), 502)
	})
	t.Run("no state, two states, a forged state", func(t *testing.T) {
		p, page := f.atUp()
		address := back(p, page)
		refused(t, p, with(address, "state", ""), 400)
		refused(t, p, with(address, "state", "AAAAAAAAAAAAAAAAAAAAAA"), 400)
		refused(t, p, with(address, "state", "../../logout"), 400)
		refused(t, p, address.String()+"&state="+address.Query().Get("state"), 400)
		refused(t, p, address.String()+"&arrival=x", 400)
	})
	for name, change := range map[string][]string{
		"another issuer":       {"iss", "https://evil.example"},
		"no issuer":            {"iss", ""},
		"no code":              {"code", ""},
		"another code":         {"code", "csc_AAAA"},
		"an error":             {"error", "server_error", "error_description", "<b>no</b>"},
		"an error besides":     {"error", "temporarily_unavailable"},
		"a forged arrival too": {"code", "x", "iss", "x"},
	} {
		t.Run(name, func(t *testing.T) {
			p, page := f.atUp()
			address := back(p, page)
			page = refused(t, p, with(address, change...), 502)
			if !strings.Contains(page.Body, "Try again") || strings.Contains(page.Body, "<b>no") {
				t.Errorf("the page:\n%s", page.Body)
			}
			// One departure, one arrival: the right answer comes too late, and leads to
			// another departure.
			page = f.down.get(p, address.String())
			if !slices.ContainsFunc(page.Hops, func(hop string) bool { return strings.HasPrefix(hop, f.up.issuer+"/auth") }) {
				t.Errorf("a departure was good for two arrivals: %q", page.Hops)
			}
		})
	}
	// RFC 9700 section 4.4.2.2: a connector's own address is for its answers only.
	at := func(u *url.URL, connectorID string) string {
		own := *u
		own.Path += "/" + connectorID
		return own.String()
	}
	t.Run("the address of another connector", func(t *testing.T) {
		p, page := f.atUp()
		address := back(p, page)
		refused(t, p, at(address, "nobody"), 400)
		refused(t, p, at(address, "other"), 502)
	})
	t.Run("the connector's own address", func(t *testing.T) {
		p, page := f.atUp()
		address := back(p, page)
		if page = f.down.approve(p, f.down.get(p, at(address, "partner"))); page.Header.Get("X-Client") == "" {
			t.Errorf("%d at %s\n%s", page.Status, page.URL, page.Body)
		}
	})
	// Keycloak CVE-2026-3047: what may not be used any more when people come back.
	t.Run("a connector that was taken from the client meanwhile", func(t *testing.T) {
		p, page := f.atUp()
		address := back(p, page)
		next := f.down.db.replica(t, f.clock, f.connect("partner"), func(c *server.Config) {
			c.Policy.Issuer, c.Clients[0].AllowedConnectors = f.down.issuer, []string{"other"}
		})
		p.HTTPTransport(&leaver{next.http.Client().Transport})
		refused(t, p, address.String(), 400)
	})
	t.Run("turned back", func(t *testing.T) {
		p, page := f.atUp()
		page = refused(t, p, with(back(p, page), "error", "access_denied", "code", ""), 403)
		if !strings.Contains(page.Body, "You are not signed in") {
			t.Errorf("the page:\n%s", page.Body)
		}
	})
	t.Run("again", func(t *testing.T) {
		p, page := f.atUp()
		address := back(p, page)
		if page = f.down.approve(p, f.down.get(p, address.String())); page.Header.Get("X-Client") == "" {
			t.Fatalf("%d at %s", page.Status, page.URL)
		}
		if page = f.down.get(p, address.String()); page.Status != http.StatusBadRequest {
			t.Errorf("a second time: %d at %s", page.Status, page.URL)
		}
	})
}

// flowIDOfUpstream is down's flow that a browser at up will come back to.
func flowIDOfUpstream(t *testing.T, page *person.Page) string {
	t.Helper()
	for _, hop := range page.Hops {
		u, err := url.Parse(hop)
		if err == nil && u.Query().Get("state") != "" && u.Query().Get("redirect_uri") != "" {
			return u.Query().Get("state")
		}
	}
	t.Fatalf("no state on the way: %q", page.Hops)
	return ""
}
