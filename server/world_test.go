package server_test

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/argon2"

	"github.com/countersign/countersign/connector/local"
	"github.com/countersign/countersign/e2e/person"
	"github.com/countersign/countersign/server"
	"github.com/countersign/countersign/server/flow"
	"github.com/countersign/countersign/server/oauth"
	"github.com/countersign/countersign/server/telemetry"
	"github.com/countersign/countersign/storage"
	"github.com/countersign/countersign/storage/postgres"
	"github.com/countersign/countersign/storage/sqlite"
	"github.com/countersign/countersign/storage/storagetest/pgcluster"
)

// The engines that every test of the whole provider runs on.
var engines = []string{"sqlite", "postgres"}

// onEngines runs a test on each engine, all at once.
func onEngines(t *testing.T, test func(t *testing.T, engine string)) {
	t.Parallel()
	for _, e := range engines {
		t.Run(e, func(t *testing.T) {
			t.Parallel()
			test(t, e)
		})
	}
}

// clock is the real time, moved.
type clock struct {
	offset atomic.Int64
	frozen atomic.Pointer[time.Time]
}

func (c *clock) now() time.Time {
	base := time.Now()
	if at := c.frozen.Load(); at != nil {
		base = *at
	}
	return base.Add(time.Duration(c.offset.Load()))
}

func (c *clock) advance(d time.Duration) { c.offset.Add(int64(d)) }

// freeze stops the clock in the middle of an hour, so that how busy the machine is
// decides nothing; from then on only advance moves it.
func (c *clock) freeze() {
	at := time.Now().Truncate(time.Hour).Add(20 * time.Minute)
	c.frozen.Store(&at)
}

// database is one empty database that any number of replicas open.
type database struct {
	engine string
	dsn    string // of PostgreSQL, with the schema of this test
	file   string // of SQLite
}

func newDatabase(t *testing.T, engine string) database {
	t.Helper()
	if engine == "postgres" {
		return database{engine: engine, dsn: pgcluster.Schema(t)}
	}
	return database{engine: engine, file: filepath.Join(t.TempDir(), "countersign.db")}
}

// patience is how long the stores of the tests wait: a busy machine is no outage.
const patience = time.Minute

func (d database) open(t *testing.T) server.Store {
	t.Helper()
	var s server.Store
	var err error
	if d.engine == "postgres" {
		s, err = postgres.Open(postgres.Config{DSN: d.dsn, MaxOpenConns: 8, ConnectionTimeout: patience, AcquireTimeout: patience, StatementTimeout: patience})
	} else {
		s, err = sqlite.Open(sqlite.Config{File: d.file, StatementTimeout: patience})
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// world is one replica of a provider, with the people and clients of the tests.
type world struct {
	t      *testing.T
	issuer string
	clock  *clock
	store  server.Store
	db     database
	side   func() *sql.DB
	http   *httptest.Server
	// stop ends the provider, as a shutdown does, and waits for it.
	stop func()
}

// Addresses of the clients of the tests. Nobody listens there: people are
// followed up to them.
const (
	callback      = "https://app.example/callback"
	otherCallback = "https://other.example/callback"
	nativeApp     = "http://127.0.0.1:7777/callback"
)

// The people of the tests.
const (
	alice         = "alice@example.com"
	bob           = "bob@example.com"
	alicePassword = "correct horse"
	bobPassword   = "battery staple"
)

// option changes the configuration of a world before it starts.
type option func(*server.Config)

// newWorld starts a replica on an empty database of its own.
func newWorld(t *testing.T, engine string, options ...option) *world {
	t.Helper()
	return newDatabase(t, engine).replica(t, new(clock), options...)
}

// replica starts a replica on a database.
func (d database) replica(t *testing.T, c *clock, options ...option) *world {
	t.Helper()
	w := &world{t: t, clock: c, db: d, store: d.open(t), side: d.aside(t)}
	w.http = httptest.NewUnstartedServer(http.NotFoundHandler())
	w.issuer = "http://" + w.http.Listener.Addr().String() + "/dex"
	cfg := w.config(t)
	for _, o := range options {
		o(&cfg)
	}
	s, err := server.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	w.issuer = cfg.Policy.Issuer
	w.http.Config.Handler = s.Handler()
	if strings.HasPrefix(w.issuer, "https:") {
		w.http.StartTLS()
	} else {
		w.http.Start()
	}
	t.Cleanup(w.http.Close)
	w.http.Client().Transport = w.balanced(w.http.Client().Transport)
	w.run(s)
	return w
}

// balanced brings what is sent to the issuer to this replica, as a load balancer
// does: replicas have one address and many sockets.
func (w *world) balanced(next http.RoundTripper) http.RoundTripper {
	issuer, err := url.Parse(w.issuer)
	if err != nil {
		w.t.Fatal(err)
	}
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		if r.URL.Host != issuer.Host {
			return next.RoundTrip(r)
		}
		here := r.Clone(r.Context())
		here.Host, here.URL.Host = r.URL.Host, w.http.Listener.Addr().String()
		return next.RoundTrip(here)
	})
}

// run keeps the provider alive until the test ends, and waits until it is ready.
func (w *world) run(s *server.Server) {
	ended := make(chan error, 1)
	ctx, stop := context.WithCancel(w.t.Context())
	go func() {
		defer close(ended)
		ended <- s.Run(ctx)
	}()
	w.stop = func() {
		stop()
		for range ended { // until it is closed
		}
	}
	select {
	case <-s.Ready():
	case err := <-ended:
		w.t.Fatalf("the provider ended: %v", err)
	case <-time.After(30 * time.Second):
		w.t.Fatal("the provider is not ready after 30 s")
	}
	w.t.Cleanup(w.stop)
}

// https gives the world an https issuer. It must be the first option.
func https(c *server.Config) {
	c.Policy.Issuer = strings.Replace(c.Policy.Issuer, "http:", "https:", 1)
}

func (w *world) config(t *testing.T) server.Config {
	t.Helper()
	readiness, err := telemetry.NewReadiness(telemetry.ReadinessConfig{Now: w.clock.now})
	if err != nil {
		t.Fatal(err)
	}
	return server.Config{
		Policy: oauth.Policy{
			Issuer: w.issuer, SigningAlg: "ES256", AccessTokenFormat: oauth.FormatOpaque, SSOSharedWithAll: true,
			Refresh: oauth.RefreshPolicy{
				ReuseInterval: 10 * time.Second, IdleLifetime: 12 * time.Hour, AbsoluteLifetime: 30 * 24 * time.Hour,
			},
			CodeLifetime: time.Minute, IDTokenLifetime: 10 * time.Minute, AccessTokenLifetime: 10 * time.Minute,
		},
		Clients:     testClients(),
		Connectors:  []flow.Connector{staff(t)},
		Store:       w.store,
		Secrets:     [][]byte{[]byte("a master secret of these tests, 32+")},
		KeyRotation: 24 * time.Hour,
		Sessions: server.Sessions{
			CookieName: "countersign_session", AbsoluteLifetime: 24 * time.Hour, IdleTimeout: time.Hour,
			RememberLifetime: 30 * 24 * time.Hour,
		},
		FlowLifetime: 30 * time.Minute,
		Metrics:      telemetry.NewMetrics(telemetry.MetricsConfig{Now: w.clock.now}),
		Readiness:    readiness,
		Logger:       slog.New(slog.NewTextHandler(t.Output(), nil)),
		Now:          w.clock.now,
		Random:       rand.Reader,
	}
}

// testClients: app and other are confidential and skip nothing; native is
// public; api lets app ask for tokens for it.
func testClients() []storage.Client {
	return []storage.Client{
		{ID: "app", Name: "The App", SecretHashes: [][32]byte{sha256.Sum256([]byte("app-secret"))}, RedirectURIs: []string{callback}},
		{ID: "other", Name: "Other App", SecretHashes: [][32]byte{sha256.Sum256([]byte("other-secret"))}, RedirectURIs: []string{otherCallback}},
		{ID: "native", Name: "Native App", Public: true, RedirectURIs: []string{"http://127.0.0.1/callback"}},
		{ID: "api", Name: "API", SecretHashes: [][32]byte{sha256.Sum256([]byte("api-secret"))}, TrustedPeers: []string{"app"}, RedirectURIs: []string{"https://api.example/cb"}},
	}
}

// staff is the connector of alice and bob.
func staff(t *testing.T) flow.Connector {
	t.Helper()
	c, err := local.New([]local.Password{
		{Email: alice, Hash: hash(t, alicePassword), UserID: "user-alice", Username: "alice", Name: "Alice Liddell", PreferredUsername: "alice", EmailVerified: true, Groups: []string{"staff", "admins"}},
		{Email: bob, Hash: hash(t, bobPassword), UserID: "user-bob", Username: "bob", Name: "Bob", EmailVerified: false},
	})
	if err != nil {
		t.Fatal(err)
	}
	return flow.Connector{
		Connector: oauth.Connector{ID: "staff"}, Name: "Staff", Type: "local", Password: c,
		Recheck: oauth.Recheck{After: 5 * time.Minute, StaleIfError: time.Hour},
	}
}

// hash makes the cheapest hash that is allowed, in PHC form.
func hash(t *testing.T, password string) string {
	t.Helper()
	const memory, salt = 7 << 10, "salt of the tests"
	key := argon2.IDKey([]byte(password), []byte(salt), 1, memory, 1, 32)
	b64 := base64.RawStdEncoding.EncodeToString
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=1,p=1$%s$%s", argon2.Version, memory, b64([]byte(salt)), b64(key))
}

// browser is a person at a world, who is followed up to the clients.
func (w *world) browser() *person.Person {
	return person.New("", &leaver{w.http.Client().Transport})
}

// leaver answers for the clients, where nobody listens.
type leaver struct{ next http.RoundTripper }

func (l *leaver) RoundTrip(r *http.Request) (*http.Response, error) {
	switch r.URL.Host {
	case "app.example", "other.example", "127.0.0.1:7777":
		return &http.Response{StatusCode: http.StatusOK, Header: http.Header{"X-Client": {"reached"}}, Body: http.NoBody, Request: r}, nil
	}
	return l.next.RoundTrip(r)
}

// verifier and its S256 challenge, of RFC 7636 appendix B.
const (
	verifier  = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
	challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
)

// request is an authorization request of the client app, changed by pairs of
// name and value; an empty value removes.
func (w *world) request(pairs ...string) string {
	v := url.Values{
		"client_id": {"app"}, "redirect_uri": {callback}, "response_type": {"code"},
		"scope": {"openid email profile groups"}, "state": {"the-state"}, "nonce": {"the-nonce"},
		"code_challenge": {challenge}, "code_challenge_method": {"S256"},
	}
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] == "" {
			v.Del(pairs[i])
			continue
		}
		v.Set(pairs[i], pairs[i+1])
	}
	return w.issuer + "/auth?" + v.Encode()
}

func (w *world) get(p *person.Person, address string) *person.Page {
	w.t.Helper()
	page, err := p.Get(w.t.Context(), address)
	if err != nil {
		w.t.Fatal(err)
	}
	return page
}

func (w *world) submit(p *person.Person, page *person.Page, pairs ...string) *person.Page {
	w.t.Helper()
	if len(page.Forms) == 0 {
		w.t.Fatalf("no form at %s (%d):\n%s", page.URL, page.Status, page.Body)
	}
	v := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		v.Set(pairs[i], pairs[i+1])
	}
	next, err := p.Submit(w.t.Context(), page.Forms[0], v)
	if err != nil {
		w.t.Fatal(err)
	}
	return next
}

// signIn goes the whole way as alice: password, and consent if asked.
func (w *world) signIn(p *person.Person, address string) *person.Page {
	w.t.Helper()
	page := w.get(p, address)
	if strings.Contains(page.URL.Path, "/login/") {
		page = w.submit(p, page, "login", alice, "password", alicePassword)
	}
	return w.approve(p, page)
}

// approve consents if the page asks.
func (w *world) approve(p *person.Person, page *person.Page) *person.Page {
	w.t.Helper()
	if strings.HasSuffix(page.URL.Path, "/consent") {
		page = w.submit(p, page, "approval", "approve")
	}
	return page
}

// response is the authorization response that a person was sent to the client
// with.
func (w *world) response(page *person.Page) url.Values {
	w.t.Helper()
	if page.Header.Get("X-Client") == "" {
		w.t.Fatalf("still at %s (%d), not at the client:\n%s", page.URL, page.Status, page.Body)
	}
	return page.URL.Query()
}

// code goes the whole way and returns the code.
func (w *world) code(p *person.Person, address string) string {
	w.t.Helper()
	v := w.response(w.signIn(p, address))
	if v.Get("code") == "" {
		w.t.Fatalf("no code in %v", v)
	}
	return v.Get("code")
}

// answer is what an endpoint said.
type answer struct {
	status int
	header http.Header
	body   map[string]any
	raw    string
}

// str is a member of the answer.
func (a answer) str(name string) string { s, _ := a.body[name].(string); return s }

// post sends a form to an endpoint under the issuer.
func (w *world) post(path string, form url.Values, header ...string) answer {
	w.t.Helper()
	return w.do(http.MethodPost, path, form, header...)
}

func (w *world) do(method, path string, form url.Values, header ...string) answer {
	w.t.Helper()
	var body io.Reader
	if form != nil {
		body = strings.NewReader(form.Encode())
	}
	r, err := http.NewRequestWithContext(w.t.Context(), method, w.issuer+path, body)
	if err != nil {
		w.t.Fatal(err)
	}
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	resp, err := w.http.Client().Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	a := answer{status: resp.StatusCode, header: resp.Header, raw: string(raw)}
	if len(raw) > 0 && strings.HasPrefix(resp.Header.Get("Content-Type"), "application/json") {
		if err := json.Unmarshal(raw, &a.body); err != nil {
			w.t.Fatalf("%s %s answered bad JSON: %v", method, path, err)
		}
	}
	return a
}

// redeem is the token request of the client app for a code, changed by pairs.
func (w *world) redeem(code string, pairs ...string) answer {
	w.t.Helper()
	v := url.Values{
		"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {callback}, "code_verifier": {verifier},
		"client_id": {"app"}, "client_secret": {"app-secret"},
	}
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] == "" {
			v.Del(pairs[i])
			continue
		}
		v.Set(pairs[i], pairs[i+1])
	}
	return w.post("/token", v)
}

// claims reads the payload of a JWT without verifying it.
func claims(t *testing.T, token string) map[string]any {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("%q is not a JWT", token)
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	var c map[string]any
	if err := json.Unmarshal(raw, &c); err != nil {
		t.Fatal(err)
	}
	return c
}
