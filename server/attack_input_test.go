package server_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/countersign/countersign/connector/local"
	"github.com/countersign/countersign/e2e/person"
	"github.com/countersign/countersign/server"
	"github.com/countersign/countersign/server/flow"
	"github.com/countersign/countersign/server/oauth"
)

// authorizeParameters are all that the authorization endpoint knows, and one it
// does not.
var authorizeParameters = []string{
	"client_id", "redirect_uri", "response_type", "response_mode", "scope", "state", "nonce",
	"code_challenge", "code_challenge_method", "prompt", "max_age", "id_token_hint", "login_hint",
	"ui_locales", "claims_locales", "display", "acr_values", "claims", "request", "request_uri",
	"registration", "connector_id", "resource", "unheard_of",
}

// hostileValues are what strangers write where a word is expected.
var hostileValues = map[string]string{
	"HTML":             `"><script>alert(1)</script><img src=x onerror=alert(1)>`,
	"an attribute":     `" onmouseover="alert(1)" x="`,
	"a template":       `{{.Site}}${7*7}<%= 7 %>`,
	"a line break":     "x\r\nX-Injected: 1\r\nSet-Cookie: injected=1\r\n\r\n<script>alert(1)</script>",
	"NUL":              "x\x00y",
	"NUL alone":        "\x00",
	"bad UTF-8":        "x\xff\xfe",
	"overlong UTF-8":   "\xc0\xaf\xe0\x80\xaf",
	"a surrogate":      "\xed\xa0\x80",
	"a byte order":     "\ufeffx",
	"turned writing":   "x\u202etxt.exe",
	"a huge number":    "99999999999999999999999999",
	"a negative one":   "-1",
	"SQL":              `'; DROP TABLE grants; --`,
	"a JavaScript URL": "javascript:alert(1)",
	"a path":           "../../../../etc/passwd",
	"8 KB":             strings.Repeat("A", 8<<10),
	"many spaces":      strings.Repeat(" ", 4<<10) + "openid",
	"escaped twice":    "%253Cscript%253E",
	"half an escape":   "%",
}

// Each parameter with each hostile value: an answer that is not a failure, that
// runs nothing, and that goes nowhere but to the client.
func TestHostileParameters(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		var log journal
		w := newWorld(t, engine, logging(&log))
		signedIn, stranger := w.browser(), w.browser()
		w.response(w.signIn(signedIn, w.request()))
		for _, name := range authorizeParameters {
			for what, value := range hostileValues {
				w.attempt(signedIn, http.MethodGet, name+": "+what, w.request(name, value))
				w.attempt(stranger, http.MethodPost, name+": "+what, w.request(name, value))
			}
		}
		checkLog(t, log.String())
	})
}

// attempt follows a request as far as it leads, and looks at every stop.
func (w *world) attempt(p *person.Person, method, what, address string) {
	w.t.Helper()
	var form url.Values
	if method == http.MethodPost {
		u, err := url.Parse(address)
		if err != nil {
			w.t.Fatal(err)
		}
		form, address = u.Query(), w.issuer+"/auth"
	}
	for range 5 {
		page := w.once(p, method, address, form)
		location := page.Header.Get("Location")
		w.safe(method+" "+what, page.Status, page.Header, page.Body)
		w.safeHeaders(method+" "+what, page)
		if location == "" {
			return
		}
		if strings.HasPrefix(location, callback+"?") {
			return
		}
		if !strings.HasPrefix(location, "/dex/flow/") {
			w.t.Errorf("%s: led to %q", what, location)
			return
		}
		method, form = http.MethodGet, nil
		address = strings.TrimSuffix(w.issuer, "/dex") + location
	}
}

// safeHeaders demands what every answer to a browser carries.
func (w *world) safeHeaders(what string, page *person.Page) {
	w.t.Helper()
	for name, want := range map[string]string{
		"X-Frame-Options": "DENY", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store",
		"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin",
	} {
		if got := page.Header.Get(name); got != want {
			w.t.Errorf("%s: %s is %q, want %q", what, name, got, want)
		}
	}
	csp := page.Header.Get("Content-Security-Policy")
	wants := []string{"default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'"}
	if !strings.Contains(csp, "script-src 'sha256-") {
		// The page of form_post leads to wherever the client's own redirects do.
		wants = append(wants, "form-action ")
	}
	for _, want := range wants {
		if !strings.Contains(csp, want) {
			w.t.Errorf("%s: Content-Security-Policy %q lacks %q", what, csp, want)
		}
	}
	if page.Header.Get("Access-Control-Allow-Origin") != "" {
		w.t.Errorf("%s: readable by scripts of others", what)
	}
}

// checkLog demands that every record is one line of JSON in which nothing moves a
// terminal's cursor, and that no value is without a bound.
func checkLog(t *testing.T, log string) {
	t.Helper()
	lines := bufio.NewScanner(strings.NewReader(log))
	lines.Buffer(nil, 1<<20)
	for n := 0; lines.Scan(); n++ {
		var record map[string]any
		if err := json.Unmarshal(lines.Bytes(), &record); err != nil {
			t.Fatalf("record %d is not JSON: %v: %q", n, err, lines.Text())
		}
		checkRecord(t, record)
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
}

func checkRecord(t *testing.T, record map[string]any) {
	t.Helper()
	for name, value := range record {
		switch v := value.(type) {
		case map[string]any:
			checkRecord(t, v)
		case string:
			if name != "stack" && (len(v) > 4096 || !utf8.ValidString(v) || strings.ContainsFunc(v, func(r rune) bool { return !unicode.IsPrint(r) && r != utf8.RuneError })) {
				t.Errorf("%s is logged as %.200q", name, v)
			}
		}
	}
}

// RFC 6749 section 3.1: no parameter may be sent twice, not even an unknown one;
// in the token request neither.
func TestEveryParameterTwice(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "sqlite")
	for _, name := range authorizeParameters {
		if name == "resource" { // RFC 8707 section 2: may be repeated
			continue
		}
		for _, values := range [][2]string{{"a", "b"}, {"a", "a"}, {"", ""}, {"", "a"}} {
			u, err := url.Parse(w.request())
			if err != nil {
				t.Fatal(err)
			}
			q := u.Query()
			first := q.Get(name)
			if first == "" {
				first = values[0]
			}
			q[name] = []string{first, values[1]}
			u.RawQuery = q.Encode()
			page := w.once(w.browser(), http.MethodGet, u.String(), nil)
			switch location := page.Header.Get("Location"); {
			case name == "client_id" || name == "redirect_uri":
				if page.Status != http.StatusBadRequest || location != "" {
					t.Errorf("%s twice: %d to %q, want an error page", name, page.Status, location)
				}
			case !strings.HasPrefix(location, callback+"?error=invalid_request"):
				t.Errorf("%s twice (%q): %d to %q", name, values, page.Status, location)
			case name == "state" && strings.Contains(location, "state="):
				t.Errorf("one of two states is echoed: %q", location)
			}
		}
	}
	good := url.Values{
		"grant_type": {"authorization_code"}, "code": {"x"}, "redirect_uri": {callback}, "code_verifier": {verifier},
		"client_id": {"app"}, "client_secret": {"app-secret"}, "scope": {"openid"}, "unheard_of": {"1"},
	}
	for name := range good {
		form := url.Values{}
		for n, v := range good {
			form[n] = v
		}
		form[name] = append(form[name][:1:1], form[name][0])
		w.post("/token", form).expect(t, name+" twice at the token endpoint", 400, "invalid_request")
	}
}

// What is typed into the login form is anything; on PostgreSQL a NUL in the wrong
// place is a server error (SECURITY 40, 43).
func TestHostileCredentials(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		var log journal
		w := newWorld(t, engine, logging(&log))
		for what, value := range hostileValues {
			for name, pairs := range map[string][]string{
				"login":    {"login", value, "password", "wrong"},
				"password": {"login", "somebody", "password", value},
				"others":   {"login", "somebody", "password", "x", "remember", value, value, value},
			} {
				p := w.browser()
				page := w.submit(p, w.get(p, w.request()), pairs...)
				w.safe(name+": "+what, page.Status, page.Header, page.Body)
				if page.Status != http.StatusUnprocessableEntity && page.Status != http.StatusTooManyRequests {
					t.Errorf("%s: %s: status %d", name, what, page.Status)
				}
				if strings.Contains(page.Body, value) && name == "password" && len(value) > 4 {
					t.Errorf("%s: the password is on the page", what)
				}
			}
			// And in the forms that answer for somebody.
			p := w.browser()
			page := w.submit(p, w.get(p, w.request()), "login", bob, "password", bobPassword)
			for _, pairs := range [][]string{
				{"approval", value, value, value}, {"approval", "approve", "subject", value},
			} {
				got := w.submit(p, page, pairs...)
				w.safe("consent: "+what, got.Status, got.Header, got.Body)
				if got.Header.Get("X-Client") != "" {
					t.Errorf("consent with %q went to the client: %s", pairs, got.URL)
				}
			}
		}
		if n := w.rows()["consents"]; n != 0 {
			t.Errorf("%d consents were stored", n)
		}
		checkLog(t, log.String())
		for _, secret := range []string{"wrong", bobPassword, "alert(1)"} {
			if strings.Contains(log.String(), secret) {
				t.Errorf("%q is in the log", secret)
			}
		}
	})
}

// And in the requests of programs.
func TestHostileTokenRequests(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		var log journal
		w := newWorld(t, engine, logging(&log))
		for what, value := range hostileValues {
			for _, name := range []string{"grant_type", "code", "redirect_uri", "code_verifier", "client_id", "client_secret", "scope", "unheard_of"} {
				a := w.redeem("x", name, value)
				w.safe(name+": "+what, a.status, a.header, "")
				if a.status < 400 || a.str("error") == "" || a.header.Get("Content-Type") != "application/json" {
					t.Errorf("%s: %s: %d %s", name, what, a.status, a.raw)
				}
			}
			a := w.post("/token", url.Values{"grant_type": {"authorization_code"}}, basic(value, value)...)
			w.safe("basic: "+what, a.status, a.header, "")
			a = w.post("/userinfo", url.Values{"access_token": {value}})
			w.safe("userinfo: "+what, a.status, a.header, "")
			if a.status != http.StatusUnauthorized {
				t.Errorf("userinfo: %s: %d %s", what, a.status, a.raw)
			}
		}
		checkLog(t, log.String())
	})
}

// Names come from configuration files and directories, and are not to be trusted
// either (hydra CVE-2019-8400).
func TestHostileNames(t *testing.T) {
	t.Parallel()
	const evil = `"><script>alert(1)</script><img src=x onerror=alert(1)>`
	w := newWorld(t, "sqlite", func(c *server.Config) {
		people, err := local.New([]local.Password{{
			Email: alice, Hash: hash(t, alicePassword), UserID: "x" + evil, Name: evil, Username: evil, PreferredUsername: evil, Groups: []string{evil, "a\r\nb"},
		}})
		if err != nil {
			t.Fatal(err)
		}
		c.Connectors = []flow.Connector{
			{Connector: oauth.Connector{ID: "staff"}, Name: "Staff" + evil, Type: evil, Password: people},
			{Connector: oauth.Connector{ID: "a/b?c=d#e"}, Name: "Odd" + evil, Type: "local", Password: people},
		}
		c.Clients[0].Name, c.Clients[0].LogoURL = evil, "javascript:alert(1)"
		c.Frontend.IssuerName = evil
	})
	p := w.browser()
	page := w.get(p, w.request())
	w.safe("choice", page.Status, page.Header, page.Body)
	links := page.Links()
	if len(links) < 2 {
		t.Fatalf("links: %v", links)
	}
	// The id with characters of an address is still its own.
	odd := w.get(p, links[1])
	if odd.Status != http.StatusOK || len(odd.Forms) != 1 {
		t.Errorf("%s: %d", links[1], odd.Status)
	}
	page = w.get(p, links[0])
	w.safe("password", page.Status, page.Header, page.Body)
	page = w.submit(p, page, "login", alice, "password", alicePassword)
	w.safe("consent", page.Status, page.Header, page.Body)
	if !strings.HasSuffix(page.URL.Path, "/consent") {
		t.Fatalf("at %s", page.URL)
	}
	home := w.get(p, w.issuer+"/")
	w.safe("home", home.Status, home.Header, home.Body)
	a := w.redeem(w.response(w.approve(p, page)).Get("code"))
	if a.status != http.StatusOK || claims(t, a.str("id_token"))["name"] != evil {
		t.Errorf("%d %s", a.status, a.raw)
	}
	info := w.do(http.MethodGet, "/userinfo", nil, bearer(a.str("access_token"))...)
	if info.status != http.StatusOK || info.header.Get("X-Content-Type-Options") != "nosniff" || strings.Contains(info.raw, "<script>") {
		t.Errorf("userinfo: %d %v %s", info.status, info.header, info.raw)
	}
}

// Ten megabytes, announced or not, cost an answer and nothing else (F14).
func TestTenMegabytes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "sqlite")
	p := w.browser()
	login := w.get(p, w.request())
	for _, path := range []string{"/auth", "/token", "/userinfo", "/logout", strings.TrimPrefix(login.URL.Path, "/dex")} {
		for _, announced := range []bool{true, false} {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.issuer+path, io.LimitReader(endless{}, 10<<20))
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			for _, c := range p.Cookies(login.URL.String()) {
				r.AddCookie(c)
			}
			if announced {
				r.ContentLength = 10 << 20
			}
			resp, err := w.http.Client().Do(r)
			if err != nil {
				continue // the server hung up in the middle, which is an answer
			}
			body, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
			resp.Body.Close()
			if resp.StatusCode < 400 || resp.StatusCode >= 500 || len(body) > 64<<10 {
				// A log-out reads no body, and may be done before it came.
				if path != "/logout" || announced {
					t.Errorf("%s, announced %v: status %d, %d bytes", path, announced, resp.StatusCode, len(body))
				}
			}
		}
	}
	resp := w.raw("GET /dex/auth?x="+strings.Repeat("A", 2<<20)+" HTTP/1.1", "Host: "+w.host())
	if resp.StatusCode < 400 || resp.StatusCode >= 500 {
		t.Errorf("2 MB of query: %d", resp.StatusCode)
	}
	// Very many parameters.
	var many strings.Builder
	for i := range 12_000 {
		fmt.Fprintf(&many, "&p%d=", i)
	}
	page := w.once(p, http.MethodGet, w.request()+many.String(), nil)
	w.safe("12,000 parameters", page.Status, page.Header, page.Body)
}

// What cannot be read is refused as what it is, on the page and in the log: not as a
// sign-in that is over. Proxies send bodies on without announcing their size.
func TestUnreadableForms(t *testing.T) {
	t.Parallel()
	var log journal
	w := newWorld(t, "sqlite", logging(&log))
	p := w.browser()
	login := w.get(p, w.request())
	step := strings.TrimPrefix(login.URL.Path, "/dex")
	for _, path := range []string{"/auth", "/logout", "/account", "/callback", "/logout/callback/staff", step, step[:strings.Index(step, "/login/")] + "/consent"} {
		for _, c := range []struct {
			form, says, cause string
			status            int
		}{
			{"a=" + strings.Repeat("a", 1<<20), "the request is too large", "request body too large", http.StatusRequestEntityTooLarge},
			{"password=%zz", "parameters are malformed", "malformed parameters", http.StatusBadRequest},
		} {
			r := httptest.NewRequest(http.MethodPost, "/dex"+path, io.MultiReader(strings.NewReader(c.form))) // of no known size
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			for _, cookie := range p.Cookies(login.URL.String()) {
				r.AddCookie(cookie)
			}
			out, before := httptest.NewRecorder(), len(log.String())
			w.http.Config.Handler.ServeHTTP(out, r)
			if out.Code != c.status || !strings.Contains(out.Body.String(), c.says) {
				t.Errorf("%s: %d, want %d with %q\n%s", path, out.Code, c.status, c.says, out.Body)
			}
			if said := log.String()[before:]; !strings.Contains(said, c.cause) || strings.Contains(said, "%zz") {
				t.Errorf("%s: the log says %s", path, said)
			}
		}
	}
}

type endless struct{}

func (endless) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = 'a'
	}
	return len(b), nil
}

// Headers are a stranger's text too; the User-Agent is even stored.
func TestHostileHeaders(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		var log journal
		w := newWorld(t, engine, logging(&log))
		for name, value := range map[string]string{
			"bytes": "x\x80\xff\xfe", "HTML": `"><script>alert(1)</script>`, "8 KB": strings.Repeat("x", 8<<10), "languages": strings.Repeat("de-DE-x-y;q=0.1,", 500),
			"turned": "\u202eabc\u2066", "escapes": "\\x00\\r\\n%00%0d%0a", "a wild range": "*;q=NaN, -,-;;q=9e99999, en-\xff",
		} {
			p := w.browser()
			p.Header = http.Header{}
			for _, h := range []string{"User-Agent", "Accept-Language", "Referer", "X-Request-Id", "X-Forwarded-For", "Traceparent", "Baggage", "Accept", "If-None-Match", "Range"} {
				p.Header.Set(h, value)
			}
			page := w.get(p, w.request())
			w.safe(name, page.Status, page.Header, page.Body)
			if w.code(p, w.request()) == "" {
				t.Errorf("%s: no code", name)
			}
			for _, path := range []string{"/keys", "/.well-known/openid-configuration", "/", "/nowhere"} {
				page = w.get(p, w.issuer+path)
				w.safe(name, page.Status, page.Header, page.Body)
			}
			if id := page.Header.Get("X-Request-Id"); len(id) != 32 {
				t.Errorf("%s: request id %q", name, id)
			}
		}
		checkLog(t, log.String())
	})
}
