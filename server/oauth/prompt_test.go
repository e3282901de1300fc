package oauth_test

import (
	"net/url"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/countersign/countersign/server/oauth"
)

// OpenID Connect Core 1.0 section 3.1.2.1, prompt: space-delimited, case-sensitive.
func TestPrompt(t *testing.T) {
	client := webClient()
	for _, test := range []struct {
		prompt string
		want   []string
		code   oauth.Code
	}{
		{"", nil, ""},
		{"none", []string{"none"}, ""},
		{"login", []string{"login"}, ""},
		{"consent", []string{"consent"}, ""},
		{"select_account", []string{"select_account"}, ""},
		{"login consent", []string{"login", "consent"}, ""},
		{"  login   consent ", []string{"login", "consent"}, ""},
		{"consent select_account login", []string{"consent", "select_account", "login"}, ""},
		{"none none", nil, oauth.InvalidRequest},
		// "If this parameter contains none with any other value, an error is returned."
		{"none login", nil, oauth.InvalidRequest},
		{"consent none", nil, oauth.InvalidRequest},
		{"NONE", nil, oauth.InvalidRequest},
		{"Login", nil, oauth.InvalidRequest},
		{"login,consent", nil, oauth.InvalidRequest},
		{"login\tconsent", nil, oauth.InvalidRequest},
		{"login\u00a0consent", nil, oauth.InvalidRequest},
		// Initiating User Registration via OpenID Connect 1.0 section 4.
		{"create", nil, oauth.InvalidRequest},
		{"\"\\\r\n", nil, oauth.InvalidRequest},
	} {
		r, err := oauth.Authorize(valid(url.Values{"prompt": {test.prompt}}), oauth.Lookups{Client: &client}, policy())
		if codeOf(err) != test.code {
			t.Errorf("prompt=%q: %v, want %q", test.prompt, err, test.code)
			continue
		}
		if err != nil {
			describe(t, err)
			continue
		}
		if len(r.Prompt) != len(test.want) || len(test.want) > 0 && !cmp.Equal(r.Prompt, test.want) {
			t.Errorf("prompt=%q: %q, want %q", test.prompt, r.Prompt, test.want)
		}
		for _, v := range []string{"none", "login", "consent", "select_account"} {
			want := false
			for _, w := range test.want {
				want = want || w == v
			}
			if r.HasPrompt(v) != want {
				t.Errorf("prompt=%q: HasPrompt(%q) = %v", test.prompt, v, !want)
			}
		}
	}
}

// OpenID Connect Core 1.0 section 3.1.2.1, max_age.
func TestMaxAge(t *testing.T) {
	client := webClient()
	seconds := func(n int64) *time.Duration { d := time.Duration(n) * time.Second; return &d }
	const century = 100 * 365 * 24 * 60 * 60
	for _, test := range []struct {
		maxAge string
		want   *time.Duration
		code   oauth.Code
	}{
		{"", nil, ""},
		{"0", seconds(0), ""},
		{"1", seconds(1), ""},
		{"10000", seconds(10000), ""},
		{"007", seconds(7), ""},
		// What would overflow a duration is as good as a century.
		{"9223372036854775807", seconds(century), ""},
		{"9223372036854775808", nil, oauth.InvalidRequest},
		{"99999999999999999999999", nil, oauth.InvalidRequest},
		{"-1", nil, oauth.InvalidRequest},
		{"+1", nil, oauth.InvalidRequest},
		{"1.5", nil, oauth.InvalidRequest},
		{"1e3", nil, oauth.InvalidRequest},
		{"0x10", nil, oauth.InvalidRequest},
		{"1_000", nil, oauth.InvalidRequest},
		{" 1", nil, oauth.InvalidRequest},
		{"one", nil, oauth.InvalidRequest},
		{"١", nil, oauth.InvalidRequest},
	} {
		r, err := oauth.Authorize(valid(url.Values{"max_age": {test.maxAge}}), oauth.Lookups{Client: &client}, policy())
		if codeOf(err) != test.code {
			t.Errorf("max_age=%q: %v, want %q", test.maxAge, err, test.code)
		}
		if diff := cmp.Diff(test.want, r.MaxAge); err == nil && diff != "" {
			t.Errorf("max_age=%q: %s", test.maxAge, diff)
		}
	}
}

// OpenID Connect Core 1.0 section 3.1.2.1: how old an upstream's memory may be.
func TestSeenSince(t *testing.T) {
	hour, zero := time.Hour, time.Duration(0)
	for _, test := range []struct {
		prompt []string
		maxAge *time.Duration
		want   time.Time
	}{
		{nil, nil, time.Time{}},
		{[]string{"consent", "select_account"}, nil, time.Time{}},
		{[]string{"consent", "login"}, nil, now},
		{[]string{"login"}, &hour, now},
		{nil, &zero, now},
		{nil, &hour, now.Add(-time.Hour)},
	} {
		r := oauth.AuthorizeRequest{Prompt: test.prompt, MaxAge: test.maxAge}
		if got := r.SeenSince(now); !got.Equal(test.want) || got.IsZero() != test.want.IsZero() {
			t.Errorf("%+v: %s", r, got)
		}
	}
}
