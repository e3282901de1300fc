package oidc

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"
)

const (
	// keysLifetime is how long keys are used without asking again, so that one that
	// was withdrawn goes.
	keysLifetime = time.Hour
	// keysInterval is how often an unknown kid may make us ask, since anybody can make
	// one up, and a provider that gives no keys.
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

	known atomic.Pointer[knownKeys]
	// slot is taken while asking: many tokens of a new key ask once.
	slot chan struct{}
}

func newKeySet(url string, get func(ctx context.Context, address string, into any) error, now func() time.Time) *keySet {
	return &keySet{url: url, get: get, now: now, slot: make(chan struct{}, 1)}
}

// knownKeys are keys as they were when asked for. tried is when they were asked for
// the last time, in vain or not.
type knownKeys struct {
	keys         []jose.JSONWebKey
	asked, tried time.Time
}

// usable reports whether there is no reason to ask, or it was done a moment ago, and
// which of the two. again is a reason.
func (k *knownKeys) usable(again bool, now time.Time) (usable, fresh bool) {
	if !k.bearable(now) {
		return false, false
	}
	fresh = now.Sub(k.tried) < keysInterval
	return fresh || !again && now.Sub(k.asked) < keysLifetime, fresh
}

// bearable: better than signing nobody in, when the provider fails.
func (k *knownKeys) bearable(now time.Time) bool {
	return k != nil && now.Sub(k.asked) < 24*keysLifetime
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
	k := s.known.Load()
	if usable, fresh := k.usable(again, s.now()); usable {
		return k.keys, fresh, nil
	}
	select {
	case s.slot <- struct{}{}:
		defer func() { <-s.slot }()
	case <-ctx.Done():
		return nil, false, fmt.Errorf("waiting for the provider's keys: %w", ctx.Err())
	}
	now := s.now()
	k = s.known.Load() // somebody may have asked meanwhile
	if usable, fresh := k.usable(again, now); usable {
		return k.keys, fresh, nil
	}
	found, err := s.ask(ctx, k.bearable(now))
	switch {
	case err == nil:
		k = &knownKeys{keys: found, asked: now, tried: now}
	case k.bearable(now):
		k = &knownKeys{keys: k.keys, asked: k.asked, tried: now}
	default:
		return nil, false, fmt.Errorf("reading the provider's keys: %w", err)
	}
	s.known.Store(k)
	return k.keys, true, nil
}

// ask reads the keys. With others to fall back on, it takes half of the time that
// there is: who waits has more to do.
func (s *keySet) ask(ctx context.Context, fallback bool) ([]jose.JSONWebKey, error) {
	if deadline, ok := ctx.Deadline(); ok && fallback {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Until(deadline)/2)
		defer cancel()
	}
	var set struct {
		Keys []webKey `json:"keys"`
	}
	if err := s.get(ctx, s.url, &set); err != nil {
		return nil, err
	}
	keys := make([]jose.JSONWebKey, 0, len(set.Keys))
	for _, k := range set.Keys[:min(len(set.Keys), maxKeys)] {
		if k.key.Key != nil {
			keys = append(keys, k.key)
		}
	}
	return keys, nil
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
