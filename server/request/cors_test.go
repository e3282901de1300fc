package request_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/countersign/countersign/server/request"
)

const (
	allowOrigin  = "Access-Control-Allow-Origin"
	allowMethods = "Access-Control-Allow-Methods"
)

func corsServer(t *testing.T, origins ...string) string {
	t.Helper()
	server := httptest.NewServer(request.CORS(origins, "GET", "POST")(http.HandlerFunc(
		func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "served") })))
	t.Cleanup(server.Close)
	return server.URL
}

func TestCORSOrigins(t *testing.T) {
	one := []string{"https://app.example"}
	for name, test := range map[string]struct {
		configured []string
		origin     string
		want       string
	}{
		"exact":             {one, "https://app.example", "https://app.example"},
		"any":               {[]string{"*"}, "https://whoever.example", "*"},
		"other":             {one, "https://evil.example", ""},
		"suffix":            {one, "https://app.example.evil.example", ""},
		"prefix":            {one, "https://evil-app.example", ""},
		"subdomain":         {one, "https://x.app.example", ""},
		"scheme":            {one, "http://app.example", ""},
		"port":              {one, "https://app.example:8443", ""},
		"case":              {one, "https://APP.example", ""},
		"null":              {one, "null", ""},
		"null configured":   {[]string{"null"}, "null", ""},
		"pattern":           {[]string{"https://*.example"}, "https://app.example", ""},
		"two at once":       {one, "https://app.example https://evil.example", ""},
		"none was sent":     {one, "", ""},
		"nothing is set up": {nil, "https://app.example", ""},
	} {
		t.Run(name, func(t *testing.T) {
			url := corsServer(t, test.configured...)
			resp, body := get(t, url, "Origin", test.origin)
			if body != "served" {
				t.Errorf("got %q", body)
			}
			if got := resp.Header.Get(allowOrigin); got != test.want {
				t.Errorf("allowed %q, want %q", got, test.want)
			}
			if got := resp.Header.Get("Vary"); test.configured != nil && got != "Origin" {
				t.Errorf("Vary is %q", got)
			}
			if resp.Header.Get("Access-Control-Allow-Credentials") != "" {
				t.Error("credentials are allowed")
			}
		})
	}
}

func TestCORSPreflight(t *testing.T) {
	url := corsServer(t, "https://app.example")
	for name, test := range map[string]struct {
		origin, method string
		want           string
	}{
		"allowed":        {"https://app.example", "POST", "GET, POST"},
		"another method": {"https://app.example", "DELETE", ""},
		"another origin": {"https://evil.example", "POST", ""},
	} {
		t.Run(name, func(t *testing.T) {
			r, _ := http.NewRequest(http.MethodOptions, url, nil)
			r.Header.Set("Origin", test.origin)
			r.Header.Set("Access-Control-Request-Method", test.method)
			resp, body := do(t, r)
			if resp.StatusCode != 204 || body != "" || resp.Header.Get("Vary") != "Origin" {
				t.Errorf("got %d %q %v", resp.StatusCode, body, resp.Header)
			}
			if got := resp.Header.Get(allowMethods); got != test.want {
				t.Errorf("allowed %q, want %q", got, test.want)
			}
			if got := resp.Header.Get("Access-Control-Max-Age"); (got != "") != (test.want != "") {
				t.Errorf("max age is %q", got)
			}
		})
	}
}

// OPTIONS that is no preflight is for whoever is wrapped to refuse.
func TestOptionsWithoutPreflight(t *testing.T) {
	r, _ := http.NewRequest(http.MethodOptions, corsServer(t, "*"), nil)
	if _, body := do(t, r); body != "served" {
		t.Errorf("got %q", body)
	}
}

func TestCheckOrigin(t *testing.T) {
	for origin, good := range map[string]bool{
		"*": true, "https://app.example": true, "http://localhost:3000": true, "https://[2001:db8::1]:8443": true,
		"": false, "null": false, "app.example": false, "https://app.example/": false, "https://*.example": false,
		"https://APP.example": false, "https://app.example:443": false, "http://app.example:80": false,
		"https://u@app.example": false, "https://app.example?x": false, "https://": false,
	} {
		if err := request.CheckOrigin(origin); (err == nil) != good {
			t.Errorf("CheckOrigin(%q) = %v", origin, err)
		}
	}
}
