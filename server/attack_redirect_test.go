package server_test

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/countersign/countersign/server"
	"github.com/countersign/countersign/storage"
)

// hostileRedirects are near misses of https://app.example/callback and
// http://127.0.0.1/callback (SECURITY 23, 24; RFC 9700 section 4.1).
func hostileRedirects() []string {
	var all []string
	// Around the whole.
	for _, f := range []string{"%s/", "%s?", "%s#", "%s?x=1", "%s#x", "%s/..", "%s/../", "%s/../evil", "%s;x", "%s%%20", "%s ", " %s", "\t%s", "%s\n", "\n%s",
		"%s%%00", "%s\x00", "%s%%0d%%0aX-Injected:1", "%s\r\nX-Injected: 1", "%s.", "%s%%2e", "%s%%2f", "%s//", "%s\\", "%s/%%2e%%2e/x", "%s&x=1", "%s,https://evil.example",
		"%s https://evil.example", "%sx", "%s@evil.example", "javascript:%s", "data:text/html,%s", "view-source:%s", "blob:%s", "//%s", "url=%s", "https://evil.example/?%s", "https://evil.example/#%s", "https://evil.example/%s",
		"https://evil.example\\@%s", "'%s'", "\"%s\"", "<%s>"} {
		for _, good := range []string{callback, nativeApp} {
			all = append(all, strings.ReplaceAll(strings.Replace(f, "%s", good, 1), "%%", "%"))
		}
	}
	for _, host := range []string{
		"evil.example", "app.example.evil.example", "evilapp.example", "app.example@evil.example", "app.example:x@evil.example", "app.example%40evil.example",
		"evil.example\\.app.example", "evil.example%2f.app.example", "evil.example/.app.example", "evil.example?.app.example", "evil.example#.app.example",
		"evil.example\\@app.example", "evil.example%00.app.example", "evil.example\x00.app.example", "evil.example%09app.example", "user@app.example", ":@app.example", "@app.example", "app.example:443", "app.example:80", "app.example:",
		"app.example.", "APP.example", "App.Example", "app.exampl\u0435", "\uff41pp.example", "app\u3002example", "app%2eexample", "app.example%20", "www.app.example", ".app.example", "*.example", "app.example\\", "app.example%5c",
		"[::1]", "127.0.0.1", "localhost", "app-example", "appXexample", "a.app.example",
	} {
		all = append(all, "https://"+host+"/callback")
	}
	for _, path := range []string{"", "/", "//callback", "/callback/", "/Callback", "/CALLBACK", "/%63allback", "/callbac%6b", "/./callback", "/x/../callback", "/callback/.", "/callback/..%2f", "/callback%2f", "/callback;jsessionid=1", "/callback/*", "/callbac", "/callbackx", "/.well-known", "\\callback", "/call\tback", "/call\nback", "/callback%252F", "/callback%3f", "/callback?code=x&state=y"} {
		all = append(all, "https://app.example"+path)
	}
	for _, scheme := range []string{"http://", "HTTPS://", "Https://", "ftp://", "file://", "ws://", "", "//", "///", "/", "https:/", "https:", "https:///", "https:\\\\", "https:\\/\\/", "https//", "://", "javascript://", "data://", "app://", "com.example.app:/", "x-https://", "h\tttps://", " https://", "https%3a%2f%2f"} {
		all = append(all, scheme+"app.example/callback")
	}
	// The exception for loopback ports (RFC 8252 section 7.3), stretched.
	all = append(all,
		"http://127.0.0.1:7777", "http://127.0.0.1:7777/", "http://127.0.0.1:7777/other",
		"http://127.0.0.1:0/callback", "http://127.0.0.1:65536/callback", "http://127.0.0.1:-1/callback",
		"http://127.0.0.1:99999999999999999999/callback", "http://127.0.0.1:7777x/callback", "http://127.0.0.1:/callback",
		"http://127.0.0.1:7777@evil.example/callback", "http://127.0.0.1@evil.example/callback", "http://127.0.0.1.evil.example/callback",
		"http://127.0.0.1%2eevil.example/callback", "http://127.0.0.1\\.evil.example/callback", "http://evil.example/127.0.0.1/callback",
		"http://127.0.0.2/callback", "http://127.1/callback", "http://2130706433/callback",
		"http://0x7f.0.0.1/callback", "http://0177.0.0.1/callback", "http://0.0.0.0/callback",
		"http://[::1]/callback", "http://[::1]:7777/callback", "http://[::ffff:127.0.0.1]/callback",
		"http://[0:0:0:0:0:0:0:1]/callback", "http://localhost/callback", "http://localhost:7777/callback",
		"http://LOCALHOST/callback", "http://localhost.evil.example/callback", "http://127.0.0.1:7777#/callback",
		"http://127.0.0.1:7777?/callback", "http://127.0.0.1:7777\\/callback", "http://127.0.0.1:7777:80/callback",
		"http://127.0.0.1: 7777/callback", "http://127.0.0.1:+7777/callback", "http://127.0.0.1:７７７７/callback",
		"https://127.0.0.1:7777/callback", "http://user@127.0.0.1:7777/callback", "http://127.0.0.1:7777/callback?x=1",
		"http://127.0.0.1:7777/callback#x",
	)
	slices.Sort(all)
	return slices.Compact(all)
}

// SECURITY 23, 24: whatever redirect_uri a stranger sends, nobody is led outside
// of what is registered, signed in or not, and the client is told nothing.
func TestRedirectCorpus(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "sqlite")
	p := w.browser()
	w.response(w.signIn(p, w.request()))
	w.response(w.signIn(p, w.request("client_id", "native", "redirect_uri", nativeApp)))
	corpus := hostileRedirects()
	if len(corpus) < 200 {
		t.Errorf("the corpus has %d addresses, want 200", len(corpus))
	}
	variants := [][]string{{"prompt", "none"}, {"response_type", "x"}, {"response_mode", "form_post"}, {"state", ""}}
	for i, uri := range corpus {
		for _, client := range []string{"app", "native"} {
			// The port of a native app's loopback address is free.
			if client == "native" && (uri == nativeApp || uri == "http://127.0.0.1/callback" || uri == "http://127.0.0.1:/callback") {
				continue
			}
			for _, more := range [][]string{nil, variants[i%len(variants)]} {
				pairs := append([]string{"client_id", client, "redirect_uri", uri}, more...)
				page := w.once(p, http.MethodGet, w.request(pairs...), nil)
				if page.Status != http.StatusBadRequest || page.Header.Get("Location") != "" || len(page.Forms) != 0 || strings.Contains(strings.ToLower(page.Body), "http-equiv=\"refresh\"") {
					t.Errorf("%s with %q %v: %d to %q", client, uri, more, page.Status, page.Header.Get("Location"))
				}
				for _, link := range page.Links() {
					if !strings.HasPrefix(link, w.issuer) {
						t.Errorf("%s with %q: the error page links to %q", client, uri, link)
					}
				}
			}
		}
	}
	// All in the token request too.
	code := w.code(p, w.request())
	for _, uri := range corpus {
		refusal := "invalid_grant"
		if strings.Contains(uri, "\x00") {
			refusal = "invalid_request" // no parameter may hold it
		}
		w.redeem(code, "redirect_uri", uri).expect(t, uri, 400, refusal)
	}
	if a := w.redeem(code); a.status != http.StatusOK {
		t.Errorf("the owner: %d %s", a.status, a.raw)
	}
}

// hostilePaths are addresses that proxies, browsers and servers read differently.
var hostilePaths = []string{
	"//evil.example", "//evil.example/", "//evil.example/..", "///evil.example", "/\\evil.example", "/\\/evil.example", "/%5cevil.example", "/%2fevil.example", "/%2f%2fevil.example",
	"/dex//evil.example", "/dex/..//evil.example", "/dex/../..//evil.example/", "/dex/%2e%2e//evil.example", "/dex//", "//dex/", "/dex/./", "/dex/../dex/", "/dex/.//evil.example",
	"/dex/auth/../auth", "/dex/auth/..", "/dex/auth/%2e%2e/token", "/dex/auth/%2e%2e%2ftoken", "/dex/auth//", "/dex/auth//evil.example", "/dex/auth/", "/dex//auth", "/dex/auth%2f", "/dex/auth%00", "/dex/auth;x=1", "/dex/auth/staff/", "/dex/auth/staff/..", "/dex/auth/a/b", "/dex/auth/%2f%2fevil.example", "/dex/auth/staff%00", "/dex/auth/%ff", "/dex/auth/%0d%0aX-Injected:%201", "/dex/auth/staff%20", "/dex/auth/STAFF", "/dex/auth/\u0455taff", "/dex/auth/.",
	"/dex/flow/", "/dex/flow//", "/dex/flow/..", "/dex/flow/../", "/dex/flow/x/../../token", "/dex/flow/%2e%2e", "/dex/flow/x/login/", "/dex/flow/x/login/..", "/dex/flow/x/login/%2e%2e%2f%2e%2e", "/dex/flow/x/login//evil.example", "/dex/flow/%00/consent", "/dex/flow/%ff/consent", "/dex/flow/%0d%0aSet-Cookie:injected/consent", "/dex/flow/" + strings.Repeat("A", 4096),
	"/dex/static/../../../../etc/passwd", "/dex/static/..%2f..%2f..%2fetc%2fpasswd", "/dex/static/%2e%2e/%2e%2e/etc/passwd", "/dex/static/", "/dex/static//etc/passwd", "/dex/static/style.css%00", "/dex/static/.git/config", "/dex/static",
	"/", "/dex", "/dex?x=//evil.example", "/?//evil.example", "/dex?next=https://evil.example", "*", "/.well-known/../dex/", "/.well-known/oauth-authorization-server/dex/", "/.well-known/oauth-authorization-server/dex/..", "/metrics", "/debug/pprof/", "/dex/metrics", "/dex/debug/pprof/", "/dex/.git", "/DEX/", "/dex/token/", "/dex/keys/..", "/dex/%75serinfo", "/dex/userinfo%2f",
}

// Tricks with paths lead nowhere but to this host, inject nothing, and post
// nothing again elsewhere (307, RFC 9700 section 2.6).
func TestHostilePaths(t *testing.T) {
	t.Parallel()
	for name, options := range map[string][]option{"under a path": nil, "at the root": {atRoot}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "sqlite", options...)
			for _, path := range hostilePaths {
				if name == "at the root" {
					path = strings.Replace(path, "/dex", "", 1)
				}
				for _, method := range []string{"GET", "POST", "HEAD"} {
					w.hostilePath(method, path)
				}
			}
			if w.code(w.browser(), w.request()) == "" {
				t.Error("no code")
			}
		})
	}
}

// atRoot gives the world an issuer without a path.
func atRoot(c *server.Config) { c.Policy.Issuer = strings.TrimSuffix(c.Policy.Issuer, "/dex") }

func (w *world) hostilePath(method, path string) {
	w.t.Helper()
	if path == "" {
		path = "/"
	}
	resp := w.raw(method+" "+path+" HTTP/1.1", "Host: "+w.host(), "Content-Length: 0")
	what := method + " " + path
	w.safe(what, resp.StatusCode, resp.Header, "")
	w.staysHere(what, resp.Header.Get("Location"))
	if method == "POST" && resp.StatusCode >= 300 && resp.StatusCode < 400 && resp.StatusCode != http.StatusSeeOther {
		w.t.Errorf("%s: status %d makes the browser post again to %q", what, resp.StatusCode, resp.Header.Get("Location"))
	}
	if resp.Header.Get("Content-Security-Policy") == "" && resp.StatusCode != http.StatusBadRequest {
		w.t.Errorf("%s: status %d without the headers of a page", what, resp.StatusCode)
	}
}

// staysHere fails unless an address is a path of the issuer's host, in the eyes of
// everybody.
func (w *world) staysHere(what, location string) {
	w.t.Helper()
	if location == "" {
		return
	}
	if !strings.HasPrefix(location, "/") || strings.HasPrefix(location, "//") || strings.ContainsAny(location, "\\\t\r\n") {
		w.t.Errorf("%s: led to %q", what, location)
	}
}

// The issuer is what the configuration says, whatever a request claims to have
// come by (SECURITY 45; password reset poisoning and cache poisoning elsewhere).
func TestHostHeaders(t *testing.T) {
	for name, options := range map[string][]option{"http": nil, "https": {https}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "sqlite", options...)
			p := w.browser()
			w.response(w.signIn(p, w.request()))
			for _, header := range [][]string{
				{"Host: evil.example"}, {"Host: evil.example:443"}, {"Host: " + w.host() + ".evil.example"},
				{"Host: " + w.host(), "X-Forwarded-Host: evil.example", "X-Forwarded-Proto: http", "X-Forwarded-Prefix: //evil.example", "X-Forwarded-Port: 81"},
				{"Host: " + w.host(), "Forwarded: host=evil.example;proto=http;for=1.2.3.4"},
				{"Host: " + w.host(), "X-Original-URL: /dex/keys", "X-Rewrite-URL: /dex/keys", "X-Host: evil.example", "X-Forwarded-Server: evil.example"},
				{"Host: " + w.host(), "X-HTTP-Method-Override: POST", "X-HTTP-Method: POST", "X-Method-Override: POST"},
				{"Host: " + w.host(), "X-Remote-User: alice", "X-Forwarded-User: alice", "Remote-User: alice"},
			} {
				for _, target := range []string{
					"/dex/.well-known/openid-configuration", "/dex/", "/dex/keys", "/dex", "/", strings.TrimPrefix(w.request(), strings.TrimSuffix(w.issuer, "/dex")),
					"/dex/auth?client_id=nobody", "http://evil.example/dex//auth", "http://evil.example/dex",
				} {
					resp := w.raw(append([]string{"GET " + target + " HTTP/1.1"}, header...)...)
					var body strings.Builder
					_ = resp.Write(&body)
					if strings.Contains(body.String(), "evil.example") || resp.StatusCode >= 500 {
						t.Errorf("%s with %q: %d\n%s", target, header, resp.StatusCode, body.String())
					}
					w.staysHere(target, resp.Header.Get("Location"))
					if strings.Contains(target, "keys") && resp.StatusCode != http.StatusOK {
						t.Errorf("%s with %q: %d", target, header, resp.StatusCode)
					}
				}
			}
			// A GET does not become a POST by a parameter or a header.
			page := w.once(p, http.MethodGet, w.issuer+"/logout?_method=POST", nil)
			if page.Status != http.StatusOK || w.rows()["sessions"] != 1 {
				t.Errorf("GET /logout: %d, %d sessions", page.Status, w.rows()["sessions"])
			}
		})
	}
}

// Only the methods of the table do anything; the others say which those are, and
// TRACE echoes nothing (cross-site tracing).
func TestMethods(t *testing.T) {
	t.Run("scripts may come", func(t *testing.T) {
		t.Parallel()
		// What is no preflight is refused all the same (RFC 6749 section 3.2: POST).
		methods(t, newWorld(t, "sqlite", func(c *server.Config) { c.AllowedOrigins = []string{"*"} }))
	})
	t.Run("scripts may not come", func(t *testing.T) {
		t.Parallel()
		methods(t, newWorld(t, "sqlite"))
	})
}

func methods(t *testing.T, w *world) {
	p := w.browser()
	login := w.get(p, w.request())
	for path, allowed := range map[string][]string{
		"/.well-known/openid-configuration": {"GET", "HEAD"}, "/keys": {"GET", "HEAD"}, "/auth": {"GET", "HEAD", "POST"}, "/auth/staff": {"GET", "HEAD", "POST"},
		"/token": {"POST"}, "/userinfo": {"GET", "HEAD", "POST"}, "/logout": {"GET", "HEAD", "POST"}, "/revoke": {"POST"}, "/token/introspect": {"POST"}, "/": {"GET", "HEAD"},
		"/flow/x": {"GET", "HEAD"}, "/flow/x/connectors": {"GET", "HEAD"}, "/flow/x/consent": {"GET", "HEAD", "POST"}, "/flow/x/account": {"GET", "HEAD", "POST"},
		strings.TrimPrefix(login.URL.Path, "/dex"): {"GET", "HEAD", "POST"},
	} {
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "get", "X"} {
			resp := w.raw(method+" /dex"+path+" HTTP/1.1", "Host: "+w.host(), "X-Echo: tracer", "Content-Length: 0")
			var body strings.Builder
			_ = resp.Write(&body)
			if strings.Contains(body.String(), "tracer") {
				t.Errorf("%s %s echoes the request", method, path)
			}
			refused := resp.StatusCode == http.StatusMethodNotAllowed
			if refused == slices.Contains(allowed, method) || refused && resp.Header.Get("Allow") == "" {
				t.Errorf("%s %s: %d, Allow %q", method, path, resp.StatusCode, resp.Header.Get("Allow"))
			}
			if resp.StatusCode >= 500 {
				t.Errorf("%s %s: %d", method, path, resp.StatusCode)
			}
		}
	}
	if n := w.rows(); n["sessions"]+n["grants"]+n["login_failures"] != 0 {
		t.Errorf("rows: %v", n)
	}
}

// SECURITY "CORS": scripts read discovery, keys, token, revocation and userinfo of the
// origins that are configured, never with credentials; a page or a flow never.
func TestCORS(t *testing.T) {
	const origin = "https://spa.example"
	ask := func(w *world, method, path, origin string, more ...string) *http.Response {
		lines := []string{method + " /dex" + path + " HTTP/1.1", "Host: " + w.host(), "Origin: " + origin, "Content-Length: 0"}
		return w.raw(append(lines, more...)...)
	}
	preflight := []string{"Access-Control-Request-Method: POST", "Access-Control-Request-Headers: authorization"}
	forScripts := []string{"/.well-known/openid-configuration", "/.well-known/oauth-authorization-server", "/keys", "/token", "/revoke", "/userinfo"}
	// And what only servers ask: introspection.
	forPeople := []string{
		"/auth", "/auth/staff", "/flow/x", "/flow/x/connectors", "/flow/x/login/staff", "/flow/x/consent", "/flow/x/account", "/flow/x/callback", "/flow/x/callback/staff",
		"/callback", "/callback/staff", "/saml/staff/metadata", "/", "/account", "/logout", "/logout/callback", "/logout/callback/staff", "/logout/away/x",
		"/token/introspect", "/nowhere", "/static/style.css", "/healthz",
	}
	t.Run("configured", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, "sqlite", func(c *server.Config) { c.AllowedOrigins = []string{origin} })
		for _, path := range forScripts {
			for _, method := range []string{"GET", "POST", "OPTIONS"} {
				for _, o := range []string{origin, "https://evil.example", "null", "https://spa.example.evil.example", "http://spa.example", "https://SPA.example", "https://spa.example:443", "https://spa.example/", "", "*"} {
					for _, more := range [][]string{nil, preflight} {
						h := ask(w, method, path, o, more...).Header
						got := h.Get("Access-Control-Allow-Origin")
						if method == "OPTIONS" || method == "POST" && path != "/keys" && !strings.HasPrefix(path, "/.") || method == "GET" && path != "/token" && path != "/revoke" {
							if (got == origin) != (o == origin) || got != "" && got != origin {
								t.Errorf("%s %s from %q: Access-Control-Allow-Origin %q", method, path, o, got)
							}
							if !strings.Contains(strings.Join(h.Values("Vary"), ","), "Origin") {
								t.Errorf("%s %s from %q: Vary %q", method, path, o, h.Values("Vary"))
							}
						}
						if h.Get("Access-Control-Allow-Credentials") != "" {
							t.Errorf("%s %s from %q: credentials are allowed", method, path, o)
						}
					}
				}
			}
		}
		// RFC 8414 section 3.1: the same document at its other address.
		for method, status := range map[string]int{"GET": 200, "POST": 405, "OPTIONS": 204} {
			resp := w.raw(method+" /.well-known/oauth-authorization-server/dex HTTP/1.1", "Host: "+w.host(), "Origin: "+origin,
				"Access-Control-Request-Method: GET", "Content-Length: 0")
			if got := resp.Header.Get("Access-Control-Allow-Origin"); resp.StatusCode != status || got != origin {
				t.Errorf("%s of the metadata beside the issuer: %d, Access-Control-Allow-Origin %q", method, resp.StatusCode, got)
			}
		}
		for _, path := range forPeople {
			for _, method := range []string{"GET", "POST", "OPTIONS"} {
				for name := range ask(w, method, path, origin, preflight...).Header {
					if strings.HasPrefix(name, "Access-Control-") {
						t.Errorf("%s %s: %s", method, path, name)
					}
				}
			}
		}
	})
	t.Run("not configured", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, "sqlite")
		for _, path := range append(forScripts, forPeople...) {
			for _, method := range []string{"GET", "POST", "OPTIONS"} {
				for name := range ask(w, method, path, origin, preflight...).Header {
					if strings.HasPrefix(name, "Access-Control-") {
						t.Errorf("%s %s: %s", method, path, name)
					}
				}
			}
		}
	})
}

// What a registered address already holds stays, and the answer cannot be moved
// by it.
func TestRegisteredQueryStays(t *testing.T) {
	t.Parallel()
	const odd = "https://app.example/callback?next=%2F&x=a%20b"
	w := newWorld(t, "sqlite", func(c *server.Config) {
		c.Clients = append(c.Clients, storage.Client{ID: "odd", Public: true, RedirectURIs: []string{odd}})
	})
	p := w.browser()
	page := w.signIn(p, w.request("client_id", "odd", "redirect_uri", odd, "state", "a&code=forged#x"))
	u := page.URL
	if !strings.HasPrefix(u.String(), odd+"&") || u.Fragment != "" {
		t.Fatalf("at %s", u)
	}
	q, err := url.ParseQuery(u.RawQuery)
	if err != nil || len(q["code"]) != 1 || q.Get("state") != "a&code=forged#x" || q.Get("next") != "/" {
		t.Errorf("%v %v", err, q)
	}
}
