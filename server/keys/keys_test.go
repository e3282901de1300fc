package keys_test

import (
	"context"
	"crypto"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/countersign/countersign/server/clock"
	"github.com/countersign/countersign/server/keys"
	"github.com/countersign/countersign/server/seal"
	"github.com/countersign/countersign/storage"
)

func TestSignAndVerify(t *testing.T) {
	k := openSite(t).replica(t, "RS256", "ES256", "EdDSA")
	for _, alg := range []string{"", "RS256", "ES256", "EdDSA"} {
		token, kid, err := k.Sign(alg, "at+jwt", map[string]any{"sub": "ada"})
		if err != nil {
			t.Fatal(err)
		}
		if err := verifyByJWKS(t, k.JWKS().Body, token); err != nil {
			t.Errorf("%s by the JWKS: %v", alg, err)
		}
		payload, err := k.Verify(token, "JWT", "at+jwt")
		if err != nil || string(payload) != `{"sub":"ada"}` {
			t.Errorf("%s: %s, %v", alg, payload, err)
		}
		if set := jwks(t, k).Key(kid); len(set) != 1 || (alg != "" && set[0].Algorithm != alg) || (alg == "" && set[0].Algorithm != "RS256") {
			t.Errorf("%q: kid %q names %+v", alg, kid, set)
		}
	}
	for _, alg := range []string{"none", "HS256", "RS512", "rs256"} {
		if _, _, err := k.Sign(alg, "JWT", nil); err == nil {
			t.Errorf("signed with %s", alg)
		}
	}
	if _, _, err := k.Sign("ES256", "", nil); err == nil {
		t.Error("signed without typ")
	}
	if _, _, err := k.Sign("ES256", "JWT", func() {}); err == nil {
		t.Error("signed what is no JSON")
	}
}

func TestBeforeLoad(t *testing.T) {
	k := make1(t, openSite(t).config(t, "ES256"))
	if _, _, err := k.Sign("", "JWT", nil); err == nil {
		t.Error("signed")
	}
	if _, err := k.Verify("a.b.c", "JWT"); !errors.Is(err, keys.ErrInvalidToken) {
		t.Errorf("verify: %v", err)
	}
	if ages := k.Ages(t0); len(ages) != 0 {
		t.Errorf("ages %v", ages)
	}
}

func TestJWKS(t *testing.T) {
	s := openSite(t)
	k := s.replica(t, "RS256", "ES256", "EdDSA")
	doc := k.JWKS()
	var raw struct{ Keys []map[string]any }
	if err := json.Unmarshal(doc.Body, &raw); err != nil {
		t.Fatal(err)
	}
	members := map[string][]string{
		"RS256": {"alg", "e", "kid", "kty", "n", "use"},
		"ES256": {"alg", "crv", "kid", "kty", "use", "x", "y"},
		"EdDSA": {"alg", "crv", "kid", "kty", "use", "x"},
	}
	var order []string
	for _, jwk := range raw.Keys {
		alg := jwk["alg"].(string)
		order = append(order, alg)
		for _, m := range members[alg] {
			if _, ok := jwk[m]; !ok {
				t.Errorf("%s lacks %s", alg, m)
			}
		}
		if len(jwk) != len(members[alg]) || jwk["use"] != "sig" {
			t.Errorf("%s has other members: %v", alg, jwk)
		}
	}
	if diff := cmp.Diff([]string{"ES256", "ES256", "EdDSA", "EdDSA", "RS256", "RS256"}, order); diff != "" {
		t.Error(diff)
	}
	for _, jwk := range jwks(t, k).Keys {
		thumbprint, err := jwk.Thumbprint(crypto.SHA256)
		if want := fmt.Sprintf("%q", b64(thumbprint)); err != nil || fmt.Sprintf("%q", jwk.KeyID) != want {
			t.Errorf("kid %q, thumbprint %s, %v", jwk.KeyID, want, err)
		}
	}
	if diff := cmp.Diff(doc, s.replica(t, "EdDSA", "RS256", "ES256").JWKS()); diff != "" {
		t.Errorf("another replica serves another document:\n%s", diff)
	}
	if doc.MaxAge != 2500*time.Millisecond || len(doc.ETag) < 10 || doc.ETag[0] != '"' {
		t.Errorf("max-age %s, ETag %s", doc.MaxAge, doc.ETag)
	}
	s.advance(10 * time.Second)
	if err := k.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if k.JWKS().ETag == doc.ETag {
		t.Error("the ETag is the same after a rotation")
	}
}

// Three replicas that start at once on an empty store have the same keys.
func TestRacingReplicas(t *testing.T) {
	s := openSite(t)
	var replicas [3]*keys.Keys
	for i := range replicas {
		replicas[i] = make1(t, s.config(t, "ES256", "EdDSA"))
	}
	race := func(what func(*keys.Keys) error) {
		t.Helper()
		var wg sync.WaitGroup
		for _, k := range replicas {
			wg.Go(func() {
				if err := what(k); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	}
	race(func(k *keys.Keys) error { return k.Load(t.Context()) })
	for round := range 20 {
		race(func(k *keys.Keys) error { return k.Refresh(t.Context()) })
		race(func(k *keys.Keys) error { return k.Refresh(t.Context()) })
		stored, err := s.SigningKeys(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if round == 0 && len(stored) != 4 {
			t.Fatalf("%d keys in the store", len(stored))
		}
		for _, k := range replicas[1:] {
			if diff := cmp.Diff(replicas[0].JWKS(), k.JWKS()); diff != "" {
				t.Fatalf("round %d: %s", round, diff)
			}
			for _, alg := range []string{"ES256", "EdDSA"} {
				_, one := sign(t, replicas[0], alg)
				if _, other := sign(t, k, alg); one != other {
					t.Fatalf("round %d: replicas sign with %s and %s", round, one, other)
				}
			}
		}
		s.advance(5 * time.Second)
	}
}

// Through rotations every live token verifies, at every replica and with a JWKS
// that was cached for as long as it may be; a kid is published before its use.
func TestRotation(t *testing.T) {
	s := openSite(t)
	a, b := s.replica(t, "ES256"), s.replica(t, "ES256")
	type issued struct {
		token string
		at    time.Time
	}
	var live []issued
	cached, cachedAt := a.JWKS(), s.clock()
	kids := map[string]bool{}
	for second := range 120 {
		if second%2 == 0 { // the reload interval is 2.5 s
			if err := errors.Join(a.Refresh(t.Context()), b.Refresh(t.Context())); err != nil {
				t.Fatal(err)
			}
		}
		for _, k := range []*keys.Keys{a, b} {
			token, kid := sign(t, k, "")
			kids[kid] = true
			live = append(live, issued{token, s.clock()})
			if err := verifyByJWKS(t, cached.Body, token); err != nil {
				t.Fatalf("second %d: a token is signed with a key that a cached JWKS lacks: %v", second, err)
			}
		}
		for i := 0; i < len(live); i++ {
			if s.clock().Sub(live[i].at) > time.Minute {
				live = append(live[:i], live[i+1:]...)
				i--
				continue
			}
			if second%10 != 9 {
				continue
			}
			for _, k := range []*keys.Keys{a, b} {
				if _, err := k.Verify(live[i].token, "JWT"); err != nil {
					t.Fatalf("second %d: a token of %s: %v", second, live[i].at, err)
				}
			}
		}
		s.advance(time.Second)
		if s.clock().Sub(cachedAt) >= a.JWKS().MaxAge {
			cached, cachedAt = a.JWKS(), s.clock()
		}
	}
	if len(kids) != 12 {
		t.Errorf("%d keys signed in twelve periods", len(kids))
	}
	// A minute and 32.5 s of retention are at most ten keys, then the signing
	// and the next one.
	if n := len(jwks(t, a).Keys); n > 12 {
		t.Errorf("%d keys are published", n)
	}
}

func TestAges(t *testing.T) {
	s := openSite(t)
	k := s.replica(t, "ES256")
	s.advance(7 * time.Second)
	if diff := cmp.Diff(map[string]time.Duration{"ES256": 7 * time.Second}, k.Ages(s.clock())); diff != "" {
		t.Error(diff)
	}
}

// Without the store, signing goes on, and by the clock on to the next key.
func TestStoreOutage(t *testing.T) {
	s := openSite(t)
	k := s.replica(t, "ES256")
	token, first := sign(t, k, "")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := k.Refresh(t.Context()); !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("refresh: %v", err)
	}
	s.advance(11 * time.Second)
	if _, second := sign(t, k, ""); second == first {
		t.Error("the old key signs on")
	}
	if _, err := k.Verify(token, "JWT"); err != nil {
		t.Error(err)
	}
	if err := make1(t, s.config(t, "ES256")).Load(t.Context()); !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("load: %v", err)
	}
}

// Keys that cannot be opened are not replaced: Load says what to do.
func TestSecretsWereChanged(t *testing.T) {
	s := openSite(t)
	k := s.replica(t, "ES256")
	token, _ := sign(t, k, "")
	before, err := s.SigningKeys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	with := func(secrets ...[]byte) *keys.Keys {
		c := s.config(t, "ES256")
		if c.Keyring, err = seal.New(secrets, rand.Reader); err != nil {
			t.Fatal(err)
		}
		return make1(t, c)
	}
	err = with(secret(2)).Load(t.Context())
	if !errors.Is(err, keys.ErrSecrets) || !strings.Contains(err.Error(), "`secrets:`") {
		t.Errorf("error %v", err)
	}
	after, err := s.SigningKeys(t.Context())
	if diff := cmp.Diff(before, after); err != nil || diff != "" {
		t.Errorf("%v, keys were changed:\n%s", err, diff)
	}
	moved := with(secret(2), secret(1))
	if err := moved.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := moved.Verify(token, "JWT"); err != nil {
		t.Error(err)
	}
	// The next key is sealed with the new secret. A replica that has only the
	// old one goes on with what it has.
	s.advance(10 * time.Second)
	if err := moved.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := k.Refresh(t.Context()); !errors.Is(err, keys.ErrSecrets) {
		t.Errorf("error %v", err)
	}
	fresh, _ := sign(t, k, "")
	if _, err := moved.Verify(fresh, "JWT"); err != nil {
		t.Error(err)
	}
}

// Whoever writes to the database cannot publish a key of theirs, nor make one
// key pass for another.
func TestAlteredRows(t *testing.T) {
	for name, alter := range map[string]func(row, other *storage.SigningKey){
		"kid":         func(row, _ *storage.SigningKey) { row.KID = "mine" },
		"algorithm":   func(row, _ *storage.SigningKey) { row.Algorithm = "EdDSA" },
		"private":     func(row, other *storage.SigningKey) { row.SealedPrivate = other.SealedPrivate },
		"truncated":   func(row, _ *storage.SigningKey) { row.SealedPrivate = row.SealedPrivate[:40] },
		"nothing":     func(row, _ *storage.SigningKey) { row.SealedPrivate = []byte{0} },
		"flipped bit": func(row, _ *storage.SigningKey) { row.SealedPrivate[50] ^= 1 },
	} {
		t.Run(name, func(t *testing.T) {
			s := openSite(t)
			s.replica(t, "ES256")
			rows, err := s.SigningKeys(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.DeleteSigningKey(t.Context(), rows[0].KID); err != nil {
				t.Fatal(err)
			}
			alter(&rows[0], &rows[1])
			if err := s.AddSigningKey(t.Context(), rows[0]); err != nil {
				t.Fatal(err)
			}
			if err := make1(t, s.config(t, "ES256")).Load(t.Context()); err == nil {
				t.Error("loaded")
			}
		})
	}
	t.Run("public", func(t *testing.T) {
		s := openSite(t)
		want := s.replica(t, "ES256").JWKS()
		rows, err := s.SigningKeys(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.DeleteSigningKey(t.Context(), rows[0].KID); err != nil {
			t.Fatal(err)
		}
		rows[0].Public = rows[1].Public
		if err := s.AddSigningKey(t.Context(), rows[0]); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, s.replica(t, "ES256").JWKS()); diff != "" {
			t.Error(diff)
		}
	})
}

// A key of an algorithm that this version does not know is left alone.
func TestUnknownAlgorithmIsLeftAlone(t *testing.T) {
	s := openSite(t)
	foreign := storage.SigningKey{KID: "future", Algorithm: "ML-DSA-65", Sequence: 1, Public: []byte("{}"), SealedPrivate: []byte("?"), CreatedAt: t0, ActiveFrom: t0.Add(-1000 * time.Hour)}
	if err := s.AddSigningKey(t.Context(), foreign); err != nil {
		t.Fatal(err)
	}
	k := s.replica(t, "ES256")
	if err := k.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	rows, err := s.SigningKeys(t.Context())
	if err != nil || len(rows) != 3 {
		t.Errorf("%d rows, %v", len(rows), err)
	}
}

// A replica whose clock is wrong neither adds nor deletes keys.
func TestWrongClockChangesNothing(t *testing.T) {
	s := openSite(t)
	k := s.replica(t, "ES256")
	s.advance(10 * time.Second)
	if err := k.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	before := k.JWKS()
	s.ahead = time.Hour
	if err := k.Refresh(t.Context()); !errors.Is(err, clock.ErrWrong) {
		t.Errorf("error %v", err)
	}
	if diff := cmp.Diff(before, s.replica(t, "ES256").JWKS()); diff != "" {
		t.Errorf("a restarted one changed keys:\n%s", diff)
	}
	s.ahead = 0
	if err := k.Refresh(t.Context()); err != nil {
		t.Error(err)
	}
}

// Nor does it keep those from it whose clocks are right.
func TestWrongClockKeepsNobodyFromRotating(t *testing.T) {
	s := openSite(t)
	right := s.replica(t, "ES256")
	config := s.config(t, "ES256")
	config.Now = func() time.Time { return s.clock().Add(time.Hour) }
	wrong := make1(t, config)
	s.advance(10 * time.Second)
	if err := wrong.Refresh(t.Context()); !errors.Is(err, clock.ErrWrong) {
		t.Fatalf("error %v", err)
	}
	before := len(jwks(t, right).Keys)
	if err := right.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := len(jwks(t, right).Keys); n != before+1 {
		t.Errorf("%d keys, after %d", n, before)
	}
}

// Another algorithm is added and the first dropped: what it signed stays valid.
func TestAlgorithmIsReplaced(t *testing.T) {
	s := openSite(t)
	token, _ := sign(t, s.replica(t, "ES256"), "")
	s.advance(time.Second)
	k := s.replica(t, "EdDSA")
	if _, err := k.Verify(token, "JWT"); err != nil {
		t.Error(err)
	}
	if _, _, err := k.Sign("ES256", "JWT", nil); err == nil {
		t.Error("the dropped algorithm signs")
	}
	for range 30 {
		s.advance(10 * time.Second)
		if err := k.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for _, jwk := range jwks(t, k).Keys {
		if jwk.Algorithm != "EdDSA" {
			t.Errorf("%s is still published", jwk.Algorithm)
		}
	}
}

// An emptied table is filled again.
func TestEmptiedTable(t *testing.T) {
	s := openSite(t)
	k := s.replica(t, "ES256")
	rows, err := s.SigningKeys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range rows {
		if _, err := s.DeleteSigningKey(t.Context(), row.KID); err != nil {
			t.Fatal(err)
		}
	}
	if err := k.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if token, kid := sign(t, k, ""); kid == rows[0].KID || verifyByJWKS(t, k.JWKS().Body, token) != nil {
		t.Errorf("signs with %s", kid)
	}
}

func TestNewRefuses(t *testing.T) {
	s := openSite(t)
	for name, change := range map[string]func(*keys.Config){
		"no store":     func(c *keys.Config) { c.Store = nil },
		"no keyring":   func(c *keys.Config) { c.Keyring = nil },
		"no clock":     func(c *keys.Config) { c.Now = nil },
		"no logger":    func(c *keys.Config) { c.Logger = nil },
		"no algorithm": func(c *keys.Config) { c.Algorithms = nil },
		"no lifetime":  func(c *keys.Config) { c.MaxTokenLifetime = 0 },
		"no entropy":   func(c *keys.Config) { c.Random = strings.NewReader("") },
	} {
		c := s.config(t, "ES256")
		change(&c)
		if _, err := keys.New(c); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// lines counts log records and lets the test wait for them.
type lines struct{ records chan string }

func (l lines) Write(p []byte) (int, error) {
	l.records <- string(p)
	return len(p), nil
}

// Run logs the beginning and the end of an outage, not every tick of it.
func TestRunLogsChangesOnly(t *testing.T) {
	s := openSite(t)
	c := s.config(t, "ES256")
	log := lines{make(chan string, 100)}
	c.Logger = slog.New(slog.NewTextHandler(log, nil))
	c.RotationPeriod = keys.MinRotationPeriod // reloads every second
	var failing atomic.Bool
	var asked atomic.Int64
	c.Store = faulty{s, &failing, &asked}
	k := make1(t, c)
	if err := k.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); k.Run(ctx) }()
	failing.Store(true)
	if line := <-log.records; !strings.Contains(line, "level=ERROR") {
		t.Errorf("first record: %s", line)
	}
	for at := asked.Load(); asked.Load() < at+2; {
		<-time.After(10 * time.Millisecond)
	}
	failing.Store(false)
	if line := <-log.records; !strings.Contains(line, "level=INFO") {
		t.Errorf("second record: %s", line)
	}
	cancel()
	<-done
	if len(log.records) != 0 {
		t.Errorf("and then: %s", <-log.records)
	}
}

// faulty is the real store, with a database that can go away and come back.
type faulty struct {
	*site
	failing *atomic.Bool
	asked   *atomic.Int64
}

func (f faulty) AcquireLease(ctx context.Context, name, holder string, now, until time.Time) (bool, error) {
	f.asked.Add(1)
	if f.failing.Load() {
		return false, storage.ErrUnavailable
	}
	return f.site.AcquireLease(ctx, name, holder, now, until)
}

func BenchmarkSign(b *testing.B) {
	k := openSite(b).replica(b, "RS256", "ES256", "EdDSA")
	claims := map[string]any{
		"iss": "https://id.example.com/dex", "sub": "CiQwOGE4Njg0Yi1kYjg4LTRiNzMtOTBhOS0zY2QxNjYxZjU0NjYSBWxvY2Fs",
		"aud": "kubernetes", "exp": 1772370600, "iat": 1772370000, "nonce": "n-0S6_WzA2Mj",
		"email": "ada@example.com", "email_verified": true, "groups": []string{"dev", "ops"},
	}
	for _, alg := range []string{"RS256", "ES256", "EdDSA"} {
		b.Run(alg, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := k.Sign(alg, "JWT", claims); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
