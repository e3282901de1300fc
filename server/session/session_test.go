package session_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/countersign/countersign/server/seal"
	"github.com/countersign/countersign/server/session"
	"github.com/countersign/countersign/storage"
	"github.com/countersign/countersign/storage/sqlite"
)

// world is a real store whose calls are counted, a clock that stands still, and
// browsers' sessions over both.
type world struct {
	store   storage.Store
	calls   []string
	now     time.Time
	browser *session.Browsers
}

const (
	absolute = 24 * time.Hour
	idle     = time.Hour
	remember = 30 * 24 * time.Hour
)

// counted notes which of the calls that sessions make reach the store.
type counted struct {
	storage.Store
	calls *[]string
}

func (c counted) SignIn(ctx context.Context, in storage.SignIn) (bool, error) {
	*c.calls = append(*c.calls, "SignIn")
	return c.Store.SignIn(ctx, in)
}

func (c counted) Session(ctx context.Context, idHash [32]byte, now time.Time) (storage.Session, storage.Identity, error) {
	*c.calls = append(*c.calls, "Session")
	return c.Store.Session(ctx, idHash, now)
}

func (c counted) EndSession(ctx context.Context, idHash [32]byte, with storage.Ending) (bool, error) {
	*c.calls = append(*c.calls, "EndSession")
	return c.Store.EndSession(ctx, idHash, with)
}

func newWorld(t *testing.T, change func(*session.Config)) *world {
	t.Helper()
	engine, err := sqlite.Open(sqlite.Config{File: filepath.Join(t.TempDir(), "db"), StatementTimeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = engine.Close() })
	if err := engine.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	w := &world{now: time.Date(2026, 3, 4, 5, 6, 7, 123456789, time.UTC)}
	w.store = counted{engine, &w.calls}
	cfg := session.Config{
		Store: w.store, CookieName: "countersign_session", Secure: true, AbsoluteLifetime: absolute, IdleTimeout: idle,
		RememberLifetime: remember, Keyring: keyring(t),
		Now: func() time.Time { return w.now }, Random: rand.Reader,
	}
	if change != nil {
		change(&cfg)
	}
	if w.browser, err = session.New(cfg); err != nil {
		t.Fatal(err)
	}
	return w
}

func keyring(t *testing.T) *seal.Keyring {
	t.Helper()
	k, err := seal.New([][]byte{bytes.Repeat([]byte("0"), seal.MinSecretBytes)}, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func jane(client string) session.Login {
	return session.Login{ConnectorID: "local", UserID: "jane", AMR: []string{"pwd"}, ClientID: client, UserAgent: "Firefox", IPAddress: "192.0.2.1"}
}

// signIn does what a sign-in does in the browser that sends r.
func (w *world) signIn(t *testing.T, l session.Login, r *http.Request) (storage.Session, *http.Cookie) {
	t.Helper()
	previous, err := w.browser.Current(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	s, cookieID, err := w.browser.Begin(l, previous)
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.store.SignIn(t.Context(), storage.SignIn{
		Identity: storage.Identity{ConnectorID: l.ConnectorID, UserID: l.UserID, Name: "name of " + l.UserID, CheckedAt: s.AuthTime, ExpiresAt: s.ExpiresAt.Add(time.Hour)},
		Session:  s, Replaces: w.browser.Presented(r),
	})
	if err != nil {
		t.Fatal(err)
	}
	rec := httptest.NewRecorder()
	w.browser.SetCookie(rec, s, cookieID)
	return s, setCookie(t, rec)
}

func setCookie(t *testing.T, rec *httptest.ResponseRecorder) *http.Cookie {
	t.Helper()
	cookies := rec.Result().Cookies()
	if len(cookies) != 1 {
		t.Fatalf("%d cookies were set", len(cookies))
	}
	return cookies[0]
}

// request is one of a browser that has these cookies.
func request(cookies ...*http.Cookie) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/auth", nil)
	for _, c := range cookies {
		r.AddCookie(&http.Cookie{Name: c.Name, Value: c.Value})
	}
	return r
}

// current is the live session that a browser with these cookies has.
func (w *world) current(t *testing.T, cookies ...*http.Cookie) *session.Current {
	t.Helper()
	c, err := w.browser.Current(t.Context(), request(cookies...))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestNewChecksItsConfiguration(t *testing.T) {
	good := session.Config{Store: newWorld(t, nil).store, CookieName: "c", AbsoluteLifetime: 1, IdleTimeout: 1, RememberLifetime: 1, Keyring: keyring(t), Now: time.Now, Random: rand.Reader}
	if _, err := session.New(good); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*session.Config){
		"no store":          func(c *session.Config) { c.Store = nil },
		"no name":           func(c *session.Config) { c.CookieName = "" },
		"no keyring":        func(c *session.Config) { c.Keyring = nil },
		"no clock":          func(c *session.Config) { c.Now = nil },
		"no randomness":     func(c *session.Config) { c.Random = nil },
		"no lifetime":       func(c *session.Config) { c.AbsoluteLifetime = 0 },
		"negative lifetime": func(c *session.Config) { c.AbsoluteLifetime = -1 },
		"no idle timeout":   func(c *session.Config) { c.IdleTimeout = 0 },
		"no remembering":    func(c *session.Config) { c.RememberLifetime = 0 },
	} {
		cfg := good
		change(&cfg)
		if _, err := session.New(cfg); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}

func TestSignInAndComeBack(t *testing.T) {
	w := newWorld(t, nil)
	s, cookie := w.signIn(t, jane("web"), request())
	got := w.current(t, cookie)
	if got == nil {
		t.Fatal("nobody is signed in")
	}
	at := time.Date(2026, 3, 4, 5, 6, 7, 123456000, time.UTC)
	want := storage.Session{
		IDHash: s.IDHash, SID: s.SID, ConnectorID: "local", UserID: "jane", AuthTime: at, AMR: []string{"pwd"}, LoginClientIDs: []string{"web"}, ClientIDs: []string{"web"},
		UserAgent: "Firefox", IPAddress: "192.0.2.1", CreatedAt: at, LastUsedAt: at, ExpiresAt: at.Add(absolute),
	}
	if diff := cmp.Diff(want, got.Session); diff != "" {
		t.Errorf("session (-want +got):\n%s", diff)
	}
	if got.Identity.Name != "name of jane" {
		t.Errorf("identity %+v", got.Identity)
	}
	// The cookie is 256 bits, and only their hash is stored.
	id, err := base64.RawURLEncoding.Strict().DecodeString(cookie.Value)
	if err != nil || len(id) != 32 || sha256.Sum256(id) != s.IDHash {
		t.Errorf("cookie %q does not hash to %x", cookie.Value, s.IDHash)
	}
	if strings.Contains(cookie.Value, s.SID) || len(s.SID) != 22 {
		t.Errorf("sid %q", s.SID)
	}
}

// RFC 6265bis section 4.1.3: prefixes where the browser can enforce them.
func TestCookieAttributes(t *testing.T) {
	for _, test := range []struct {
		name             string
		secure, remember bool
		want             http.Cookie
	}{
		{"https", true, false, http.Cookie{Name: "__Host-countersign_session", Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode}},
		{"https, remembered", true, true, http.Cookie{Name: "__Host-countersign_session", Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode, MaxAge: 30 * 86400}},
		{"http", false, false, http.Cookie{Name: "countersign_session", Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode}},
		{"http, remembered", false, true, http.Cookie{Name: "countersign_session", Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode, MaxAge: 30 * 86400}},
	} {
		w := newWorld(t, func(c *session.Config) { c.Secure = test.secure })
		l := jane("web")
		l.Remember = test.remember
		s, got := w.signIn(t, l, request())
		test.want.Value, test.want.Raw = got.Value, got.Raw
		if diff := cmp.Diff(test.want, *got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
		// No Domain: it would void the __Host- prefix and widen the cookie.
		if strings.Contains(strings.ToLower(got.Raw), "domain") || strings.Contains(strings.ToLower(got.Raw), "expires") {
			t.Errorf("%s: %s", test.name, got.Raw)
		}
		if s.Remember != test.remember || w.current(t, got) == nil {
			t.Errorf("%s: session %+v", test.name, s)
		}
		// Ending clears the same cookie.
		rec := httptest.NewRecorder()
		if _, err := w.browser.End(t.Context(), rec, request(got)); err != nil {
			t.Fatal(err)
		}
		cleared := setCookie(t, rec)
		test.want.Value, test.want.MaxAge, test.want.Raw = "", -1, cleared.Raw
		if diff := cmp.Diff(test.want, *cleared); diff != "" {
			t.Errorf("%s, cleared (-want +got):\n%s", test.name, diff)
		}
		if w.current(t, got) != nil {
			t.Errorf("%s: the session outlives its end", test.name)
		}
	}
}

// On https the name without prefix, which any subdomain can set, is not ours.
func TestUnprefixedCookieIsIgnoredOnHTTPS(t *testing.T) {
	w := newWorld(t, nil)
	_, cookie := w.signIn(t, jane("web"), request())
	w.calls = nil
	for _, name := range []string{"countersign_session", "__Secure-countersign_session", "__host-countersign_session", "__Host-other"} {
		if c := w.current(t, &http.Cookie{Name: name, Value: cookie.Value}); c != nil {
			t.Errorf("%s is accepted", name)
		}
	}
	if len(w.calls) != 0 {
		t.Errorf("they cost %v", w.calls)
	}
}

// Session fixation: whatever id a browser brings, after a sign-in it has another,
// and the one it brought opens nothing.
func TestFixation(t *testing.T) {
	w := newWorld(t, nil)
	planted := &http.Cookie{Name: "__Host-countersign_session", Value: base64.RawURLEncoding.EncodeToString(bytes.Repeat([]byte{7}, 32))}
	_, first := w.signIn(t, jane("web"), request(planted))
	_, again := w.signIn(t, jane("web"), request(first))
	mallory := session.Login{ConnectorID: "local", UserID: "mallory", ClientID: "web"}
	_, other := w.signIn(t, mallory, request(again))

	seen := map[string]bool{planted.Value: true}
	for _, c := range []*http.Cookie{first, again, other} {
		if seen[c.Value] {
			t.Errorf("the id %q is used again", c.Value)
		}
		seen[c.Value] = true
	}
	for name, c := range map[string]*http.Cookie{"planted": planted, "first": first, "again": again} {
		if w.current(t, c) != nil {
			t.Errorf("the %s id still opens a session", name)
		}
	}
	if got := w.current(t, other); got == nil || got.Session.UserID != "mallory" {
		t.Errorf("the last sign-in is %+v", got)
	}
}

func TestSamePersonAgain(t *testing.T) {
	w := newWorld(t, nil)
	first, cookie := w.signIn(t, jane("a"), request())
	w.now = w.now.Add(10 * time.Minute)
	l := jane("b")
	l.Remember = true
	second, cookie := w.signIn(t, l, request(cookie))
	if second.SID != first.SID || !second.CreatedAt.Equal(first.CreatedAt) {
		t.Errorf("sid %q became %q, begun %v became %v", first.SID, second.SID, first.CreatedAt, second.CreatedAt)
	}
	if second.IDHash == first.IDHash {
		t.Error("the id survived")
	}
	if !second.AuthTime.Equal(first.AuthTime.Add(10*time.Minute)) || !second.ExpiresAt.Equal(second.AuthTime.Add(remember)) || !second.Remember {
		t.Errorf("%+v", second)
	}
	if diff := cmp.Diff([]string{"b", "a"}, second.LoginClientIDs); diff != "" {
		t.Errorf("clients (-want +got):\n%s", diff)
	}
	third, _ := w.signIn(t, jane("a"), request(cookie))
	if diff := cmp.Diff([]string{"a", "b"}, third.LoginClientIDs); diff != "" {
		t.Errorf("each once (-want +got):\n%s", diff)
	}
}

// Nothing of one person's session reaches another's, nor a dead one's.
func TestAnotherPerson(t *testing.T) {
	for name, next := range map[string]struct {
		login session.Login
		wait  time.Duration
	}{
		"another user":                  {session.Login{ConnectorID: "local", UserID: "joe", ClientID: "b"}, 0},
		"the same id elsewhere":         {session.Login{ConnectorID: "ldap", UserID: "jane", ClientID: "b"}, 0},
		"another case":                  {session.Login{ConnectorID: "local", UserID: "Jane", ClientID: "b"}, 0},
		"the same person, after a rest": {session.Login{ConnectorID: "local", UserID: "jane", ClientID: "b"}, idle},
	} {
		w := newWorld(t, nil)
		first, cookie := w.signIn(t, jane("a"), request())
		w.now = w.now.Add(next.wait)
		second, _ := w.signIn(t, next.login, request(cookie))
		if second.SID == first.SID || second.IDHash == first.IDHash || second.CreatedAt.Equal(first.CreatedAt) != (next.wait == 0) {
			t.Errorf("%s: %+v follows %+v", name, second, first)
		}
		if diff := cmp.Diff([]string{"b"}, second.LoginClientIDs); diff != "" {
			t.Errorf("%s, clients (-want +got):\n%s", name, diff)
		}
		if w.current(t, cookie) != nil {
			t.Errorf("%s: the first session lives on", name)
		}
	}
}

// Both ends are exclusive, and the earlier one counts.
func TestExpiry(t *testing.T) {
	for _, test := range []struct {
		name           string
		absolute, idle time.Duration
		after          time.Duration
		alive          bool
	}{
		{"at once", absolute, idle, 0, true},
		{"just before idle", absolute, idle, idle - time.Microsecond, true},
		{"at idle", absolute, idle, idle, false},
		{"after idle", absolute, idle, idle + time.Microsecond, false},
		{"just before absolute", idle, absolute, idle - time.Microsecond, true},
		{"at absolute", idle, absolute, idle, false},
		{"after absolute", idle, absolute, absolute, false},
		{"the clock went back", absolute, idle, -time.Minute, true},
	} {
		w := newWorld(t, func(c *session.Config) { c.AbsoluteLifetime, c.IdleTimeout = test.absolute, test.idle })
		w.now = w.now.Truncate(time.Microsecond)
		_, cookie := w.signIn(t, jane("web"), request())
		w.now = w.now.Add(test.after)
		if got := w.current(t, cookie); (got != nil) != test.alive {
			t.Errorf("%s: %+v", test.name, got)
		}
	}
}

// Use keeps a session alive, never beyond its absolute end.
// "Keep me signed in" replaces both limits by its own.
func TestRemembered(t *testing.T) {
	w := newWorld(t, nil)
	l := jane("web")
	l.Remember = true
	_, cookie := w.signIn(t, l, request())
	w.now = w.now.Add(remember - time.Microsecond)
	if w.current(t, cookie) == nil {
		t.Error("signed out before the end")
	}
	w.now = w.now.Add(time.Microsecond)
	if w.current(t, cookie) != nil {
		t.Error("still signed in at the end")
	}
}

func TestUseExtendsIdleOnly(t *testing.T) {
	w := newWorld(t, func(c *session.Config) { c.AbsoluteLifetime = 3 * time.Hour })
	s, cookie := w.signIn(t, jane("web"), request())
	for i := range 6 {
		w.now = w.now.Add(30 * time.Minute)
		got := w.current(t, cookie)
		if alive := w.now.Before(s.ExpiresAt); (got != nil) != alive {
			t.Fatalf("after %d half hours: %+v", i+1, got)
		}
		if got == nil {
			return
		}
		id, err := storage.NewGrantID(w.now, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		at := w.now.UTC().Truncate(time.Microsecond)
		err = w.store.Authorize(t.Context(), storage.Authorization{
			Grant:   storage.Grant{ID: id, ClientID: "web", ConnectorID: "local", UserID: "jane", CreatedAt: at, CodeExpiresAt: at.Add(time.Minute), ExpiresAt: at.Add(time.Minute)},
			Session: s.IDHash, TouchSession: true,
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Fatal("the session has no end")
}

func TestNeedsTouch(t *testing.T) {
	for _, test := range []struct {
		idle, age time.Duration
		want      bool
	}{
		{time.Hour, 0, false},
		{time.Hour, time.Minute, false},
		{time.Hour, time.Minute + 1, true},
		{5 * time.Minute, 30 * time.Second, false},
		{5 * time.Minute, 30*time.Second + 1, true},
		{time.Hour, -time.Hour, false},
	} {
		w := newWorld(t, func(c *session.Config) { c.IdleTimeout = test.idle })
		if got := w.browser.NeedsTouch(storage.Session{LastUsedAt: w.now.Add(-test.age), ClientIDs: []string{"web"}}, "web"); got != test.want {
			t.Errorf("idle %v, used %v ago: %v", test.idle, test.age, got)
		}
		if !w.browser.NeedsTouch(storage.Session{LastUsedAt: w.now, ClientIDs: []string{"web"}}, "mail") {
			t.Error("the first use by a client is not worth a write")
		}
	}
}

// What cannot be a cookie of ours costs no query, and what only looks like one
// costs a single read.
func TestForgedCookies(t *testing.T) {
	w := newWorld(t, nil)
	_, cookie := w.signIn(t, jane("web"), request())
	w.calls = nil
	// The last of 43 characters holds four bits; no id ends with B.
	trailing := cookie.Value[:len(cookie.Value)-1] + "B"
	for name, value := range map[string]string{
		"empty": "", "a word": "admin", "short": cookie.Value[1:], "long": cookie.Value + "A", "padded": cookie.Value + "=", "standard base64": strings.Repeat("+", 43),
		"trailing bits": trailing, "twice": cookie.Value + cookie.Value, "oversized": strings.Repeat("A", 1<<20),
		"the hash in hexadecimal": strings.Repeat("ab", 32), "a dot": strings.Repeat(".", 43), "injection": "' OR 1=1 --" + strings.Repeat("A", 32),
	} {
		if w.current(t, &http.Cookie{Name: cookie.Name, Value: value}) != nil {
			t.Errorf("%s is accepted", name)
		}
		if got := w.browser.Presented(request(&http.Cookie{Name: cookie.Name, Value: value})); got != ([32]byte{}) {
			t.Errorf("%s is presented as %x", name, got)
		}
	}
	for _, raw := range []string{cookie.Name, cookie.Name + "=", cookie.Name + "=\"" + cookie.Value, ";;;", "=" + cookie.Value, strings.Repeat("a=b; ", 5000)} {
		r := httptest.NewRequest(http.MethodGet, "/auth", nil)
		r.Header["Cookie"] = []string{raw}
		if c, err := w.browser.Current(t.Context(), r); c != nil || err != nil {
			t.Errorf("Cookie: %.40q: %+v, %v", raw, c, err)
		}
	}
	if len(w.calls) != 0 {
		t.Errorf("malformed cookies cost %v", w.calls)
	}
	guess := base64.RawURLEncoding.EncodeToString(make([]byte, 32))
	if w.current(t, &http.Cookie{Name: cookie.Name, Value: guess}) != nil {
		t.Error("a guess is accepted")
	}
	if diff := cmp.Diff([]string{"Session"}, w.calls); diff != "" {
		t.Errorf("a guess costs (-want +got):\n%s", diff)
	}
}

// The stored hash opens nothing: whoever reads the database cannot sign in.
func TestStoredHashIsNoCookie(t *testing.T) {
	w := newWorld(t, nil)
	s, cookie := w.signIn(t, jane("web"), request())
	if w.current(t, &http.Cookie{Name: cookie.Name, Value: base64.RawURLEncoding.EncodeToString(s.IDHash[:])}) != nil {
		t.Error("the hash of the id opens the session")
	}
	if w.current(t, &http.Cookie{Name: cookie.Name, Value: s.SID + s.SID[:21]}) != nil {
		t.Error("the sid opens the session")
	}
}

// A store that fails is an error, never "nobody is signed in": that would make a
// new session, or a redirect loop, out of an outage.
func TestStoreFailure(t *testing.T) {
	w := newWorld(t, nil)
	_, cookie := w.signIn(t, jane("web"), request())
	if err := w.store.Close(); err != nil {
		t.Fatal(err)
	}
	if c, err := w.browser.Current(t.Context(), request(cookie)); !errors.Is(err, storage.ErrUnavailable) || c != nil {
		t.Errorf("Current = %+v, %v", c, err)
	}
	// A sign-out that did not happen must not look as if it had.
	rec := httptest.NewRecorder()
	if _, err := w.browser.End(t.Context(), rec, request(cookie)); !errors.Is(err, storage.ErrUnavailable) || len(rec.Result().Cookies()) != 0 {
		t.Errorf("End = %v, cookies %v", err, rec.Result().Cookies())
	}
	// Without a cookie there is nothing to ask the store.
	if c, err := w.browser.Current(t.Context(), request()); err != nil || c != nil {
		t.Errorf("Current without a cookie = %+v, %v", c, err)
	}
}

func TestEndWithoutSession(t *testing.T) {
	w := newWorld(t, nil)
	rec := httptest.NewRecorder()
	if _, err := w.browser.End(t.Context(), rec, request()); err != nil || setCookie(t, rec).MaxAge != -1 || len(w.calls) != 0 {
		t.Errorf("End = %v, calls %v", err, w.calls)
	}
}

func TestBeginNeedsRandomness(t *testing.T) {
	for _, n := range []int{0, 1, 31, 32, 47} {
		w := newWorld(t, func(c *session.Config) { c.Random = io.LimitReader(rand.Reader, int64(n)) })
		if s, id, err := w.browser.Begin(jane("web"), nil); err == nil || id != "" {
			t.Errorf("%d bytes of randomness make %+v, %q", n, s, id)
		}
	}
}
