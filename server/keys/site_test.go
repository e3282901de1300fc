package keys_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"log/slog"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/countersign/countersign/server/keys"
	"github.com/countersign/countersign/server/seal"
	"github.com/countersign/countersign/storage"
	"github.com/countersign/countersign/storage/sqlite"
)

// site is a database and a clock that several replicas share.
type site struct {
	storage.Store
	now atomic.Pointer[time.Time]
	// ahead is how far the replicas' clock is from the database's.
	ahead time.Duration
}

func (s *site) clock() time.Time        { return s.now.Load().Add(s.ahead) }
func (s *site) advance(d time.Duration) { now := s.now.Load().Add(d); s.now.Store(&now) }

// Ping is the database's clock, which runs with the test's.
func (s *site) Ping(ctx context.Context) (time.Time, error) {
	if _, err := s.Store.Ping(ctx); err != nil {
		return time.Time{}, err
	}
	return *s.now.Load(), nil
}

func openSite(t testing.TB) *site {
	t.Helper()
	store, err := sqlite.Open(sqlite.Config{File: filepath.Join(t.TempDir(), "db"), StatementTimeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	if err := store.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	s := &site{Store: store}
	s.now.Store(&t0)
	return s
}

// secret is a master secret of one repeated byte.
func secret(b byte) []byte { return bytes.Repeat([]byte{b}, seal.MinSecretBytes) }

func (s *site) config(t testing.TB, algorithms ...string) keys.Config {
	t.Helper()
	ring, err := seal.New([][]byte{secret(1)}, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return keys.Config{
		Store: s, Keyring: ring, Algorithms: algorithms,
		RotationPeriod: 10 * time.Second, MaxTokenLifetime: time.Minute,
		Now: s.clock, Logger: slog.New(slog.DiscardHandler),
	}
}

func make1(t testing.TB, c keys.Config) *keys.Keys {
	t.Helper()
	k, err := keys.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func (s *site) replica(t testing.TB, algorithms ...string) *keys.Keys {
	t.Helper()
	k := make1(t, s.config(t, algorithms...))
	if err := k.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	return k
}

func sign(t testing.TB, k *keys.Keys, alg string) (token, kid string) {
	t.Helper()
	token, kid, err := k.Sign(alg, "JWT", map[string]any{"sub": "ada"})
	if err != nil {
		t.Fatal(err)
	}
	return token, kid
}

func jwks(t testing.TB, k *keys.Keys) *jose.JSONWebKeySet {
	t.Helper()
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(k.JWKS().Body, &set); err != nil {
		t.Fatal(err)
	}
	return &set
}

// verifyByJWKS verifies as a relying party does, with nothing but the document.
func verifyByJWKS(t testing.TB, body []byte, token string) error {
	t.Helper()
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(body, &set); err != nil {
		t.Fatal(err)
	}
	jws, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.RS256, jose.ES256, jose.EdDSA})
	if err != nil {
		return err
	}
	_, err = jws.Verify(set)
	return err
}
