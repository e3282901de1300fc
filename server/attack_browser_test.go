package server_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/countersign/countersign/e2e/person"
	"github.com/countersign/countersign/server"
	"github.com/countersign/countersign/server/oauth"
)

// flowCookie is the cookie of the flow that a page belongs to.
func (w *world) flowCookie(p *person.Person, page *person.Page) *http.Cookie {
	w.t.Helper()
	for _, c := range p.Cookies(flowOf(page) + "/x") {
		if strings.HasSuffix(c.Name, "countersign_flow") {
			return c
		}
	}
	w.t.Fatalf("no flow cookie at %s", page.URL)
	return nil
}

// plant puts a cookie into a browser, as a neighbouring host or a network attacker
// could (cookie tossing).
func plant(p *person.Person, address, path string, c *http.Cookie) {
	planted := *c
	planted.Path = path
	p.SetCookies(address, []*http.Cookie{&planted})
}

// Whoever has a flow's cookie and not its owner's session gets a login page and
// nothing else: not during the flow, and not after its end.
func TestStolenFlowCookie(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		w := newWorld(t, engine)
		victim := w.browser()
		login := w.get(victim, w.request())
		early := w.flowCookie(victim, login)
		consent := w.submit(victim, login, "login", alice, "password", alicePassword)
		late := w.flowCookie(victim, consent)
		steal := func(when string) {
			t.Helper()
			for name, c := range map[string]*http.Cookie{"of the login page": early, "of the consent page": late} {
				for _, step := range []string{"", "/connectors", "/login/staff", "/account", "/consent"} {
					thief := w.browser()
					plant(thief, w.issuer, "/", c)
					page := w.get(thief, flowOf(login)+step)
					if page.Header.Get("X-Client") != "" || strings.Contains(page.Body, "Alice") || !strings.Contains(page.URL.Path, "/login/") && !strings.HasSuffix(page.URL.Path, "/connectors") {
						t.Errorf("%s, the cookie %s, GET %q: %d at %s", when, name, step, page.Status, page.URL)
					}
				}
				for _, form := range []person.Form{consent.Forms[0]} {
					thief := w.browser()
					plant(thief, w.issuer, "/", c)
					page, err := thief.Submit(t.Context(), form, url.Values{"approval": {"approve"}})
					if err != nil {
						t.Fatal(err)
					}
					if page.Header.Get("X-Client") != "" {
						t.Errorf("%s, the cookie %s: approved at %s", when, name, page.URL)
					}
				}
			}
		}
		steal("during the flow")
		if n := w.rows(); n["grants"] != 0 || n["consents"] != 0 {
			t.Errorf("rows: %v", n)
		}
		w.response(w.submit(victim, consent, "approval", "approve"))
		steal("after the flow")
		if n := w.rows(); n["grants"] != 1 {
			t.Errorf("rows: %v", n)
		}
		// With one's own account it goes on as oneself, for the same client: the
		// state in it is sealed, so that is all. The client refuses it by its state.
		thief := w.browser()
		plant(thief, w.issuer, "/", late)
		page := w.submit(thief, w.get(thief, flowOf(login)), "login", bob, "password", bobPassword)
		a := w.redeem(w.response(w.approve(thief, page)).Get("code"))
		if sub := claims(t, a.str("id_token"))["sub"]; sub != oauth.Subject("user-bob", "staff") {
			t.Errorf("sub %v", sub)
		}
	})
}

// A finished flow's cookie in its own browser: it says what was asked, and not
// that somebody may; the person's session decides anew.
func TestReplayedFlow(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		w := newWorld(t, engine)
		p := w.browser()
		login := w.get(p, w.request("prompt", "login consent"))
		consent := w.submit(p, login, "login", alice, "password", alicePassword)
		cookie := w.flowCookie(p, consent)
		path := strings.TrimSuffix(consent.URL.Path, "/consent")
		w.response(w.submit(p, consent, "approval", "approve"))
		// prompt=consent asks again, though the flow had been approved.
		plant(p, w.issuer, path, cookie)
		page := w.get(p, flowOf(login))
		if !strings.HasSuffix(page.URL.Path, "/consent") {
			t.Errorf("a replayed flow with prompt=consent leads to %s", page.URL)
		}
		// Somebody else has signed in since: what the first did counts not for them.
		w.response(w.approve(p, w.submit(p, w.get(p, w.request("prompt", "login")), "login", bob, "password", bobPassword)))
		plant(p, w.issuer, path, cookie)
		page = w.get(p, flowOf(login))
		if !strings.Contains(page.URL.Path, "/login/") {
			t.Errorf("bob goes on with alice's prompt=login at %s", page.URL)
		}
		// Signed out.
		w.submit(p, w.get(p, w.issuer+"/"))
		plant(p, w.issuer, path, cookie)
		if page = w.get(p, flowOf(login)); !strings.Contains(page.URL.Path, "/login/") {
			t.Errorf("signed out, and at %s", page.URL)
		}
	})
}

// Flows do not mix: neither between two flows of a browser, nor two clients, nor
// two browsers (hydra PR770, SimpleSAMLphp CVE-2026-49284).
func TestSwappedFlowCookies(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		w := newWorld(t, engine)
		p := w.browser()
		w.response(w.signIn(p, w.request("scope", "openid")))
		mine := w.get(p, w.request("scope", "openid email"))
		others := w.get(p, w.request("client_id", "other", "redirect_uri", otherCallback))
		if !strings.HasSuffix(mine.URL.Path, "/consent") || !strings.HasSuffix(others.URL.Path, "/consent") {
			t.Fatalf("at %s and %s", mine.URL, others.URL)
		}
		// The cookie of one client's flow at the path of the other's.
		plant(p, flowOf(mine)+"/x", "/dex/flow/"+flowID(mine), w.flowCookie(p, others))
		page := w.submit(p, mine, "approval", "approve")
		if page.Status != http.StatusBadRequest || w.rows()["consents"] != 1 {
			t.Errorf("%d at %s, %d consents", page.Status, page.URL, w.rows()["consents"])
		}
		// The form of one flow posted to the other's address approves what the other
		// shows, which only its own page may do: nothing in the form names a request.
		page = w.submit(p, others, "approval", "approve", "client_id", "app", "redirect_uri", callback, "scope", "openid groups", "flow", flowID(mine))
		if page.URL.Host != "other.example" {
			t.Fatalf("at %s", page.URL)
		}
		a := w.redeem(page.URL.Query().Get("code"), "client_id", "other", "client_secret", "other-secret", "redirect_uri", otherCallback)
		if claims(t, a.str("id_token"))["aud"] != "other" {
			t.Errorf("%d %s", a.status, a.raw)
		}
		// Somebody else named in the form.
		q := w.browser()
		bobs := w.submit(q, w.get(q, w.request()), "login", bob, "password", bobPassword)
		alices := w.get(p, w.request("scope", "openid profile"))
		page = w.submit(p, alices, "approval", "approve", "subject", bobs.Forms[0].Fields.Get("subject"))
		if page.Header.Get("X-Client") != "" {
			t.Errorf("approved in the name of somebody else: %s", page.URL)
		}
	})
}

func flowID(page *person.Page) string {
	address := flowOf(page)
	return address[strings.LastIndex(address, "/")+1:]
}

// Planted session cookies: an attacker's own session must not become the
// victim's after a login, a fixed id never, and a planted flow cookie does not
// keep anybody out.
func TestPlantedCookies(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		w := newWorld(t, engine, https)
		attacker, victim := w.browser(), w.browser()
		w.response(w.approve(attacker, w.submit(attacker, w.get(attacker, w.request()), "login", bob, "password", bobPassword)))
		var theirs *http.Cookie
		for _, c := range attacker.Cookies(w.issuer) {
			theirs = c
		}
		if theirs == nil || theirs.Name != "__Host-countersign_session" {
			t.Fatalf("the attacker's cookie: %+v", theirs)
		}
		// Without the prefix, as a neighbouring host can set it, it is nothing.
		bare := *theirs
		bare.Name = "countersign_session"
		plant(victim, w.issuer, "/", &bare)
		if back := w.response(w.get(victim, w.request("prompt", "none"))); back.Get("error") != "login_required" {
			t.Errorf("a cookie without the prefix signs in: %v", back)
		}
		// With it (an old browser, a copied profile), the victim signs in as
		// themselves and leaves with an id that the attacker does not know; the
		// attacker's session is over.
		plant(victim, w.issuer, "/", theirs)
		page := w.submit(victim, w.get(victim, w.request("prompt", "login")), "login", alice, "password", alicePassword)
		a := w.redeem(w.response(w.approve(victim, page)).Get("code"))
		got := claims(t, a.str("id_token"))
		if got["sub"] != oauth.Subject("user-alice", "staff") {
			t.Errorf("sub %v", got["sub"])
		}
		if back := w.response(w.get(attacker, w.request("prompt", "none"))); back.Get("error") != "login_required" {
			t.Errorf("the attacker is signed in as somebody: %v", back)
		}
		// A made-up id is not adopted.
		fixed := *theirs
		fixed.Value = strings.Repeat("A", 43)
		fresh := w.browser()
		plant(fresh, w.issuer, "/", &fixed)
		page = w.submitRaw(fresh, w.get(fresh, w.request()), "login", alice, "password", alicePassword)
		if c := w.setCookie(page, "countersign_session"); c == nil || c.Value == fixed.Value {
			t.Errorf("a planted id survives: %+v", c)
		}
		// A flow cookie for all paths, which no flow of the victim opens: browsers
		// send the cookie of the longer path first (RFC 6265 section 5.4).
		fresh = w.browser()
		for _, path := range []string{"/", "/dex", "/dex/flow"} {
			plant(fresh, w.issuer, path, &http.Cookie{Name: "__Secure-countersign_flow", Value: "planted"})
		}
		if w.code(fresh, w.request()) == "" {
			t.Error("planted cookies keep people out")
		}
	})
}

// Odd cookie headers are nobody's.
func TestHostileCookies(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "sqlite")
	p := w.browser()
	w.response(w.signIn(p, w.request()))
	value := p.Cookies(w.issuer)[0].Value
	for _, header := range []string{
		"countersign_session=", "countersign_session", "=x", ";;;", "countersign_session=\"" + value[:42] + "\"", "countersign_session=" + value + "=", "countersign_session=" + value[:42],
		"countersign_session=" + strings.Repeat("A", 1<<14), "countersign_session=%00", "countersign_session=\x80\xff", "countersign_session=" + strings.ToLower(value) + "x",
		"COUNTERSIGN_SESSION=" + value, "$Version=1; countersign_sessions=" + value, "__Host-countersign_session=" + value,
	} {
		for _, path := range []string{"/dex/", "/dex/auth?" + strings.SplitN(w.request("prompt", "none"), "?", 2)[1], "/dex/flow/x/consent"} {
			resp := w.raw("GET "+path+" HTTP/1.1", "Host: "+w.host(), "Cookie: "+header)
			location, err := url.Parse(resp.Header.Get("Location"))
			if err != nil || resp.StatusCode >= 500 || location.Query().Get("code") != "" {
				t.Errorf("Cookie: %.80q at %s: %d %s", header, path, resp.StatusCode, location)
			}
		}
	}
}

// Clickjacking, caching, sniffing: every page and every redirect of the way, and
// every error, carries the headers; nothing with a secret is kept by a cache.
func TestHeadersOnTheWay(t *testing.T) {
	for name, options := range map[string][]option{"http": nil, "https": {https}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "sqlite", append(options, func(c *server.Config) {
				c.Connectors = append(c.Connectors, partners(t))
			})...)
			p := w.browser()
			look := func(what, method, address string, form url.Values) *person.Page {
				t.Helper()
				page := w.once(p, method, address, form)
				w.safeHeaders(what, page)
				if hsts := page.Header.Get("Strict-Transport-Security"); (hsts != "") != (name == "https") {
					t.Errorf("%s: Strict-Transport-Security %q", what, hsts)
				}
				for _, c := range (&http.Response{Header: page.Header}).Cookies() {
					if !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Secure != (name == "https") || c.Domain != "" {
						t.Errorf("%s sets %v", what, c)
					}
				}
				if strings.Contains(page.Body, "code=") && page.Header.Get("Cache-Control") != "no-store" {
					t.Errorf("%s: a code that may be cached", what)
				}
				return page
			}
			follow := func(what string, page *person.Page) *person.Page {
				t.Helper()
				return look(what, http.MethodGet, strings.TrimSuffix(w.issuer, "/dex")+page.Header.Get("Location"), nil)
			}
			submit := func(what string, page *person.Page, pairs ...string) *person.Page {
				t.Helper()
				form := page.Forms[0].Fields
				for i := 0; i < len(pairs); i += 2 {
					form.Set(pairs[i], pairs[i+1])
				}
				return look(what, http.MethodPost, page.Forms[0].Action.String(), form)
			}
			start := look("the request", http.MethodGet, w.request(), nil)
			follow("the choice of connectors", start)
			login := look("the password page", http.MethodGet, strings.TrimSuffix(w.issuer, "/dex")+strings.TrimSuffix(start.Header.Get("Location"), "/connectors")+"/login/staff", nil)
			submit("a wrong password", login, "login", alice, "password", "wrong")
			consent := follow("the consent page", submit("the right password", login, "login", alice, "password", alicePassword))
			submit("approval", consent, "approval", "approve")
			look("approval again", http.MethodPost, consent.Forms[0].Action.String(), consent.Forms[0].Fields)
			follow("the choice of account", look("select_account", http.MethodGet, w.request("prompt", "select_account"), nil))
			look("form_post", http.MethodGet, w.request("response_mode", "form_post"), nil)
			look("silently", http.MethodGet, w.request("prompt", "none"), nil)
			look("an unknown client", http.MethodGet, w.request("client_id", "nobody"), nil)
			look("nowhere", http.MethodGet, w.issuer+"/nowhere", nil)
			look("outside", http.MethodGet, strings.TrimSuffix(w.issuer, "/dex")+"/other", nil)
			look("a wrong method", http.MethodPut, w.issuer+"/", nil)
			forProgram := w.once(p, http.MethodGet, w.issuer+"/token", nil)
			for header, want := range map[string]string{
				"Content-Security-Policy": "default-src 'none'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'",
				"X-Content-Type-Options":  "nosniff", "Cache-Control": "no-store", "Cross-Origin-Resource-Policy": "same-origin",
			} {
				if got := forProgram.Header.Get(header); got != want {
					t.Errorf("an answer for a program: %s is %q, want %q", header, got, want)
				}
			}
			home := look("home", http.MethodGet, w.issuer+"/", nil)
			p.Header = http.Header{"Sec-Fetch-Site": {"cross-site"}}
			submit("a foreign form", home)
			p.Header = http.Header{"Sec-Fetch-Site": {"same-origin"}, "Sec-Fetch-Mode": {"navigate"}}
			login = look("prompt=login", http.MethodGet, w.request("prompt", "login", "connector_id", "staff"), nil)
			w.safeHeaders("a browser's submit", submit("a browser's submit", follow("the page again", login), "login", alice, "password", alicePassword))
			submit("signing out", home)
		})
	}
}

// An unknown client is a malformed request to a person, 400 and not 401: nobody is
// to be asked for credentials by the browser.
func TestErrorPageStatus(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "sqlite")
	for _, address := range []string{w.request("client_id", "nobody"), w.request("client_id", ""), w.request("redirect_uri", ""), w.issuer + "/auth"} {
		page := w.get(w.browser(), address)
		if page.Status != http.StatusBadRequest || page.Header.Get("WWW-Authenticate") != "" {
			t.Errorf("%s: %d %q", address, page.Status, page.Header.Get("WWW-Authenticate"))
		}
	}
}

// Forms that arrive late: the session has ended, or belongs to somebody else, or
// the flow is over. Each leads back to a question, never to the client.
func TestLateForms(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		w := newWorld(t, engine)
		p := w.browser()
		consent := w.submit(p, w.get(p, w.request()), "login", alice, "password", alicePassword)
		w.submit(p, w.get(p, w.issuer+"/")) // signed out in another tab
		if page := w.submit(p, consent, "approval", "approve"); !strings.Contains(page.URL.Path, "/login/") {
			t.Errorf("approved after signing out: at %s", page.URL)
		}
		consent = w.submit(p, w.get(p, w.request()), "login", alice, "password", alicePassword)
		w.clock.advance(29 * time.Minute)
		if page := w.submit(p, consent, "approval", ""); !strings.HasSuffix(page.URL.Path, "/consent") {
			t.Errorf("neither yes nor no: at %s", page.URL)
		}
		w.clock.advance(2 * time.Minute)
		if page := w.submit(p, consent, "approval", "approve"); page.Status != http.StatusBadRequest {
			t.Errorf("approved after the flow's end: %d at %s", page.Status, page.URL)
		}
		if n := w.rows(); n["grants"]+n["consents"] != 0 {
			t.Errorf("rows: %v", n)
		}
		// The session ends between the question and the answer, by age.
		p = w.browser()
		consent = w.submit(p, w.get(p, w.request("prompt", "consent")), "login", alice, "password", alicePassword)
		w.exec(t, "DELETE FROM sessions")
		if page := w.submit(p, consent, "approval", "approve"); !strings.Contains(page.URL.Path, "/login/") {
			t.Errorf("approved without a session: at %s", page.URL)
		}
	})
}
