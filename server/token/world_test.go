package token_test

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/countersign/countersign/connector"
	"github.com/countersign/countersign/server/clients"
	"github.com/countersign/countersign/server/identity"
	"github.com/countersign/countersign/server/keys"
	"github.com/countersign/countersign/server/oauth"
	"github.com/countersign/countersign/server/recheck"
	"github.com/countersign/countersign/server/revocation"
	"github.com/countersign/countersign/server/seal"
	"github.com/countersign/countersign/server/token"
	"github.com/countersign/countersign/storage"
	"github.com/countersign/countersign/storage/sqlite"
)

var start = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

const (
	window = 10 * time.Second
	after  = 5 * time.Minute
)

// world is a store, keys and a clock that stands still unless it is moved.
type world struct {
	t       *testing.T
	store   *sqlite.Store
	keys    *keys.Keys
	keyring *seal.Keyring
	clock   atomic.Int64
	serial  byte
}

func newWorld(t *testing.T) *world {
	t.Helper()
	t.Parallel()
	w := &world{t: t}
	var err error
	if w.store, err = sqlite.Open(sqlite.Config{File: filepath.Join(t.TempDir(), "countersign.db"), StatementTimeout: time.Minute}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.store.Close() })
	if err := w.store.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if w.keyring, err = seal.New([][]byte{[]byte("a master secret of these tests, 32+")}, rand.Reader); err != nil {
		t.Fatal(err)
	}
	w.keys, err = keys.New(keys.Config{
		Store: w.store, Keyring: w.keyring, Algorithms: []string{"ES256"}, RotationPeriod: 24 * time.Hour,
		MaxTokenLifetime: 10 * time.Minute, Now: w.now, Logger: slog.New(slog.DiscardHandler),
	})
	if err == nil {
		err = w.keys.Load(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) now() time.Time          { return start.Add(time.Duration(w.clock.Load())) }
func (w *world) advance(d time.Duration) { w.clock.Add(int64(d)) }

// endpoint makes a token endpoint over the store, changed by options.
func (w *world) endpoint(options ...func(*token.Config)) *token.Endpoint {
	w.t.Helper()
	c := token.Config{
		Policy: oauth.Policy{
			Issuer: "https://id.example.com", SigningAlg: "ES256", AccessTokenFormat: oauth.FormatOpaque,
			Refresh:      oauth.RefreshPolicy{ReuseInterval: window, IdleLifetime: 12 * time.Hour, AbsoluteLifetime: 30 * 24 * time.Hour},
			CodeLifetime: time.Minute, IDTokenLifetime: 10 * time.Minute, AccessTokenLifetime: 10 * time.Minute,
		},
		Clients: w.clients("web"), Grants: w.store,
		Codes: w.keyring.Tokens("code", "csc_", 16), AccessTokens: w.keyring.Tokens("access", "csa_", oauth.AccessTokenBytes),
		RefreshTokens: w.refreshTokens(), Rechecker: w.rechecker(nil), Connectors: []string{"ldap"},
		Sign: w.keys.Sign, Verify: w.keys.Verify, CountToken: func(string, string) {}, Now: w.now, Random: rand.Reader,
	}
	for _, o := range options {
		o(&c)
	}
	c.Revoker = w.revoker(c.Grants)
	e, err := token.New(c)
	if err != nil {
		w.t.Fatal(err)
	}
	return e
}

// clients are web, and k8s, which trusts peers.
func (w *world) clients(peers ...string) storage.Clients {
	w.t.Helper()
	secret := [][32]byte{sha256.Sum256([]byte("secret"))}
	s, err := clients.NewStatic([]storage.Client{{ID: "web", SecretHashes: secret}, {ID: "other", SecretHashes: secret}, {ID: "k8s", SecretHashes: secret, TrustedPeers: peers}})
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

func (w *world) refreshTokens() *seal.Tokens {
	return w.keyring.Tokens("refresh", "csr_", oauth.RefreshTokenBytes)
}

func (w *world) revoker(grants storage.Grants) *revocation.Revoker {
	w.t.Helper()
	r, err := revocation.New(revocation.Config{
		Store: struct {
			storage.Grants
			storage.Sessions
		}{grants, w.store}, Ended: func() {}, Now: w.now,
		Ending: func() storage.Ending { return storage.Ending{Now: w.now()} },
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

func (w *world) rechecker(upstream connector.Refresher) *recheck.Rechecker {
	w.t.Helper()
	sources := map[string]recheck.Source{}
	if upstream != nil {
		sources["ldap"] = recheck.Source{Refresher: upstream, Recheck: oauth.Recheck{After: after, StaleIfError: time.Hour}}
	}
	return w.recheckerOf(sources)
}

func (w *world) recheckerOf(sources map[string]recheck.Source) *recheck.Rechecker {
	w.t.Helper()
	r, err := recheck.New(recheck.Config{
		Store: w.store, Revoker: w.revoker(w.store), Secrets: identity.NewSecrets(w.keyring), Sources: sources, Now: w.now,
		Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

// signIn stores a person with a redeemed grant of web, and returns it with its
// refresh token.
func (w *world) signIn(scopes ...string) (storage.GrantID, string) {
	w.t.Helper()
	w.serial++
	now, until := w.now(), w.now().Add(30*24*time.Hour)
	g := storage.Grant{
		ID: storage.GrantID{w.serial}, ClientID: "web", ConnectorID: "ldap", UserID: "jane", CreatedAt: now, AuthTime: now,
		Scopes: append([]string{"openid", "offline_access"}, scopes...), CodeExpiresAt: now.Add(time.Minute), ExpiresAt: until,
	}
	_, err := w.store.SignIn(w.t.Context(), storage.SignIn{
		Identity: storage.Identity{ConnectorID: "ldap", UserID: "jane", CheckedAt: now, ExpiresAt: until},
		Session:  storage.Session{IDHash: [32]byte{1, w.serial}, ConnectorID: "ldap", UserID: "jane", AuthTime: now, CreatedAt: now, LastUsedAt: now, ExpiresAt: until},
		Grant:    &g,
	})
	if err == nil {
		err = w.store.RedeemCode(w.t.Context(), storage.Redemption{ID: g.ID, Now: now, ExpiresAt: until})
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return g.ID, w.refreshTokens().Make(oauth.NewestRefreshToken(g).Encode())
}

// revoked is why a grant was revoked; empty: it lives.
func (w *world) revoked(id storage.GrantID) string {
	w.t.Helper()
	g, _, err := w.store.Grant(w.t.Context(), id, w.now())
	if err != nil {
		w.t.Fatal(err)
	}
	return g.RevokedReason
}

func form(pairs ...string) *http.Request {
	v := url.Values{"client_id": {"web"}, "client_secret": {"secret"}}
	for i := 0; i < len(pairs); i += 2 {
		v.Set(pairs[i], pairs[i+1])
	}
	r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(v.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return r
}

// refresh redeems a token, and returns its successor.
func refresh(ctx context.Context, t *testing.T, e *token.Endpoint, refreshToken string) (string, error) {
	t.Helper()
	out := httptest.NewRecorder()
	if err := e.Token(out, form("grant_type", "refresh_token", "refresh_token", refreshToken).WithContext(ctx)); err != nil {
		if out.Body.Len() > 0 {
			t.Errorf("%v, but something was written: %s", err, out.Body)
		}
		return "", err
	}
	var resp token.Response
	if err := json.Unmarshal(out.Body.Bytes(), &resp); err != nil || resp.IDToken == "" || resp.RefreshToken == "" {
		t.Fatalf("%v: %s", err, out.Body)
	}
	return resp.RefreshToken, nil
}

// upstream is a directory behind a function.
type upstream func(connector.Identity) (connector.Identity, error)

func (u upstream) Refresh(_ context.Context, before connector.Identity) (connector.Identity, error) {
	return u(before)
}
