package oauth_test

import (
	"net/url"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/countersign/countersign/server/oauth"
	"github.com/countersign/countersign/storage"
)

// RFC 6749 sections 4.1.3, 4.5 and 5.2.
func TestTokenGrantType(t *testing.T) {
	for _, test := range []struct {
		grantType string
		code      oauth.Code
	}{
		{"authorization_code", ""},
		{"refresh_token", ""},
		{"", oauth.InvalidRequest},
		{"Refresh_Token", oauth.UnsupportedGrantType},
		{"AUTHORIZATION_CODE", oauth.UnsupportedGrantType},
		{"authorization_code ", oauth.UnsupportedGrantType},
		{"implicit", oauth.UnsupportedGrantType},
		// RFC 9700 section 2.4: must not be used.
		{"password", oauth.UnsupportedGrantType},
		{"client_credentials", oauth.UnsupportedGrantType},
		{"urn:ietf:params:oauth:grant-type:device_code", oauth.UnsupportedGrantType},
		{"\"\\\r\n<script>", oauth.UnsupportedGrantType},
	} {
		got, err := oauth.TokenGrantType(url.Values{"grant_type": {test.grantType}})
		if codeOf(err) != test.code || err == nil && got != test.grantType || err != nil && got != "" {
			t.Errorf("%q: %q, %v, want %q", test.grantType, got, err, test.code)
		}
		if err != nil {
			describe(t, err)
		}
	}
	if _, err := oauth.TokenGrantType(nil); codeOf(err) != oauth.InvalidRequest {
		t.Errorf("no parameters: %v", err)
	}
}

// RFC 6749 section 4.1.3, RFC 7636 section 4.5.
func TestParseCodeRequest(t *testing.T) {
	for _, test := range []struct {
		name string
		form url.Values
		want oauth.CodeRequest
		code oauth.Code
	}{
		{"all", url.Values{"code": {"c"}, "redirect_uri": {"r"}, "code_verifier": {"v"}}, oauth.CodeRequest{Code: "c", RedirectURI: "r", CodeVerifier: "v"}, ""},
		{"no verifier", url.Values{"code": {"c"}, "redirect_uri": {"r"}}, oauth.CodeRequest{Code: "c", RedirectURI: "r"}, ""},
		{"no code", url.Values{"redirect_uri": {"r"}}, oauth.CodeRequest{RedirectURI: "r"}, oauth.InvalidRequest},
		{"empty code", url.Values{"code": {""}, "redirect_uri": {"r"}}, oauth.CodeRequest{RedirectURI: "r"}, oauth.InvalidRequest},
		// "REQUIRED, if the redirect_uri parameter was included in the authorization
		// request", and here it always is.
		{"no redirect_uri", url.Values{"code": {"c"}}, oauth.CodeRequest{Code: "c"}, oauth.InvalidRequest},
	} {
		got, err := oauth.ParseCodeRequest(test.form)
		if diff := cmp.Diff(test.want, got); diff != "" || codeOf(err) != test.code {
			t.Errorf("%s: %v, want %q\n%s", test.name, err, test.code, diff)
		}
		if err != nil {
			describe(t, err)
		}
	}
}

// The whole matrix (SECURITY: zitadel GHSA-xqxv, pocket-id CVE-2026-28513):
// RFC 6749 sections 4.1.2, 4.1.3 and 5.2, RFC 7636 section 4.6. Every condition
// alone refuses, and only a second valid request is a reuse.
func TestRedeemCode(t *testing.T) {
	accepted, reused := 0, 0
	for _, client := range []string{"web", "another", "WEB", ""} {
		for _, redirectURI := range []string{"https://app.example.com/cb", "https://app.example.com/cb/", "https://app.example.com/CB", ""} {
			for _, challenged := range []bool{false, true} {
				for _, proof := range []string{"", verifier, "another-verifier-another-verifier-another-1234"} {
					for _, left := range []time.Duration{time.Minute, 1, 0, -1, -time.Hour} {
						for _, redeemedBefore := range []time.Duration{0, 1, time.Hour} {
							for _, revoked := range []bool{false, true} {
								g := storage.Grant{ClientID: "web", RedirectURI: "https://app.example.com/cb", CodeExpiresAt: now.Add(left)}
								if challenged {
									g.CodeChallenge, g.CodeChallengeMethod = challenge, "S256"
								}
								if redeemedBefore > 0 {
									g.CodeRedeemedAt = now.Add(-redeemedBefore)
								}
								if revoked {
									g.RevokedAt = now.Add(-time.Second)
								}
								proven := client == "web" && redirectURI == g.RedirectURI && (challenged && proof == verifier || !challenged && proof == "")
								gotReused, err := oauth.RedeemCode(g, storage.Client{ID: client}, oauth.CodeRequest{Code: "c", RedirectURI: redirectURI, CodeVerifier: proof}, now)
								if gotReused {
									reused++
								}
								if err == nil {
									accepted++
								} else if codeOf(err) != oauth.InvalidGrant {
									t.Fatalf("refused with %v, want invalid_grant", err)
								} else {
									describe(t, err)
								}
								if want := proven && redeemedBefore == 0 && !revoked && left > 0; (err == nil) != want {
									t.Errorf("client %q, redirect %q, challenged %v, proof %.7q, left %v, redeemed %v ago, revoked %v: %v", client, redirectURI, challenged, proof, left, redeemedBefore, revoked, err)
								}
								if want := proven && redeemedBefore > 0; gotReused != want {
									t.Errorf("client %q, redirect %q, challenged %v, proof %.7q, left %v, redeemed %v ago, revoked %v: reused %v", client, redirectURI, challenged, proof, left, redeemedBefore, revoked, gotReused)
								}
							}
						}
					}
				}
			}
		}
	}
	if accepted != 4 || reused == 0 {
		t.Errorf("%d accepted, %d reused", accepted, reused)
	}
}

// To somebody who is not the code's client, every code looks the same: never
// ours, too old, another's.
func TestForeignCodesLookAlike(t *testing.T) {
	want := oauth.ErrInvalidCode().Error()
	for name, g := range map[string]storage.Grant{
		"live":     {ClientID: "web", CodeExpiresAt: now.Add(time.Minute)},
		"redeemed": {ClientID: "web", CodeRedeemedAt: now, CodeExpiresAt: now.Add(time.Minute)},
		"revoked":  {ClientID: "web", RevokedAt: now, CodeExpiresAt: now.Add(time.Minute)},
		"expired":  {ClientID: "web", CodeExpiresAt: now},
	} {
		reused, err := oauth.RedeemCode(g, storage.Client{ID: "thief"}, oauth.CodeRequest{Code: "c"}, now)
		if reused || err == nil || err.Error() != want {
			t.Errorf("%s: %v, %v", name, reused, err)
		}
	}
	if codeOf(oauth.ErrCodeReused()) != oauth.InvalidGrant {
		t.Error("a reused code is not invalid_grant")
	}
}
