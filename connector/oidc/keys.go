package oidc

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
)

const (
	// keysLifetime is how long keys are used without asking again, so that one that
	// was withdrawn goes.
	keysLifetime = time.Hour
	// keysInterval is how often an unknown kid may make us ask: anybody can make one
	// up.
	keysInterval = 10 * time.Second
	// maxKeys is more than any provider has.
	maxKeys = 200
)

var errNoKey = errors.New("none of the provider's keys has signed the token")

// keySet is a provider's JWK Set (RFC 7517 section 5). It implements the library's
// KeySet.
type keySet struct {
	url string
	get func(ctx context.Context, address string, into any) error
	now func() time.Time

	mu    sync.Mutex // held while asking: many tokens of a new key ask once
	keys  []jose.JSONWebKey
	asked time.Time
}

// VerifySignature implements the library's KeySet.
func (s *keySet) VerifySignature(ctx context.Context, token string) ([]byte, error) {
	accepted := make([]jose.SignatureAlgorithm, len(asymmetric))
	for i, alg := range asymmetric {
		accepted[i] = jose.SignatureAlgorithm(alg)
	}
	jws, err := jose.ParseSignedCompact(token, accepted)
	if err != nil {
		return nil, fmt.Errorf("reading the token: %w", err)
	}
	keys, fresh, err := s.current(ctx, false)
	if err != nil {
		return nil, err
	}
	if payload, ok := verify(jws, keys); ok {
		return payload, nil
	}
	if fresh {
		return nil, errNoKey
	}
	if keys, _, err = s.current(ctx, true); err != nil {
		return nil, err
	}
	if payload, ok := verify(jws, keys); ok {
		return payload, nil
	}
	return nil, errNoKey
}

// verify tries the keys that may have signed. The algorithm is bound to the key's
// type by the library (RFC 8725 section 3.1).
func verify(jws *jose.JSONWebSignature, keys []jose.JSONWebKey) ([]byte, bool) {
	header := jws.Signatures[0].Header
	for i := range keys {
		k := &keys[i]
		if header.KeyID != "" && k.KeyID != header.KeyID || k.Use != "" && k.Use != "sig" ||
			k.Algorithm != "" && k.Algorithm != header.Algorithm || !k.IsPublic() {
			continue
		}
		if payload, err := jws.Verify(k); err == nil {
			return payload, true
		}
	}
	return nil, false
}

// current returns the keys, and whether they were asked for just now. again asks
// although they are known, not too often.
func (s *keySet) current(ctx context.Context, again bool) (keys []jose.JSONWebKey, fresh bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	age := now.Sub(s.asked)
	if s.keys != nil && age < keysLifetime && (!again || age < keysInterval) {
		return s.keys, age < keysInterval, nil
	}
	var set struct {
		Keys []webKey `json:"keys"`
	}
	if err := s.get(ctx, s.url, &set); err != nil {
		if s.keys != nil && age < 24*keysLifetime { // better than signing nobody in
			return s.keys, true, nil
		}
		return nil, false, fmt.Errorf("reading the provider's keys: %w", err)
	}
	s.keys, s.asked = make([]jose.JSONWebKey, 0, len(set.Keys)), now
	for _, k := range set.Keys[:min(len(set.Keys), maxKeys)] {
		if k.key.Key != nil {
			s.keys = append(s.keys, k.key)
		}
	}
	return s.keys, true, nil
}

// webKey is a key of a set; one of a kind that is unknown is passed over (RFC 7517
// section 5).
type webKey struct{ key jose.JSONWebKey }

// UnmarshalJSON implements json.Unmarshaler.
func (k *webKey) UnmarshalJSON(b []byte) error {
	var key jose.JSONWebKey
	if key.UnmarshalJSON(b) == nil && key.Valid() {
		k.key = key
	}
	return nil
}
