package oauth_test

import (
	"errors"
	"maps"
	"net/url"
	"testing"
	"time"

	"github.com/countersign/countersign/server/oauth"
	"github.com/countersign/countersign/storage"
)

const issuer = "https://id.example.com/dex"

var now = time.Date(2026, 3, 4, 5, 6, 7, 800_000_000, time.UTC)

func policy() oauth.Policy {
	return oauth.Policy{
		Issuer:              issuer,
		SSOSharedWithAll:    true,
		SigningAlg:          "RS256",
		SigningAlgs:         []string{"RS256"},
		AccessTokenFormat:   oauth.FormatOpaque,
		Refresh:             oauth.RefreshPolicy{ReuseInterval: 10 * time.Second, IdleLifetime: 12 * time.Hour, AbsoluteLifetime: 30 * 24 * time.Hour},
		CodeLifetime:        time.Minute,
		IDTokenLifetime:     10 * time.Minute,
		AccessTokenLifetime: 10 * time.Minute,
	}
}

// webClient is confidential.
func webClient() storage.Client {
	return storage.Client{ID: "web", RedirectURIs: []string{"https://app.example.com/cb"}}
}

// The pair of RFC 7636 appendix B.
const (
	verifier  = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
	challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
)

// valid is a good request of webClient; change overrides parameters, and removes
// those without values.
func valid(change url.Values) url.Values {
	form := url.Values{
		"client_id":     {"web"},
		"redirect_uri":  {"https://app.example.com/cb"},
		"response_type": {"code"},
		"scope":         {"openid"},
		"state":         {"xyz"},
	}
	maps.Copy(form, change)
	maps.DeleteFunc(form, func(_ string, v []string) bool { return len(v) == 0 })
	return form
}

// codeOf is the error code, or "" for success.
func codeOf(err error) oauth.Code {
	if err == nil {
		return ""
	}
	return oauth.CodeOf(err)
}

// target is where an authorization error goes; nil: to a page.
func target(t *testing.T, err error) *oauth.ResponseTarget {
	t.Helper()
	e, ok := errors.AsType[*oauth.AuthorizeError](err)
	if !ok {
		t.Fatalf("error %v is no *AuthorizeError", err)
	}
	return e.Response
}

// describable: RFC 6749 sections 4.1.2.1 and 5.2, the characters of
// error_description.
func describable(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c > 0x7e || c == '"' || c == '\\' {
			return false
		}
	}
	return s != ""
}

func describe(t *testing.T, err error) string {
	t.Helper()
	e, ok := errors.AsType[*oauth.Error](err)
	if !ok {
		t.Fatalf("error %v is no *Error", err)
	}
	if !describable(e.Description) {
		t.Errorf("description %q holds what error_description must not (RFC 6749 section 5.2)", e.Description)
	}
	return e.Description
}
