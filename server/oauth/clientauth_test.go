package oauth_test

import (
	"crypto/sha256"
	"encoding/base64"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/countersign/countersign/e2e/fuzz"
	"github.com/countersign/countersign/server/oauth"
	"github.com/countersign/countersign/storage"
)

func basic(userinfo string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(userinfo))
}

// RFC 6749 section 2.3.1: both parts are form-urlencoded, then joined by a colon.
func TestParseClientCredentials(t *testing.T) {
	post := func(id, secret string) url.Values { return url.Values{"client_id": {id}, "client_secret": {secret}} }
	creds := func(id, secret, method string) oauth.ClientCredentials {
		return oauth.ClientCredentials{ClientID: id, Secret: secret, Method: method}
	}
	for _, test := range []struct {
		name   string
		header string
		form   url.Values
		want   oauth.ClientCredentials
		code   oauth.Code
	}{
		{"the example of section 2.3.1", "Basic czZCaGRSa3F0Mzo3RmpmcDBaQnIxS3REUmJuZlZkbUl3", nil, creds("s6BhdRkqt3", "7Fjfp0ZBr1KtDRbnfVdmIw", oauth.AuthBasic), ""},
		{"special characters", basic("my%3Aapp:a%2Bb%2Fc%25+%C3%BC"), nil, creds("my:app", "a+b/c% ü", oauth.AuthBasic), ""},
		{"colons in the secret", basic("web:a:b:c"), nil, creds("web", "a:b:c", oauth.AuthBasic), ""},
		{"every unreserved character", basic("web:-._~aZ09!*'()"), nil, creds("web", "-._~aZ09!*'()", oauth.AuthBasic), ""},
		// RFC 7617 section 2, RFC 9110 section 11.1: the scheme has no case.
		{"basic", "basic " + basic("web:s")[6:], nil, creds("web", "s", oauth.AuthBasic), ""},
		{"two spaces", "Basic  " + basic("web:s")[6:] + " ", nil, creds("web", "s", oauth.AuthBasic), ""},
		{"no secret in the header", basic("native:"), nil, creds("native", "", oauth.AuthNone), ""},
		{"header, and the same client_id in the body", basic("web:s"), url.Values{"client_id": {"web"}}, creds("web", "s", oauth.AuthBasic), ""},
		{"header, and an empty secret in the body", basic("web:s"), post("", ""), creds("web", "s", oauth.AuthBasic), ""},
		{"body", "", post("web", "s+:%"), creds("web", "s+:%", oauth.AuthPost), ""},
		{"public", "", post("native", ""), creds("native", "", oauth.AuthNone), ""},
		{"only client_id", "", url.Values{"client_id": {"native"}}, creds("native", "", oauth.AuthNone), ""},

		// Section 2.3: "The client MUST NOT use more than one authentication method".
		{"header and body", basic("web:s"), post("web", "s"), oauth.ClientCredentials{}, oauth.InvalidRequest},
		{"header without secret, and body", basic("web:"), post("web", "s"), oauth.ClientCredentials{}, oauth.InvalidRequest},
		{"another client_id in the body", basic("web:s"), url.Values{"client_id": {"other"}}, oauth.ClientCredentials{}, oauth.InvalidRequest},
		{"client_id twice", "", url.Values{"client_id": {"web", "web"}}, oauth.ClientCredentials{}, oauth.InvalidRequest},
		{"client_id twice, header", basic("web:s"), url.Values{"client_id": {"web", "web"}}, oauth.ClientCredentials{}, oauth.InvalidRequest},
		{"client_secret twice", "", url.Values{"client_id": {"web"}, "client_secret": {"a", "b"}}, oauth.ClientCredentials{}, oauth.InvalidRequest},
		// Section 5.2, invalid_client: "no client authentication included".
		{"nothing", "", nil, oauth.ClientCredentials{Method: oauth.AuthPost}, oauth.InvalidClient},
		{"only a secret", "", url.Values{"client_secret": {"s"}}, oauth.ClientCredentials{Secret: "s", Method: oauth.AuthPost}, oauth.InvalidClient},
		{"client_id that is not text", "", post("\xff", "s"), creds("\xff", "s", oauth.AuthPost), oauth.InvalidClient},
		{"client_id with NUL", "", post("web\x00", ""), creds("web\x00", "", oauth.AuthPost), oauth.InvalidClient},
		{"bearer", "Bearer abc", post("web", "s"), oauth.ClientCredentials{}, oauth.InvalidClient},
		{"digest", "Digest username=web", nil, oauth.ClientCredentials{}, oauth.InvalidClient},
		{"only the scheme", "Basic", nil, oauth.ClientCredentials{}, oauth.InvalidClient},
		{"only the scheme and a space", "Basic ", nil, oauth.ClientCredentials{}, oauth.InvalidClient},
		{"no scheme", basic("web:s")[6:], nil, oauth.ClientCredentials{}, oauth.InvalidClient},
		{"tab behind the scheme", "Basic\t" + basic("web:s")[6:], nil, oauth.ClientCredentials{}, oauth.InvalidClient},
		{"no base64", "Basic web:s", nil, oauth.ClientCredentials{}, oauth.InvalidClient},
		{"base64url", "Basic " + base64.URLEncoding.EncodeToString([]byte("web:\u00ff\u00ff>>??")), nil, oauth.ClientCredentials{}, oauth.InvalidClient},
		{"no padding", strings.TrimRight(basic("web:secret"), "="), nil, oauth.ClientCredentials{}, oauth.InvalidClient},
		{"two credentials", basic("web:s") + ", " + basic("web:s"), nil, oauth.ClientCredentials{}, oauth.InvalidClient},
		{"no colon", basic("web"), nil, oauth.ClientCredentials{}, oauth.InvalidClient},
		{"an encoded colon only", basic("web%3As"), nil, oauth.ClientCredentials{}, oauth.InvalidClient},
		{"no client_id", basic(":s"), nil, oauth.ClientCredentials{}, oauth.InvalidClient},
		{"bad escape in client_id", basic("we%b:s"), nil, oauth.ClientCredentials{}, oauth.InvalidClient},
		{"bad escape in secret", basic("web:100%"), nil, oauth.ClientCredentials{}, oauth.InvalidClient},
		{"NUL in client_id", basic("we%00b:s"), nil, oauth.ClientCredentials{}, oauth.InvalidClient},
		{"client_id that is not UTF-8", basic("we%ffb:s"), nil, oauth.ClientCredentials{}, oauth.InvalidClient},
		{"too long", basic("web:" + strings.Repeat("s", 4096)), nil, oauth.ClientCredentials{}, oauth.InvalidClient},
	} {
		got, err := oauth.ParseClientCredentials(test.header, test.form)
		if codeOf(err) != test.code {
			t.Errorf("%s: %v, want %q", test.name, err, test.code)
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
		if err != nil {
			describe(t, err)
		}
	}
}

// RFC 6749 sections 2.3.1 and 3.2.1; Dex: an unset secret was accepted empty.
func TestAuthenticateClient(t *testing.T) {
	hash := func(s string) [32]byte { return sha256.Sum256([]byte(s)) }
	confidential := &storage.Client{ID: "web", SecretHashes: [][32]byte{hash("new"), hash("old")}}
	for _, test := range []struct {
		name   string
		client *storage.Client
		secret string
		method string
		ok     bool
	}{
		{"the secret", confidential, "new", oauth.AuthBasic, true},
		{"the secret in the body", confidential, "new", oauth.AuthPost, true},
		{"the other live secret", confidential, "old", oauth.AuthBasic, true},
		{"a wrong secret", confidential, "newer", oauth.AuthBasic, false},
		{"another case", confidential, "NEW", oauth.AuthBasic, false},
		{"the hash", confidential, string(confidential.SecretHashes[0][:]), oauth.AuthBasic, false},
		{"no secret", confidential, "", oauth.AuthNone, false},
		{"an empty secret, said to be basic", confidential, "", oauth.AuthBasic, false},
		{"a client without secrets", &storage.Client{ID: "web"}, "x", oauth.AuthBasic, false},
		{"a client without secrets, none sent", &storage.Client{ID: "web"}, "", oauth.AuthNone, false},
		{"the empty secret was registered", &storage.Client{ID: "web", SecretHashes: [][32]byte{hash("")}}, "", oauth.AuthPost, false},
		{"the empty secret was registered, none sent", &storage.Client{ID: "web", SecretHashes: [][32]byte{hash("")}}, "", oauth.AuthNone, false},
		{"zero hash", &storage.Client{ID: "web", SecretHashes: [][32]byte{{}}}, "x", oauth.AuthBasic, false},
		{"public", &storage.Client{ID: "native", Public: true}, "", oauth.AuthNone, true},
		// RFC 8252 section 8.5: a secret that many hold proves nothing; one that is
		// wrong is refused all the same.
		{"public with a secret it does not have", &storage.Client{ID: "native", Public: true}, "x", oauth.AuthPost, false},
		{"public with its secret", &storage.Client{ID: "native", Public: true, SecretHashes: confidential.SecretHashes}, "new", oauth.AuthPost, true},
		{"public with a wrong secret", &storage.Client{ID: "native", Public: true, SecretHashes: confidential.SecretHashes}, "x", oauth.AuthPost, false},
		{"public without its secret", &storage.Client{ID: "native", Public: true, SecretHashes: confidential.SecretHashes}, "", oauth.AuthNone, true},
		{"unknown", nil, "new", oauth.AuthBasic, false},
		{"unknown, no secret", nil, "", oauth.AuthNone, false},
		{"nothing at all", nil, "", "", false},
	} {
		err := oauth.AuthenticateClient(oauth.ClientCredentials{ClientID: "web", Secret: test.secret, Method: test.method}, test.client)
		switch {
		case test.ok && err != nil:
			t.Errorf("%s: %v", test.name, err)
		case !test.ok && codeOf(err) != oauth.InvalidClient:
			t.Errorf("%s: %v, want invalid_client", test.name, err)
		case !test.ok && err.Error() != oauth.AuthenticateClient(oauth.ClientCredentials{}, nil).Error():
			t.Errorf("%s: %v tells more than that it failed", test.name, err)
		}
	}
}

func FuzzBasic(f *testing.F) {
	fuzz.Widely(f)
	for _, seed := range []string{basic("web:s"), basic("a%3Ab:c%20d+"), "Basic", "Basic ====", "bAsIc " + basic("::")[6:], basic("web:%"), "Bearer x", "", basic("%00:x")} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, header string) {
		c, err := oauth.ParseClientCredentials(header, url.Values{"client_id": nil})
		if err != nil {
			describe(t, err)
			return
		}
		if c.ClientID == "" || strings.ContainsRune(c.ClientID, 0) || (c.Secret == "") != (c.Method == oauth.AuthNone) {
			t.Fatalf("%q makes %+v", header, c)
		}
		// What a client would send for these is read the same.
		again, err := oauth.ParseClientCredentials(basic(url.QueryEscape(c.ClientID)+":"+url.QueryEscape(c.Secret)), nil)
		if err == nil && again != c {
			t.Fatalf("%+v comes back as %+v", c, again)
		}
	})
}
