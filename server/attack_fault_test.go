package server_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/countersign/countersign/e2e/person"
	"github.com/countersign/countersign/server"
	"github.com/countersign/countersign/storage"
)

// errDefect is an error of a store that nobody expects.
var errDefect = errors.New("secret detail of a damaged database")

// failAt fails the calls from the n-th on; of one method, or of all.
func failAt(method string, n int, err error) func(context.Context, string) error {
	var mu sync.Mutex
	count := 0
	return func(_ context.Context, called string) error {
		mu.Lock()
		defer mu.Unlock()
		if method != "" && called != method {
			return nil
		}
		if count++; count >= n {
			return err
		}
		return nil
	}
}

// direct asks the handler without a network in between: to the token endpoint
// with a code, to userinfo without.
func direct(h http.Handler, form url.Values) answer {
	path := "/dex/userinfo"
	if form.Has("grant_type") {
		path = "/dex/token"
	}
	return directAt(h, path, form)
}

// directAt is direct, to any address.
func directAt(h http.Handler, path string, form url.Values) answer {
	return directAs(h, path, "application/x-www-form-urlencoded", form)
}

// directAs is directAt with a body that is said to be something else.
func directAs(h http.Handler, path, contentType string, form url.Values) answer {
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", contentType)
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, r)
	a := answer{status: rec.Code, header: rec.Header(), raw: rec.Body.String()}
	_ = json.Unmarshal(rec.Body.Bytes(), &a.body)
	return a
}

// act is one request of somebody who signs in.
type act struct {
	name string
	// ready brings a browser to where the request is made.
	ready func(w *world, p *person.Person) *person.Page
	do    func(w *world, p *person.Person, at *person.Page) *person.Page
}

func signedIn(w *world, p *person.Person) *person.Page {
	w.response(w.signIn(p, w.request("scope", "openid")))
	return nil
}

func posting(pairs ...string) func(w *world, p *person.Person, page *person.Page) *person.Page {
	return func(w *world, p *person.Person, page *person.Page) *person.Page {
		form := url.Values{}
		maps.Copy(form, page.Forms[0].Fields)
		for i := 0; i < len(pairs); i += 2 {
			form.Set(pairs[i], pairs[i+1])
		}
		return w.once(p, http.MethodPost, page.Forms[0].Action.String(), form)
	}
}

func getting(pairs ...string) func(w *world, p *person.Person, page *person.Page) *person.Page {
	return func(w *world, p *person.Person, _ *person.Page) *person.Page {
		return w.once(p, http.MethodGet, w.request(pairs...), nil)
	}
}

func loginPage(pairs ...string) func(w *world, p *person.Person) *person.Page {
	return func(w *world, p *person.Person) *person.Page { return w.get(p, w.request(pairs...)) }
}

func consentPage(w *world, p *person.Person) *person.Page {
	signedIn(w, p)
	return w.get(p, w.request("scope", "openid email"))
}

// acts are the requests that need the store.
var acts = []act{
	{"asking, signed in", signedIn, getting("scope", "openid")},
	{"asking silently", signedIn, getting("scope", "openid", "prompt", "none")},
	{"asking for a form", signedIn, getting("scope", "openid", "response_mode", "form_post")},
	{"a password", loginPage(), posting("login", alice, "password", alicePassword)},
	{"a password, no consent to ask", func(w *world, p *person.Person) *person.Page {
		signedIn(w, p)
		return w.get(p, w.request("scope", "openid", "prompt", "login"))
	}, posting("login", alice, "password", alicePassword)},
	{"a wrong password", loginPage(), posting("login", alice, "password", "wrong")},
	{"the consent page", consentPage, func(w *world, p *person.Person, page *person.Page) *person.Page {
		return w.once(p, http.MethodGet, page.URL.String(), nil)
	}},
	{"approving", consentPage, posting("approval", "approve")},
	{"refusing", consentPage, posting("approval", "deny")},
	{"choosing an account", func(w *world, p *person.Person) *person.Page {
		signedIn(w, p)
		return w.get(p, w.request("prompt", "select_account"))
	}, posting("account", "continue")},
	{"home", signedIn, func(w *world, p *person.Person, _ *person.Page) *person.Page {
		return w.once(p, http.MethodGet, w.issuer+"/", nil)
	}},
	{"signing out", func(w *world, p *person.Person) *person.Page {
		signedIn(w, p)
		return w.get(p, w.issuer+"/")
	}, posting()},
}

// I5: at each request, at each of its calls to the store, the store fails: before
// it did anything, or after it did and the answer was lost. Nobody gets a code, a
// cookie or a page that says it worked; nothing is half done; and doing it again
// works. (The engines' own faults are storagetest's business.)
func TestEveryStoreCallFails(t *testing.T) {
	t.Parallel()
	store := new(tap)
	w := newWorld(t, "sqlite", through(store))
	for _, a := range acts {
		p := w.browser()
		page := a.ready(w, p)
		store.arm(nil, nil)
		a.do(w, p, page)
		calls := store.taken()
		if len(calls) == 0 {
			t.Errorf("%s: no call of the store", a.name)
		}
		for n := range calls {
			for _, lost := range []bool{false, true} {
				w.fail(t, store, a, n+1, calls, lost)
			}
		}
		w.exec(t, "DELETE FROM consents")
		w.exec(t, "DELETE FROM login_failures")
	}
}

// fail makes the n-th call of an act fail, and looks at what the person gets.
func (w *world) fail(t *testing.T, store *tap, a act, n int, calls []string, lost bool) {
	t.Helper()
	what := fmt.Sprintf("%s, call %d of %v, lost %v", a.name, n, calls, lost)
	w.exec(t, "DELETE FROM consents")
	p := w.browser()
	page := a.ready(w, p)
	before := w.rows()
	if lost {
		store.arm(nil, failAt("", n, storage.ErrUnavailable))
	} else {
		store.arm(failAt("", n, storage.ErrUnavailable), nil)
	}
	got := a.do(w, p, page)
	store.arm(nil, nil)
	if got.Status != http.StatusServiceUnavailable || got.Header.Get("Retry-After") == "" {
		t.Errorf("%s: status %d, Retry-After %q", what, got.Status, got.Header.Get("Retry-After"))
	}
	if c := w.setCookie(got, "countersign_session"); c != nil {
		t.Errorf("%s: sets %v", what, c)
	}
	if got.Header.Get("Location") != "" || len(got.Forms) != 0 || strings.Contains(got.Body, "code=") {
		t.Errorf("%s: goes on to %q", what, got.Header.Get("Location"))
	}
	if after := w.rows(); !lost && !maps.Equal(before, after) {
		t.Errorf("%s: rows changed from %v to %v", what, before, after)
	}
	// Once more, and it works.
	if a.name == "a wrong password" {
		return
	}
	if got = a.do(w, p, page); got.Status >= 400 {
		t.Errorf("%s: once more: %d\n%s", what, got.Status, got.Body)
	}
}

// The same at the endpoints of programs: a code that could not be redeemed is not
// burnt unless the store says so, and nothing is handed out.
func TestTokenStoreCallsFail(t *testing.T) {
	t.Parallel()
	store := new(tap)
	w := newWorld(t, "sqlite", through(store))
	reused := func() string { code := w.code(w.browser(), w.request()); w.redeem(code); return code }
	for name, c := range map[string]struct {
		code  func() string
		calls []string
	}{
		"a code":        {func() string { return w.code(w.browser(), w.request()) }, []string{"Grant", "RedeemCode"}},
		"a reused code": {reused, []string{"Grant", "RevokeGrant"}},
	} {
		code := c.code()
		store.arm(nil, nil)
		w.redeem(code)
		if calls := store.taken(); !slices.Equal(calls, c.calls) {
			t.Errorf("%s: calls %v, want %v", name, calls, c.calls)
		}
		for n := range c.calls {
			for _, lost := range []bool{false, true} {
				code := c.code()
				if fail := failAt("", n+1, storage.ErrUnavailable); lost {
					store.arm(nil, fail)
				} else {
					store.arm(fail, nil)
				}
				a := w.redeem(code)
				store.arm(nil, nil)
				if a.status != http.StatusServiceUnavailable || a.str("error") != "temporarily_unavailable" || a.str("access_token") != "" {
					t.Errorf("%s, call %d, lost %v: %d %s", name, n+1, lost, a.status, a.raw)
				}
				// Again: it works if nothing had happened; else the first attempt
				// used the code up, and the second is refused.
				want := http.StatusOK
				if name == "a reused code" || lost && c.calls[n] == "RedeemCode" {
					want = http.StatusBadRequest
				}
				if a := w.redeem(code); a.status != want {
					t.Errorf("%s, call %d, lost %v: again: %d %s", name, n+1, lost, a.status, a.raw)
				}
			}
		}
	}
}

// People who go away in the middle leave nothing half done, and a record that
// says neither 200 nor 500.
func TestCancelledInTheMiddle(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		var log journal
		store := new(tap)
		w := newWorld(t, engine, through(store), logging(&log))
		code := w.code(w.browser(), w.request())
		for _, method := range []string{"Grant", "RedeemCode"} {
			ctx, cancel := context.WithCancel(t.Context())
			store.arm(func(_ context.Context, called string) error {
				if called == method {
					cancel()
				}
				return nil
			}, nil)
			r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/dex/token", strings.NewReader(w.tokenForm(code).Encode()))
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			rec := httptest.NewRecorder()
			w.http.Config.Handler.ServeHTTP(rec, r)
			cancel()
			if rec.Code < 400 || strings.Contains(rec.Body.String(), "access_token") {
				t.Errorf("cancelled at %s: %d %s", method, rec.Code, rec.Body)
			}
		}
		store.arm(nil, nil)
		if a := w.redeem(code); a.status != http.StatusOK {
			t.Errorf("afterwards: %d %s", a.status, a.raw)
		}
		if strings.Contains(log.String(), `"level":"ERROR"`) {
			t.Errorf("people who left are errors:\n%s", log.String())
		}
	})
}

// A panic anywhere is a 500 to one person, without what was prepared, and the
// next one is served.
func TestPanicInTheStore(t *testing.T) {
	t.Parallel()
	var log journal
	store := new(tap)
	w := newWorld(t, "sqlite", through(store), logging(&log))
	for _, a := range acts {
		p := w.browser()
		page := a.ready(w, p)
		store.arm(func(context.Context, string) error { panic("secret detail of the store") }, nil)
		got := a.do(w, p, page)
		store.arm(nil, nil)
		if got.Status != http.StatusInternalServerError || w.setCookie(got, "countersign_session") != nil || got.Header.Get("Location") != "" || strings.Contains(got.Body, "secret detail") {
			t.Errorf("%s: %d %v", a.name, got.Status, got.Header)
		}
		w.safeHeaders(a.name, got)
		w.exec(t, "DELETE FROM consents")
	}
	if w.code(w.browser(), w.request()) == "" {
		t.Error("nobody is served any more")
	}
}

// Nothing that could be used is in the log, whatever goes wrong (I7).
func TestNoSecretsInTheLog(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		var log journal
		store := new(tap)
		w := newWorld(t, engine, through(store), logging(&log), func(c *server.Config) { c.Policy.AccessTokenFormat = "jwt" })
		secrets := map[string]string{"password": alicePassword, "client secret": "app-secret", "verifier": verifier, "state": "the-state", "nonce": "the-nonce"}
		p := w.browser()
		login := w.get(p, w.request())
		secrets["flow cookie"] = w.flowCookie(p, login).Value
		w.submit(p, login, "login", "typed-into-the-wrong-field", "password", "typed-wrong")
		secrets["user name"], secrets["wrong password"] = "typed-into-the-wrong-field", "typed-wrong"
		code := w.response(w.approve(p, w.submit(p, login, "login", alice, "password", alicePassword))).Get("code")
		secrets["code"] = code
		for _, c := range p.Cookies(w.issuer) {
			secrets["session"] = c.Value
		}
		a := w.redeem(code)
		secrets["access token"], secrets["id_token"] = a.str("access_token"), a.str("id_token")
		w.do(http.MethodGet, "/userinfo?access_token="+a.str("access_token"), nil)
		w.do(http.MethodGet, "/nowhere/"+code+"?code="+code, nil)
		w.get(p, w.request("id_token_hint", a.str("id_token"), "prompt", "none"))
		for _, cause := range []error{storage.ErrUnavailable, fmt.Errorf("%w: a cause", storage.ErrInvalid), errDefect} {
			store.arm(failAt("", 1, cause), nil)
			w.get(p, w.request())
			w.redeem(code)
			w.do(http.MethodGet, "/userinfo", nil, bearer(a.str("access_token"))...)
		}
		store.arm(func(context.Context, string) error { panic("a panic") }, nil)
		w.redeem(code)
		w.get(p, w.request())
		store.arm(nil, nil)
		delete(secrets, "none")
		text := log.String()
		for name, secret := range secrets {
			if secret == "" {
				t.Errorf("no %s to look for", name)
			}
			if strings.Contains(strings.ReplaceAll(text, "/nowhere/"+code, ""), secret) {
				t.Errorf("the %s is in the log", name)
			}
		}
		if !strings.Contains(text, "secret detail of a damaged database") {
			t.Error("the operator does not learn the cause")
		}
		checkLog(t, text)
	})
}
