package oidc_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/countersign/countersign/connector"
	"github.com/countersign/countersign/connector/oidc"
	"github.com/countersign/countersign/connector/upstream"
)

// fakeProvider is a small OpenID provider that speaks the standard, and departs
// from it where a test says so.
type fakeProvider struct {
	t *testing.T
	*httptest.Server
	now atomic.Int64 // seconds that the clock is ahead

	mu sync.Mutex
	// documents are what is served, by path; handlers, what is done instead.
	documents map[string]any
	handlers  map[string]http.HandlerFunc
	asked     map[string]int
	// claims are those of the next id_token; token, what the token endpoint answers
	// besides.
	claims map[string]any
	token  map[string]any
	// sign makes the id_token; nil: as the standard says.
	sign func(claims map[string]any) string
	key  *ecdsa.PrivateKey
	kid  string
	// forms are what the token endpoint was sent.
	forms []url.Values
}

func newProvider(t *testing.T) *fakeProvider {
	t.Helper()
	p := &fakeProvider{t: t, documents: map[string]any{}, handlers: map[string]http.HandlerFunc{}, asked: map[string]int{}, token: map[string]any{}}
	p.Server = httptest.NewServer(http.HandlerFunc(p.serve))
	t.Cleanup(p.Close)
	p.documents["/.well-known/openid-configuration"] = map[string]any{
		"issuer": p.URL, "authorization_endpoint": p.URL + "/auth", "token_endpoint": p.URL + "/token",
		"jwks_uri": p.URL + "/keys", "userinfo_endpoint": p.URL + "/userinfo",
		"scopes_supported": []string{"openid", "offline_access"}, "id_token_signing_alg_values_supported": []string{"ES256", "HS256", "none"},
	}
	p.rotate("first")
	p.claims = map[string]any{
		"iss": p.URL, "aud": "us", "sub": "subject", "exp": p.clock().Add(time.Hour).Unix(), "iat": p.clock().Unix(),
		"name": "Jane", "preferred_username": "jane", "email": "jane@example.com", "email_verified": true, "groups": []string{"a", "b"},
	}
	return p
}

func (p *fakeProvider) clock() time.Time {
	return time.Now().Add(time.Duration(p.now.Load()) * time.Second)
}

// rotate replaces the provider's key.
func (p *fakeProvider) rotate(kid string) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		p.t.Fatal(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.key, p.kid = key, kid
	p.documents["/keys"] = map[string]any{"keys": []any{
		map[string]any{"kty": "unknown", "kid": "future"}, "no key at all",
		jose.JSONWebKey{Key: &key.PublicKey, KeyID: kid, Use: "sig"},
	}}
}

// publish gives the key alone, and says something else of it.
func (p *fakeProvider) publish(change func(*jose.JSONWebKey)) {
	k := jose.JSONWebKey{Key: &p.key.PublicKey, KeyID: p.kid, Use: "sig"}
	change(&k)
	p.documents["/keys"] = map[string]any{"keys": []any{k}}
}

func (p *fakeProvider) count(path string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asked[path]
}

func (p *fakeProvider) serve(w http.ResponseWriter, r *http.Request) {
	_ = r.ParseForm()
	p.mu.Lock()
	p.asked[r.URL.Path]++
	handler, document := p.handlers[r.URL.Path], p.documents[r.URL.Path]
	p.mu.Unlock()
	switch {
	case handler != nil:
		handler(w, r)
	case document != nil:
		answer(w, 200, document)
	case r.URL.Path == "/token":
		p.answerToken(w, r)
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

func answer(w http.ResponseWriter, status int, document any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(document)
}

func (p *fakeProvider) answerToken(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.forms = append(p.forms, r.PostForm)
	all := map[string]any{"access_token": "access", "token_type": "Bearer", "refresh_token": "refresh-1"}
	sign := p.sign
	if sign == nil {
		sign = p.signed
	}
	all["id_token"] = sign(p.claims)
	maps.Copy(all, p.token)
	answer(w, 200, all)
}

// signed is a JWS as the standard has it.
func (p *fakeProvider) signed(claims map[string]any) string {
	return p.jws(map[string]any{"alg": "ES256", "kid": p.kid, "typ": "JWT"}, claims, p.es256)
}

func (p *fakeProvider) es256(input []byte) []byte {
	sum := sha256.Sum256(input)
	r, s, err := ecdsa.Sign(rand.Reader, p.key, sum[:])
	if err != nil {
		p.t.Error(err)
	}
	return append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
}

func hs256(secret []byte) func([]byte) []byte {
	return func(input []byte) []byte {
		h := hmac.New(sha256.New, secret)
		h.Write(input)
		return h.Sum(nil)
	}
}

func (p *fakeProvider) jws(header, claims any, sign func([]byte) []byte) string {
	h, err := json.Marshal(header)
	if err != nil {
		p.t.Error(err)
	}
	c, err := json.Marshal(claims)
	if err != nil {
		p.t.Error(err)
	}
	b64 := base64.RawURLEncoding.EncodeToString
	input := b64(h) + "." + b64(c)
	return input + "." + b64(sign([]byte(input)))
}

// connect makes the connector under test, and waits until it knows the provider.
func (p *fakeProvider) connect(change ...func(*oidc.Config)) *oidc.Connector {
	p.t.Helper()
	c := p.unknown(change...)
	ctx, cancel := context.WithCancel(p.t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); c.Run(ctx) }()
	p.t.Cleanup(func() { cancel(); <-ended })
	p.await("ready", func() bool { return c.Ready() == nil })
	return c
}

// await waits until something is so.
func (p *fakeProvider) await(what string, so func() bool) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !so() {
		select {
		case <-ctx.Done():
			p.t.Fatalf("never %s", what)
		case <-tick.C:
		}
	}
}

// unknown is a connector that has not asked yet.
func (p *fakeProvider) unknown(change ...func(*oidc.Config)) *oidc.Connector {
	p.t.Helper()
	client, err := upstream.Client(upstream.TLS{})
	if err != nil {
		p.t.Fatal(err)
	}
	cfg := oidc.Config{
		Issuer: p.URL, ClientID: "us", ClientSecret: "secret", CallbackURL: "https://we.example/callback", Groups: true,
		Client: client, Now: p.clock, Logger: slog.New(slog.NewTextHandler(p.t.Output(), nil)),
	}
	for _, f := range change {
		f(&cfg)
	}
	c, err := oidc.New(cfg)
	if err != nil {
		p.t.Fatal(err)
	}
	return c
}

// depart leaves, and makes the provider's next id_token one of that departure.
func (p *fakeProvider) depart(c *oidc.Connector) connector.Away {
	p.t.Helper()
	return p.departFor(c, connector.Departure{State: "flow", LoginHint: "jane"})
}

func (p *fakeProvider) departFor(c *oidc.Connector, d connector.Departure) connector.Away {
	p.t.Helper()
	away, err := c.Depart(p.t.Context(), d)
	if err != nil {
		p.t.Fatal(err)
	}
	u, err := url.Parse(away.URL)
	if err != nil {
		p.t.Fatal(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.claims["nonce"] = u.Query().Get("nonce")
	return away
}

// signIn goes there and back.
func (p *fakeProvider) signIn(c *oidc.Connector) (connector.Identity, error) {
	p.t.Helper()
	away := p.depart(c)
	return c.Arrive(p.t.Context(), connector.Arrival{Kept: away.Kept, Query: url.Values{"code": {"the-code"}, "state": {"flow"}}})
}
