package server_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/countersign/countersign/e2e/person"
	"github.com/countersign/countersign/server"
	"github.com/countersign/countersign/storage"
)

// account opens the account page of somebody who is signed in.
func (w *world) account(p *person.Person) *person.Page {
	w.t.Helper()
	page := w.get(p, w.issuer+"/account")
	if page.Status != http.StatusOK || !strings.HasSuffix(page.URL.Path, "/account") || len(page.Hops) > 0 {
		w.t.Fatalf("the account page: %d at %s", page.Status, page.URL)
	}
	return page
}

// press posts the page's form with one of its buttons.
func (w *world) press(p *person.Person, page *person.Page, name, value string) *person.Page {
	w.t.Helper()
	if !strings.Contains(page.Body, fmt.Sprintf(`name="%s" value="%s"`, name, value)) {
		w.t.Fatalf("no button %s=%s in\n%s", name, value, page.Body)
	}
	return w.submit(p, page, name, value)
}

// Whoever is not signed in signs in first, and is led back; nothing is stored
// until then. The sign-in is like any other: apps share it.
func TestAccountLeadsToSignIn(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		w := newWorld(t, engine)
		p := w.browser()
		before := w.rows()
		page := w.get(p, w.issuer+"/account")
		if !strings.HasSuffix(page.URL.Path, "/login/staff") || w.rows()["sessions"] != before["sessions"] {
			t.Fatalf("at %s", page.URL)
		}
		page = w.submit(p, page, "login", alice, "password", "wrong")
		if page.Status != http.StatusUnprocessableEntity {
			t.Errorf("a wrong password: %d", page.Status)
		}
		page = w.submit(p, page, "login", alice, "password", alicePassword)
		if page.Status != http.StatusOK || page.URL.String() != w.issuer+"/account" || !strings.Contains(page.Body, "Alice Liddell") {
			t.Fatalf("%d at %s", page.Status, page.URL)
		}
		if !strings.Contains(page.Body, "This browser") || !strings.Contains(page.Body, "No app stays signed in as you.") {
			t.Errorf("the page:\n%s", page.Body)
		}
		if rows := w.rows(); rows["sessions"] != 1 || rows["grants"] != 0 {
			t.Errorf("%v", rows)
		}
		if page := w.get(p, w.request()); strings.Contains(page.URL.Path, "/login/") {
			t.Error("the app asks for the password again")
		}
		if home := w.get(p, w.issuer+"/"); !strings.Contains(home.Body, `href="/dex/account"`) {
			t.Error("the home page has no link")
		}
		// Two tabs on their way: the second is led to the page, too.
		q := w.browser()
		first, second := w.get(q, w.issuer+"/account"), w.get(q, w.issuer+"/account")
		w.submit(q, first, "login", alice, "password", alicePassword)
		if page := w.get(q, second.URL.String()); page.URL.String() != w.issuer+"/account" {
			t.Errorf("the second tab is at %s", page.URL)
		}
	})
}

// A sign-in on the way to the account page is shared only where sign-ins are.
func TestAccountSignInIsSharedLikeOthers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "sqlite", func(c *server.Config) { c.Policy.SSOSharedWithAll = false })
	p := w.browser()
	w.submit(p, w.get(p, w.issuer+"/account"), "login", alice, "password", alicePassword)
	if page := w.get(p, w.request()); !strings.Contains(page.URL.Path, "/login/") {
		t.Errorf("shared, at %s", page.URL)
	}
	w.account(p)
}

// People end what they see, each thing alone, and all of it.
func TestAccountEnds(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		first, second := replicas(t, engine)
		first.clock.freeze()
		mine, lost, bobs := first.holds(alice, alicePassword), first.holds(alice, alicePassword), first.holds(bob, bobPassword)
		all := left(true, "app", "other")
		check := func(what string, h holding, want map[string]bool) {
			t.Helper()
			for use, works := range second.works(h) {
				if works != want[use] {
					t.Errorf("%s: %s works: %t", what, use, works)
				}
			}
		}
		page := first.account(mine.browser)
		for _, shown := range []string{"The App", "Other App", "Go-http-client", "127.0.0.1", lost.sid, mine.sid} {
			if !strings.Contains(page.Body, shown) {
				t.Errorf("the page does not show %q", shown)
			}
		}
		if strings.Contains(page.Body, bobs.sid) || strings.Count(page.Body, "This browser") != 1 {
			t.Errorf("the page:\n%s", page.Body)
		}
		page = first.press(mine.browser, page, "grant", first.grantOf(lost, "app").String())
		if page.URL.Path != "/dex/account" || !strings.Contains(page.Body, "That app is signed out.") {
			t.Errorf("at %s:\n%s", page.URL, page.Body)
		}
		check("one app", lost, left(true, "other"))
		page = first.press(mine.browser, page, "session", lost.sid)
		if !strings.Contains(page.Body, "That browser is signed out.") || strings.Contains(page.Body, lost.sid) {
			t.Errorf("the page:\n%s", page.Body)
		}
		check("the other browser", lost, left(false, "other"))
		check("this one", mine, all)
		page = first.press(mine.browser, page, "end", "apps")
		if !strings.Contains(page.Body, "All apps and devices are signed out.") || !strings.Contains(page.Body, "No app stays signed in as you.") {
			t.Errorf("the page:\n%s", page.Body)
		}
		check("all apps", mine, left(true))
		check("all apps", lost, left(false))
		page = first.press(mine.browser, page, "end", "all")
		if !strings.HasSuffix(page.URL.Path, "/logout") || !strings.Contains(page.Body, "You are signed out") {
			t.Errorf("at %s:\n%s", page.URL, page.Body)
		}
		check("everything", mine, left(false))
		check("everything of alice", bobs, all)
		// This browser alone, from its own page.
		page = first.account(bobs.browser)
		page = first.press(bobs.browser, page, "session", bobs.sid)
		if !strings.Contains(page.Body, "You are signed out") || len(bobs.browser.Cookies(first.issuer+"/")) != 0 {
			t.Errorf("at %s with %v", page.URL, bobs.browser.Cookies(first.issuer+"/"))
		}
		check("this browser", bobs, left(false, "app", "other"))
	})
}

// Nobody reaches what is not theirs, from no page of theirs, and not from
// elsewhere.
func TestAccountAttacks(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		w := newWorld(t, engine)
		w.clock.freeze()
		alices, bobs := w.holds(alice, alicePassword), w.holds(bob, bobPassword)
		grant := w.grantOf(alices, "app").String()
		unharmed := func(what string) {
			t.Helper()
			for use, works := range w.works(alices) {
				if !works {
					t.Errorf("%s: alice's %s has ended", what, use)
				}
			}
		}
		page := w.account(bobs.browser)
		form := page.Forms[0]
		alicesForm := w.account(alices.browser).Forms[0]
		for what, fields := range map[string]url.Values{
			"another's grant":         {"grant": {grant}},
			"another's session":       {"session": {alices.sid}},
			"a grant that is none":    {"grant": {"zz"}},
			"a grant of zeros":        {"grant": {strings.Repeat("0", 32)}},
			"a session that is none":  {"session": {"\x00\xff"}},
			"10 kB":                   {"session": {strings.Repeat("x", 10_000)}},
			"SQL":                     {"session": {"' OR 1=1 --"}, "grant": {"' OR 1=1 --"}},
			"nothing":                 {},
			"an end that is none":     {"end": {"everything"}},
			"a subject of another":    {"subject": alicesForm.Fields["subject"], "end": {"all"}},
			"no subject":              {"subject": {""}, "end": {"all"}},
			"the subject and a space": {"subject": {form.Fields.Get("subject") + " "}, "end": {"all"}},
		} {
			next, err := bobs.browser.Submit(t.Context(), form, fields)
			if err != nil {
				t.Fatal(err)
			}
			w.safe(what, next.Status, next.Header, next.Body)
			if next.Status != http.StatusOK {
				t.Errorf("%s: %d", what, next.Status)
			}
			unharmed(what)
			if !w.works(bobs)["browser"] || !w.works(bobs)["app refresh"] {
				t.Errorf("%s: bob's own has ended", what)
			}
		}
		// Another site's form, with the cookie that Lax would not even send.
		mallory := w.at(alices.browser)
		for _, header := range []http.Header{
			{"Sec-Fetch-Site": {"cross-site"}}, {"Sec-Fetch-Site": {"same-site"}}, {"Origin": {"https://evil.example"}}, {"Origin": {"null"}},
		} {
			mallory.Header = header
			evil, err := mallory.Submit(t.Context(), alicesForm, url.Values{"end": {"all"}})
			if err != nil {
				t.Fatal(err)
			}
			if evil.Status != http.StatusForbidden {
				t.Errorf("%v: %d", header, evil.Status)
			}
			unharmed("another site's form")
		}
		// Another method than POST changes nothing.
		w.get(alices.browser, w.issuer+"/account?end=all&subject="+alicesForm.Fields.Get("subject"))
		unharmed("a link")
		// A confirmation cannot be made up, nor borrowed.
		done := w.press(bobs.browser, w.account(bobs.browser), "end", "apps")
		if !strings.Contains(done.Body, "All apps and devices are signed out.") {
			t.Fatal("no confirmation")
		}
		for _, link := range []string{done.URL.String(), w.issuer + "/account?done=apps", w.issuer + "/account?done=" + strings.Repeat("A", 60)} {
			if page := w.get(alices.browser, link); page.Status != http.StatusOK || strings.Contains(page.Body, "are signed out.") {
				t.Errorf("%s: %d\n%s", link, page.Status, page.Body)
			}
		}
		// Replayed: nothing more happens, and it is said again.
		if again := w.submit(bobs.browser, page, "end", "apps"); again.Status != http.StatusOK {
			t.Errorf("replayed: %d", again.Status)
		}
		w.clock.advance(2 * time.Minute)
		if late := w.get(bobs.browser, done.URL.String()); strings.Contains(late.Body, "are signed out.") {
			t.Error("confirmed for ever")
		}
		// A page that was left open: after a sign-out it leads to a sign-in, and in
		// another person's session it ends nothing.
		w.signOut(bobs.browser)
		if next := w.submit(bobs.browser, page, "end", "all"); !strings.Contains(next.URL.Path, "/login/") {
			t.Errorf("signed out: at %s", next.URL)
		}
		w.response(w.signIn(bobs.browser, w.request()))
		if next := w.submit(bobs.browser, page, "end", "all"); next.Status != http.StatusOK || !strings.Contains(next.Body, "Alice Liddell") {
			t.Errorf("signed in as another: at %s", next.URL)
		}
		unharmed("a page that was left open")
	})
}

// What strangers wrote is text on the page, and what is not there any more is
// shown all the same.
func TestAccountShowsAnything(t *testing.T) {
	t.Parallel()
	db, c := newDatabase(t, "sqlite"), new(clock)
	first := db.replica(t, c)
	p := first.browser()
	p.Header = http.Header{"User-Agent": {`<script>alert(1)</script>"><img src=x onerror=alert(1)> Linux`}}
	a := first.redeem(first.code(p, first.request("scope", offline)))
	second := db.replica(t, c, func(cfg *server.Config) { cfg.Policy.Issuer = first.issuer; cfg.Clients = cfg.Clients[1:] })
	page := second.account(second.at(p))
	second.safe("the page", page.Status, page.Header, page.Body)
	if !strings.Contains(page.Body, "<bdi>app</bdi>") || !strings.Contains(page.Body, "Linux") {
		t.Errorf("the page:\n%s", page.Body)
	}
	second.press(second.at(p), page, "end", "apps")
	if first.alive(a.str("access_token")) {
		t.Error("a token of a client that was removed lives on")
	}
	// Idle for longer than it may be, an app is not signed in any more.
	b := first.redeem(first.code(p, first.request("scope", offline, "prompt", "login")))
	c.advance(50 * time.Minute)
	if page := first.account(p); !strings.Contains(page.Body, "The App") {
		t.Errorf("no app:\n%s", page.Body)
	}
	first.goOn(b.str("refresh_token"))
	c.advance(13 * time.Hour)
	first.submit(p, first.get(p, first.issuer+"/account"), "login", alice, "password", alicePassword)
	if page := first.account(p); strings.Contains(page.Body, "The App") || strings.Count(page.Body, `name="session"`) != 1 {
		t.Errorf("an idle app, or an idle session:\n%s", page.Body)
	}
}

// A thousand grants come in pages, the newest first.
func TestAccountWithAThousandGrants(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		w := newWorld(t, engine)
		h := w.holds(alice, alicePassword)
		session, _, err := w.store.Session(t.Context(), sessionHash(t, w, h.browser), w.clock.now())
		if err != nil {
			t.Fatal(err)
		}
		now := w.clock.now().UTC()
		for i := range 1000 {
			g := storage.Grant{
				ID: storage.GrantID{byte(i >> 8), byte(i), 1}, ClientID: "app", ConnectorID: "staff", UserID: "user-alice", SID: session.SID,
				Scopes: []string{"openid", "offline_access"}, CreatedAt: now, CodeExpiresAt: now.Add(time.Minute), ExpiresAt: now.Add(time.Minute),
			}
			if err := w.store.Authorize(t.Context(), storage.Authorization{Grant: g, Session: session.IDHash}); err != nil {
				t.Fatal(err)
			}
			if err := w.store.RedeemCode(t.Context(), storage.Redemption{ID: g.ID, Now: now, ExpiresAt: now.Add(24 * time.Hour)}); err != nil {
				t.Fatal(err)
			}
		}
		page, seen, pages := w.account(h.browser), 0, 0
		for {
			pages++
			n := strings.Count(page.Body, `name="grant"`)
			seen += n
			i := strings.Index(page.Body, "/dex/account?before=")
			if i < 0 {
				break
			}
			if n != 50 {
				t.Fatalf("page %d has %d", pages, n)
			}
			page = w.get(h.browser, w.issuer+strings.TrimPrefix(page.Body[i:i+strings.IndexByte(page.Body[i:], '"')], "/dex"))
		}
		if seen != 1002 || pages != 21 {
			t.Errorf("%d grants on %d pages", seen, pages)
		}
		page = w.press(h.browser, w.account(h.browser), "end", "apps")
		if strings.Contains(page.Body, `name="grant"`) || !strings.Contains(page.Body, "are signed out.") {
			t.Errorf("the page:\n%s", page.Body)
		}
	})
}

// No page says that there are no apps while there are on another, and none leads to
// one without any: what was not used for too long does not count.
func TestAccountPastIdleApps(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		const none = "No app stays signed in"
		for name, c := range map[string]struct{ oldest, idle, newest, apps int }{
			"nothing":               {0, 0, 0, 0},
			"idle ones only":        {0, 3, 0, 0},
			"a full page":           {0, 3, 50, 50},
			"one more":              {1, 3, 50, 51},
			"one far behind others": {1, 300, 0, 1},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, engine)
				p := w.browser()
				w.response(w.signIn(p, w.request()))
				session, _, err := w.store.Session(t.Context(), sessionHash(t, w, p), w.clock.now())
				if err != nil {
					t.Fatal(err)
				}
				now := w.clock.now().UTC().Truncate(time.Microsecond)
				for i := range c.oldest + c.idle + c.newest {
					at := now
					if i >= c.oldest && i < c.oldest+c.idle {
						at = now.Add(-13 * time.Hour)
					}
					g := storage.Grant{
						ID: storage.GrantID{byte(i >> 8), byte(i), 1}, ClientID: "app", ConnectorID: "staff", UserID: "user-alice", SID: session.SID,
						Scopes: []string{"openid", "offline_access"}, CreatedAt: at, CodeExpiresAt: at.Add(time.Minute), ExpiresAt: at.Add(time.Minute),
					}
					if err := w.store.Authorize(t.Context(), storage.Authorization{Grant: g, Session: session.IDHash}); err != nil {
						t.Fatal(err)
					}
					if err := w.store.RedeemCode(t.Context(), storage.Redemption{ID: g.ID, Now: at, ExpiresAt: now.Add(24 * time.Hour)}); err != nil {
						t.Fatal(err)
					}
				}
				apps := 0
				for page, more := w.account(p), true; more; {
					shown := strings.Count(page.Body, `name="grant"`)
					apps += shown
					older := slices.IndexFunc(page.Links(), func(link string) bool { return strings.Contains(link, "?before=") })
					if strings.Contains(page.Body, none) != (c.apps == 0) {
						t.Errorf("%d apps, and the page says:\n%s", c.apps, page.Body)
					}
					if more = older >= 0; more {
						page = w.get(p, page.Links()[older])
					} else if shown == 0 && c.apps > 0 {
						t.Error("a link led to a page without apps")
					}
				}
				if apps != c.apps {
					t.Errorf("%d apps are shown, of %d", apps, c.apps)
				}
			})
		}
	})
}

// sessionHash is the key of a browser's session.
func sessionHash(t *testing.T, w *world, p *person.Person) [32]byte {
	t.Helper()
	for _, c := range p.Cookies(w.issuer + "/") {
		if id, err := base64.RawURLEncoding.DecodeString(c.Value); err == nil && len(id) == 32 {
			return sha256.Sum256(id)
		}
	}
	t.Fatal("there is no session cookie")
	return [32]byte{}
}

// Without the database: a page that says so, never a false confirmation.
func TestAccountOutage(t *testing.T) {
	for _, method := range []string{"Session", "SessionsOf", "GrantsOf", "RevokeGrants"} {
		t.Run(method, func(t *testing.T) {
			t.Parallel()
			store := new(tap)
			w := newWorld(t, "sqlite", through(store))
			h := w.holds(alice, alicePassword)
			page := w.account(h.browser)
			store.arm(func(_ context.Context, called string) error {
				if called == method {
					return fmt.Errorf("%w: for the test", storage.ErrUnavailable)
				}
				return nil
			}, nil)
			for name, do := range map[string]func() *person.Page{
				"GET": func() *person.Page { return w.get(h.browser, w.issuer+"/account") },
				"POST": func() *person.Page {
					next, err := h.browser.Submit(t.Context(), page.Forms[0], url.Values{"end": {"apps"}})
					if err != nil {
						t.Fatal(err)
					}
					return next
				},
			} {
				if (name == "GET") == (method == "RevokeGrants") && method != "Session" {
					continue // it is not asked
				}
				got := do()
				if got.Status != http.StatusServiceUnavailable || got.Header.Get("Retry-After") == "" || strings.Contains(got.Body, "are signed out.") {
					t.Errorf("%s: %d\n%s", name, got.Status, got.Body)
				}
			}
		})
	}
}

// Who ended what, on the account page, and how much of it.
func TestAuditOfTheAccountPage(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		var log trail
		w := newWorld(t, engine, auditing(&log))
		mine, lost := w.holds(alice, alicePassword), w.holds(alice, alicePassword)
		grant, page := w.grantOf(lost, "app"), w.account(mine.browser)
		log.next(t)
		by := []any{"by", "person", "user_id", "user-alice", "connector_id", "staff"}
		w.press(mine.browser, page, "grant", grant.String())
		says(t, log.expect(t, "one app", "grant.revoked"), append(by, "client_id", "app", "sid", lost.sid, "grant_id", grant.String())...)
		w.submit(mine.browser, page, "grant", grant.String())
		log.expect(t, "the same again")
		w.press(mine.browser, page, "session", lost.sid)
		says(t, log.expect(t, "a browser", "sessions.ended"), append(by, "sid", lost.sid, "sessions", 1.0)...)
		w.press(mine.browser, page, "end", "apps")
		says(t, log.expect(t, "all apps", "grants.revoked"), append(by, "grants", 3.0, "reason", "revoked_by_person")...)
		w.press(mine.browser, page, "end", "all")
		says(t, log.expect(t, "everything", "sessions.ended", "grants.revoked"), append(by, "grants", 0.0)...)
	})
}
