package server_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/countersign/countersign/connector"
	"github.com/countersign/countersign/e2e/person"
	"github.com/countersign/countersign/server"
)

// Where the clients of the tests want people after signing out.
const (
	bye      = "https://app.example/bye"
	byeQuery = "https://app.example/bye?from=here"
	otherBye = "https://other.example/bye"
)

// withBye registers the addresses.
func withBye(c *server.Config) {
	c.Clients[0].PostLogoutRedirectURIs = []string{bye, byeQuery, "com.example.app:/bye"}
	c.Clients[1].PostLogoutRedirectURIs = []string{otherBye}
}

// asks reports whether a page asks whether to sign out.
func asks(page *person.Page) bool {
	return page.Status == http.StatusOK && len(page.Forms) == 1 && page.Forms[0].Fields.Get("request") != ""
}

// leaves reports whether a page, or what led to it, is at a client.
func leaves(page *person.Page) bool {
	for _, hop := range page.Hops {
		if strings.Contains(hop, ".example") {
			return true
		}
	}
	return page.Left || strings.Contains(page.URL.Host, ".example")
}

// hint signs in as alice at app and returns the id_token.
func (w *world) hint(p *person.Person, pairs ...string) string {
	w.t.Helper()
	a := w.redeem(w.code(p, w.request(pairs...)))
	if a.status != http.StatusOK {
		w.t.Fatalf("redeeming: %d %s", a.status, a.raw)
	}
	return a.str("id_token")
}

// logout is a logout request of pairs of name and value.
func (w *world) logout(pairs ...string) string {
	v := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		v.Add(pairs[i], pairs[i+1])
	}
	return w.issuer + "/logout?" + v.Encode()
}

// signedIn asks with prompt=none.
func (w *world) signedIn(p *person.Person) bool {
	w.t.Helper()
	back := w.response(w.get(p, w.request("prompt", "none")))
	return back.Get("error") != "login_required"
}

// unsigned makes an id_token of another with alg none.
func unsigned(token string) string {
	parts := strings.Split(token, ".")
	return base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","kid":"x","typ":"JWT"}`)) + "." + parts[1] + "."
}

// The id_token of somebody in many groups is large, and as good a hint as any.
func TestHintOfManyGroups(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "sqlite", withBye, func(c *server.Config) {
		c.Connectors[0].Accept = func(who connector.Identity) (connector.Identity, error) {
			for i := range 400 {
				who.Groups = append(who.Groups, fmt.Sprintf("CN=Project %03d Contributors,OU=Groups", i))
			}
			return who, nil
		}
	})
	p := w.browser()
	hint := w.hint(p)
	if len(hint) < 20<<10 {
		t.Fatalf("the hint has %d bytes only", len(hint))
	}
	if back := w.response(w.get(p, w.request("prompt", "none", "id_token_hint", hint))); back.Get("code") == "" {
		t.Errorf("with prompt=none: %v", back)
	}
	if page := w.get(p, w.logout("id_token_hint", hint, "post_logout_redirect_uri", bye)); !leaves(page) || w.signedIn(p) {
		t.Errorf("signing out: %d at %s", page.Status, page.URL.Path)
	}
}

// The OpenID Connect RP-Initiated Logout test plan, each module by its name.
func TestRPInitiatedLogoutPlan(t *testing.T) {
	type module struct {
		// params are the request's, made of a valid id_token; state is what comes
		// back, redirects whether anything does.
		params    func(w *world, hint string) []string
		redirects bool
		state     string
		// refused: an error page, and the person is still signed in.
		refused bool
		// asked: the person is asked, and signed out at the end.
		asked bool
	}
	modules := map[string]module{
		"rp-initiated-logout": {func(_ *world, hint string) []string {
			return []string{"id_token_hint", hint, "post_logout_redirect_uri", bye, "state", "a b&c=d#é"}
		}, true, "a b&c=d#é", false, false},
		"rp-initiated-logout-no-state": {func(_ *world, hint string) []string {
			return []string{"id_token_hint", hint, "post_logout_redirect_uri", bye}
		}, true, "", false, false},
		"rp-initiated-logout-bad-post-logout-redirect-uri": {func(_ *world, hint string) []string {
			return []string{"id_token_hint", hint, "post_logout_redirect_uri", "https://app.example/other", "state", "s"}
		}, false, "", true, false},
		"rp-initiated-logout-query-added-to-post-logout-redirect-uri": {func(_ *world, hint string) []string {
			return []string{"id_token_hint", hint, "post_logout_redirect_uri", bye + "?a=b", "state", "s"}
		}, false, "", true, false},
		"rp-initiated-logout-modified-id-token-hint": {func(_ *world, hint string) []string {
			return []string{"id_token_hint", unsigned(hint), "post_logout_redirect_uri", bye, "state", "s"}
		}, false, "", true, false},
		"rp-initiated-logout-bad-id-token-hint": {func(*world, string) []string {
			return []string{"id_token_hint", "bad", "post_logout_redirect_uri", bye, "state", "s"}
		}, false, "", true, false},
		"rp-initiated-logout-no-id-token-hint": {func(*world, string) []string {
			return []string{"post_logout_redirect_uri", bye, "state", "s"}
		}, false, "", true, false},
		"rp-initiated-logout-no-params": {func(*world, string) []string { return nil }, false, "", false, true},
		"rp-initiated-logout-no-post-logout-redirect-uri": {func(_ *world, hint string) []string {
			return []string{"id_token_hint", hint, "state", "s"}
		}, false, "", false, false},
		"rp-initiated-logout-only-state": {func(*world, string) []string { return []string{"state", "s"} }, false, "", false, true},
	}
	onEngines(t, func(t *testing.T, engine string) {
		w := newWorld(t, engine, withBye)
		for name, m := range modules {
			t.Run(name, func(t *testing.T) {
				p := w.browser()
				page := w.get(p, w.logout(m.params(w, w.hint(p))...))
				if asks(page) != m.asked {
					t.Fatalf("asks: %v, %d\n%s", asks(page), page.Status, page.Body)
				}
				if m.asked {
					if !w.signedIn(p) || !strings.Contains(page.Body, "Alice Liddell") {
						t.Error("not signed in on the page that asks")
					}
					page = w.submit(p, page)
				}
				if leaves(page) != m.redirects {
					t.Errorf("redirects: %v, to %s", leaves(page), page.URL)
				}
				if m.redirects {
					q := page.URL.Query()
					if _, has := q["state"]; q.Get("state") != m.state || has != (m.state != "") || len(q) > 1 {
						t.Errorf("at %s", page.URL)
					}
				}
				if (page.Status == http.StatusBadRequest) != m.refused || w.signedIn(p) != m.refused {
					t.Errorf("status %d", page.Status)
				}
			})
		}
		t.Run("rp-initiated-logout-discovery-endpoint-verification", func(t *testing.T) {
			d := w.do(http.MethodGet, "/.well-known/openid-configuration", nil)
			if d.str("end_session_endpoint") != w.issuer+"/logout" {
				t.Errorf("end_session_endpoint is %v", d.body["end_session_endpoint"])
			}
		})
	})
}

// Whoever cannot show that they were part of this very session has the person
// asked; where they are sent afterwards is registered, or nowhere.
func TestLogoutVouching(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		w := newWorld(t, engine, withBye)
		old := w.browser()
		elsewhere := w.hint(old) // alice's, of another browser's session
		p := w.browser()
		hint := w.hint(p)
		for name, c := range map[string]struct {
			params []string
			back   string
		}{
			"client_id alone":                {[]string{"client_id", "app"}, ""},
			"client_id and a registered URI": {[]string{"client_id", "app", "post_logout_redirect_uri", bye, "state", "s"}, bye + "?state=s"},
			"a URI with a query":             {[]string{"client_id", "app", "post_logout_redirect_uri", byeQuery, "state", "s"}, byeQuery + "&state=s"},
			"another session's hint":         {[]string{"id_token_hint", elsewhere, "post_logout_redirect_uri", bye}, bye},
			"all at once":                    {[]string{"id_token_hint", elsewhere, "client_id", "app", "logout_hint", "alice", "ui_locales", "de", "unknown", "x"}, ""},
		} {
			page := w.get(p, w.logout(c.params...))
			if !asks(page) || leaves(page) {
				t.Fatalf("%s: %d at %s\n%s", name, page.Status, page.URL, page.Body)
			}
			if name == "all at once" && !strings.Contains(page.Body, "Abmelden?") {
				t.Error("ui_locales changes nothing")
			}
			if !strings.Contains(page.Body, "The App") {
				t.Errorf("%s: the page does not say who asks", name)
			}
			page = w.submit(p, page)
			if w.signedIn(p) {
				t.Fatalf("%s: still signed in", name)
			}
			if leaves(page) != (c.back != "") || c.back != "" && page.URL.String() != c.back {
				t.Errorf("%s: at %s", name, page.URL)
			}
			w.response(w.signIn(p, w.request()))
		}
		if w.get(p, w.logout("id_token_hint", hint)); !w.signedIn(p) {
			t.Error("the hint of a session that has ended vouches for the next one")
		}
		if !w.signedIn(old) {
			t.Error("the other browser was signed out")
		}
		// Nobody is signed in: the person may go back at once.
		q := w.browser()
		if page := w.get(q, w.logout("id_token_hint", hint, "post_logout_redirect_uri", bye, "state", "s")); page.URL.String() != bye+"?state=s" {
			t.Errorf("nobody signed in, with a hint: %d at %s", page.Status, page.URL)
		}
		if page := w.get(q, w.logout("client_id", "app", "post_logout_redirect_uri", bye)); page.URL.String() != bye {
			t.Errorf("nobody signed in, with a client_id: %d at %s", page.Status, page.URL)
		}
		if page := w.get(q, w.logout()); page.Status != http.StatusOK || !strings.Contains(page.Body, "You are signed out") {
			t.Errorf("nobody signed in, no parameters: %d %s", page.Status, page.Body)
		}
	})
}

// SECURITY row 24: nothing but what is registered, for this client, is ever
// redirected to, whether somebody is signed in or not.
func TestLogoutIsNoOpenRedirector(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "sqlite", withBye)
	p, nobody := w.browser(), w.browser()
	hint := w.hint(p)
	otherHint := w.redeem(w.code(p, w.request("client_id", "other", "redirect_uri", otherCallback)),
		"client_id", "other", "client_secret", "other-secret", "redirect_uri", otherCallback).str("id_token")
	var corpus []string
	for _, host := range []string{"app.example", "evil.example", "app.example.evil.example", "evilapp.example", "app.example@evil.example", "app.example:443", "APP.example", "app.example.", "app.example%2eevil.example", "[::1]"} {
		for _, scheme := range []string{"https://", "http://", "//", "https:/", "https:\\\\", "HTTPS://", " https://", "javascript://", "\thttps://"} {
			for _, path := range []string{"/bye", "/bye/", "/Bye", "/bye?", "/bye#", "/bye/../evil", "/bye%00", "/bye?from=here&x", "/bye;x"} {
				if uri := scheme + host + path; uri != bye && uri != byeQuery {
					corpus = append(corpus, uri)
				}
			}
		}
	}
	corpus = append(corpus, callback, otherBye, "", "/", "javascript:alert(1)", "data:text/html,x", bye+"\n", "\x00"+bye, bye+"\xff",
		bye+strings.Repeat("x", 3000), "com.example.app:/", "com.example.app:/bye/x", w.issuer+"/")
	for i, uri := range corpus {
		for _, who := range []*person.Person{p, nobody} {
			for _, claim := range [][]string{{"id_token_hint", hint}, {"client_id", "app"}, {"id_token_hint", hint, "client_id", "app"}}[i%3:][:1] {
				if uri == "" && who == p {
					continue // no address at all: signs out
				}
				page := w.get(who, w.logout(append(claim, "post_logout_redirect_uri", uri, "state", "s")...))
				if leaves(page) || len(page.Hops) > 0 || asks(page) {
					t.Fatalf("%q with %v leads to %s (%d)", uri, claim, page.URL, page.Status)
				}
			}
		}
	}
	for name, params := range map[string][]string{
		"another client's address":    {"client_id", "other", "post_logout_redirect_uri", bye},
		"another client's hint":       {"id_token_hint", otherHint, "post_logout_redirect_uri", bye},
		"client_id is not the hint's": {"id_token_hint", hint, "client_id", "other", "post_logout_redirect_uri", otherBye},
		"nor with the hint's address": {"id_token_hint", hint, "client_id", "other", "post_logout_redirect_uri", bye},
		"an unknown client":           {"client_id", "nobody", "post_logout_redirect_uri", bye},
		"twice":                       {"client_id", "app", "post_logout_redirect_uri", bye, "post_logout_redirect_uri", bye},
		"two hints":                   {"id_token_hint", hint, "id_token_hint", hint, "post_logout_redirect_uri", bye},
		"two clients":                 {"client_id", "app", "client_id", "app", "post_logout_redirect_uri", bye},
		"a state without end":         {"client_id", "app", "post_logout_redirect_uri", bye, "state", strings.Repeat("s", 3000)},
		"a request sealed by nobody":  {"request", strings.Repeat("A", 200)},
	} {
		for _, who := range []*person.Person{p, nobody} {
			if page := w.get(who, w.logout(params...)); page.Status != http.StatusBadRequest || leaves(page) {
				t.Errorf("%s: %d at %s", name, page.Status, page.URL)
			}
		}
	}
	if !w.signedIn(p) {
		t.Error("something of it has signed alice out")
	}
	// What was registered when the person was asked, and is not any more.
	page := w.get(p, w.logout("client_id", "app", "post_logout_redirect_uri", bye))
	sealed := url.Values{"request": {page.Forms[0].Fields.Get("request")}}
	next := w.db.replica(t, w.clock, func(c *server.Config) { c.Policy.Issuer = w.issuer })
	p.HTTPTransport(&leaver{next.http.Client().Transport})
	if got := w.get(p, w.issuer+"/logout?"+sealed.Encode()); !asks(got) || leaves(got) || !w.signedIn(p) {
		t.Errorf("an address that is not registered any more: %d at %s", got.Status, got.URL)
	}
	if got := w.submit(p, page); got.Status != http.StatusOK || leaves(got) || w.signedIn(p) {
		t.Errorf("confirmed for an address that is not registered any more: %d at %s", got.Status, got.URL)
	}
}

// A hint is an id_token, expired or not; nothing else that we signed, or somebody
// else did (SECURITY rows 33 and 36).
func TestLogoutHintTypes(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		w := newWorld(t, engine, withBye, func(c *server.Config) { c.Clients[0].AccessTokenFormat = "jwt" })
		p := w.browser()
		tokens := w.redeem(w.code(p, w.request("scope", offline)))
		for name, hint := range map[string]string{
			"an access token":  tokens.str("access_token"),
			"a refresh token":  tokens.str("refresh_token"),
			"an altered token": tokens.str("id_token")[:len(tokens.str("id_token"))-6] + "AAAAAA",
			"a truncated one":  tokens.str("id_token")[:len(tokens.str("id_token"))-1],
			"alg none":         unsigned(tokens.str("id_token")),
			"ten megabytes":    "",
		} {
			var page *person.Page
			if hint == "" {
				var err error
				page, err = p.Send(t.Context(), http.MethodPost, w.issuer+"/logout", url.Values{"id_token_hint": {strings.Repeat("A", 10<<20)}})
				if err != nil {
					continue // the connection was closed on it
				}
			} else {
				page = w.get(p, w.logout("id_token_hint", hint, "post_logout_redirect_uri", bye))
			}
			if page.Status/100 != 4 || leaves(page) {
				t.Errorf("%s: %d at %s", name, page.Status, page.URL)
			}
		}
		if !w.signedIn(p) {
			t.Fatal("something of it has signed alice out")
		}
		w.clock.advance(30 * time.Minute) // the id_token has expired, the session has not
		if page := w.get(p, w.logout("id_token_hint", tokens.str("id_token"), "post_logout_redirect_uri", bye)); page.URL.String() != bye {
			t.Errorf("an expired hint: %d at %s", page.Status, page.URL)
		}
		if w.signedIn(p) {
			t.Error("still signed in")
		}
	})
}

// A client's site may post its request. The browser sends no session with that,
// so it goes on with a GET, and there all is as ever.
func TestLogoutPosted(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		w := newWorld(t, engine, withBye)
		foreign := http.Header{"Sec-Fetch-Site": {"cross-site"}, "Origin": {"https://app.example"}, "Sec-Fetch-Mode": {"navigate"}}
		post := func(p *person.Person, pairs ...string) *person.Page {
			t.Helper()
			v := url.Values{}
			for i := 0; i+1 < len(pairs); i += 2 {
				v.Set(pairs[i], pairs[i+1])
			}
			p.Header = foreign
			defer func() { p.Header = nil }()
			page, err := p.Send(t.Context(), http.MethodPost, w.issuer+"/logout", v)
			if err != nil {
				t.Fatal(err)
			}
			return page
		}
		p := w.browser()
		hint := w.hint(p)
		page := post(p, "client_id", "app", "post_logout_redirect_uri", bye, "state", "s")
		if !asks(page) || len(page.Hops) != 1 || !w.signedIn(p) {
			t.Fatalf("posted without a hint: %d at %s after %v", page.Status, page.URL, page.Hops)
		}
		// The answer cannot be given by the other site either.
		answer := page.Forms[0].Fields
		if page := post(p, "request", answer.Get("request"), "session", answer.Get("session")); !asks(page) || !w.signedIn(p) {
			t.Errorf("a foreign answer: %d at %s", page.Status, page.URL)
		}
		page = post(p, "id_token_hint", hint, "post_logout_redirect_uri", bye, "state", "s")
		if page.URL.String() != bye+"?state=s" || w.signedIn(p) {
			t.Errorf("posted with a hint: %d at %s", page.Status, page.URL)
		}
		for _, hop := range page.Hops {
			if strings.Contains(hop, hint[:20]) || strings.Contains(hop, hint[len(hint)-20:]) {
				t.Errorf("the id_token is in the address %s", hop)
			}
		}
		// The address of the question, opened again much later, asks again, and leads
		// nowhere any more.
		w.response(w.signIn(p, w.request()))
		address := post(p, "client_id", "app", "post_logout_redirect_uri", bye).URL.String()
		w.clock.advance(31 * time.Minute)
		if page = w.get(p, address); !asks(page) || !w.signedIn(p) {
			t.Fatalf("opened again: %d at %s\n%s", page.Status, page.URL, page.Body)
		}
		if page = w.submit(p, page); leaves(page) || page.Status != http.StatusOK || w.signedIn(p) {
			t.Errorf("answered then: %d at %s", page.Status, page.URL)
		}
		if page = w.get(p, address); page.Status != http.StatusOK || !strings.Contains(page.Body, "You are signed out") {
			t.Errorf("opened by nobody: %d at %s", page.Status, page.URL)
		}
		if page := post(p, "id_token_hint", "bad", "post_logout_redirect_uri", bye); page.Status != http.StatusBadRequest || leaves(page) {
			t.Errorf("posted with a bad hint: %d at %s", page.Status, page.URL)
		}
	})
}

// An answer counts for the session that the page showed, and for a while.
func TestLogoutAnswer(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		w := newWorld(t, engine, withBye)
		p := w.browser()
		w.response(w.signIn(p, w.request()))
		page := w.get(p, w.logout("client_id", "app", "post_logout_redirect_uri", bye))
		// Bob takes over in another tab.
		login := w.get(p, w.request("prompt", "login"))
		w.response(w.approve(p, w.submit(p, login, "login", bob, "password", bobPassword)))
		again := w.submit(p, page)
		if !asks(again) || !strings.Contains(again.Body, "Bob") || !w.signedIn(p) {
			t.Fatalf("alice's answer for bob: %d at %s", again.Status, again.URL)
		}
		// Too late, the answer still counts, and leads nowhere.
		w.clock.advance(31 * time.Minute)
		late := w.submit(p, again)
		if leaves(late) || late.Status != http.StatusOK || w.signedIn(p) {
			t.Errorf("a late answer: %d at %s", late.Status, late.URL)
		}
		// Altered, too.
		w.response(w.signIn(p, w.request()))
		page = w.get(p, w.logout("client_id", "app", "post_logout_redirect_uri", bye))
		altered := w.submit(p, page, "request", page.Forms[0].Fields.Get("request")+"AAAA")
		if leaves(altered) || altered.Status != http.StatusOK || w.signedIn(p) {
			t.Errorf("an altered request: %d at %s", altered.Status, altered.URL)
		}
		// Twice is once.
		if twice := w.submit(p, page); twice.URL.String() != bye {
			t.Errorf("the answer again: %d at %s", twice.Status, twice.URL)
		}
		// A browser that enforces form-action is led on by a page.
		w.response(w.signIn(p, w.request()))
		page = w.get(p, w.logout("client_id", "app", "post_logout_redirect_uri", bye))
		p.Header = http.Header{"Sec-Fetch-Site": {"same-origin"}, "Sec-Fetch-Mode": {"navigate"}}
		if got := w.submit(p, page); got.URL.String() != bye || len(got.Hops) != 1 {
			t.Errorf("with Sec-Fetch-Mode: %d at %s", got.Status, got.URL)
		}
	})
}

// What ends with the session is gone at once, whoever ends it; the rest lives on.
func TestLogoutEndsGrants(t *testing.T) {
	for _, how := range []string{"signing out", "another person", "the same person, after the session has expired", "the same person"} {
		t.Run(how, func(t *testing.T) {
			onEngines(t, func(t *testing.T, engine string) {
				w := newWorld(t, engine, func(c *server.Config) {
					c.Clients[0].EndsWithSession = true
					c.Clients[1].PostLogoutRedirectURIs = []string{otherBye}
				})
				p, elsewhere := w.browser(), w.browser()
				request := w.request("scope", offline)
				bound := w.redeem(w.code(p, request))
				pending := w.code(p, request)
				foreign := w.redeem(w.code(elsewhere, request))
				other := []string{"client_id", "other", "redirect_uri", otherCallback}
				secret := []string{"client_id", "other", "client_secret", "other-secret"}
				standalone := w.redeem(w.code(p, w.request(append(other, "scope", offline)...)), append(secret, "redirect_uri", otherCallback)...)
				ends := true
				switch how {
				case "signing out":
					w.submit(p, w.get(p, w.issuer+"/"))
				case "another person":
					page := w.get(p, w.request("prompt", "login"))
					w.response(w.approve(p, w.submit(p, page, "login", bob, "password", bobPassword)))
				case "the same person, after the session has expired":
					w.clock.advance(61 * time.Minute)
					w.response(w.signIn(p, w.request()))
				case "the same person":
					page := w.get(p, w.request("prompt", "login"))
					w.response(w.approve(p, w.submit(p, page, "login", alice, "password", alicePassword)))
					ends = false
				}
				if got := w.refresh(bound.str("refresh_token")).status; (got == http.StatusOK) == ends {
					t.Errorf("refreshing what ends with the session: %d", got)
				}
				if strings.HasSuffix(how, "expired") {
					return // the access tokens have expired as well
				}
				if w.alive(bound.str("access_token")) == ends {
					t.Error("the access token of what ends with the session")
				}
				if got := w.redeem(pending).status; (got == http.StatusOK) == ends {
					t.Errorf("redeeming a code of a session that has ended: %d", got)
				}
				w.goOn(foreign.str("refresh_token"))
				if got := w.refresh(standalone.str("refresh_token"), secret...); got.status != http.StatusOK {
					t.Errorf("refreshing what stands alone: %d %s", got.status, got.raw)
				}
			})
		})
	}
}

// A hint whose key has rotated away is good for thirty days, at /logout and at
// /auth.
func TestHintOfARetiredKey(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		w := newWorld(t, engine, withBye, clockOfTheDatabase)
		p := w.browser()
		page := w.submit(p, w.get(p, w.request()), "login", alice, "password", alicePassword, "remember", "on")
		a := w.redeem(w.response(w.approve(p, page)).Get("code"))
		hint := a.str("id_token")
		kid := header(t, hint)["kid"]
		next := w
		for range 3 { // each is a restart, which rotates
			w.clock.advance(25 * time.Hour)
			next = w.db.replica(t, w.clock, withBye, clockOfTheDatabase, func(c *server.Config) { c.Policy.Issuer = w.issuer })
		}
		if jwks := next.do(http.MethodGet, "/keys", nil); strings.Contains(jwks.raw, kid.(string)) {
			t.Fatal("the key has not retired")
		}
		// The browser is led to the new replica.
		p.HTTPTransport(roundTripper(func(r *http.Request) (*http.Response, error) {
			if r.URL.Host == w.http.Listener.Addr().String() {
				r.URL.Host = next.http.Listener.Addr().String()
			}
			return (&leaver{http.DefaultTransport}).RoundTrip(r)
		}))
		if back := w.response(w.get(p, w.request("prompt", "none", "id_token_hint", hint))); back.Get("code") == "" {
			t.Errorf("at /auth: %v", back)
		}
		if page := w.get(p, w.logout("id_token_hint", hint, "post_logout_redirect_uri", bye)); page.URL.String() != bye || w.signedIn(p) {
			t.Errorf("at /logout: %d at %s", page.Status, page.URL)
		}
	})
}

// header is the JOSE header of a token.
func header(t *testing.T, token string) (h map[string]any) {
	t.Helper()
	first, _, _ := strings.Cut(token, ".")
	raw, err := base64.RawURLEncoding.DecodeString(first)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &h); err != nil {
		t.Fatal(err)
	}
	return h
}

// clockOfTheDatabase moves the database's clock with the test's, so that keys
// rotate.
func clockOfTheDatabase(c *server.Config) { c.Store = moved{c.Store, c.Now} }

type moved struct {
	server.Store
	now func() time.Time
}

// A failing store signs nobody out, and says so.
func TestLogoutWithoutTheStore(t *testing.T) {
	db, c := newDatabase(t, "sqlite"), new(clock)
	w := db.replica(t, c, withBye)
	p := w.browser()
	hint := w.hint(p)
	w.store.Close()
	for _, page := range []*person.Page{
		w.get(p, w.logout("id_token_hint", hint, "post_logout_redirect_uri", bye)),
		w.get(p, w.logout()),
	} {
		if page.Status != http.StatusServiceUnavailable || leaves(page) {
			t.Errorf("%d at %s", page.Status, page.URL)
		}
	}
	if len(p.Cookies(w.issuer)) == 0 {
		t.Error("the cookie is gone, the session is not")
	}
}

func (m moved) Ping(ctx context.Context) (time.Time, error) {
	if _, err := m.Store.Ping(ctx); err != nil {
		return time.Time{}, err
	}
	return m.now(), nil
}
