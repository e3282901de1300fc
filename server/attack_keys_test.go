package server_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"

	"github.com/countersign/countersign/server"
)

// cachingParty is a relying party that takes Cache-Control at its word: it asks
// for the JWKS again when max-age is over and never before, not even for a kid
// that it does not know.
type cachingParty struct {
	w     *world
	set   jose.JSONWebKeySet
	until time.Time
}

func (c *cachingParty) keys(t *testing.T) jose.JSONWebKeySet {
	t.Helper()
	asked := time.Now()
	if asked.Before(c.until) {
		return c.set
	}
	a := c.w.do(http.MethodGet, "/keys", nil)
	var age int
	if _, err := fmt.Sscanf(a.header.Get("Cache-Control"), "public, max-age=%d", &age); err != nil || age <= 0 {
		t.Fatalf("Cache-Control of the JWKS: %q", a.header.Get("Cache-Control"))
	}
	c.set = jose.JSONWebKeySet{}
	if err := json.Unmarshal([]byte(a.raw), &c.set); err != nil {
		t.Fatal(err)
	}
	// A cache may have been filled from one that was about to expire: the worst case
	// of a fresh answer is that it is used to its last moment.
	c.until = asked.Add(time.Duration(age) * time.Second)
	return c.set
}

// I4, F10: keys rotate under load, at two replicas, and every live id_token
// verifies at every relying party at all times.
func TestRotationUnderLoad(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		first, second := replicas(t, engine, func(c *server.Config) {
			c.KeyRotation = 6 * time.Second
			c.Policy.IDTokenLifetime, c.Policy.AccessTokenLifetime = 8*time.Second, 8*time.Second
		})
		worlds := []*world{first, second}
		parties := []*cachingParty{{w: first}, {w: second}}
		p := first.browser()
		first.response(first.signIn(p, first.request()))
		signed := map[string]bool{}
		var live []string
		ticker := time.NewTicker(60 * time.Millisecond)
		defer ticker.Stop()
		deadline := time.Now().Add(90 * time.Second)
		for i := 0; len(signed) < 3; i++ {
			if time.Now().After(deadline) {
				t.Fatalf("only %d keys have signed", len(signed))
			}
			<-ticker.C
			issuer := worlds[i%2]
			code := issuer.response(issuer.get(p, issuer.request("prompt", "none"))).Get("code")
			a := worlds[(i/2)%2].redeem(code)
			if a.status != http.StatusOK {
				t.Fatalf("%d %s", a.status, a.raw)
			}
			live = append(live, a.str("id_token"))
			live = checkLive(t, live, parties[i%2], signed)
		}
	})
}

// checkLive verifies every id_token that has not expired, and returns those.
func checkLive(t *testing.T, tokens []string, party *cachingParty, signed map[string]bool) (live []string) {
	t.Helper()
	set := party.keys(t)
	for i, token := range tokens {
		jws, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.ES256})
		if err != nil {
			t.Fatal(err)
		}
		if time.Now().Unix() >= int64(claims(t, token)["exp"].(float64)) {
			continue
		}
		live = append(live, token)
		kid := jws.Signatures[0].Header.KeyID
		if i == len(tokens)-1 {
			signed[kid] = true
		}
		key := set.Key(kid)
		if len(key) != 1 {
			t.Fatalf("a live token's key %s is not in a JWKS that may still be cached", kid)
		}
		if _, err := jws.Verify(key[0].Key); err != nil {
			t.Fatalf("a live token does not verify: %v", err)
		}
	}
	return live
}

// The JWKS and discovery are validated, not fetched again; and both replicas have
// the same validator for the same keys.
func TestValidators(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		first, second := replicas(t, engine)
		for _, path := range []string{"/keys", "/.well-known/openid-configuration"} {
			a := first.do(http.MethodGet, path, nil)
			etag := a.header.Get("ETag")
			if a.status != http.StatusOK || !strings.HasPrefix(etag, `"`) {
				t.Fatalf("%s: %d, ETag %q", path, a.status, etag)
			}
			for name, c := range map[string]struct {
				header string
				want   int
			}{
				"the same": {etag, 304}, "weak": {"W/" + etag, 304}, "one of many": {`"x", ` + etag, 304}, "any": {"*", 304}, "another": {`"x"`, 200}, "nonsense": {"x", 200},
			} {
				for _, w := range []*world{first, second} {
					got := w.do(http.MethodGet, path, nil, "If-None-Match", c.header)
					if got.status != c.want || got.header.Get("ETag") != etag || got.header.Get("Cache-Control") == "" || got.status == 304 && got.raw != "" {
						t.Errorf("%s, %s: %d %v", path, name, got.status, got.header)
					}
				}
			}
			if got := first.do(http.MethodHead, path, nil); got.status != http.StatusOK || got.raw != "" || got.header.Get("ETag") != etag {
				t.Errorf("HEAD %s: %d %v", path, got.status, got.header)
			}
		}
	})
}

// A clock that is set back or forward on one replica neither takes keys away nor
// makes tokens that nobody can verify (F6).
func TestClocksOfReplicasDiffer(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		db := newDatabase(t, engine)
		first := db.replica(t, new(clock))
		for _, skew := range []time.Duration{5 * time.Minute, -5 * time.Minute, time.Hour, -time.Hour} {
			c := new(clock)
			c.advance(skew)
			other := db.replica(t, c, func(cfg *server.Config) { cfg.Policy.Issuer = first.issuer })
			code := other.code(other.browser(), other.request())
			a := other.redeem(code)
			if a.status != http.StatusOK {
				t.Fatalf("skew %s: %d %s", skew, a.status, a.raw)
			}
			ctx := oidc.ClientContext(t.Context(), first.http.Client())
			provider, err := oidc.NewProvider(ctx, first.issuer)
			if err != nil {
				t.Fatal(err)
			}
			verifier := provider.Verifier(&oidc.Config{ClientID: "app", Now: c.now})
			if _, err := verifier.Verify(ctx, a.str("id_token")); err != nil {
				t.Errorf("skew %s: %v", skew, err)
			}
		}
	})
}
