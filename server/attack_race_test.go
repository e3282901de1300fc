package server_test

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/countersign/countersign/connector/local"
	"github.com/countersign/countersign/e2e/person"
	"github.com/countersign/countersign/server"
	"github.com/countersign/countersign/server/oauth"
)

// crowd is the connector of n people, of whom the i-th has the password "pi".
func crowd(t *testing.T, n int) option {
	t.Helper()
	var people []local.Password
	for i := range n {
		people = append(people, local.Password{
			Email: fmt.Sprintf("p%d@example.com", i), Hash: hash(t, fmt.Sprintf("p%d", i)), UserID: fmt.Sprintf("user-%d", i),
			Username: fmt.Sprintf("p%d", i), Groups: []string{fmt.Sprintf("group-%d", i)}, EmailVerified: true,
		})
	}
	c, err := local.New(people)
	if err != nil {
		t.Fatal(err)
	}
	return func(cfg *server.Config) { cfg.Connectors[0].Password = c }
}

// 64 people sign in at once, at two replicas, each with as many steps as there
// are; everybody is themselves in the id_token and at userinfo, and nobody sees a
// failure of ours.
func TestSixtyFourPeopleAtOnce(t *testing.T) {
	const people = 64
	onEngines(t, func(t *testing.T, engine string) {
		first, second := replicas(t, engine, crowd(t, people))
		worlds := []*world{first, second}
		var all sync.WaitGroup
		for i := range people {
			all.Go(func() {
				w, other := worlds[i%2], worlds[(i+1)%2]
				p := w.browser()
				name := fmt.Sprintf("p%d@example.com", i)
				page, err := p.Get(t.Context(), w.request("state", name, "nonce", name))
				for _, form := range []url.Values{{"login": {name}, "password": {fmt.Sprintf("p%d", i)}}, {"approval": {"approve"}}} {
					if err == nil && len(page.Forms) > 0 {
						page, err = p.Submit(t.Context(), page.Forms[0], form)
					}
				}
				if err != nil || page.Header.Get("X-Client") == "" {
					t.Errorf("%s: %v, %d at %s", name, err, page.Status, page.URL)
					return
				}
				back := page.URL.Query()
				a := other.redeem(back.Get("code"))
				if back.Get("state") != name || a.status != http.StatusOK {
					t.Errorf("%s: %v, %d %s", name, back, a.status, a.raw)
					return
				}
				got := claims(t, a.str("id_token"))
				info := w.do(http.MethodGet, "/userinfo", nil, bearer(a.str("access_token"))...)
				sub := oauth.Subject(fmt.Sprintf("user-%d", i), "staff")
				if got["sub"] != sub || got["nonce"] != name || got["email"] != name || fmt.Sprint(got["groups"]) != fmt.Sprintf("[group-%d]", i) || info.str("sub") != sub || info.str("email") != name {
					t.Errorf("%s is %v, and at userinfo %s", name, got, info.raw)
				}
			})
		}
		all.Wait()
		if n := first.rows(); n["sessions"] != people || n["grants"] != people || n["consents"] != people || n["login_failures"] != 0 {
			t.Errorf("rows: %v", n)
		}
	})
}

// One browser with eight tabs that all submit at once, some of them twice: every
// tab ends at its client or at a clear page, one person is signed in, and the
// session that the browser keeps is alive.
func TestTabsAtOnce(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		first, second := replicas(t, engine)
		worlds := []*world{first, second}
		p := first.browser()
		first.response(first.signIn(p, first.request())) // nothing to ask from here on
		var pages []*person.Page
		for i := range 8 {
			pages = append(pages, first.get(p, first.request("prompt", "login", "state", fmt.Sprint("tab ", i))))
		}
		var all sync.WaitGroup
		var mu sync.Mutex
		var codes []string
		for i := range 16 {
			all.Go(func() {
				tab := pages[i%8]
				page, err := p.Submit(t.Context(), tab.Forms[0], url.Values{"login": {alice}, "password": {alicePassword}})
				switch {
				case err != nil:
					t.Error(err)
				case page.Header.Get("X-Client") != "":
					if page.URL.Query().Get("state") != fmt.Sprint("tab ", i%8) {
						t.Errorf("tab %d came back with %v", i%8, page.URL.Query())
					}
					mu.Lock()
					codes = append(codes, page.URL.Query().Get("code"))
					mu.Unlock()
				case page.Status == http.StatusTooManyRequests: // one at a time per account, and eight wait
				case page.Status != http.StatusBadRequest:
					t.Errorf("tab %d: %d at %s\n%s", i%8, page.Status, page.URL, page.Body)
				}
			})
		}
		all.Wait()
		if len(codes) < 8 {
			t.Errorf("%d of 16 submits came back", len(codes))
		}
		for i, code := range codes {
			a := worlds[i%2].redeem(code)
			if a.status != http.StatusOK || claims(t, a.str("id_token"))["sub"] != oauth.Subject("user-alice", "staff") {
				t.Errorf("code %d: %d %s", i, a.status, a.raw)
			}
		}
		if back := first.response(first.get(p, first.request("prompt", "none"))); back.Get("code") == "" {
			t.Errorf("the browser is signed out: %v", back)
		}
	})
}

// One consent page approved by sixteen submits at once: one consent, and every
// code its own grant.
func TestApprovalsAtOnce(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		w := newWorld(t, engine)
		p := w.browser()
		page := w.submit(p, w.get(p, w.request()), "login", alice, "password", alicePassword)
		cookie := w.flowCookie(p, page)
		var all sync.WaitGroup
		var mu sync.Mutex
		var codes []string
		for range 16 {
			all.Go(func() {
				tab := w.browser()
				plant(tab, w.issuer, "/", cookie)
				for _, c := range p.Cookies(w.issuer) {
					plant(tab, w.issuer, "/", c)
				}
				got, err := tab.Submit(t.Context(), page.Forms[0], url.Values{"approval": {"approve"}})
				if err != nil || got.Header.Get("X-Client") == "" {
					t.Errorf("%v %+v", err, got)
					return
				}
				mu.Lock()
				defer mu.Unlock()
				codes = append(codes, got.URL.Query().Get("code"))
			})
		}
		all.Wait()
		slices.Sort(codes)
		if n := len(slices.Compact(codes)); n != 16 || w.rows()["consents"] != 1 || w.rows()["grants"] != 16 {
			t.Errorf("%d codes, rows %v", n, w.rows())
		}
	})
}

// Signing out races with everything else of that browser: what comes after has no
// session, and nothing fails.
func TestSigningOutAtOnce(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		w := newWorld(t, engine)
		for range 8 {
			p := w.browser()
			w.response(w.signIn(p, w.request()))
			home := w.get(p, w.issuer+"/")
			cookies := p.Cookies(w.issuer)
			var all sync.WaitGroup
			for i := range 8 {
				tab := w.browser()
				for _, c := range cookies {
					plant(tab, w.issuer, "/", c)
				}
				all.Go(func() {
					var page *person.Page
					var err error
					if i == 3 {
						page, err = tab.Submit(t.Context(), home.Forms[0], nil)
					} else {
						page, err = tab.Get(t.Context(), w.request())
					}
					if err != nil || page.Status >= 400 {
						t.Errorf("%v %+v", err, page)
					}
				})
			}
			all.Wait()
			tab := w.browser()
			for _, c := range cookies {
				plant(tab, w.issuer, "/", c)
			}
			if page := w.get(tab, w.request()); !strings.Contains(page.URL.Path, "/login/") {
				t.Errorf("signed in after signing out: at %s", page.URL)
			}
		}
	})
}

// What a sign-in costs: the numbers are promises. At most two write transactions
// from password to id_token, when there is nothing to ask.
func TestCallsOfASignIn(t *testing.T) {
	t.Parallel()
	store := new(tap)
	yes := true
	w := newWorld(t, "sqlite", through(store), func(c *server.Config) { c.Clients[1].SkipApproval = &yes })
	cost := func(what, want string, do func()) {
		t.Helper()
		store.arm(nil, nil)
		do()
		if got := strings.Join(store.taken(), " "); got != want {
			t.Errorf("%s costs %q, want %q", what, got, want)
		}
	}
	p := w.browser()
	toOther := func(pairs ...string) string {
		return w.request(append([]string{"client_id", "other", "redirect_uri", otherCallback}, pairs...)...)
	}
	var page *person.Page
	var code string
	var tokens answer
	cost("discovery", "", func() { w.do(http.MethodGet, "/.well-known/openid-configuration", nil) })
	cost("keys", "", func() { w.do(http.MethodGet, "/keys", nil) })
	cost("a stranger's request and page", "", func() { page = w.get(p, toOther()) })
	cost("a password, nothing to ask", "LoginFailures Consent SignIn", func() {
		code = w.response(w.submit(p, page, "login", alice, "password", alicePassword)).Get("code")
	})
	cost("a code", "Grant RedeemCode", func() {
		tokens = w.redeem(code, "client_id", "other", "client_secret", "other-secret", "redirect_uri", otherCallback)
	})
	cost("userinfo", "Grant", func() { w.do(http.MethodGet, "/userinfo", nil, bearer(tokens.str("access_token"))...) })
	cost("single sign-on", "Session Consent Authorize", func() { w.response(w.get(p, toOther("prompt", "none"))) })
	cost("a refused code", "", func() { w.redeem("csc_forged") })
	q := w.browser()
	cost("a wrong password", "LoginFailures RecordLoginFailure", func() {
		page = w.submit(q, w.get(q, w.request()), "login", bob, "password", "wrong")
	})
	cost("a password, and the consent page", "LoginFailures Consent SignIn Session Consent", func() {
		page = w.submit(q, page, "login", bob, "password", bobPassword)
	})
	cost("approving", "Session Consent Authorize", func() { w.response(w.submit(q, page, "approval", "approve")) })
}
