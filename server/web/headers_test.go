package web_test

import (
	"crypto/sha256"
	"encoding/base64"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/countersign/countersign/server/web"
)

const (
	policyOfNothing = "default-src 'none'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
	policyOfPage    = "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)

// common are the headers of every response but the policy.
var common = map[string]string{
	"X-Frame-Options":              "DENY",
	"X-Content-Type-Options":       "nosniff",
	"Referrer-Policy":              "no-referrer",
	"Cross-Origin-Opener-Policy":   "same-origin",
	"Cross-Origin-Resource-Policy": "same-origin",
	"Cache-Control":                "no-store",
	"Strict-Transport-Security":    "",
}

func checkHeaders(t *testing.T, h http.Header, want map[string]string) {
	t.Helper()
	for name, value := range want {
		if got := h.Get(name); got != value {
			t.Errorf("%s is %q, want %q", name, got, value)
		}
	}
	if p := h.Get("Permissions-Policy"); !strings.Contains(p, "camera=()") || strings.Contains(p, "self") || strings.Contains(p, "*") {
		t.Errorf("Permissions-Policy allows something: %q", p)
	}
}

func TestHeadersOfEveryPage(t *testing.T) {
	for _, https := range []bool{false, true} {
		site := newSite(t, web.Config{BasePath: "/dex", HTTPS: https})
		want := maps.Clone(common)
		want["Content-Type"] = "text/html; charset=utf-8"
		if https {
			want["Strict-Transport-Security"] = "max-age=31536000"
		}
		for _, p := range web.Examples() {
			res := show(t, site, p, web.PageOptions{})
			checkHeaders(t, res.Header, want)
			policy := res.Header.Get("Content-Security-Policy")
			for _, directive := range []string{"default-src 'none'", "base-uri 'none'", "frame-ancestors 'none'", "style-src 'self'"} {
				if !strings.Contains(policy+";", directive) {
					t.Errorf("%T: policy %q lacks %q", p, policy, directive)
				}
			}
			if _, post := p.(web.FormPost); strings.Contains(policy, "script-src") != post || strings.Contains(policy, "form-action 'self'") == post {
				t.Errorf("%T: policy %q", p, policy)
			}
			if strings.Contains(policy, "unsafe") || strings.Contains(policy, "*") {
				t.Errorf("%T: policy %q", p, policy)
			}
		}
	}
}

func TestPolicies(t *testing.T) {
	client := web.Client{ID: "app", LogoURL: "https://Logos.example:8443/a,b;c/logo.png"}
	for name, c := range map[string]struct {
		frontend web.Frontend
		page     web.Page
		opt      web.PageOptions
		want     string
	}{
		"plain":           {page: web.Home{}, want: policyOfPage},
		"logo of client":  {page: web.SignedOut{Client: client}, want: strings.Replace(policyOfPage, "img-src 'self'", "img-src 'self' https://logos.example:8443", 1)},
		"logo of nobody":  {page: web.SignedOut{Client: web.Client{LogoURL: "http://logos.example/x"}}, want: policyOfPage},
		"logo of issuer":  {frontend: web.Frontend{LogoURL: "https://cdn.example/logo.svg"}, page: web.Home{}, want: strings.Replace(policyOfPage, "img-src 'self'", "img-src 'self' https://cdn.example", 1)},
		"one logo origin": {frontend: web.Frontend{LogoURL: "https://logos.example:8443/us"}, page: web.SignedOut{Client: client}, want: strings.Replace(policyOfPage, "img-src 'self'", "img-src 'self' https://logos.example:8443", 1)},
		"form leads on": {page: web.Consent{}, opt: web.PageOptions{FormAction: []string{"https://app.example/callback?x=y", "com.example.app:/cb"}},
			want: strings.Replace(policyOfPage, "form-action 'self'", "form-action 'self' https://app.example com.example.app:", 1)},
	} {
		t.Run(name, func(t *testing.T) {
			site := newSite(t, web.Config{Frontend: c.frontend})
			got := show(t, site, c.page, c.opt).Header.Get("Content-Security-Policy")
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A form that could lead somewhere the policy cannot name is not shown: in
// Chromium it would be a button that does nothing.
func TestUnspeakableFormAction(t *testing.T) {
	site := newSite(t, web.Config{})
	for _, address := range []string{"javascript:alert(1)", "https://a;b/", "https://*/", "https://bücher.example/"} {
		res := show(t, site, web.Consent{}, web.PageOptions{FormAction: []string{address}})
		if res.StatusCode != http.StatusInternalServerError {
			t.Errorf("%q: status %d, policy %q", address, res.StatusCode, res.Header.Get("Content-Security-Policy"))
		}
	}
}

// The hash in the policy is that of the script in the page (CSP Level 3, 2.3.1).
func TestFormPostScriptHash(t *testing.T) {
	site := newSite(t, web.Config{})
	res := show(t, site, web.FormPost{Action: "https://app.example/cb"}, web.PageOptions{})
	scripts := elements(document(t, res), "script")
	if len(scripts) != 1 {
		t.Fatalf("%d scripts", len(scripts))
	}
	sum := sha256.Sum256([]byte(scripts[0].FirstChild.Data))
	want := "script-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; base-uri 'none'; frame-ancestors 'none'"
	got := res.Header.Get("Content-Security-Policy")
	if !strings.HasSuffix(got, want) {
		t.Errorf("policy %q does not end in %q", got, want)
	}
	// Where the client sends people then is its own matter.
	if strings.Contains(got, "form-action") {
		t.Errorf("policy %q", got)
	}
}

// Responses that are no pages may use nothing.
func TestHeadersOfOthers(t *testing.T) {
	site := newSite(t, web.Config{HTTPS: true})
	h := http.Header{}
	site.Headers(h, web.Policy{})
	want := maps.Clone(common)
	want["Content-Security-Policy"] = policyOfNothing
	want["Strict-Transport-Security"] = "max-age=31536000"
	checkHeaders(t, h, want)
}

// What is shared by all responses is what each would have got, and nobody changes
// it for the others.
func TestPlainHeaders(t *testing.T) {
	for _, secure := range []bool{false, true} {
		site, err := web.New(web.Config{HTTPS: secure})
		if err != nil {
			t.Fatal(err)
		}
		want, first, second := http.Header{}, http.Header{}, http.Header{}
		site.Headers(want, web.Policy{})
		site.PlainHeaders(first)
		for name := range first {
			first.Add(name, "more")
			first.Set(name, "other")
		}
		site.PlainHeaders(second)
		if diff := cmp.Diff(want, second); diff != "" {
			t.Errorf("https %v (-want +got):\n%s", secure, diff)
		}
	}
}

// Programs get the same, but for what is about windows.
func TestMachineHeaders(t *testing.T) {
	site := newSite(t, web.Config{HTTPS: true})
	plain, machine := http.Header{}, http.Header{}
	site.PlainHeaders(plain)
	site.MachineHeaders(machine)
	for _, name := range []string{"X-Frame-Options", "Cross-Origin-Opener-Policy", "Permissions-Policy", "Referrer-Policy"} {
		if plain.Get(name) == "" {
			t.Errorf("%s is missing", name)
		}
		plain.Del(name)
	}
	if diff := cmp.Diff(plain, machine); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if len(machine) > 5 { // Content-Type, Pragma and X-Request-Id come
		t.Errorf("%d headers", len(machine))
	}
}

func TestStaticHeaders(t *testing.T) {
	site := newSite(t, web.Config{BasePath: "/dex"})
	w := httptest.NewRecorder()
	site.Static().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/dex/static/style.css", nil))
	want := maps.Clone(common)
	want["Content-Security-Policy"] = policyOfNothing
	want["Cache-Control"] = "no-cache"
	want["Content-Type"] = "text/css; charset=utf-8"
	checkHeaders(t, w.Result().Header, want)
}
