package oauth_test

import (
	"crypto/sha256"
	"encoding/base64"
	"strings"
	"testing"

	"github.com/countersign/countersign/server/oauth"
)

func TestSubject(t *testing.T) {
	for _, test := range []struct{ name, userID, connectorID, want string }{
		{
			"the pair every Dex installation knows",
			"08a8684b-db88-4b73-90a9-3cd1661f5466", "local",
			"CiQwOGE4Njg0Yi1kYjg4LTRiNzMtOTBhOS0zY2QxNjYxZjU0NjYSBWxvY2Fs",
		},
		// proto3 leaves out empty fields.
		{"no connector", "x", "", base64.RawURLEncoding.EncodeToString([]byte("\x0a\x01x"))},
		{"no user", "", "x", base64.RawURLEncoding.EncodeToString([]byte("\x12\x01x"))},
		{"a length of two varint bytes", strings.Repeat("a", 128), "c",
			base64.RawURLEncoding.EncodeToString([]byte("\x0a\x80\x01" + strings.Repeat("a", 128) + "\x12\x01c"))},
	} {
		if got := oauth.Subject(test.userID, test.connectorID); got != test.want {
			t.Errorf("%s: Subject = %q, want %q", test.name, got, test.want)
		}
	}
}

// OpenID Connect Core 1.0 section 2, sub: at most 255 ASCII characters.
func TestSubjectIsNeverLongerThan255(t *testing.T) {
	for n := range 400 {
		user := strings.Repeat("u", n)
		message := "\x12\x04ldap"
		if n > 0 && n < 128 {
			message = "\x0a" + string(rune(n)) + user + message
		}
		got := oauth.Subject(user, "ldap")
		if len(got) > 255 {
			t.Fatalf("%d characters of user id make a sub of %d", n, len(got))
		}
		if n < 128 && got != base64.RawURLEncoding.EncodeToString([]byte(message)) {
			t.Fatalf("%d characters of user id make %q", n, got)
		}
	}
	// 191 bytes are 255 characters, 192 are 256.
	for bytes, hashed := range map[int]bool{191: false, 192: true} {
		user := strings.Repeat("u", bytes-3-6)
		message := "\x0a" + string([]byte{byte(len(user)&0x7f | 0x80), 1}) + user + "\x12\x04ldap"
		want := base64.RawURLEncoding.EncodeToString([]byte(message))
		if hashed {
			sum := sha256.Sum256([]byte(message))
			want = base64.RawURLEncoding.EncodeToString(sum[:])
		}
		if got := oauth.Subject(user, "ldap"); got != want {
			t.Errorf("a message of %d bytes makes %q, want %q", bytes, got, want)
		}
	}
}

// The same characters, cut elsewhere, are another person.
func TestSubjectIsUniqueAcrossConnectors(t *testing.T) {
	seen := map[string]string{}
	for _, pair := range [][2]string{{"ab", "c"}, {"a", "bc"}, {"abc", ""}, {"", "abc"}, {"c", "ab"}, {"a\x12\x01b", "c"}, {"a", "b\x12\x01c"}} {
		sub := oauth.Subject(pair[0], pair[1])
		if other, taken := seen[sub]; taken {
			t.Errorf("%q and %s have the same subject", pair, other)
		}
		seen[sub] = pair[0] + " at " + pair[1]
	}
}
