package oauth_test

import (
	"encoding/base64"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/countersign/countersign/server/oauth"
	"github.com/countersign/countersign/storage"
)

func TestCodeChallenge(t *testing.T) {
	const (
		confidential = iota
		public
		demanded // of confidential clients too
	)
	plain43, plain128 := strings.Repeat("a", 43), strings.Repeat("~", 128)
	for _, test := range []struct {
		name              string
		who               int
		plainAllowed      bool
		challenge, method string
		want              oauth.Code
		wantMethod        string
	}{
		// RFC 7636 section 4.3.
		{"S256", public, false, challenge, "S256", "", "S256"},
		{"S256 of a confidential client", confidential, false, challenge, "S256", "", "S256"},
		{"S256 where plain is allowed", public, true, challenge, "S256", "", "S256"},
		// RFC 9700 section 2.1.1, OAuth 2.1 section 7.5.1: public clients must.
		{"none, public", public, false, "", "", oauth.InvalidRequest, ""},
		{"none, public, plain allowed", public, true, "", "", oauth.InvalidRequest, ""},
		{"none, demanded of all", demanded, false, "", "", oauth.InvalidRequest, ""},
		{"none, confidential", confidential, false, "", "", "", ""},
		// A method without a challenge is a challenge that was stripped.
		{"stripped challenge", confidential, false, "", "S256", oauth.InvalidRequest, ""},
		{"stripped challenge, plain", confidential, true, "", "plain", oauth.InvalidRequest, ""},
		{"stripped challenge, public", public, false, "", "S256", oauth.InvalidRequest, ""},
		// Downgrade: without a method it is plain (section 4.3).
		{"downgrade to plain", public, false, challenge, "plain", oauth.InvalidRequest, ""},
		{"downgrade by leaving out the method", public, false, challenge, "", oauth.InvalidRequest, ""},
		{"downgrade of a confidential client", confidential, false, challenge, "", oauth.InvalidRequest, ""},
		{"plain allowed", public, true, plain43, "plain", "", "plain"},
		{"plain allowed, default method", public, true, plain128, "", "", "plain"},
		// Section 4.2: plain is a code_verifier, 43*128unreserved.
		{"plain of 42", public, true, plain43[1:], "plain", oauth.InvalidRequest, ""},
		{"plain of 129", public, true, plain128 + "a", "plain", oauth.InvalidRequest, ""},
		{"plain with a space", public, true, plain43 + " ", "plain", oauth.InvalidRequest, ""},
		{"plain with padding", public, true, plain43 + "=", "plain", oauth.InvalidRequest, ""},
		// Method names are case-sensitive.
		{"s256", public, true, challenge, "s256", oauth.InvalidRequest, ""},
		{"PLAIN", public, true, plain43, "PLAIN", oauth.InvalidRequest, ""},
		{"S512", public, true, challenge, "S512", oauth.InvalidRequest, ""},
		{"none", public, true, challenge, "none", oauth.InvalidRequest, ""},
		{"S256 and a space", public, true, challenge, "S256 ", oauth.InvalidRequest, ""},
		// Section 4.2 and appendix A: base64url of 32 bytes, no padding.
		{"42 characters", public, false, challenge[:42], "S256", oauth.InvalidRequest, ""},
		{"44 characters", public, false, challenge + "A", "S256", oauth.InvalidRequest, ""},
		{"padding", public, false, challenge + "=", "S256", oauth.InvalidRequest, ""},
		{"base64 instead of base64url", public, false, strings.ReplaceAll(challenge, "-", "+"), "S256", oauth.InvalidRequest, ""},
		{"trailing bits", public, false, challenge[:42] + "N", "S256", oauth.InvalidRequest, ""},
		{"line break behind", public, false, challenge + "\n", "S256", oauth.InvalidRequest, ""},
		{"line break inside", public, false, challenge[:20] + "\r\n" + challenge[20:], "S256", oauth.InvalidRequest, ""},
		{"hexadecimal", public, false, strings.Repeat("ab", 32), "S256", oauth.InvalidRequest, ""},
		{"31 bytes", public, false, base64.RawURLEncoding.EncodeToString(make([]byte, 31)), "S256", oauth.InvalidRequest, ""},
		{"33 bytes", public, false, base64.RawURLEncoding.EncodeToString(make([]byte, 33)), "S256", oauth.InvalidRequest, ""},
		{"verifier instead of challenge of 128", public, false, plain128, "S256", oauth.InvalidRequest, ""},
	} {
		client := webClient()
		client.Public = test.who == public
		p := policy()
		p.PKCEPlain, p.PKCERequired = test.plainAllowed, test.who == demanded
		form := valid(url.Values{"code_challenge": {test.challenge}, "code_challenge_method": {test.method}})
		r, err := oauth.Authorize(form, oauth.Lookups{Client: &client}, p)
		if codeOf(err) != test.want {
			t.Errorf("%s: %v, want %q", test.name, err, test.want)
			continue
		}
		if err != nil {
			// RFC 7636 section 4.4.1: the client is told.
			if target(t, err) == nil {
				t.Errorf("%s: the refusal does not reach the client", test.name)
			}
			describe(t, err)
		} else if r.CodeChallenge != test.challenge || r.CodeChallengeMethod != test.wantMethod {
			t.Errorf("%s: kept %q by %q, want method %q", test.name, r.CodeChallenge, r.CodeChallengeMethod, test.wantMethod)
		}
	}
}

// RFC 7636 section 4.6; SECURITY: authentik CVE-2023-48228 and CVE-2024-23647.
func TestCodeVerifier(t *testing.T) {
	const unreserved = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"
	long := strings.Repeat("v", 128)
	for _, test := range []struct {
		name                        string
		challenge, method, verifier string
		ok                          bool
	}{
		{"the pair of appendix B", challenge, "S256", verifier, true},
		{"neither", "", "", "", true},
		{"challenge without verifier", challenge, "S256", "", false},
		// RFC 9700 section 4.5.3.1: the challenge was removed, or the code injected.
		{"verifier without challenge", "", "", verifier, false},
		{"another verifier", challenge, "S256", strings.Repeat("v", 43), false},
		{"another case", challenge, "S256", strings.ToLower(verifier), false},
		{"the challenge itself", challenge, "S256", challenge, false},
		{"one character less", challenge, "S256", verifier[1:], false},
		{"one character more", challenge, "S256", verifier + "A", false},
		{"a line break behind", challenge, "S256", verifier + "\n", false},
		{"a space in front", challenge, "S256", " " + verifier, false},
		{"plain", verifier, "plain", verifier, true},
		{"plain, other", verifier, "plain", strings.Repeat("v", 43), false},
		{"plain, hashed", verifier, "plain", challenge, false},
		{"plain of 128", long, "plain", long, true},
		{"plain of every unreserved character", unreserved, "plain", unreserved, true},
		// Section 4.1: 43*128unreserved, also where the comparison would succeed.
		{"plain of 42", long[:42], "plain", long[:42], false},
		{"plain of 129", long + "v", "plain", long + "v", false},
		{"plain with other characters", unreserved + "+", "plain", unreserved + "+", false},
		{"plain with a high byte", unreserved + "é", "plain", unreserved + "é", false},
		// A method that nobody knows proves nothing.
		{"an unknown method", verifier, "S512", verifier, false},
		{"no method", verifier, "", verifier, false},
	} {
		g := storage.Grant{
			ClientID: "web", RedirectURI: "https://app.example.com/cb", CodeChallenge: test.challenge,
			CodeChallengeMethod: test.method, CodeExpiresAt: now.Add(time.Minute),
		}
		_, err := oauth.RedeemCode(g, webClient(), oauth.CodeRequest{
			Code: "c", RedirectURI: g.RedirectURI, CodeVerifier: test.verifier,
		}, now)
		switch {
		case test.ok && err != nil:
			t.Errorf("%s: %v", test.name, err)
		case !test.ok && codeOf(err) != oauth.InvalidGrant:
			t.Errorf("%s: %v, want invalid_grant", test.name, err)
		case !test.ok:
			describe(t, err)
		}
	}
}
