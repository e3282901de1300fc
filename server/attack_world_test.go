package server_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/countersign/countersign/e2e/person"
	"github.com/countersign/countersign/server"
	"github.com/countersign/countersign/storage"
)

// tap stands between the provider and its store: it counts the calls, and lets a
// test make one fail before it happens, or lose its answer after it happened.
type tap struct {
	server.Store
	// clock, if set, is the database's.
	clock func() time.Time

	mu    sync.Mutex
	calls []string
	// before and after, if set, are asked around each call of a request. An
	// error of after is the answer to a call that has taken place.
	before, after func(ctx context.Context, method string) error
}

// through puts the tap into a world.
func through(s *tap) option {
	return func(c *server.Config) { s.Store, c.Store = c.Store, s }
}

// arm sets what happens at the calls from now on, and forgets those before.
func (s *tap) arm(before, after func(ctx context.Context, method string) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls, s.before, s.after = nil, before, after
}

// taken returns the calls since arm.
func (s *tap) taken() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.calls)
}

// housekeeping are the calls that no request makes, or not only they.
var housekeeping = []string{"SigningKeys", "AddSigningKey", "DeleteSigningKey", "AcquireLease", "ReleaseLease", "EndSessions", "Ping"}

func (s *tap) around(ctx context.Context, method string, call func() error) error {
	s.mu.Lock()
	before, after := s.before, s.after
	if !slices.Contains(housekeeping, method) {
		s.calls = append(s.calls, method)
	} else {
		before, after = nil, nil
	}
	s.mu.Unlock()
	if before != nil {
		if err := before(ctx, method); err != nil {
			return err
		}
	}
	err := call()
	if after != nil {
		if lost := after(ctx, method); lost != nil {
			return lost
		}
	}
	return err
}

func (s *tap) Ping(ctx context.Context) (time.Time, error) {
	if s.clock != nil {
		return s.clock(), nil
	}
	return s.Store.Ping(ctx)
}

func (s *tap) SignIn(ctx context.Context, in storage.SignIn) (done bool, err error) {
	err = s.around(ctx, "SignIn", func() (err error) { done, err = s.Store.SignIn(ctx, in); return err })
	return done, err
}

func (s *tap) Session(ctx context.Context, h [32]byte, now time.Time) (a storage.Session, b storage.Identity, err error) {
	err = s.around(ctx, "Session", func() (err error) { a, b, err = s.Store.Session(ctx, h, now); return err })
	return a, b, err
}

func (s *tap) EndSession(ctx context.Context, h [32]byte, with storage.Ending) (done bool, err error) {
	err = s.around(ctx, "EndSession", func() (err error) { done, err = s.Store.EndSession(ctx, h, with); return err })
	return done, err
}

func (s *tap) EndSessions(ctx context.Context, in storage.SessionEnd) (done storage.Revoked, err error) {
	err = s.around(ctx, "EndSessions", func() (err error) { done, err = s.Store.EndSessions(ctx, in); return err })
	return done, err
}

func (s *tap) SessionsOf(ctx context.Context, in storage.Holding) (found []storage.Session, err error) {
	err = s.around(ctx, "SessionsOf", func() (err error) { found, err = s.Store.SessionsOf(ctx, in); return err })
	return found, err
}

func (s *tap) GrantsOf(ctx context.Context, in storage.Holding) (found []storage.Grant, err error) {
	err = s.around(ctx, "GrantsOf", func() (err error) { found, err = s.Store.GrantsOf(ctx, in); return err })
	return found, err
}

func (s *tap) RevokeGrants(ctx context.Context, in storage.Revocation) (done storage.Revoked, err error) {
	err = s.around(ctx, "RevokeGrants", func() (err error) { done, err = s.Store.RevokeGrants(ctx, in); return err })
	return done, err
}

func (s *tap) Authorize(ctx context.Context, in storage.Authorization) error {
	return s.around(ctx, "Authorize", func() error { return s.Store.Authorize(ctx, in) })
}

func (s *tap) Grant(ctx context.Context, id storage.GrantID, now time.Time) (a storage.Grant, b storage.Identity, err error) {
	err = s.around(ctx, "Grant", func() (err error) { a, b, err = s.Store.Grant(ctx, id, now); return err })
	return a, b, err
}

func (s *tap) RedeemCode(ctx context.Context, in storage.Redemption) error {
	return s.around(ctx, "RedeemCode", func() error { return s.Store.RedeemCode(ctx, in) })
}

func (s *tap) RotateGrant(ctx context.Context, in storage.Rotation) (a storage.Grant, b storage.Identity, err error) {
	err = s.around(ctx, "RotateGrant", func() (err error) { a, b, err = s.Store.RotateGrant(ctx, in); return err })
	return a, b, err
}
func (s *tap) RevokeGrant(ctx context.Context, id storage.GrantID, now time.Time, reason string) (done bool, err error) {
	err = s.around(ctx, "RevokeGrant", func() (err error) { done, err = s.Store.RevokeGrant(ctx, id, now, reason); return err })
	return done, err
}

func (s *tap) Consent(ctx context.Context, connectorID, userID, clientID string, now time.Time) (c storage.Consent, err error) {
	err = s.around(ctx, "Consent", func() (err error) {
		c, err = s.Store.Consent(ctx, connectorID, userID, clientID, now)
		return err
	})
	return c, err
}

func (s *tap) RecordLoginFailure(ctx context.Context, keys []string, now time.Time, window time.Duration) error {
	return s.around(ctx, "RecordLoginFailure", func() error { return s.Store.RecordLoginFailure(ctx, keys, now, window) })
}

func (s *tap) LoginFailures(ctx context.Context, keys []string, now time.Time) (m map[string]storage.LoginFailure, err error) {
	err = s.around(ctx, "LoginFailures", func() (err error) { m, err = s.Store.LoginFailures(ctx, keys, now); return err })
	return m, err
}

// replicas are two replicas of one provider on one database.
func replicas(t *testing.T, engine string, options ...option) (first, second *world) {
	t.Helper()
	db, c := newDatabase(t, engine), new(clock)
	first = db.replica(t, c, options...)
	same := func(cfg *server.Config) { cfg.Policy.Issuer = first.issuer }
	return first, db.replica(t, c, append([]option{same}, options...)...)
}

// journal collects what a provider logs.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

// logging writes the log as JSON into a journal.
func logging(j *journal) option {
	return func(c *server.Config) {
		c.Logger = slog.New(slog.NewJSONHandler(j, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
}

// host is the address of the listener.
func (w *world) host() string { return w.http.Listener.Addr().String() }

// raw sends bytes as they are, which no client library would, and returns the
// response.
func (w *world) raw(lines ...string) *http.Response {
	w.t.Helper()
	conn, err := w.dial()
	if err != nil {
		w.t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		w.t.Fatal(err)
	}
	go io.WriteString(conn, strings.Join(lines, "\r\n")+"\r\n\r\n")
	method, _, _ := strings.Cut(lines[0], " ")
	resp, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		w.t.Fatalf("%q: %v", lines[0], err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatalf("%q: %v", lines[0], err)
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp
}

func (w *world) dial() (net.Conn, error) {
	if strings.HasPrefix(w.issuer, "https:") {
		return tls.Dial("tcp", w.host(), &tls.Config{InsecureSkipVerify: true}) // the test server's own certificate
	}
	return net.Dial("tcp", w.host())
}

// once makes one request of a browser and follows nothing.
func (w *world) once(p *person.Person, method, address string, form url.Values) *person.Page {
	w.t.Helper()
	p.Leave = "http"
	defer func() { p.Leave = "" }()
	page, err := p.Send(w.t.Context(), method, address, form)
	if err != nil {
		w.t.Fatal(err)
	}
	return page
}

// safe fails the test if a response is a failure of ours or runs what a stranger
// sent.
func (w *world) safe(what string, status int, header http.Header, body string) {
	w.t.Helper()
	if status >= 500 {
		w.t.Errorf("%s: status %d\n%s", what, status, body)
	}
	for _, hostile := range []string{"<script>alert", "<img src=x", "onmouseover=\"alert", `"><img`, "\x00"} {
		if strings.Contains(body, hostile) {
			w.t.Errorf("%s: %q is in the page unescaped:\n%s", what, hostile, body)
		}
	}
	if header.Get("X-Injected") != "" || strings.Contains(header.Get("Set-Cookie"), "injected") {
		w.t.Errorf("%s: a header was injected: %v", what, header)
	}
}
