package keys_test

import (
	"crypto/rand"
	"errors"
	"testing"
	"time"

	"github.com/countersign/countersign/server/keys"
	"github.com/countersign/countersign/server/seal"
)

// pass goes on by single periods, as a replica that runs does.
func (s *site) pass(t *testing.T, k *keys.Keys, periods int) {
	t.Helper()
	for range periods {
		s.advance(10 * time.Second)
		if err := k.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// A retired key verifies hints for 32 periods: it is in no JWKS, and nothing else
// is verified with it.
func TestVerifyHint(t *testing.T) {
	for _, alg := range []string{"RS256", "ES256", "EdDSA"} {
		s := openSite(t)
		k := s.replica(t, alg)
		token, kid := sign(t, k, "")
		verified := func(what string, k *keys.Keys, asToken, asHint bool) {
			t.Helper()
			_, err := k.Verify(token, "JWT")
			_, hintErr := k.VerifyHint(token, "JWT")
			if (err == nil) != asToken || (hintErr == nil) != asHint {
				t.Fatalf("%s, %s: as a token %v, as a hint %v", alg, what, err, hintErr)
			}
			for _, jwk := range jwks(t, k).Keys {
				if jwk.KeyID == kid && !asToken {
					t.Fatalf("%s, %s: the key is published", alg, what)
				}
			}
		}
		verified("at first", k, true, true)
		s.pass(t, k, 12) // the retention is about nine periods after the successor
		verified("retired", k, false, true)
		verified("retired, at a new replica", s.replica(t, alg), false, true)
		if _, err := k.VerifyHint(token, "at+jwt"); !errors.Is(err, keys.ErrInvalidToken) {
			t.Errorf("as another type: %v", err)
		}
		if _, err := k.VerifyHint(token[:len(token)-4]+"AAAA", "JWT"); !errors.Is(err, keys.ErrInvalidToken) {
			t.Errorf("altered: %v", err)
		}
		s.pass(t, k, 20)
		verified("at the end of the 32nd period", k, false, true)
		s.pass(t, k, 1)
		verified("after it", k, false, false)
	}
}

// Of an algorithm no longer in use, too.
func TestVerifyHintOfADroppedAlgorithm(t *testing.T) {
	s := openSite(t)
	token, _ := sign(t, s.replica(t, "ES256"), "")
	k := s.replica(t, "EdDSA")
	s.pass(t, k, 15)
	if _, err := k.Verify(token, "JWT"); err == nil {
		t.Error("it is verified as a token")
	}
	if _, err := k.VerifyHint(token, "JWT"); err != nil {
		t.Error(err)
	}
	s.pass(t, k, 40)
	if rows, err := s.SigningKeys(t.Context()); err != nil || rows[0].Algorithm != "EdDSA" {
		t.Errorf("the keys are %v, %v", rows, err)
	}
}

// A master secret can go once the keys in use have rotated away. What retired
// keys signed is then no hint any more, and nothing else fails.
func TestRetiredKeysNeedNoSecret(t *testing.T) {
	s := openSite(t)
	k := s.replica(t, "ES256")
	token, _ := sign(t, k, "")
	with := func(secrets ...byte) *keys.Keys {
		c := s.config(t, "ES256")
		var all [][]byte
		for _, b := range secrets {
			all = append(all, secret(b))
		}
		ring, err := seal.New(all, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		c.Keyring = ring
		return make1(t, c)
	}
	both := with(2, 1)
	if err := both.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.pass(t, both, 14)
	if _, err := both.VerifyHint(token, "JWT"); err != nil {
		t.Error(err)
	}
	after := with(2)
	if err := after.Load(t.Context()); err != nil {
		t.Fatalf("without the old secret: %v", err)
	}
	if _, err := after.VerifyHint(token, "JWT"); !errors.Is(err, keys.ErrInvalidToken) {
		t.Errorf("a hint of a key that cannot be opened: %v", err)
	}
}

// A replica whose clock is far ahead does not take keys in use for retired.
func TestWrongClockRetiresNothing(t *testing.T) {
	s := openSite(t)
	token, _ := sign(t, s.replica(t, "ES256"), "")
	s.ahead = 24 * time.Hour
	k := s.replica(t, "ES256")
	if _, err := k.Verify(token, "JWT"); err != nil {
		t.Error(err)
	}
	if verifyByJWKS(t, k.JWKS().Body, token) != nil {
		t.Error("the key in use is not published")
	}
}
