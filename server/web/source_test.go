package web

import (
	"testing"

	"github.com/countersign/countersign/e2e/fuzz"
)

func TestFormActionSource(t *testing.T) {
	for address, want := range map[string]string{
		"https://app.example/callback?a=b":  "https://app.example",
		"https://app.example:8443/callback": "https://app.example:8443",
		"https://APP.example/":              "https://app.example",
		"http://localhost:8000/":            "http://localhost:8000",
		"http://127.0.0.1:51234/cb":         "http://127.0.0.1:51234",
		"http://[::1]:51234/cb":             "http://*:51234",
		"http://intranet_host/":             "http://intranet_host",
		"com.example.app:/oauth2redirect":   "com.example.app:",
		"myapp://callback":                  "myapp:",
		"COM.example.app:/oauth2redirect":   "com.example.app:",

		"":                                 "",
		"app.example":                      "",
		"//app.example/":                   "",
		"https://":                         "",
		"https:app.example":                "",
		"https://user@app.example/":        "",
		"https://*/":                       "",
		"https://*.example/":               "",
		"https://app.example;script-src/":  "",
		"https://app.example,evil/":        "",
		"https://'unsafe-inline'/":         "",
		"https://app.example\r\nX: y/":     "",
		"https://app.example x/":           "",
		"https://bücher.example/":          "",
		"https://a%3bb.example/":           "",
		"https://app.example:*/":           "",
		"https://-a.example/":              "",
		"javascript:alert(1)":              "",
		"data:text/html,x":                 "",
		"blob:https://app.example/x":       "",
		"file:///etc/passwd":               "",
		"vbscript:x":                       "",
		"intent://x#Intent;end":            "",
		"JavaScript:alert(1)":              "",
		"about:blank":                      "",
		"view-source:https://app.example/": "",
	} {
		got, ok := FormActionSource(address)
		if ok != (want != "") || ok && got != want {
			t.Errorf("FormActionSource(%q) = %q, %t; want %q", address, got, ok, want)
		}
	}
}

// FuzzFormActionSource: whatever comes in, what goes out is one source of the
// policy and nothing that ends it.
func FuzzFormActionSource(f *testing.F) {
	fuzz.Widely(f)
	for _, seed := range []string{"https://app.example/", "http://[::1]:1/", "com.example.app:/x", "https://a;b,c'd/", "https://*"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, address string) {
		for _, source := range []func(string) (string, bool){FormActionSource, imageSource} {
			got, ok := source(address)
			if !ok {
				continue
			}
			for _, r := range got {
				if r <= ' ' || r > '~' || r == ';' || r == ',' || r == '\'' || r == '"' {
					t.Fatalf("%q became %q", address, got)
				}
			}
		}
	})
}
