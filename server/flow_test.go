package server_test

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/countersign/countersign/connector/local"
	"github.com/countersign/countersign/e2e/person"
	"github.com/countersign/countersign/server"
	"github.com/countersign/countersign/server/flow"
	"github.com/countersign/countersign/server/oauth"
)

// DESIGN idea 1: nothing is stored for strangers. (Dex writes a row per
// anonymous request: dex #1292.)
func TestStrangersWriteNothing(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		w := newWorld(t, engine)
		before := w.rows()
		var strangers sync.WaitGroup
		for i := range 10 {
			strangers.Go(func() {
				for j := range 100 {
					p := w.browser()
					page, err := p.Get(t.Context(), w.request("state", fmt.Sprint(i, j)))
					if err != nil || page.Status != http.StatusOK || !strings.Contains(page.URL.Path, "/login/staff") {
						t.Errorf("request %d/%d: %v, %+v", i, j, err, page)
						return
					}
				}
			})
		}
		strangers.Wait()
		if after := w.rows(); !maps.Equal(before, after) {
			t.Errorf("1,000 anonymous requests changed the rows from %v to %v", before, after)
		}
	})
}

// A wrong password leaves nothing but its count.
func TestWrongPasswordWritesOnlyItsCount(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		w := newWorld(t, engine)
		before := w.rows()
		p := w.browser()
		page := w.submit(p, w.get(p, w.request()), "login", alice, "password", "wrong")
		if page.Status != http.StatusUnprocessableEntity || !strings.Contains(page.URL.Path, "/login/") {
			t.Fatalf("status %d at %s", page.Status, page.URL)
		}
		if got := page.Forms[0].Fields.Get("login"); got != alice {
			t.Errorf("the typed name is %q on the page, want it kept", got)
		}
		after := w.rows()
		if after["login_failures"] == 0 {
			t.Error("the failure was not counted")
		}
		before["login_failures"] = after["login_failures"]
		if !maps.Equal(before, after) {
			t.Errorf("rows changed from %v to %v", before, after)
		}
		// And it is no dead end.
		page = w.approve(p, w.submit(p, page, "login", alice, "password", alicePassword))
		if w.response(page).Get("code") == "" {
			t.Error("no code after the right password")
		}
		if n := w.rows()["login_failures"]; n > 1 {
			t.Errorf("%d counts are left after signing in, want at most the address's", n)
		}
	})
}

// Login CSRF, CVE-2022-39222: knowing the address of somebody's flow gives
// nothing, and a flow begun in one browser cannot be finished in another.
func TestFlowBelongsToItsBrowser(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		w := newWorld(t, engine)
		attacker, victim := w.browser(), w.browser()
		page := w.get(attacker, w.request())
		for _, step := range []string{"", "/connectors", "/login/staff", "/account", "/consent"} {
			got := w.get(victim, flowOf(page)+step)
			if got.Status != http.StatusBadRequest || len(got.Forms) != 0 {
				t.Errorf("GET %q of a foreign flow: status %d, %d forms", step, got.Status, len(got.Forms))
			}
		}
		// The victim is made to post a password into the attacker's flow.
		got := w.submit(victim, page, "login", alice, "password", alicePassword)
		if got.Status != http.StatusBadRequest || len(victim.Cookies(w.issuer)) != 0 {
			t.Errorf("posting into a foreign flow: status %d, cookies %v", got.Status, victim.Cookies(w.issuer))
		}
		// And the other way round: the victim has signed in and sits at consent.
		page = w.get(victim, w.request())
		page = w.submit(victim, page, "login", alice, "password", alicePassword)
		if !strings.HasSuffix(page.URL.Path, "/consent") {
			t.Fatalf("at %s, want the consent page", page.URL)
		}
		got = w.get(attacker, page.URL.String())
		if got.Status != http.StatusBadRequest {
			t.Errorf("the attacker sees the victim's consent page: status %d", got.Status)
		}
		got = w.submit(attacker, page, "approval", "approve")
		if got.Status != http.StatusBadRequest || got.Left {
			t.Errorf("the attacker approves in the victim's name: %d at %s", got.Status, got.URL)
		}
	})
}

// A sealed flow is bound to its id and its time: moved to another flow, altered,
// truncated or old, it is nothing.
func TestFlowCookieIsSealed(t *testing.T) {
	w := newWorld(t, "sqlite")
	p := w.browser()
	page := w.get(p, w.request())
	address := flowOf(page)
	cookie := p.Cookies(address + "/x")
	if len(cookie) != 1 {
		t.Fatalf("cookies of the flow: %v", cookie)
	}
	value := cookie[0].Value
	try := func(name, address, value string) {
		t.Helper()
		p := w.browser()
		c := *cookie[0]
		c.Value, c.Path = value, "/"
		p.SetCookies(w.issuer, []*http.Cookie{&c})
		if got := w.get(p, address); got.Status != http.StatusBadRequest {
			t.Errorf("%s: status %d at %s", name, got.Status, got.URL)
		}
	}
	try("another flow's id", w.issuer+"/flow/AAAAAAAAAAAAAAAAAAAAAA", value)
	for i := range value {
		if i%16 == 0 {
			try("truncated", address, value[:i])
			flipped := []byte(value)
			flipped[i] ^= 1
			try("altered", address, string(flipped))
		}
	}
	w.clock.advance(31 * time.Minute)
	try("too old", address, value)
}

// A request that does not fit is refused to the client, not half kept.
func TestLargeRequest(t *testing.T) {
	w := newWorld(t, "sqlite")
	p := w.browser()
	state := strings.Repeat("0123456789<&>\"ab", 64) // 1 KB
	back := w.response(w.signIn(p, w.request("state", state)))
	if back.Get("state") != state {
		t.Error("a state of 1 KB does not come back as it was")
	}
	back = w.response(w.get(w.browser(), w.request("nonce", strings.Repeat("n", 3000))))
	if back.Get("error") != "invalid_request" || back.Get("state") != "the-state" {
		t.Errorf("a request too large for a cookie: %v", back)
	}
}

// State is echoed exactly, whatever it holds.
func TestStateRoundTrips(t *testing.T) {
	w := newWorld(t, "sqlite")
	p := w.browser()
	for _, state := range []string{"a b+c%20d", `"<script>&amp;'`, "日本語 🚀", "x\r\nSet-Cookie: a=b", strings.Repeat("~", 128)} {
		for _, mode := range []string{"query", "form_post"} {
			if mode == "form_post" && strings.Contains(state, "\n") {
				continue // HTML knows one kind of line break; RFC 6749 allows none in state
			}
			page := w.signIn(p, w.request("state", state, "response_mode", mode))
			var got string
			if mode == "query" {
				got = w.response(page).Get("state")
			} else {
				got = page.Forms[0].Fields.Get("state")
			}
			if got != state {
				t.Errorf("%s: state %q came back as %q", mode, state, got)
			}
		}
	}
}

func TestFormPost(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		w := newWorld(t, engine)
		p := w.browser()
		page := w.signIn(p, w.request("response_mode", "form_post"))
		if len(page.Forms) != 1 || page.Forms[0].Action.String() != callback || page.Forms[0].Method != http.MethodPost {
			t.Fatalf("no form to the client: %+v", page.Forms)
		}
		f := page.Forms[0].Fields
		if f.Get("state") != "the-state" || f.Get("iss") != w.issuer {
			t.Errorf("fields: %v", f)
		}
		if a := w.redeem(f.Get("code")); a.status != http.StatusOK {
			t.Errorf("redeeming: %d %s", a.status, a.raw)
		}
		// Errors come the same way (OAuth 2.0 Form Post Response Mode section 2).
		page = w.get(w.browser(), w.request("response_mode", "form_post", "prompt", "none"))
		if len(page.Forms) != 1 || page.Forms[0].Fields.Get("error") != "login_required" {
			t.Errorf("an error in form_post: %+v", page.Forms)
		}
	})
}

// Many tabs work at once.
func TestTwoTabs(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		w := newWorld(t, engine)
		p := w.browser()
		first := w.get(p, w.request("state", "first"))
		second := w.get(p, w.request("state", "second"))
		second = w.approve(p, w.submit(p, second, "login", alice, "password", alicePassword))
		first = w.approve(p, w.submit(p, first, "login", alice, "password", alicePassword))
		for want, page := range map[string]*person.Page{"first": first, "second": second} {
			if back := w.response(page); back.Get("state") != want || back.Get("code") == "" {
				t.Errorf("tab %s came back with %v", want, back)
			}
		}
		// A tab that was left at the password page goes on by itself when it is
		// loaded again.
		third := w.get(p, w.request("state", "third", "prompt", "login"))
		if back := w.response(w.get(p, w.request("state", "fourth"))); back.Get("code") == "" {
			t.Errorf("signed in, but %v", back)
		}
		if !strings.Contains(third.URL.Path, "/login/") {
			t.Errorf("prompt=login led to %s", third.URL)
		}
	})
}

// Two tabs that sign in at the same moment make two sessions of one person: the
// first tab's consent page still speaks for them.
func TestTabsSignInAtOnce(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		w := newWorld(t, engine)
		p := w.browser()
		first, second := w.get(p, w.request("state", "first")), w.get(p, w.request("state", "second"))
		first = w.submit(p, first, "login", alice, "password", alicePassword)
		// The second password was sent before the first answer had come.
		p.SetCookies(w.issuer, []*http.Cookie{{Name: "countersign_session", Path: "/", MaxAge: -1}})
		second = w.submit(p, second, "login", alice, "password", alicePassword)
		for want, page := range map[string]*person.Page{"second": second, "first": first} {
			if got := w.response(w.submit(p, page, "approval", "approve")); got.Get("state") != want || got.Get("code") == "" {
				t.Errorf("tab %s: %v", want, got)
			}
		}
	})
}

// Two people in two tabs of one browser: the consent page of the first must not
// speak for the second.
func TestConsentIsForWhomItShows(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		w := newWorld(t, engine)
		p := w.browser()
		consent := w.submit(p, w.get(p, w.request()), "login", alice, "password", alicePassword)
		other := w.get(p, w.request("prompt", "login", "state", "bob"))
		other = w.submit(p, other, "login", bob, "password", bobPassword)
		if !strings.HasSuffix(other.URL.Path, "/consent") {
			t.Fatalf("bob is at %s", other.URL)
		}
		// Approving on the page that shows alice does nothing but ask for bob.
		page := w.submit(p, consent, "approval", "approve")
		if page.Header.Get("X-Client") != "" || !strings.HasSuffix(page.URL.Path, "/consent") {
			t.Fatalf("alice's page was answered for bob: at %s", page.URL)
		}
		if !strings.Contains(page.Body, "Bob") || w.rows()["consents"] != 0 {
			t.Errorf("consents: %d, page:\n%s", w.rows()["consents"], page.Body)
		}
		// Refusing on it does nothing either.
		page = w.submit(p, consent, "approval", "deny")
		if page.Header.Get("X-Client") != "" {
			t.Errorf("alice's page refused for bob: at %s", page.URL)
		}
	})
}

// A double click on the last button: the browser forgets the first answer, so the
// second must be as good.
func TestDoubleSubmit(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		w := newWorld(t, engine)
		p := w.browser()
		login := w.get(p, w.request())
		consent := w.submit(p, login, "login", alice, "password", alicePassword)
		w.response(w.submit(p, consent, "approval", "approve"))
		w.clock.advance(4 * time.Second)
		if a := w.redeem(w.response(w.submit(p, consent, "approval", "approve")).Get("code")); a.status != http.StatusOK {
			t.Errorf("the code of the second submit: %d %s", a.status, a.raw)
		}
		// Refusing twice is refused twice; nothing else can be done any more.
		consent = w.get(p, w.request("prompt", "consent"))
		for range 2 {
			if back := w.response(w.submit(p, consent, "approval", "deny")); back.Get("error") != "access_denied" {
				t.Errorf("refusing: %v", back)
			}
		}
		if page := w.get(p, consent.URL.String()); page.Status != http.StatusBadRequest {
			t.Errorf("reading the page of an ended flow: status %d", page.Status)
		}
		if page := w.submit(p, consent, "approval", "neither"); page.Status != http.StatusBadRequest {
			t.Errorf("going on with an ended flow: status %d at %s", page.Status, page.URL)
		}
	})
}

// Back button, late submits, reload: a clear page each time.
func TestAfterTheEnd(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		w := newWorld(t, engine)
		p := w.browser()
		login := w.get(p, w.request())
		consent := w.submit(p, login, "login", alice, "password", alicePassword)
		w.response(w.submit(p, consent, "approval", "approve"))
		w.clock.advance(6 * time.Second)
		for name, page := range map[string]*person.Page{
			"back to the login page":    w.get(p, login.URL.String()),
			"submit the password again": w.submit(p, login, "login", alice, "password", alicePassword),
			"back to the consent page":  w.get(p, consent.URL.String()),
			"approve again":             w.submit(p, consent, "approval", "approve"),
			"the flow itself":           w.get(p, flowOf(login)),
		} {
			if page.Status != http.StatusBadRequest || page.Header.Get("X-Client") != "" || !strings.Contains(page.Body, "<h1") {
				t.Errorf("%s: status %d at %s", name, page.Status, page.URL)
			}
		}
	})
}

func TestConsent(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		w := newWorld(t, engine)
		p := w.browser()
		page := w.submit(p, w.get(p, w.request("scope", "openid email")), "login", alice, "password", alicePassword)
		if !strings.HasSuffix(page.URL.Path, "/consent") || !strings.Contains(page.Body, "The App") {
			t.Fatalf("at %s, want the consent page", page.URL)
		}
		back := w.response(w.submit(p, page, "approval", "deny"))
		if back.Get("error") != "access_denied" || back.Get("state") != "the-state" || back.Get("iss") != w.issuer {
			t.Errorf("refusing: %v", back)
		}
		// Having refused, the person is asked again.
		page = w.get(p, w.request("scope", "openid email"))
		if w.response(w.submit(p, page, "approval", "approve")).Get("code") == "" {
			t.Error("no code after approving")
		}
		// Having allowed, not any more; not for less either.
		for _, scope := range []string{"openid email", "openid"} {
			if w.response(w.get(p, w.request("scope", scope))).Get("code") == "" {
				t.Errorf("asked again for %q", scope)
			}
		}
		// But for more, for another client, for another person, when it is asked for.
		for name, address := range map[string]string{
			"more scopes":    w.request("scope", "openid email groups"),
			"another client": w.request("client_id", "other", "redirect_uri", otherCallback, "scope", "openid email"),
			"prompt=consent": w.request("scope", "openid", "prompt", "consent"),
		} {
			if page := w.get(p, address); !strings.HasSuffix(page.URL.Path, "/consent") {
				t.Errorf("%s: not asked, at %s", name, page.URL)
			}
		}
		q := w.browser()
		page = w.submit(q, w.get(q, w.request("scope", "openid email")), "login", bob, "password", bobPassword)
		if !strings.HasSuffix(page.URL.Path, "/consent") {
			t.Errorf("bob is not asked, at %s", page.URL)
		}
		// prompt=none cannot ask.
		back = w.response(w.get(p, w.request("scope", "openid groups", "prompt", "none")))
		if back.Get("error") != "consent_required" {
			t.Errorf("prompt=none with new scopes: %v", back)
		}
	})
}

func TestSkipApproval(t *testing.T) {
	yes, no := true, false
	w := newWorld(t, "sqlite", func(c *server.Config) {
		c.Policy.SkipApproval = true
		c.Clients[1].SkipApproval = &no
	})
	p := w.browser()
	page := w.submit(p, w.get(p, w.request()), "login", alice, "password", alicePassword)
	if w.response(page).Get("code") == "" {
		t.Error("app: asked although the server skips")
	}
	page = w.get(p, w.request("client_id", "other", "redirect_uri", otherCallback))
	if !strings.HasSuffix(page.URL.Path, "/consent") {
		t.Errorf("other: not asked although the client demands it, at %s", page.URL)
	}
	w = newWorld(t, "sqlite", func(c *server.Config) { c.Clients[0].SkipApproval = &yes })
	page = w.submit(p, w.get(p, w.request()), "login", alice, "password", alicePassword)
	if w.response(page).Get("code") == "" {
		t.Error("app: asked although the client skips")
	}
}

// partners is a second list of people.
func partners(t *testing.T) flow.Connector {
	t.Helper()
	c, err := local.New([]local.Password{{Email: "carol@partner.example", Hash: hash(t, "carol's"), UserID: "user-carol", Username: "Carol", EmailVerified: true, Groups: []string{"admins"}}})
	if err != nil {
		t.Fatal(err)
	}
	return flow.Connector{Connector: oauth.Connector{ID: "partners", EmailDomains: []string{"partner.example"}}, Name: "Partners", Type: "local", Password: c}
}

func TestChoosingAConnector(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		w := newWorld(t, engine, func(c *server.Config) {
			hidden := staff(t)
			hidden.ID, hidden.Name, hidden.Hidden = "break-glass", "Break Glass", true
			c.Connectors = append(c.Connectors, partners(t), hidden)
			c.Clients[1].AllowedConnectors = []string{"partners"}
		})
		p := w.browser()
		page := w.get(p, w.request())
		if !strings.HasSuffix(page.URL.Path, "/connectors") || !strings.Contains(page.Body, "Staff") || !strings.Contains(page.Body, "Partners") {
			t.Fatalf("at %s, want the choice", page.URL)
		}
		if strings.Contains(page.Body, "Break Glass") {
			t.Error("a hidden connector is offered")
		}
		if !strings.HasSuffix(page.Links()[0], "/login/staff") {
			t.Errorf("links: %v", page.Links())
		}
		for name, c := range map[string]struct{ address, want string }{
			"a hidden connector that the client names": {w.request("connector_id", "break-glass"), "/login/break-glass"},
			"the path names it, as in Dex":             {strings.Replace(w.request(), "/auth?", "/auth/partners?", 1), "/login/partners"},
			"the login_hint's domain":                  {w.request("login_hint", "x@Partner.example"), "/login/partners"},
			"a login_hint of nobody's domain":          {w.request("login_hint", "x@elsewhere.example"), "/connectors"},
			"the only one that the client allows":      {w.request("client_id", "other", "redirect_uri", otherCallback), "/login/partners"},
		} {
			if page := w.get(w.browser(), c.address); !strings.HasSuffix(page.URL.Path, c.want) {
				t.Errorf("%s: at %s, want %s", name, page.URL, c.want)
			}
		}
		page = w.get(w.browser(), w.request("login_hint", "carol@partner.example"))
		if got := page.Forms[0].Fields.Get("login"); got != "carol@partner.example" {
			t.Errorf("login_hint prefills %q", got)
		}
		// What the client does not allow cannot be reached by typing its address
		// (GHSA-7qjx-gp9h-65qj).
		q := w.browser()
		page = w.get(q, w.request("client_id", "other", "redirect_uri", otherCallback))
		for _, id := range []string{"staff", "break-glass", "nowhere"} {
			page, err := q.Send(t.Context(), http.MethodPost, flowOf(page)+"/login/"+id, url.Values{"login": {alice}, "password": {alicePassword}})
			if err != nil {
				t.Fatal(err)
			}
			if page.Status != http.StatusBadRequest || w.rows()["sessions"] != 0 {
				t.Errorf("signing in at %s for a client that does not allow it: %d at %s", id, page.Status, page.URL)
			}
		}
		back := w.response(w.get(w.browser(), w.request("client_id", "other", "redirect_uri", otherCallback, "connector_id", "staff")))
		if back.Get("error") != "invalid_request" {
			t.Errorf("connector_id that is not allowed: %v", back)
		}
		// A session of a connector that a client does not allow is none to it.
		w.response(w.approve(p, w.submit(p, w.get(p, w.request("connector_id", "staff")), "login", alice, "password", alicePassword)))
		back = w.response(w.get(p, w.request("client_id", "other", "redirect_uri", otherCallback, "prompt", "none")))
		if back.Get("error") != "login_required" {
			t.Errorf("prompt=none with a foreign connector's session: %v", back)
		}
	})
}

// flowOf is the address of the flow that a page belongs to.
func flowOf(page *person.Page) string {
	u := *page.URL
	parts := strings.SplitAfterN(u.Path, "/", 5) // "/", "dex/", "flow/", "ID/", "step"
	u.Path = strings.TrimSuffix(strings.Join(parts[:4], ""), "/")
	u.RawQuery = ""
	return u.String()
}

// A browser without the flow's cookie is told what may help, and so is the operator.
func TestNoCookies(t *testing.T) {
	t.Parallel()
	var log journal
	w := newWorld(t, "sqlite", logging(&log))
	page := w.get(w.browser(), w.request())
	page = w.get(w.browser(), page.URL.String())
	if page.Status != http.StatusBadRequest || !strings.Contains(page.Body, "accept cookies") {
		t.Errorf("%d\n%s", page.Status, page.Body)
	}
	w.http.Close() // the record is written when the handler has returned
	if !strings.Contains(log.String(), "it sent no cookie") {
		t.Errorf("the log:\n%s", log.String())
	}
}
