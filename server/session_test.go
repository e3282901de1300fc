package server_test

import (
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/countersign/countersign/e2e/person"
	"github.com/countersign/countersign/server"
	"github.com/countersign/countersign/server/oauth"
)

// idToken goes the whole way and returns the claims of the id_token.
func (w *world) idToken(p *person.Person, pairs ...string) map[string]any {
	w.t.Helper()
	a := w.redeem(w.code(p, w.request(pairs...)))
	if a.status != http.StatusOK {
		w.t.Fatalf("redeeming: %d %s", a.status, a.raw)
	}
	return claims(w.t, a.str("id_token"))
}

// OpenID Connect Core 1.0 section 3.1.2.1: prompt, max_age, id_token_hint. The
// modules of the Basic OP test plan that need a session.
func TestPrompt(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		w := newWorld(t, engine)
		p := w.browser()
		state := strings.Repeat("s", 128)
		back := w.response(w.get(p, w.request("prompt", "none", "state", state)))
		if back.Get("error") != "login_required" || back.Get("state") != state || back.Get("iss") != w.issuer {
			t.Errorf("prompt=none, not signed in: %v", back)
		}
		first := w.idToken(p)
		w.clock.advance(2 * time.Second)

		silent := w.idToken(p, "prompt", "none")
		if silent["sub"] != first["sub"] || silent["auth_time"] != first["auth_time"] || silent["sid"] != first["sid"] {
			t.Errorf("prompt=none: %v, want sub, auth_time and sid of %v", silent, first)
		}
		if page := w.get(p, w.request("prompt", "login")); !strings.Contains(page.URL.Path, "/login/") {
			t.Fatalf("prompt=login does not ask, at %s", page.URL)
		}
		again := w.idToken(p, "prompt", "login")
		if again["auth_time"].(float64) <= first["auth_time"].(float64) {
			t.Errorf("auth_time after prompt=login is %v, before %v", again["auth_time"], first["auth_time"])
		}
		if again["sid"] != first["sid"] {
			t.Error("the same person in the same browser has another sid")
		}

		w.clock.advance(2 * time.Second)
		later := w.idToken(p, "max_age", "10000")
		if later["auth_time"] != again["auth_time"] {
			t.Errorf("max_age=10000: auth_time %v, want %v", later["auth_time"], again["auth_time"])
		}
		for _, age := range []string{"1", "0"} {
			fresh := w.idToken(p, "max_age", age)
			if fresh["auth_time"].(float64) <= again["auth_time"].(float64) {
				t.Errorf("max_age=%s: auth_time %v, before %v", age, fresh["auth_time"], again["auth_time"])
			}
			w.clock.advance(2 * time.Second)
		}
		back = w.response(w.get(p, w.request("prompt", "none", "max_age", "1")))
		if back.Get("error") != "login_required" {
			t.Errorf("prompt=none and max_age=1: %v", back)
		}
	})
}

func TestIDTokenHint(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		w := newWorld(t, engine)
		p := w.browser()
		a := w.redeem(w.code(p, w.request()))
		hint := a.str("id_token")
		if got := w.idToken(p, "prompt", "none", "id_token_hint", hint); got["sub"] != oauth.Subject("user-alice", "staff") {
			t.Errorf("sub = %v", got["sub"])
		}
		// An expired hint is still a hint.
		w.clock.advance(11 * time.Minute)
		w.idToken(p, "prompt", "none", "id_token_hint", hint)
		// Somebody else is signed in.
		q := w.browser()
		w.response(w.approve(q, w.submit(q, w.get(q, w.request()), "login", bob, "password", bobPassword)))
		back := w.response(w.get(q, w.request("prompt", "none", "id_token_hint", hint)))
		if back.Get("error") != "login_required" {
			t.Errorf("prompt=none with alice's hint in bob's browser: %v", back)
		}
		page := w.get(q, w.request("id_token_hint", hint))
		if !strings.Contains(page.URL.Path, "/login/") {
			t.Fatalf("alice's hint in bob's browser leads to %s", page.URL)
		}
		sessions := w.rows()["sessions"]
		back = w.response(w.submit(q, page, "login", bob, "password", bobPassword))
		if back.Get("error") != "login_required" || w.rows()["sessions"] != sessions {
			t.Errorf("bob signs in where alice was asked for: %v", back)
		}
		// Altered, unsigned, an access token, nonsense.
		parts := strings.Split(hint, ".")
		for name, bad := range map[string]string{
			"altered":      parts[0] + "." + parts[1] + "x." + parts[2],
			"alg none":     "eyJhbGciOiJub25lIn0." + parts[1] + ".",
			"access token": a.str("access_token"),
			"nonsense":     "x",
		} {
			back := w.response(w.get(p, w.request("id_token_hint", bad)))
			if back.Get("error") != "invalid_request" {
				t.Errorf("%s: %v", name, back)
			}
		}
	})
}

func TestSelectAccount(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		w := newWorld(t, engine)
		p := w.browser()
		page := w.get(p, w.request("prompt", "select_account"))
		if !strings.Contains(page.URL.Path, "/login/") {
			t.Fatalf("nobody is signed in, at %s", page.URL)
		}
		w.response(w.signIn(p, w.request()))
		page = w.get(p, w.request("prompt", "select_account"))
		if !strings.HasSuffix(page.URL.Path, "/account") || !strings.Contains(page.Body, "Alice Liddell") {
			t.Fatalf("at %s, want the choice of account", page.URL)
		}
		if w.response(w.submit(p, page, "account", "continue")).Get("code") == "" {
			t.Error("no code after going on")
		}
		page = w.get(p, w.request("prompt", "select_account"))
		page = w.submit(p, page, "account", "other")
		if !strings.Contains(page.URL.Path, "/login/") {
			t.Fatalf("another account: at %s", page.URL)
		}
		page = w.approve(p, w.submit(p, page, "login", bob, "password", bobPassword))
		a := w.redeem(w.response(page).Get("code"))
		if sub := claims(t, a.str("id_token"))["sub"]; sub != oauth.Subject("user-bob", "staff") {
			t.Errorf("sub = %v, want bob's", sub)
		}
		// Going on counts for the person whose name was on the page.
		page = w.get(p, w.request("prompt", "select_account"))
		w.response(w.submit(p, w.get(p, w.request("prompt", "login")), "login", alice, "password", alicePassword))
		page = w.submit(p, page, "account", "continue")
		if !strings.HasSuffix(page.URL.Path, "/account") || !strings.Contains(page.Body, "Alice Liddell") {
			t.Errorf("bob's page was answered for alice: at %s", page.URL)
		}
	})
}

// SECURITY "Cookies": prefixes, flags, and that a login always makes a new id.
func TestSessionCookie(t *testing.T) {
	for name, options := range map[string][]option{"http": nil, "https": {https}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "sqlite", options...)
			p := w.browser()
			page := w.get(p, w.request())
			flowCookie := w.setCookie(w.get(p, w.request()), "countersign_flow")
			if flowCookie != nil {
				t.Error("a page sets a flow cookie; only the redirect to it should")
			}
			page = w.submitRaw(p, page, "login", alice, "password", alicePassword)
			c := w.setCookie(page, "countersign_session")
			if c == nil {
				t.Fatal("no session cookie")
			}
			secure := name == "https"
			want := "countersign_session"
			if secure {
				want = "__Host-" + want
			}
			if c.Name != want || c.Secure != secure || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Path != "/" || c.Domain != "" || c.MaxAge != 0 {
				t.Errorf("session cookie: %+v", c)
			}
			// Fixation: whatever id the browser came with, it leaves with another.
			before := c.Value
			page = w.get(p, w.request("prompt", "login"))
			page = w.submitRaw(p, page, "login", alice, "password", alicePassword, "remember", "on")
			c = w.setCookie(page, "countersign_session")
			if c == nil || c.Value == before || c.MaxAge <= 0 {
				t.Errorf("after another login: %+v", c)
			}
			// The old id is dead at once.
			q := w.browser()
			old := *c
			old.Value = before
			q.SetCookies(w.issuer, []*http.Cookie{&old})
			if back := w.response(w.get(q, w.request("prompt", "none"))); back.Get("error") != "login_required" {
				t.Errorf("the replaced session still works: %v", back)
			}
		})
	}
}

// submitRaw posts the first form and does not follow.
func (w *world) submitRaw(p *person.Person, page *person.Page, pairs ...string) *person.Page {
	w.t.Helper()
	p.Leave = "http" // any redirect leaves
	defer func() { p.Leave = "" }()
	return w.submit(p, page, pairs...)
}

// setCookie returns the cookie of that name, whatever its prefix, that a response
// sets.
func (w *world) setCookie(page *person.Page, name string) *http.Cookie {
	w.t.Helper()
	for _, c := range (&http.Response{Header: page.Header}).Cookies() {
		if strings.HasSuffix(c.Name, name) {
			return c
		}
	}
	return nil
}

func TestSessionEnds(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		signedIn := func(w *world, p *person.Person) bool {
			return w.response(w.get(p, w.request("prompt", "none"))).Get("code") != ""
		}
		w := newWorld(t, engine)
		p := w.browser()
		w.response(w.signIn(p, w.request()))
		// Used every half hour it lives on, to its absolute end.
		for range 47 {
			w.clock.advance(30 * time.Minute)
			if !signedIn(w, p) {
				t.Fatal("signed out although used")
			}
		}
		w.clock.advance(31 * time.Minute)
		if signedIn(w, p) {
			t.Error("still signed in after 24 h")
		}
		w.response(w.signIn(p, w.request()))
		w.clock.advance(61 * time.Minute)
		if signedIn(w, p) {
			t.Error("still signed in after an idle hour")
		}
		// "Keep me signed in" outlives both.
		page := w.submit(p, w.get(p, w.request()), "login", alice, "password", alicePassword, "remember", "on")
		w.response(w.approve(p, page))
		w.clock.advance(29 * 24 * time.Hour)
		if !signedIn(w, p) {
			t.Error("not kept signed in for 29 days")
		}
	})
}

func TestSignOut(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		w := newWorld(t, engine)
		p := w.browser()
		page := w.get(p, w.issuer+"/")
		if page.Status != http.StatusOK || len(page.Forms) != 0 {
			t.Fatalf("home, not signed in: %d, %d forms", page.Status, len(page.Forms))
		}
		w.response(w.signIn(p, w.request()))
		page = w.get(p, w.issuer+"/")
		if !strings.Contains(page.Body, "Alice Liddell") || len(page.Forms) != 1 {
			t.Fatalf("home, signed in: %s", page.Body)
		}
		// Another site cannot sign people out: they are asked.
		p.Header = http.Header{"Sec-Fetch-Site": {"cross-site"}, "Origin": {"https://evil.example"}}
		if got := w.submit(p, page); !asks(got) || w.rows()["sessions"] != 1 {
			t.Errorf("a foreign form signs out: %d", got.Status)
		}
		p.Header = nil
		if got := w.submit(p, page); got.Status != http.StatusOK || w.rows()["sessions"] != 0 {
			t.Errorf("signing out: %d, %d sessions left", got.Status, w.rows()["sessions"])
		}
		if back := w.response(w.get(p, w.request("prompt", "none"))); back.Get("error") != "login_required" {
			t.Errorf("after signing out: %v", back)
		}
	})
}

// Single sign-on is shared as configured, and never further (dex #4885).
func TestSharedSignOn(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		w := newWorld(t, engine, func(c *server.Config) {
			c.Policy.SSOSharedWithAll = false
			c.Clients[0].SSOSharedWith = []string{"other"}
			c.Clients[1].SSOSharedWith = []string{"native"}
		})
		p := w.browser()
		w.response(w.signIn(p, w.request()))
		other := []string{"client_id", "other", "redirect_uri", otherCallback, "prompt", "none"}
		native := []string{"client_id", "native", "redirect_uri", nativeApp, "prompt", "none"}
		if back := w.response(w.get(p, w.request(other...))); back.Get("error") != "consent_required" {
			t.Errorf("app shares with other: %v", back)
		}
		w.response(w.approve(p, w.get(p, w.request(other[:4]...))))
		if back := w.response(w.get(p, w.request(native...))); back.Get("error") != "login_required" {
			t.Errorf("app does not share with native, not through other either: %v", back)
		}
		// Having signed in at other itself, native may.
		page := w.get(p, w.request(append(other[:4:4], "prompt", "login")...))
		w.response(w.approve(p, w.submit(p, page, "login", alice, "password", alicePassword)))
		if back := w.response(w.get(p, w.request(native...))); back.Get("error") != "consent_required" {
			t.Errorf("other shares with native: %v", back)
		}
	})
}

// The forms of a flow are ours alone: http.CrossOriginProtection. Nobody is signed in,
// chosen or said yes for by another site's.
func TestForeignForms(t *testing.T) {
	w := newWorld(t, "sqlite")
	p := w.browser()
	for _, step := range []struct {
		at    string // the page with the form
		form  []string
		leads string // where our own leads to
	}{
		{"/login/staff", []string{"login", alice, "password", alicePassword}, "/consent"},
		{"/account", []string{"account", "continue"}, "/consent"},
		{"/consent", []string{"approval", "approve"}, "/callback"},
	} {
		page := w.get(p, w.request("prompt", "select_account consent"))
		if step.at == "/login/staff" {
			page = w.get(p, flowOf(page)+step.at)
		} else if step.at == "/consent" {
			page = w.submit(p, page, "account", "continue")
		}
		if !strings.HasSuffix(page.URL.Path, step.at) {
			t.Fatalf("at %s, want %s", page.URL, step.at)
		}
		before := w.rows()
		for name, header := range map[string]http.Header{
			"another site":                {"Sec-Fetch-Site": {"cross-site"}},
			"another host of our site":    {"Sec-Fetch-Site": {"same-site"}},
			"an old browser":              {"Origin": {"https://evil.example"}},
			"a sandboxed frame":           {"Origin": {"null"}, "Sec-Fetch-Site": {"cross-site"}},
			"another port of our machine": {"Origin": {"http://127.0.0.1:1"}},
		} {
			p.Header = header
			if got := w.submit(p, page, step.form...); got.Status != http.StatusForbidden || !maps.Equal(w.rows(), before) {
				t.Errorf("%s, %s: %d at %s, rows %v", step.at, name, got.Status, got.URL, w.rows())
			}
		}
		p.Header = http.Header{"Sec-Fetch-Site": {"same-origin"}, "Origin": {w.issuer[:len(w.issuer)-len("/dex")]}}
		if got := w.submit(p, page, step.form...); !strings.HasSuffix(got.URL.Path, step.leads) {
			t.Errorf("%s, our own form: %d at %s", step.at, got.Status, got.URL)
		}
		p.Header = nil
	}
}
