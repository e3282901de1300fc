package server_test

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/countersign/countersign/e2e/person"
	"github.com/countersign/countersign/server"
)

// federateSignOut is a federation in which signing out at down does so at up.
func federateSignOut(t *testing.T, engine string, options ...option) *federation {
	t.Helper()
	f := &federation{t: t, clock: new(clock), people: new(changing), signOut: true}
	f.start(engine, append([]option{withBye}, options...)...)
	f.known()
	return f
}

// signIn signs alice in at down's client, and returns her browser and id_token.
func (f *federation) signIn() (p *person.Person, hint string) {
	f.t.Helper()
	p, page := f.atUp()
	page = f.down.approve(p, f.down.submit(p, page, "login", alice, "password", alicePassword))
	return p, f.down.redeem(f.down.response(page).Get("code")).str("id_token")
}

// upKnows asks up with prompt=none whether it would sign the browser in.
func (f *federation) upKnows(p *person.Person) bool {
	f.t.Helper()
	const back = "http://127.0.0.1:7777/dex/callback"
	page := f.up.get(p, f.up.request("client_id", "down", "redirect_uri", back, "prompt", "none"))
	if !strings.HasPrefix(page.URL.String(), back+"?") {
		f.t.Fatalf("prompt=none at up: %d at %s", page.Status, page.URL)
	}
	if failed := page.URL.Query().Get("error"); failed != "" && failed != "login_required" {
		f.t.Fatalf("prompt=none at up: %s", failed)
	}
	return page.URL.Query().Get("code") != ""
}

// leaveFor signs out at down and stops on the way to up. It returns the address
// there.
func (f *federation) leaveFor(p *person.Person, hint string, pairs ...string) *url.URL {
	f.t.Helper()
	p.Leave = f.up.issuer
	page := f.down.get(p, f.down.logout(append([]string{"id_token_hint", hint, "post_logout_redirect_uri", bye}, pairs...)...))
	p.Leave = ""
	if !page.Left || page.URL.Path != "/dex/logout" {
		f.t.Fatalf("not on the way to the upstream: %d at %s\n%s", page.Status, page.URL, page.Body)
	}
	return page.URL
}

// back is where up leads the browser back to.
func (f *federation) back(state string) string {
	return f.down.issuer + "/logout/callback?" + url.Values{"state": {state}}.Encode()
}

// Who signs out at one provider is signed out at the one behind it, and arrives
// where the client wanted, with its state.
func TestOIDCUpstreamSignOut(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		f := federateSignOut(t, engine)
		p, hint := f.signIn()
		if !f.upKnows(p) {
			t.Fatal("up does not know the browser")
		}
		page := f.down.get(p, f.down.logout("id_token_hint", hint, "post_logout_redirect_uri", bye, "state", "a b&c"))
		if page.URL.String() != bye+"?state=a+b%26c" {
			t.Fatalf("%d at %s after %q", page.Status, page.URL, page.Hops)
		}
		u, err := url.Parse(page.Hops[0])
		if err != nil || !strings.HasPrefix(page.Hops[0], f.up.issuer+"/logout?") {
			t.Fatalf("the first hop is %s", page.Hops[0])
		}
		q := u.Query()
		if q.Get("client_id") != "down" || q.Get("post_logout_redirect_uri") != f.down.issuer+"/logout/callback" ||
			claims(t, q.Get("id_token_hint"))["aud"] != "down" || strings.Contains(q.Get("state"), "a b") {
			t.Errorf("up is asked %v", q)
		}
		if f.down.signedIn(p) || f.upKnows(p) {
			t.Errorf("still signed in: at down %v, at up %v", f.down.signedIn(p), f.upKnows(p))
		}
		// The next person at the browser is asked who they are.
		if page := f.down.get(p, f.down.request()); !strings.HasPrefix(page.URL.String(), f.up.issuer+"/flow/") {
			t.Errorf("the next person: %d at %s", page.Status, page.URL)
		}
	})
}

// Without being asked to, nobody is signed out upstream.
func TestOIDCUpstreamSignOutIsOff(t *testing.T) {
	t.Parallel()
	f := federate(t, "sqlite", withBye)
	f.known()
	p, hint := f.signIn()
	page := f.down.get(p, f.down.logout("id_token_hint", hint, "post_logout_redirect_uri", bye))
	if page.URL.String() != bye || len(page.Hops) != 1 || !f.upKnows(p) {
		t.Errorf("%d at %s after %q, up knows the browser: %v", page.Status, page.URL, page.Hops, f.upKnows(p))
	}
}

// Nothing of ours waits for the upstream: the session has ended, the clients are to
// be told, and what ends with it is gone, when the browser leaves.
func TestOIDCUpstreamSignOutComesLast(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		f := federateSignOut(t, engine, func(c *server.Config) {
			c.Clients[0].EndsWithSession = true
			c.Clients[0].BackchannelLogoutURI, c.Clients[0].BackchannelLogoutPrivate = "http://127.0.0.1:1/told", true
		})
		p, page := f.atUp()
		page = f.down.approve(p, f.down.submit(p, page, "login", alice, "password", alicePassword))
		a := f.down.redeem(f.down.response(page).Get("code"))
		f.leaveFor(p, a.str("id_token"))
		if f.down.signedIn(p) {
			t.Error("still signed in")
		}
		f.down.refresh(a.str("refresh_token")).expect(t, "what ends with the session", 400, "invalid_grant")
		told := 0
		if err := f.down.side().QueryRow(`SELECT count(*) FROM logout_deliveries`).Scan(&told); err != nil || told != 1 {
			t.Errorf("%d clients are to be told, %v", told, err)
		}
		if !f.upKnows(p) {
			t.Error("the browser has not been at up yet")
		}
	})
}

// The ways back that are not this browser's, or not of this time: none leads to the
// client, and none signs anybody out.
func TestOIDCSignOutStates(t *testing.T) {
	t.Parallel()
	f := federateSignOut(t, "sqlite")
	stays := func(t *testing.T, p *person.Person, address string) *person.Page {
		t.Helper()
		page := f.down.get(p, address)
		if leaves(page) || page.Status != http.StatusOK {
			t.Errorf("GET %s: %d at %s after %q", address, page.Status, page.URL, page.Hops)
		}
		return page
	}
	arrives := func(t *testing.T, p *person.Person, state string) {
		t.Helper()
		if page := f.down.get(p, f.back(state)); page.URL.String() != bye+"?state=s" {
			t.Errorf("the right way back: %d at %s", page.Status, page.URL)
		}
	}
	t.Run("another browser", func(t *testing.T) {
		p, hint := f.signIn()
		state := f.leaveFor(p, hint, "state", "s").Query().Get("state")
		stays(t, f.down.browser(), f.back(state))
		other, otherHint := f.signIn()
		if page := stays(t, other, f.back(state)); !asks(page) || !f.down.signedIn(other) {
			t.Errorf("who is signed in: %d at %s", page.Status, page.URL)
		}
		f.leaveFor(other, otherHint)
		stays(t, other, f.back(state)) // also one with a departure of its own
		arrives(t, p, state)
	})
	t.Run("no state, two states, forged ones", func(t *testing.T) {
		p, hint := f.signIn()
		state := f.leaveFor(p, hint, "state", "s").Query().Get("state")
		for _, address := range []string{
			f.down.issuer + "/logout/callback", f.back(""), f.back("AAAAAAAAAAAAAAAAAAAAAA"), f.back("../flow/x"),
			f.back(state + "A"), f.back(state[1:]), f.back(state) + "&state=" + state, f.back(state) + "&RelayState=" + state,
			f.down.issuer + "/logout/away/AAAAAAAAAAAAAAAAAAAAAA", f.down.issuer + "/logout/callback?state=%zz",
		} {
			stays(t, p, address)
		}
		arrives(t, p, state)
	})
	t.Run("again", func(t *testing.T) {
		p, hint := f.signIn()
		state := f.leaveFor(p, hint, "state", "s").Query().Get("state")
		arrives(t, p, state)
		stays(t, p, f.back(state))
	})
	t.Run("too late", func(t *testing.T) {
		p, hint := f.signIn()
		state := f.leaveFor(p, hint, "state", "s").Query().Get("state")
		kept := p.Cookies(f.down.issuer + "/logout/away/" + state)
		f.clock.advance(31 * time.Minute)
		p.SetCookies(f.down.issuer+"/logout/away/"+state, kept) // whatever the browser thinks of its age
		stays(t, p, f.back(state))
	})
	t.Run("the cookie of another departure", func(t *testing.T) {
		p, hint := f.signIn()
		first := f.leaveFor(p, hint, "state", "s").Query().Get("state")
		kept := p.Cookies(f.down.issuer + "/logout/away/" + first)
		if len(kept) == 0 {
			t.Fatal("no cookie")
		}
		// have gives the browser the cookie at a departure's path, changed.
		have := func(id string, change func(value string) string) {
			for _, c := range kept {
				if c.Name == "countersign_logout" {
					p.SetCookies(f.down.issuer+"/logout/away/"+id, []*http.Cookie{{Name: c.Name, Path: "/dex/logout/away/" + id, Value: change(c.Value)}})
				}
			}
		}
		same := func(value string) string { return value }
		const other = "AAAAAAAAAAAAAAAAAAAAAA"
		have(other, same)
		stays(t, p, f.back(other))
		have(first, func(value string) string { return value[:len(value)-4] + "AAAA" })
		stays(t, p, f.back(first))
		have(first, same)
		arrives(t, p, first)
	})
	t.Run("an address that is not registered any more", func(t *testing.T) {
		p, hint := f.signIn()
		state := f.leaveFor(p, hint, "state", "s").Query().Get("state")
		next := f.down.db.replica(t, f.clock, func(c *server.Config) { c.Policy.Issuer = f.down.issuer }, f.connect("partner"))
		p.HTTPTransport(&leaver{next.http.Client().Transport})
		stays(t, p, f.back(state))
	})
}

// An upstream that is down keeps nobody signed in here, and they are told.
func TestOIDCSignOutUpstreamDown(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		f := federateSignOut(t, engine)
		p, hint := f.signIn()
		f.up.http.Close()
		page := f.down.get(p, f.down.logout("id_token_hint", hint, "post_logout_redirect_uri", bye, "state", "s"))
		if page.Status != http.StatusOK || !strings.Contains(page.Body, "You may still be signed in at <bdi>Partner</bdi>") ||
			!slices.Contains(page.Links(), bye+"?state=s") {
			t.Errorf("%d at %s\n%s", page.Status, page.URL, page.Body)
		}
		if f.down.signedIn(p) {
			t.Error("still signed in")
		}
	})
}

// An id_token that is too large to be kept is left out: up asks the person.
func TestOIDCSignOutWithoutHint(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		f := federateSignOut(t, engine)
		groups := make([]string, 300)
		for i := range groups {
			groups[i] = "a-group-with-a-long-name-" + string(rune('a'+i%26))
		}
		f.staff(groups...)
		p, hint := f.signIn()
		page := f.down.get(p, f.down.logout("id_token_hint", hint, "post_logout_redirect_uri", bye, "state", "s"))
		if !asks(page) || !strings.HasPrefix(page.URL.String(), f.up.issuer) || page.URL.Query().Has("id_token_hint") {
			t.Fatalf("%d at %s\n%s", page.Status, page.URL, page.Body)
		}
		if page = f.up.submit(p, page); page.URL.String() != bye+"?state=s" || f.upKnows(p) {
			t.Errorf("%d at %s, up knows the browser: %v", page.Status, page.URL, f.upKnows(p))
		}
	})
}

// A state that does not fit into a cookie costs the way to the client, and nothing
// else.
func TestOIDCSignOutTooLargeToCarry(t *testing.T) {
	t.Parallel()
	f := federateSignOut(t, "sqlite")
	p, hint := f.signIn()
	page := f.down.get(p, f.down.logout("id_token_hint", hint, "post_logout_redirect_uri", bye, "state", strings.Repeat(`"`, 2048)))
	if leaves(page) || page.Status != http.StatusOK || !strings.Contains(page.Body, "You are signed out") || f.upKnows(p) || f.down.signedIn(p) {
		t.Errorf("%d at %s\n%s", page.Status, page.URL, page.Body)
	}
}

// Our own pages sign out upstream, too.
func TestOIDCSignOutFromOurPages(t *testing.T) {
	for name, signOut := range map[string]func(f *federation, p *person.Person) *person.Page{
		"home": func(f *federation, p *person.Person) *person.Page {
			return f.down.submit(p, f.down.get(p, f.down.issuer+"/"))
		},
		"everything": func(f *federation, p *person.Person) *person.Page {
			return f.down.submit(p, f.down.get(p, f.down.issuer+"/account"), "end", "all")
		},
		"home, in a browser that enforces form-action": func(f *federation, p *person.Person) *person.Page {
			home := f.down.get(p, f.down.issuer+"/")
			p.Header = http.Header{"Sec-Fetch-Site": {"same-origin"}, "Sec-Fetch-Mode": {"navigate"}}
			defer func() { p.Header = nil }()
			return f.down.submit(p, home)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := federateSignOut(t, "sqlite")
			p, _ := f.signIn()
			page := signOut(f, p)
			if page.Status != http.StatusOK || !strings.HasPrefix(page.URL.String(), f.down.issuer+"/logout") || !strings.Contains(page.Body, "You are signed out") {
				t.Errorf("%d at %s\n%s", page.Status, page.URL, page.Body)
			}
			if f.upKnows(p) || f.down.signedIn(p) {
				t.Errorf("still signed in: at down %v, at up %v", f.down.signedIn(p), f.upKnows(p))
			}
		})
	}
}
