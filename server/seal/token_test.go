package seal_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"strings"
	"testing"

	"github.com/countersign/countersign/server/seal"
)

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

const payloadBytes = 16

func tokens(t testing.TB) *seal.Tokens {
	return keyring(t, secret(1)).Tokens("code", "csc_", payloadBytes)
}

func TestTokensRoundTrip(t *testing.T) {
	tok := tokens(t)
	for _, b := range []byte{0, 1, 0x7f, 0xff} {
		payload := bytes.Repeat([]byte{b}, payloadBytes)
		token := tok.Make(payload)
		got, err := tok.Parse(token)
		if err != nil || !bytes.Equal(got, payload) {
			t.Errorf("Parse(Make(%x)) = %x, %v", payload, got, err)
		}
		if !strings.HasPrefix(token, "csc_") || !tok.Is(token) || len(token) != 4+64 {
			t.Errorf("token %q", token)
		}
		// The caller may append to the payload without touching the MAC behind it.
		if cap(got) != payloadBytes {
			t.Errorf("payload has room for %d bytes", cap(got))
		}
	}
}

func TestIs(t *testing.T) {
	for token, want := range map[string]bool{"csc_": true, "csc_x": true, "csc": false, "": false, "csa_x": false, "CSC_x": false, " csc_x": false} {
		if got := tokens(t).Is(token); got != want {
			t.Errorf("Is(%q) = %v", token, got)
		}
	}
}

func TestMakeRefusesAnotherSize(t *testing.T) {
	for _, n := range []int{0, payloadBytes - 1, payloadBytes + 1} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("a payload of %d bytes makes a token", n)
				}
			}()
			tokens(t).Make(make([]byte, n))
		}()
	}
}

// SECURITY: zitadel CVE-2026-27840, truncated tokens: no prefix of a token, and
// no other spelling of it, is a token.
func TestParseRefuses(t *testing.T) {
	tok := tokens(t)
	// 49 bytes of payload and MAC leave trailing bits in the last character.
	odd := keyring(t, secret(1)).Tokens("odd", "cso_", 17)
	k := keyring(t, secret(1))
	good, goodOdd := tok.Make(make([]byte, payloadBytes)), odd.Make(make([]byte, 17))
	body := good[4:]

	refused := func(name string, tok *seal.Tokens, token string) {
		t.Helper()
		if got, err := tok.Parse(token); !errors.Is(err, seal.ErrInvalid) || got != nil {
			t.Errorf("%s: Parse(%q) = %x, %v, want ErrInvalid", name, token, got, err)
		}
	}
	for n := range len(good) {
		refused("a prefix", tok, good[:n])
		refused("a suffix", tok, good[n+1:])
		refused("one character left out", tok, good[:n]+good[n+1:])
	}
	for n := range len(good) {
		for _, c := range []byte("AB+/=-_ \n\r\x00.") {
			if good[n] != c {
				refused("another character", tok, good[:n]+string(c)+good[n+1:])
			}
			refused("one character more", tok, good[:n]+string(c)+good[n:])
		}
	}
	// Strict base64url: the unused bits of the last character are zero.
	for _, c := range "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_" {
		if token := goodOdd[:len(goodOdd)-1] + string(c); token != goodOdd {
			refused("trailing bits", odd, token)
		}
	}
	refused("padding", tok, good+"=")
	refused("a line break at the end", tok, good+"\n")
	refused("another case of the prefix", tok, "CSC_"+body)
	refused("no prefix", tok, body)
	refused("the prefix twice", tok, "csc_"+good)
	refused("white space", tok, " "+good)
	refused("another purpose", k.Tokens("access", "csc_", payloadBytes), good)
	refused("another prefix", k.Tokens("code", "csa_", payloadBytes), good)
	refused("another prefix put in front", k.Tokens("access", "csa_", payloadBytes), "csa_"+body)
	refused("another size", k.Tokens("code", "csc_", payloadBytes+1), good)
	refused("another secret", keyring(t, secret(2)).Tokens("code", "csc_", payloadBytes), good)
	refused("no MAC", tok, "csc_"+encode(make([]byte, payloadBytes)))
	refused("a zero MAC", tok, "csc_"+encode(make([]byte, payloadBytes+seal.MACBytes)))
	refused("a long one", tok, "csc_"+strings.Repeat("A", 1<<20))
	// The base64 decoder skips line breaks, so a token of the right length can
	// hold fewer bytes than it should; cutting those into payload and MAC must not
	// panic.
	for n := 1; n <= len(body); n++ {
		refused("line breaks instead of characters", tok, "csc_"+body[:len(body)-n]+strings.Repeat("\n", n))
		refused("line breaks in front", tok, "csc_"+strings.Repeat("\r", n)+body[n:])
	}
}

func TestTokensOfOldSecrets(t *testing.T) {
	old := keyring(t, secret(1)).Tokens("code", "csc_", payloadBytes).Make(make([]byte, payloadBytes))
	if _, err := keyring(t, secret(2), secret(1)).Tokens("code", "csc_", payloadBytes).Parse(old); err != nil {
		t.Errorf("a token of the old secret is refused while it is there: %v", err)
	}
	if _, err := keyring(t, secret(2)).Tokens("code", "csc_", payloadBytes).Parse(old); err == nil {
		t.Error("a token of a dropped secret is accepted")
	}
}

func FuzzParse(f *testing.F) {
	tok := tokens(f)
	good := tok.Make(make([]byte, payloadBytes))
	for _, seed := range []string{good, good[:40], "csc_", "", "csc_" + strings.Repeat("\n", 64), good + "=", "csc_" + strings.Repeat("_", 64)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, token string) {
		payload, err := tok.Parse(token)
		if err == nil && tok.Make(payload) != token {
			t.Fatalf("%q is a second spelling of %q", token, tok.Make(payload))
		}
		if err == nil && token != good {
			t.Fatalf("forged: %q", token)
		}
	})
}
