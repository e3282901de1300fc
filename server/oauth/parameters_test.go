package oauth_test

import (
	"net/url"
	"strings"
	"testing"

	"github.com/countersign/countersign/server/oauth"
)

// RFC 6749 sections 3.1 and 3.2: parameters must not be included more than once.
func TestEveryParameterTwiceIsRefused(t *testing.T) {
	client := webClient()
	for _, name := range []string{
		"response_type", "response_mode", "scope", "state", "nonce", "code_challenge", "code_challenge_method",
		"prompt", "max_age", "id_token_hint", "login_hint", "ui_locales", "claims_locales", "display", "acr_values",
		"claims", "request", "request_uri", "registration", "connector_id", "audience", "unknown",
	} {
		for _, values := range [][]string{{"a", "b"}, {"a", "a"}, {"", ""}, {"code", ""}} {
			_, err := oauth.Authorize(valid(url.Values{name: values}), oauth.Lookups{Client: &client}, policy())
			if codeOf(err) != oauth.InvalidRequest {
				t.Errorf("authorization: %s=%q: %v, want invalid_request", name, values, err)
				continue
			}
			if to := target(t, err); to == nil || to.RedirectURI != "https://app.example.com/cb" {
				t.Errorf("authorization: %s=%q: the client is not told", name, values)
			} else if name == "state" && to.State != "" {
				t.Errorf("a repeated state was echoed as %q", to.State)
			}
			if !strings.Contains(describe(t, err), name) {
				t.Errorf("description %q does not name %s", describe(t, err), name)
			}
		}
	}
	for _, name := range []string{"client_id", "redirect_uri"} {
		for _, values := range [][]string{{valid(nil).Get(name), "b"}, {valid(nil).Get(name), valid(nil).Get(name)}} {
			_, err := oauth.Authorize(valid(url.Values{name: values}), oauth.Lookups{Client: &client}, policy())
			if codeOf(err) != oauth.InvalidRequest || target(t, err) != nil {
				t.Errorf("%s=%q: %v, want invalid_request on a page", name, values, err)
			}
		}
	}
	for _, name := range []string{"grant_type", "code", "redirect_uri", "code_verifier", "client_id", "client_secret", "scope", "unknown"} {
		form := url.Values{"grant_type": {"authorization_code"}, "code": {"c"}}
		form[name] = []string{"authorization_code", "authorization_code"}
		if _, err := oauth.TokenGrantType(form); codeOf(err) != oauth.InvalidRequest {
			t.Errorf("token: %s twice: %v, want invalid_request", name, err)
		}
	}
}

// RFC 8707 section 2: "resource" may be given several times.
func TestResourceMayRepeat(t *testing.T) {
	client := webClient()
	form := valid(url.Values{"resource": {"https://a", "https://b"}})
	if _, err := oauth.Authorize(form, oauth.Lookups{Client: &client}, policy()); err != nil {
		t.Error(err)
	}
}

// RFC 6749 section 3.1: without a value counts as omitted.
func TestEmptyParametersCountAsOmitted(t *testing.T) {
	client := webClient()
	form := valid(url.Values{
		"nonce": {""}, "prompt": {""}, "max_age": {""}, "request": {""}, "request_uri": {""}, "registration": {""},
		"code_challenge": {""}, "code_challenge_method": {""}, "response_mode": {""}, "id_token_hint": {""}, "state": {""},
	})
	r, err := oauth.Authorize(form, oauth.Lookups{Client: &client}, policy())
	if err != nil {
		t.Fatal(err)
	}
	if r.MaxAge != nil || len(r.Prompt) != 0 || r.CodeChallengeMethod != "" || r.ResponseMode != oauth.ModeQuery {
		t.Errorf("got %+v", r)
	}
}

// RFC 6749 appendix B: parameters are UTF-8; no database stores a NUL.
func TestIllFormedTextIsRefused(t *testing.T) {
	client := webClient()
	for _, name := range []string{"state", "nonce", "scope", "login_hint", "unknown", "code_challenge"} {
		for _, value := range []string{"\xff", "a\x00b", "\xed\xa0\x80", "\xc0\xaf", "\x00"} {
			_, err := oauth.Authorize(valid(url.Values{name: {value}}), oauth.Lookups{Client: &client}, policy())
			if codeOf(err) != oauth.InvalidRequest {
				t.Errorf("%s=%q: %v, want invalid_request", name, value, err)
				continue
			}
			if to := target(t, err); to == nil || name == "state" && to.State != "" {
				t.Errorf("%s=%q: target %+v", name, value, to)
			}
		}
	}
	if _, err := oauth.TokenGrantType(url.Values{"grant_type": {"authorization_code"}, "code": {"\xff"}}); codeOf(err) != oauth.InvalidRequest {
		t.Errorf("token: %v, want invalid_request", err)
	}
}

// Names are foreign text too: bounded, and nothing in them reaches a header.
func TestHostileParameterNames(t *testing.T) {
	client := webClient()
	for _, name := range []string{"a\"b", "a\\b", "a\r\nSet-Cookie: x=y", "é", "\xff", "<script>", strings.Repeat("n", 5000), "\x00", ""} {
		_, err := oauth.Authorize(valid(url.Values{name: {"1", "2"}}), oauth.Lookups{Client: &client}, policy())
		if codeOf(err) != oauth.InvalidRequest {
			t.Errorf("%.20q: %v", name, err)
			continue
		}
		if d := describe(t, err); len(d) > 120 {
			t.Errorf("description has %d characters", len(d))
		}
	}
}

// The core is pure: of several defects it always names the same.
func TestRefusalsAreDeterministic(t *testing.T) {
	client := webClient()
	form := valid(url.Values{"d": {"1", "2"}, "b": {"\xff"}, "c": {"1", "2"}, "e": {"1", "2"}, "f": {"1", "2"}})
	for range 50 {
		_, err := oauth.Authorize(form, oauth.Lookups{Client: &client}, policy())
		if d := describe(t, err); !strings.HasPrefix(d, "parameter b ") {
			t.Fatalf("description %q", d)
		}
	}
}
