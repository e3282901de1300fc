package recheck_test

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/countersign/countersign/connector"
	"github.com/countersign/countersign/server/identity"
	"github.com/countersign/countersign/server/oauth"
	"github.com/countersign/countersign/server/recheck"
	"github.com/countersign/countersign/server/revocation"
	"github.com/countersign/countersign/server/seal"
	"github.com/countersign/countersign/storage"
	"github.com/countersign/countersign/storage/sqlite"
)

var start = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

// What holds for the connectors of these tests.
const (
	after = 5 * time.Minute
	stale = time.Hour
)

// world is a store, a clock that stands still unless it is moved, and a rechecker.
type world struct {
	t      *testing.T
	store  *sqlite.Store
	clock  atomic.Int64 // since start
	log    syncBuffer
	file   string
	serial byte
	// secrets are of a fixed master secret, as all replicas have it.
	secrets *identity.Secrets
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func newWorld(t *testing.T) *world {
	t.Helper()
	t.Parallel()
	w := &world{t: t, file: filepath.Join(t.TempDir(), "countersign.db"), secrets: newSecrets(t, "one")}
	w.store = w.open()
	if err := w.store.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return w
}

func newSecrets(t *testing.T, name string) *identity.Secrets {
	t.Helper()
	k, err := seal.New([][]byte{[]byte(strings.Repeat(name, seal.MinSecretBytes))}, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return identity.NewSecrets(k)
}

func (w *world) open() *sqlite.Store {
	w.t.Helper()
	s, err := sqlite.Open(sqlite.Config{File: w.file, StatementTimeout: time.Minute})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { s.Close() })
	return s
}

func (w *world) now() time.Time          { return start.Add(time.Duration(w.clock.Load())) }
func (w *world) advance(d time.Duration) { w.clock.Add(int64(d)) }

// revoker tells the client "told" of the end of sessions.
func (w *world) revoker(store revocation.Store) *revocation.Revoker {
	w.t.Helper()
	r, err := revocation.New(revocation.Config{
		Store: store, Ended: func() {}, Now: w.now,
		Ending: func() storage.Ending {
			return storage.Ending{Now: w.now(), TellClientIDs: []string{"told"}, TellUntil: w.now().Add(time.Hour)}
		},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

// rechecker asks these connectors, by id.
func (w *world) rechecker(sources map[string]connector.Refresher, options ...func(*recheck.Config)) *recheck.Rechecker {
	w.t.Helper()
	c := recheck.Config{
		Store: w.store, Revoker: w.revoker(w.store), Secrets: w.secrets, Sources: map[string]recheck.Source{}, Now: w.now,
		Logger: slog.New(slog.NewTextHandler(&w.log, nil)),
	}
	for id, r := range sources {
		c.Sources[id] = recheck.Source{Refresher: r, Recheck: oauth.Recheck{After: after, StaleIfError: stale}}
	}
	for _, o := range options {
		o(&c)
	}
	r, err := recheck.New(c)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

// signIn stores a person with a redeemed grant, and returns both.
func (w *world) signIn(connectorID, userID string) (storage.GrantID, storage.Identity) {
	w.t.Helper()
	w.serial++
	now, until := w.now(), w.now().Add(1000*time.Hour)
	grant := storage.Grant{
		ID: storage.GrantID{w.serial}, ClientID: "app", ConnectorID: connectorID, UserID: userID,
		Scopes: []string{"openid", "offline_access"}, AuthTime: now, CreatedAt: now, CodeExpiresAt: now.Add(time.Minute), ExpiresAt: until,
	}
	_, err := w.store.SignIn(w.t.Context(), storage.SignIn{
		Identity: storage.Identity{ConnectorID: connectorID, UserID: userID, Name: "as signed in", Groups: []string{"old"}, CheckedAt: now, ExpiresAt: until},
		Session:  storage.Session{IDHash: [32]byte{1, w.serial}, SID: fmt.Sprint("sid", w.serial), LoginClientIDs: []string{"told"}, ConnectorID: connectorID, UserID: userID, AuthTime: now, CreatedAt: now, LastUsedAt: now, ExpiresAt: until},
		Grant:    &grant,
	})
	if err == nil {
		err = w.store.RedeemCode(w.t.Context(), storage.Redemption{ID: grant.ID, Now: now, ExpiresAt: until})
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return grant.ID, w.identity(grant.ID)
}

func (w *world) grant(id storage.GrantID) (storage.Grant, storage.Identity) {
	w.t.Helper()
	g, i, err := w.store.Grant(w.t.Context(), id, w.now())
	if err != nil {
		w.t.Fatal(err)
	}
	return g, i
}

func (w *world) identity(id storage.GrantID) storage.Identity {
	w.t.Helper()
	_, i := w.grant(id)
	return i
}

// directory is an upstream: a small HTTP server with people, that can be told to
// fail and to hang.
type directory struct {
	*httptest.Server
	questions atomic.Int64

	mu      sync.Mutex
	answers map[string]answer
	// asked gets every question's user id, when somebody listens.
	asked chan string
}

// answer is what the directory says about a person.
type answer struct {
	status int
	body   any
	// until, when not nil, holds the answer back.
	until chan struct{}
}

func newDirectory(t *testing.T) *directory {
	d := &directory{answers: map[string]answer{}, asked: make(chan string, 1000)}
	d.Server = httptest.NewServer(http.HandlerFunc(d.serve))
	t.Cleanup(d.Close)
	return d
}

func (d *directory) set(userID string, a answer) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.answers[userID] = a
}

func (d *directory) serve(w http.ResponseWriter, r *http.Request) {
	userID := strings.TrimPrefix(r.URL.Path, "/people/")
	d.mu.Lock()
	a := d.answers[userID]
	d.mu.Unlock()
	d.questions.Add(1)
	d.asked <- userID
	if a.until != nil {
		select {
		case <-a.until:
		case <-r.Context().Done():
			return
		}
	}
	w.WriteHeader(cmp.Or(a.status, http.StatusNotFound))
	_ = json.NewEncoder(w).Encode(a.body)
}

// Refresh implements connector.Refresher as the contract wants it.
func (d *directory) Refresh(ctx context.Context, before connector.Identity) (connector.Identity, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, d.URL+"/people/"+before.UserID, nil)
	if err != nil {
		return connector.Identity{}, err
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return connector.Identity{}, cmp.Or(ctx.Err(), fmt.Errorf("%w: %w", connector.ErrUpstream, err))
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusNotFound:
		return connector.Identity{}, fmt.Errorf("asking the directory: %w", connector.ErrGone)
	case http.StatusForbidden:
		return connector.Identity{}, fmt.Errorf("asking the directory: %w", &connector.DeniedError{Message: "not on this system"})
	case http.StatusTeapot:
		panic("an answer that nobody thought of")
	case http.StatusConflict:
		return connector.Identity{}, errors.New("an error of no kind")
	case http.StatusBadGateway: // a failure that wraps more than it should
		return connector.Identity{}, fmt.Errorf("%w: %w", connector.ErrUpstream, connector.ErrGone)
	default:
		return connector.Identity{}, fmt.Errorf("%w: status %d", connector.ErrUpstream, resp.StatusCode)
	}
	var who connector.Identity
	if err := json.NewDecoder(resp.Body).Decode(&who); err != nil {
		return connector.Identity{}, fmt.Errorf("%w: %w", connector.ErrUpstream, err)
	}
	return who, nil
}

// person is a good answer.
func person(userID string, groups ...string) answer {
	return answer{status: 200, body: connector.Identity{UserID: userID, Name: "as rechecked", Email: userID + "@example.com", EmailVerified: true, Groups: groups}}
}
