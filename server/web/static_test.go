package web_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/countersign/countersign/server/web"
)

func fetch(site *web.Site, method, path string, header ...string) *http.Response {
	r := httptest.NewRequest(method, path, nil)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	site.Static().ServeHTTP(w, r)
	return w.Result()
}

// styleAddress returns the address of the stylesheet, as a page names it.
func styleAddress(t *testing.T, site *web.Site) string {
	t.Helper()
	for _, link := range elements(document(t, show(t, site, web.Home{}, web.PageOptions{})), "link") {
		if rel, _ := attr(link, "rel"); rel == "stylesheet" {
			href, _ := attr(link, "href")
			return href
		}
	}
	t.Fatal("no stylesheet")
	return ""
}

func TestStaticForever(t *testing.T) {
	for _, base := range []string{"", "/dex"} {
		site := newSite(t, web.Config{BasePath: base})
		address := styleAddress(t, site)
		if !regexp.MustCompile("^" + base + `/static/style\.[0-9a-f]{16}\.css$`).MatchString(address) {
			t.Fatalf("the stylesheet is at %q", address)
		}
		res := fetch(site, http.MethodGet, address)
		if res.StatusCode != http.StatusOK || res.Header.Get("Cache-Control") != "public, max-age=31536000, immutable" {
			t.Errorf("status %d, Cache-Control %q", res.StatusCode, res.Header.Get("Cache-Control"))
		}
		etag := res.Header.Get("ETag")
		if again := fetch(site, http.MethodGet, address, "If-None-Match", etag); again.StatusCode != http.StatusNotModified {
			t.Errorf("with its ETag %s: status %d", etag, again.StatusCode)
		}
		if other := fetch(site, http.MethodGet, address, "If-None-Match", `"other"`); other.StatusCode != http.StatusOK {
			t.Errorf("with another ETag: status %d", other.StatusCode)
		}
	}
}

// The name changes with the content, so that nobody keeps an old stylesheet.
func TestStaticNameFollowsContent(t *testing.T) {
	plain := styleAddress(t, newSite(t, web.Config{}))
	dark := styleAddress(t, newSite(t, web.Config{Frontend: web.Frontend{Theme: web.ThemeDark}}))
	if plain == dark {
		t.Errorf("two stylesheets are both at %q", plain)
	}
}

func TestStaticRefusals(t *testing.T) {
	site := newSite(t, web.Config{BasePath: "/dex"})
	for _, c := range []struct {
		method, path string
		want         int
	}{
		{http.MethodGet, "/dex/static/", http.StatusNotFound},
		{http.MethodGet, "/dex/static/none.css", http.StatusNotFound},
		{http.MethodGet, "/dex/static/../templates/password.html", http.StatusNotFound},
		{http.MethodGet, "/static/style.css", http.StatusNotFound},
		{http.MethodPost, "/dex/static/style.css", http.StatusMethodNotAllowed},
		{http.MethodHead, "/dex/static/style.css", http.StatusOK},
	} {
		res := fetch(site, c.method, c.path)
		if res.StatusCode != c.want {
			t.Errorf("%s %s: status %d, want %d", c.method, c.path, res.StatusCode, c.want)
		}
		if res.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s %s: no nosniff", c.method, c.path)
		}
	}
}

// Everything a page loads is there.
func TestStaticComplete(t *testing.T) {
	site := newSite(t, web.Config{BasePath: "/dex"})
	for _, p := range web.Examples() {
		root := document(t, show(t, site, p, web.PageOptions{}))
		for _, n := range append(elements(root, "link"), elements(root, "img")...) {
			address, _ := attr(n, "href")
			if n.Data == "img" {
				address, _ = attr(n, "src")
			}
			if strings.HasPrefix(address, "https://app.example/") {
				continue // the logo of the client
			}
			if res := fetch(site, http.MethodGet, address); res.StatusCode != http.StatusOK {
				body, _ := io.ReadAll(res.Body)
				t.Errorf("%T: %s: status %d %s", p, address, res.StatusCode, body)
			}
		}
	}
}
