package keys_test

import (
	"encoding/base64"
	"fmt"
	"strings"
	"sync"
	"testing"
)

// RFC 7515 section 7.1, RFC 7518 sections 3.3 and 3.4, RFC 8037 section 3.1: what
// is put together here letter by letter is a JWS to others. An ECDSA signature of
// which R or S begins with zeros, as two of 256 do, is as long as any.
func TestCompactSerialization(t *testing.T) {
	k := openSite(t).replica(t, "RS256", "ES256", "EdDSA")
	for alg, c := range map[string]struct{ times, bytes int }{"RS256": {3, 256}, "ES256": {1000, 64}, "EdDSA": {20, 64}} {
		short := 0
		for i := range c.times {
			token, kid, err := k.Sign(alg, "at+jwt", map[string]int{"n": i})
			if err != nil {
				t.Fatal(err)
			}
			header, rest, _ := strings.Cut(token, ".")
			payload, encoded, _ := strings.Cut(rest, ".")
			if want := fmt.Sprintf(`{"alg":%q,"kid":%q,"typ":"at+jwt"}`, alg, kid); header != b64([]byte(want)) {
				t.Errorf("the header is %s", header)
			}
			if want := fmt.Sprintf(`{"n":%d}`, i); payload != b64([]byte(want)) {
				t.Errorf("the payload is %s", payload)
			}
			signature, err := base64.RawURLEncoding.DecodeString(encoded)
			if err != nil || len(signature) != c.bytes {
				t.Fatalf("%s: a signature of %d bytes: %v", alg, len(signature), err)
			}
			if err := verifyByJWKS(t, k.JWKS().Body, token); err != nil {
				t.Errorf("%s: %v", alg, err)
			}
			if signature[0] == 0 || signature[len(signature)/2] == 0 {
				short++
			}
		}
		t.Logf("%s: %d signatures had a zero where a number begins", alg, short)
	}
}

// Tokens of several types are made at once, and none gets another's header.
func TestSigningAtOnce(t *testing.T) {
	k := openSite(t).replica(t, "EdDSA")
	var running sync.WaitGroup
	for i := range 16 {
		running.Go(func() {
			typ := fmt.Sprintf("type-%d", i%4)
			for range 50 {
				token, _, err := k.Sign("", typ, map[string]string{"typ": typ})
				if err != nil {
					t.Error(err)
					return
				}
				if payload, err := k.Verify(token, typ); err != nil || string(payload) != fmt.Sprintf(`{"typ":%q}`, typ) {
					t.Errorf("%s: %s, %v", typ, payload, err)
				}
			}
		})
	}
	running.Wait()
}
