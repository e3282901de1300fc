package token_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/countersign/countersign/e2e/fuzz"
	"github.com/countersign/countersign/server/oauth"
	"github.com/countersign/countersign/server/token"
)

func request(contentType, query, body string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/token", strings.NewReader(body))
	r.URL.RawQuery = query
	r.Header.Set("Content-Type", contentType)
	return r
}

// RFC 6749 appendix B: bodies are forms, and addresses carry nothing.
func TestForm(t *testing.T) {
	for name, c := range map[string]struct {
		contentType, query, body string
		ok                       bool
	}{
		"a form":               {"application/x-www-form-urlencoded", "", "code=x", true},
		"with a charset":       {"application/x-www-form-urlencoded; charset=UTF-8", "", "code=x", true},
		"the query is no form": {"application/x-www-form-urlencoded", "code=evil&secret=y", "code=x", true},
		"JSON":                 {"application/json", "", `{"code":"x"}`, false},
		"multipart":            {"multipart/form-data; boundary=x", "", "--x--", false},
		"text":                 {"text/plain", "", "code=x", false},
		"no type":              {"", "", "code=x", false},
		"two types":            {"application/x-www-form-urlencoded, text/plain", "", "code=x", false},
		"half an escape":       {"application/x-www-form-urlencoded", "", "code=%", false},
		"a semicolon":          {"application/x-www-form-urlencoded", "", "code=x;code=y", false},
	} {
		form, err := token.Form(request(c.contentType, c.query, c.body))
		if (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
		if c.ok && (len(form) != 1 || form.Get("code") != "x") {
			t.Errorf("%s: %v", name, form)
		}
		if !c.ok && oauth.CodeOf(err) != oauth.InvalidRequest {
			t.Errorf("%s: %v, want invalid_request", name, err)
		}
	}
}

// FuzzForm: a body is what net/url reads, or invalid_request; the query never
// gets in.
func FuzzForm(f *testing.F) {
	fuzz.Widely(f)
	f.Add("application/x-www-form-urlencoded", "grant_type=authorization_code&code=csc_x")
	f.Add("application/x-www-form-urlencoded;charset=\"", "a=%zz")
	f.Add("application/json", "{}")
	f.Add("application/x-www-form-urlencoded", "a;b&\x00=\xff&a=1&a=2")
	f.Fuzz(func(t *testing.T, contentType, body string) {
		form, err := token.Form(request(contentType, "query=1", body))
		if err != nil {
			if oauth.CodeOf(err) != oauth.InvalidRequest {
				t.Fatal(err)
			}
			return
		}
		want, err := url.ParseQuery(body)
		if err != nil || want.Encode() != form.Encode() {
			t.Errorf("%q: %v, want %v (%v)", body, form, want, err)
		}
		// Nothing that follows can be made to panic by it.
		if _, err := oauth.ParseClientCredentials("", form); err == nil {
			if _, err := oauth.TokenGrantType(form); err == nil {
				_, _ = oauth.ParseCodeRequest(form)
			}
		}
		_, _, _ = oauth.BearerToken(nil, form, nil)
	})
}
