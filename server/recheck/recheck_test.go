package recheck_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/bcrypt"

	"github.com/countersign/countersign/connector"
	"github.com/countersign/countersign/connector/local"
	"github.com/countersign/countersign/server/oauth"
	"github.com/countersign/countersign/server/recheck"
	"github.com/countersign/countersign/storage"
)

func TestNewRefuses(t *testing.T) {
	w := newWorld(t)
	for name, c := range map[string]recheck.Config{
		"no store":   {Revoker: w.revoker(w.store), Secrets: w.secrets, Now: w.now, Logger: slog.Default()},
		"no revoker": {Store: w.store, Secrets: w.secrets, Now: w.now, Logger: slog.Default()},
		"no secrets": {Store: w.store, Revoker: w.revoker(w.store), Now: w.now, Logger: slog.Default()},
		"no clock":   {Store: w.store, Revoker: w.revoker(w.store), Secrets: w.secrets, Logger: slog.Default()},
		"no logger":  {Store: w.store, Revoker: w.revoker(w.store), Secrets: w.secrets, Now: w.now},
	} {
		if _, err := recheck.New(c); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestCheckedAfter(t *testing.T) {
	w := newWorld(t)
	if got := w.rechecker(nil).CheckedAfter(start); len(got) > 0 {
		t.Errorf("without connectors: %v", got)
	}
	r := w.rechecker(nil, func(c *recheck.Config) {
		for id, d := range map[string]time.Duration{"a": time.Hour, "b": time.Minute, "c": 0, "d": 2 * time.Hour} {
			c.Sources[id] = recheck.Source{Recheck: oauth.Recheck{After: d}}
		}
	})
	got := r.CheckedAfter(start)
	slices.SortFunc(got, func(a, b storage.CheckLimit) int { return strings.Compare(a.ConnectorID, b.ConnectorID) })
	want := []storage.CheckLimit{{ConnectorID: "a", After: start.Add(-time.Hour)}, {ConnectorID: "b", After: start.Add(-time.Minute)}, {ConnectorID: "d", After: start.Add(-2 * time.Hour)}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// Who is fresh, or at a connector that cannot be asked, is no question.
func TestNoQuestion(t *testing.T) {
	w := newWorld(t)
	d := newDirectory(t)
	r := w.rechecker(map[string]connector.Refresher{"ldap": d}, func(c *recheck.Config) {
		c.Sources["never"] = recheck.Source{Refresher: d}
	})
	_, fresh := w.signIn("ldap", "jane")
	_, silent := w.signIn("saml", "jane")
	_, never := w.signIn("never", "jane")
	w.advance(after - 1)
	if err := r.Fresh(t.Context(), fresh); err != nil {
		t.Error(err)
	}
	w.advance(1000 * time.Hour)
	for _, id := range []storage.Identity{silent, never} {
		if err := r.Fresh(t.Context(), id); err != nil {
			t.Errorf("%s: %v", id.ConnectorID, err)
		}
	}
	if n := d.questions.Load(); n != 0 {
		t.Errorf("%d questions", n)
	}
}

// What the connector says now is kept; CheckedAt is when it was asked.
func TestGroupsFollow(t *testing.T) {
	w := newWorld(t)
	d := newDirectory(t)
	r := w.rechecker(map[string]connector.Refresher{"ldap": d})
	grant, id := w.signIn("ldap", "jane")
	d.set("jane", person("jane", "new", "newer"))
	w.advance(after)
	if err := r.Fresh(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	want := id
	want.Name, want.Email, want.EmailVerified, want.Groups = "as rechecked", "jane@example.com", true, []string{"new", "newer"}
	want.CheckedAt = w.now()
	if diff := cmp.Diff(want, w.identity(grant)); diff != "" {
		t.Errorf("identity (-want +got):\n%s", diff)
	}
}

// The real connector: the list is another one after a restart.
func TestLocal(t *testing.T) {
	w := newWorld(t)
	hash, err := bcrypt.GenerateFromPassword([]byte("p"), local.MinBcryptCost)
	if err != nil {
		t.Fatal(err)
	}
	staff, err := local.New([]local.Password{{Email: "jane@example.com", Hash: string(hash), UserID: "jane", Name: "Jane", Groups: []string{"ops"}}})
	if err != nil {
		t.Fatal(err)
	}
	r := w.rechecker(map[string]connector.Refresher{"local": staff})
	jane, janeID := w.signIn("local", "jane")
	joe, joeID := w.signIn("local", "joe")
	w.advance(after)
	if err := r.Fresh(t.Context(), janeID); err != nil {
		t.Error(err)
	}
	if got := w.identity(jane); got.Name != "Jane" || len(got.Groups) != 1 || got.Groups[0] != "ops" {
		t.Errorf("%+v", got)
	}
	if err := r.Fresh(t.Context(), joeID); !errors.Is(err, recheck.ErrGone) {
		t.Errorf("who is off the list: %v", err)
	}
	if g, _ := w.grant(joe); g.RevokedReason != "identity_gone" {
		t.Errorf("his grant: %+v", g)
	}
}

// A hundred who wait for one person make one question, and so does whoever read
// the identity before the answer came and asks after it.
func TestOneQuestion(t *testing.T) {
	w := newWorld(t)
	d := newDirectory(t)
	r := w.rechecker(map[string]connector.Refresher{"ldap": d})
	grant, id := w.signIn("ldap", "jane")
	a := person("jane", "new")
	a.until = make(chan struct{})
	d.set("jane", a)
	w.advance(after)
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			if err := r.Fresh(t.Context(), id); err != nil {
				t.Error(err)
			}
		})
	}
	<-d.asked
	close(a.until)
	wg.Wait()
	for range 3 {
		w.advance(time.Second)
		if err := r.Fresh(t.Context(), id); err != nil {
			t.Error(err)
		}
	}
	if n := d.questions.Load(); n != 1 {
		t.Errorf("%d questions", n)
	}
	if got := w.identity(grant); got.Groups[0] != "new" {
		t.Errorf("%+v", got)
	}
	// What is remembered does not outlive its time.
	w.advance(after)
	if err := r.Fresh(t.Context(), id); err != nil || d.questions.Load() != 2 {
		t.Errorf("later: %v, %d questions", err, d.questions.Load())
	}
}

// What is remembered is forgotten, and never serves another person.
func TestAnswersAreForgotten(t *testing.T) {
	w := newWorld(t)
	d := newDirectory(t)
	r := w.rechecker(map[string]connector.Refresher{"ldap": d, "other": d})
	_, jane := w.signIn("ldap", "jane")
	_, joe := w.signIn("ldap", "joe")
	_, elsewhere := w.signIn("other", "jane")
	d.set("jane", person("jane"))
	d.set("joe", person("joe"))
	w.advance(after)
	for i, id := range []storage.Identity{jane, joe, elsewhere} {
		if err := r.Fresh(t.Context(), id); err != nil || d.questions.Load() != int64(i+1) {
			t.Errorf("%d: %v, %d questions", i, err, d.questions.Load())
		}
	}
	// Half a minute later, the memory is empty: a straggler asks, which is no harm.
	w.advance(11 * time.Second)
	_ = r.Fresh(t.Context(), storage.Identity{ConnectorID: "ldap", UserID: "nobody"})
	w.advance(11 * time.Second)
	if err := r.Fresh(t.Context(), jane); err != nil || d.questions.Load() != 5 {
		t.Errorf("a straggler: %v, %d questions", err, d.questions.Load())
	}
}

// An answer does not replace what was learned after the question was put.
func TestSignInDuringQuestion(t *testing.T) {
	w := newWorld(t)
	d := newDirectory(t)
	r := w.rechecker(map[string]connector.Refresher{"ldap": d})
	_, id := w.signIn("ldap", "jane")
	a := person("jane", "new")
	a.until = make(chan struct{})
	d.set("jane", a)
	w.advance(after)
	done := make(chan error, 1)
	go func() { done <- r.Fresh(t.Context(), id) }()
	<-d.asked
	w.advance(time.Second)
	later, _ := w.signIn("ldap", "jane")
	close(a.until)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if got := w.identity(later); got.Name != "as signed in" || !got.CheckedAt.Equal(w.now()) {
		t.Errorf("the sign-in is lost: %+v", got)
	}
}

// Gone and denied end every grant of that person at that connector, and of
// nobody else.
func TestGone(t *testing.T) {
	for name, tc := range map[string]struct {
		status int
		reason string
	}{
		"gone":   {http.StatusNotFound, "identity_gone"},
		"denied": {http.StatusForbidden, "identity_denied"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			d := newDirectory(t)
			r := w.rechecker(map[string]connector.Refresher{"ldap": d, "other": d})
			first, id := w.signIn("ldap", "jane")
			second, _ := w.signIn("ldap", "jane")
			joe, _ := w.signIn("ldap", "joe")
			elsewhere, _ := w.signIn("other", "jane")
			d.set("jane", answer{status: tc.status})
			w.advance(after)
			var wg sync.WaitGroup
			for range 20 {
				wg.Go(func() {
					if err := r.Fresh(t.Context(), id); !errors.Is(err, recheck.ErrGone) {
						t.Errorf("%v, want ErrGone", err)
					}
				})
			}
			wg.Wait()
			for _, g := range []storage.GrantID{first, second} {
				if got, _ := w.grant(g); got.RevokedReason != tc.reason || !got.RevokedAt.Equal(w.now()) {
					t.Errorf("grant %s: revoked at %v because %q", g, got.RevokedAt, got.RevokedReason)
				}
			}
			for _, g := range []storage.GrantID{joe, elsewhere} {
				if got, _ := w.grant(g); !got.RevokedAt.IsZero() {
					t.Errorf("grant %s of somebody else is revoked: %q", g, got.RevokedReason)
				}
			}
			// Single sign-on is over, too, and clients are told.
			for who, n := range map[[2]string]int{{"ldap", "jane"}: 0, {"ldap", "joe"}: 1, {"other", "jane"}: 1} {
				left, err := w.store.SessionsOf(t.Context(), storage.Holding{ConnectorID: who[0], UserID: who[1], Now: w.now(), Limit: 10})
				if err != nil || len(left) != n {
					t.Errorf("%v: %d sessions, %v", who, len(left), err)
				}
			}
			for range 2 {
				if _, err := w.store.ClaimLogoutDelivery(t.Context(), nil, w.now(), w.now().Add(time.Hour)); err != nil {
					t.Errorf("a delivery for each session: %v", err)
				}
			}
			if !strings.Contains(w.log.String(), "reason="+tc.reason) || !strings.Contains(w.log.String(), "grants=2") ||
				!strings.Contains(w.log.String(), "sessions=2") {
				t.Errorf("the log does not tell: %s", w.log.String())
			}
		})
	}
}

// An upstream that fails says nothing about a person: within staleIfError the last
// answer stands, afterwards it is "not now", and never a revocation.
func TestUpstreamFails(t *testing.T) {
	for name, a := range map[string]answer{
		"status 500":              {status: 500},
		"no JSON":                 {status: 200, body: "no object"},
		"another user id":         person("joe", "admins"),
		"no user id":              person(""),
		"an error of no kind":     {status: http.StatusConflict},
		"a failure that is gone?": {status: http.StatusBadGateway},
		"a panic":                 {status: http.StatusTeapot},
		"what cannot be stored":   {status: 200, body: connector.Identity{UserID: "jane", Name: "a\x00b"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			d := newDirectory(t)
			r := w.rechecker(map[string]connector.Refresher{"ldap": d})
			grant, id := w.signIn("ldap", "jane")
			d.set("jane", a)
			for _, tt := range []struct {
				age  time.Duration
				want error
			}{{after, nil}, {stale - 1, nil}, {stale, connector.ErrUpstream}, {100 * time.Hour, connector.ErrUpstream}} {
				w.clock.Store(int64(tt.age))
				err := r.Fresh(t.Context(), id)
				if !errors.Is(err, tt.want) || errors.Is(err, recheck.ErrGone) || errors.Is(err, storage.ErrInvalid) {
					t.Errorf("%v old: %v, want %v", tt.age, err, tt.want)
				}
			}
			if g, now := w.grant(grant); !g.RevokedAt.IsZero() || cmp.Diff(id, now) != "" {
				t.Errorf("a failure changed something: %+v, %+v", g, now)
			}
			if !strings.Contains(w.log.String(), "rechecking failed") {
				t.Error("nobody was told")
			}
			// It is well again, and so is the person.
			w.advance(time.Minute)
			d.set("jane", person("jane", "new"))
			if err := r.Fresh(t.Context(), id); err != nil || w.identity(grant).Groups[0] != "new" {
				t.Errorf("afterwards: %v, %+v", err, w.identity(grant))
			}
		})
	}
}

// Whoever waits for one question judges the failure by the answer that they have
// read themselves.
func TestEachBearsItsOwn(t *testing.T) {
	w := newWorld(t)
	d := newDirectory(t)
	r := w.rechecker(map[string]connector.Refresher{"ldap": d})
	_, old := w.signIn("ldap", "jane")
	w.advance(stale)
	newer := old
	newer.CheckedAt = w.now().Add(-after)
	a := answer{status: 500, until: make(chan struct{})}
	d.set("jane", a)
	first, second := make(chan error, 1), make(chan error, 1)
	go func() { first <- r.Fresh(t.Context(), old) }()
	<-d.asked
	go func() { second <- r.Fresh(t.Context(), newer) }()
	close(a.until)
	if err := <-first; !errors.Is(err, connector.ErrUpstream) {
		t.Errorf("the older: %v", err)
	}
	if err := <-second; err != nil {
		t.Errorf("the newer: %v", err)
	}
}

// After a failure, the upstream is left alone for a moment: about that person at
// once, about everybody when another person's question fails too.
func TestPause(t *testing.T) {
	w := newWorld(t)
	d := newDirectory(t)
	r := w.rechecker(map[string]connector.Refresher{"ldap": d, "other": d})
	ids := map[string]storage.Identity{}
	for _, name := range []string{"jane", "joe", "mary"} {
		_, ids[name] = w.signIn("ldap", name)
		d.set(name, answer{status: 500})
	}
	_, elsewhere := w.signIn("other", "jane")
	w.advance(after)
	ask := func(what string, id storage.Identity, questions int64) {
		t.Helper()
		before := d.questions.Load()
		if err := r.Fresh(t.Context(), id); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if n := d.questions.Load() - before; n != questions {
			t.Errorf("%s: %d questions, want %d", what, n, questions)
		}
	}
	ask("the first", ids["jane"], 1)
	ask("she again", ids["jane"], 0)
	ask("another, whose question fails too", ids["joe"], 1)
	ask("a third", ids["mary"], 0)
	ask("another connector", elsewhere, 1)
	w.advance(5*time.Second - 1)
	ask("a third, at the end", ids["mary"], 0)
	w.advance(1)
	ask("a third, afterwards", ids["mary"], 1)
	w.advance(5 * time.Second)

	// One account that the upstream trips over keeps nobody else from being asked
	// about.
	d.set("joe", person("joe"))
	d.set("mary", person("mary"))
	ask("the broken one", ids["jane"], 1)
	w.advance(5 * time.Second)
	ask("the broken one, again", ids["jane"], 1)
	ask("the others", ids["mary"], 1)
	ask("the others", ids["joe"], 1)

	// Beyond staleIfError a pause is "not now", at once.
	d.set("jane", answer{status: 500})
	w.advance(stale)
	if err := r.Fresh(t.Context(), ids["jane"]); !errors.Is(err, connector.ErrUpstream) {
		t.Errorf("too old: %v", err)
	}
	before := d.questions.Load()
	if err := r.Fresh(t.Context(), ids["jane"]); !errors.Is(err, connector.ErrUpstream) || d.questions.Load() != before {
		t.Errorf("too old, and paused: %v", err)
	}
}

// An upstream that hangs is given up after the timeout, and delays nobody else.
func TestUpstreamHangs(t *testing.T) {
	w := newWorld(t)
	hanging, well := newDirectory(t), newDirectory(t)
	hanging.set("jane", answer{status: 200, until: make(chan struct{})})
	well.set("joe", person("joe", "new"))
	r := w.rechecker(map[string]connector.Refresher{"hanging": hanging, "well": well}, func(c *recheck.Config) {
		c.Timeout = 200 * time.Millisecond
		patient := c.Sources["well"]
		patient.Timeout = time.Minute
		c.Sources["well"] = patient
	})
	_, jane := w.signIn("hanging", "jane")
	joe, joeID := w.signIn("well", "joe")
	w.advance(stale)
	done := make(chan error, 1)
	go func() { done <- r.Fresh(t.Context(), jane) }()
	<-hanging.asked
	if err := r.Fresh(t.Context(), joeID); err != nil || w.identity(joe).Groups[0] != "new" {
		t.Errorf("at the other connector: %v", err)
	}
	if err := <-done; !errors.Is(err, connector.ErrUpstream) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the hanging one: %v", err)
	}
	if recheck.DefaultTimeout != 5*time.Second {
		t.Errorf("the default is %v", recheck.DefaultTimeout)
	}
}

// Whoever asked first may hang up: the question goes on for the others.
func TestHangUp(t *testing.T) {
	w := newWorld(t)
	d := newDirectory(t)
	r := w.rechecker(map[string]connector.Refresher{"ldap": d})
	grant, id := w.signIn("ldap", "jane")
	a := person("jane", "new")
	a.until = make(chan struct{})
	d.set("jane", a)
	w.advance(after)
	ctx, hangUp := context.WithCancel(t.Context())
	first, second := make(chan error, 1), make(chan error, 1)
	go func() { first <- r.Fresh(ctx, id) }()
	<-d.asked
	go func() { second <- r.Fresh(t.Context(), id) }()
	hangUp()
	if err := <-first; !errors.Is(err, context.Canceled) {
		t.Errorf("who hung up: %v", err)
	}
	close(a.until)
	if err := <-second; err != nil || w.identity(grant).Groups[0] != "new" {
		t.Errorf("the other: %v", err)
	}
	if n := d.questions.Load(); n != 1 {
		t.Errorf("%d questions", n)
	}
}

// A store that fails is not the upstream's failure: it is told, however new the
// last answer is, and no grant counts as revoked that is not.
func TestStoreFails(t *testing.T) {
	for name, a := range map[string]answer{"an answer": person("jane"), "gone": {status: 404}, "denied": {status: 403}} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			d := newDirectory(t)
			broken := w.open()
			r := w.rechecker(map[string]connector.Refresher{"ldap": d}, func(c *recheck.Config) {
				c.Store, c.Revoker = broken, w.revoker(broken)
			})
			grant, id := w.signIn("ldap", "jane")
			d.set("jane", a)
			w.advance(after)
			broken.Close()
			for range 2 { // and it pauses nothing
				if err := r.Fresh(t.Context(), id); !errors.Is(err, storage.ErrUnavailable) || errors.Is(err, recheck.ErrGone) {
					t.Errorf("%v, want ErrUnavailable", err)
				}
			}
			if n := d.questions.Load(); n != 2 {
				t.Errorf("%d questions", n)
			}
			if g, _ := w.grant(grant); !g.RevokedAt.IsZero() {
				t.Error("revoked")
			}
		})
	}
}

// Whoever signs in while their connector is still saying that they are gone stays
// signed in: the question was older.
func TestSigningInDuringAQuestion(t *testing.T) {
	for name, status := range map[string]int{"gone": 404, "denied": 403} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			d := newDirectory(t)
			a := answer{status: status, until: make(chan struct{})}
			d.set("jane", a)
			r := w.rechecker(map[string]connector.Refresher{"oidc": d})
			_, id := w.signIn("oidc", "jane")
			w.advance(after)
			verdict := make(chan error, 1)
			go func() { verdict <- r.Fresh(t.Context(), id) }()
			<-d.asked
			w.advance(time.Second)
			grant, again := w.signIn("oidc", "jane")
			close(a.until)
			if err := <-verdict; err != nil {
				t.Error(err)
			}
			if g, _ := w.grant(grant); !g.RevokedAt.IsZero() {
				t.Error("the new grant is revoked")
			}
			if _, _, err := w.store.Session(t.Context(), [32]byte{1, w.serial}, w.now()); err != nil {
				t.Errorf("the new session: %v", err)
			}
			w.advance(after)
			if err := r.Fresh(t.Context(), again); !errors.Is(err, recheck.ErrGone) {
				t.Errorf("the next question: %v", err)
			}
		})
	}
}

// A person whose row has been collected in the meantime is nobody's failure.
func TestIdentityExpired(t *testing.T) {
	w := newWorld(t)
	d := newDirectory(t)
	d.set("nobody", person("nobody"))
	r := w.rechecker(map[string]connector.Refresher{"ldap": d})
	if err := r.Fresh(t.Context(), storage.Identity{ConnectorID: "ldap", UserID: "nobody"}); err != nil {
		t.Error(err)
	}
}
