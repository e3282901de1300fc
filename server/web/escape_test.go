package web_test

import (
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"github.com/countersign/countersign/server/web"
)

// hostile are values that want to be more than text.
var hostile = []string{
	`<script>alert(1)</script>`,
	`"><img src=x onerror=alert(1)>`,
	`'><svg onload=alert(1)>`,
	`</title></textarea></script><script>alert(1)</script>`,
	`&lt;script&gt;alert(1)&lt;/script&gt;`,
	`javascript:alert(1)`,
	"\" autofocus onfocus=alert(1) x=\"",
	"{{.Site}} ${alert(1)} `",
	"\u202eevil\u2066",
	"a\x00b\xff<b>",
}

// isAddress says which fields hold addresses.
func isAddress(name string) bool {
	return strings.HasSuffix(name, "URL") || strings.HasSuffix(name, "Action")
}

// filled returns a copy of the page in which every string chosen by its field's
// name is replaced.
func filled(p web.Page, with string, choose func(field string) bool) web.Page {
	v := reflect.New(reflect.TypeOf(p)).Elem()
	v.Set(reflect.ValueOf(p))
	fill(v, "", with, choose)
	return v.Interface().(web.Page)
}

func fill(v reflect.Value, field, with string, choose func(string) bool) {
	switch v.Kind() {
	case reflect.String:
		if choose(field) {
			v.SetString(with)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), v.Type().Field(i).Name, with, choose)
		}
	case reflect.Slice:
		fresh := reflect.MakeSlice(v.Type(), v.Len(), v.Len())
		reflect.Copy(fresh, v)
		for i := range fresh.Len() {
			fill(fresh.Index(i), field, with, choose)
		}
		v.Set(fresh)
	case reflect.Pointer:
		if !v.IsNil() {
			fresh := reflect.New(v.Type().Elem())
			fresh.Elem().Set(v.Elem())
			fill(fresh.Elem(), field, with, choose)
			v.Set(fresh)
		}
	}
}

// skeleton is the tags and the names of their attributes: what a value must not
// be able to change.
func skeleton(root *html.Node) []string {
	var bones []string
	for n := range root.Descendants() {
		if n.Type == html.ElementNode {
			bone := n.Data
			for _, a := range n.Attr {
				bone += " " + a.Key
			}
			bones = append(bones, bone)
		}
	}
	return bones
}

func TestHostileText(t *testing.T) {
	site := newSite(t, web.Config{BasePath: "/dex"})
	text := func(field string) bool { return !isAddress(field) && field != "URL" }
	for _, p := range web.Examples() {
		want := skeleton(document(t, show(t, site, filled(p, "text", text), web.PageOptions{RequestID: "id"})))
		for _, evil := range hostile {
			root := document(t, show(t, site, filled(p, evil, text), web.PageOptions{RequestID: evil}))
			if got := skeleton(root); !slices.Equal(got, want) {
				t.Errorf("%T with %q has the elements\n%q, not\n%q", p, evil, got, want)
			}
		}
	}
}

// Addresses of our own are told to us; should one be hostile all the same, it is
// no script and no element.
func TestHostileAddresses(t *testing.T) {
	site := newSite(t, web.Config{BasePath: "/dex"})
	evils := append(slices.Clone(hostile), "JaVaScRiPt:alert(1)", " javascript:alert(1)", "java\nscript:alert(1)",
		"data:text/html,<script>alert(1)</script>", "vbscript:x", "blob:https://app.example/x",
		`https://app.example/"><script>alert(1)</script>`, "//evil.example", "https:evil", "http://", "https://u:p@evil.example")
	for _, p := range web.Examples() {
		for _, evil := range evils {
			page := filled(p, evil, func(field string) bool { return isAddress(field) || field == "URL" })
			res := show(t, site, page, web.PageOptions{})
			if res.StatusCode == http.StatusInternalServerError {
				continue // refused altogether
			}
			root := document(t, res)
			for n := range root.Descendants() {
				for _, a := range n.Attr {
					if strings.HasPrefix(a.Key, "on") {
						t.Errorf("%T with %q has an attribute %s", p, evil, a.Key)
					}
					scheme, _, _ := strings.Cut(strings.ToLower(strings.TrimSpace(a.Val)), ":")
					if slices.Contains([]string{"href", "src", "action", "formaction", "content"}, a.Key) &&
						slices.Contains([]string{"javascript", "java\nscript", "data", "vbscript", "blob", "0;url=javascript"}, scheme) {
						t.Errorf("%T with %q leads to %q", p, evil, a.Val)
					}
				}
			}
			if _, post := p.(web.FormPost); len(elements(root, "script")) > 0 && !post {
				t.Errorf("%T with %q has a script", p, evil)
			}
		}
	}
}

// A page that carries the browser away carries it to http or https, or is not
// made.
func TestAwayOnlyToTheWeb(t *testing.T) {
	site := newSite(t, web.Config{})
	for address, want := range map[string]int{
		"https://app.example/callback":   http.StatusOK,
		"http://127.0.0.1:8000/callback": http.StatusOK,
		"http://[::1]:8000/callback":     http.StatusOK,
		"javascript:alert(1)":            http.StatusInternalServerError,
		"data:text/html,x":               http.StatusInternalServerError,
		"com.example.app:/callback":      http.StatusInternalServerError,
		"/callback":                      http.StatusInternalServerError,
		"//evil.example":                 http.StatusInternalServerError,
		"":                               http.StatusInternalServerError,
		"https://a;script-src *":         http.StatusInternalServerError,
	} {
		if got := show(t, site, web.FormPost{Action: address}, web.PageOptions{}).StatusCode; got != want {
			t.Errorf("form_post to %q: status %d, want %d", address, got, want)
		}
		if strings.Contains(address, ";") {
			continue // an address, if an odd one: it does not reach the policy
		}
		if got := show(t, site, web.Continue{URL: address}, web.PageOptions{}).StatusCode; got != want {
			t.Errorf("continuing to %q: status %d, want %d", address, got, want)
		}
	}
}

// Links back to an app exist for http and https only, and go where they say.
func TestReturnLinks(t *testing.T) {
	site := newSite(t, web.Config{})
	for address, want := range map[string]bool{
		"https://app.example/a?b=c&d=e": true,
		"http://localhost:3000/":        true,
		"https://app.example@evil.test": false,
		"javascript:alert(1)":           false,
		"com.example.app:/":             false,
		"//evil.example/":               false,
		"/relative":                     false,
		"":                              false,
	} {
		links := elements(document(t, show(t, site, web.SignedOut{ReturnURL: address}, web.PageOptions{})), "a")
		if got := len(links) == 1; got != want {
			t.Errorf("to %q: %d links", address, len(links))
		}
		for _, a := range links {
			if href, _ := attr(a, "href"); href != address {
				t.Errorf("to %q leads to %q", address, href)
			}
		}
	}
}

// Logos that are not https are not shown at all.
func TestClientLogos(t *testing.T) {
	site := newSite(t, web.Config{BasePath: "/dex"})
	for logo, want := range map[string]bool{
		"https://app.example/logo.png":     true,
		"http://app.example/logo.png":      false,
		"javascript:alert(1)":              false,
		"data:image/svg+xml,<svg/>":        false,
		"//app.example/logo.png":           false,
		"https://app.example;x/logo.png":   false,
		"https://*/logo.png":               false,
		"https://user@app.example/l.png":   false,
		`https://app.example/"onerror="x"`: true,
	} {
		p := web.Password{Client: web.Client{ID: "c", LogoURL: logo}, Action: "/"}
		images := elements(document(t, show(t, site, p, web.PageOptions{})), "img")
		if got := len(images) == 2; got != want {
			t.Errorf("logo %q: shown %t, want %t", logo, got, want)
		}
	}
}
