package token_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/countersign/countersign/connector"
	"github.com/countersign/countersign/server/oauth"
	"github.com/countersign/countersign/server/recheck"
	"github.com/countersign/countersign/server/token"
	"github.com/countersign/countersign/storage"
)

// The window in which a lost response may be repeated begins when the token was
// rotated, not when a request came in that waited for its upstream.
func TestWindowBeginsWithRotation(t *testing.T) {
	w := newWorld(t)
	e := w.endpoint(func(c *token.Config) {
		c.Rechecker = w.rechecker(upstream(func(who connector.Identity) (connector.Identity, error) {
			w.advance(8 * time.Second)
			return who, nil
		}))
	})
	id, first := w.signIn()
	w.advance(after)
	second, err := refresh(t.Context(), t, e, first) // and this response is lost
	if err != nil {
		t.Fatal(err)
	}
	w.advance(window - 1000)
	if got, err := refresh(t.Context(), t, e, first); err != nil || got != second {
		t.Fatalf("the repeat: %q, %v, want %q", got, err, second)
	}
	if why := w.revoked(id); why != "" {
		t.Errorf("revoked: %s", why)
	}
	w.advance(1000)
	if _, err := refresh(t.Context(), t, e, first); oauth.CodeOf(err) != oauth.InvalidGrant || w.revoked(id) != "refresh_token_reused" {
		t.Errorf("after the window: %v, %s", err, w.revoked(id))
	}
}

// faulty is the real store with a fault before or behind a call.
type faulty struct {
	storage.Grants
	rotated, read func()
	rotateErr     error
	revokeErr     error
}

func (f *faulty) RotateGrant(ctx context.Context, in storage.Rotation) (storage.Grant, storage.Identity, error) {
	g, i, err := f.Grants.RotateGrant(ctx, in)
	if f.rotated != nil {
		f.rotated()
	}
	if f.rotateErr != nil {
		return storage.Grant{}, storage.Identity{}, f.rotateErr
	}
	return g, i, err
}

func (f *faulty) Grant(ctx context.Context, id storage.GrantID, now time.Time) (storage.Grant, storage.Identity, error) {
	g, i, err := f.Grants.Grant(ctx, id, now)
	if f.read != nil {
		f.read()
	}
	return g, i, err
}

func (f *faulty) RevokeGrant(ctx context.Context, id storage.GrantID, now time.Time, reason string) (bool, error) {
	if f.revokeErr != nil {
		return false, f.revokeErr
	}
	return f.Grants.RevokeGrant(ctx, id, now, reason)
}

// A commit whose acknowledgement was lost is no 2xx, and costs nobody the login:
// the client that tries again gets the one successor.
func TestLostAcknowledgement(t *testing.T) {
	w := newWorld(t)
	f := &faulty{Grants: w.store}
	e := w.endpoint(func(c *token.Config) { c.Grants = f })
	id, current := w.signIn()
	for range 20 {
		f.rotateErr = storage.ErrUnavailable
		if _, err := refresh(t.Context(), t, e, current); !errors.Is(err, storage.ErrUnavailable) {
			t.Fatalf("a store that failed: %v", err)
		}
		f.rotateErr = nil
		w.advance(time.Second)
		next, err := refresh(t.Context(), t, e, current)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := refresh(t.Context(), t, e, current); err != nil || again != next {
			t.Fatalf("a second branch: %q and %q, %v", next, again, err)
		}
		current = next
	}
	if why := w.revoked(id); why != "" {
		t.Errorf("revoked: %s", why)
	}
}

// What is repeated is written once more: a store that only reads cannot say that
// the rotation will last.
func TestRepeatNotStored(t *testing.T) {
	w := newWorld(t)
	f := &faulty{Grants: w.store}
	e := w.endpoint(func(c *token.Config) { c.Grants = f })
	id, first := w.signIn()
	second, err := refresh(t.Context(), t, e, first)
	if err != nil {
		t.Fatal(err)
	}
	f.read = func() { f.rotateErr = storage.ErrUnavailable }
	if _, err := refresh(t.Context(), t, e, first); !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("a repeat that is not stored: %v", err)
	}
	f.read, f.rotateErr = nil, nil
	w.advance(window - 1000) // writing once more gives nobody more time
	if got, err := refresh(t.Context(), t, e, first); err != nil || got != second {
		t.Errorf("a repeat: %q, %v", got, err)
	}
	w.advance(1000)
	if got, err := refresh(t.Context(), t, e, first); oauth.CodeOf(err) != oauth.InvalidGrant || w.revoked(id) != "refresh_token_reused" {
		t.Errorf("after the window: %q, %v, revoked %q", got, err, w.revoked(id))
	}
}

// Whoever repeats while the grant is revoked gets nothing.
func TestRevokedBeforeARepeat(t *testing.T) {
	w := newWorld(t)
	f := &faulty{Grants: w.store}
	e := w.endpoint(func(c *token.Config) { c.Grants = f })
	id, first := w.signIn()
	if _, err := refresh(t.Context(), t, e, first); err != nil {
		t.Fatal(err)
	}
	f.read = func() {
		if _, err := w.store.RevokeGrant(context.Background(), id, w.now(), "test"); err != nil {
			t.Error(err)
		}
	}
	if got, err := refresh(t.Context(), t, e, first); oauth.CodeOf(err) != oauth.InvalidGrant {
		t.Errorf("%q, %v", got, err)
	}
}

// What fails after the rotation is a lost response like any other.
func TestSigningFails(t *testing.T) {
	w := newWorld(t)
	var broken atomic.Bool
	e := w.endpoint(func(c *token.Config) {
		c.Sign = func(alg, typ string, claims any) (string, string, error) {
			if broken.Load() {
				return "", "", errors.New("no key")
			}
			return w.keys.Sign(alg, typ, claims)
		}
	})
	_, first := w.signIn()
	broken.Store(true)
	if _, err := refresh(t.Context(), t, e, first); err == nil || oauth.CodeOf(err) != oauth.ServerError {
		t.Fatalf("without a key: %v", err)
	}
	broken.Store(false)
	second, err := refresh(t.Context(), t, e, first)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := refresh(t.Context(), t, e, second); err != nil {
		t.Error(err)
	}
}

// A caller who hangs up while waiting for the upstream has lost a response, too:
// another of the same token is not disturbed.
func TestHangUp(t *testing.T) {
	w := newWorld(t)
	asked, answer := make(chan struct{}), make(chan struct{})
	e := w.endpoint(func(c *token.Config) {
		c.Rechecker = w.rechecker(upstream(func(who connector.Identity) (connector.Identity, error) {
			close(asked) // a second question would panic
			<-answer
			return who, nil
		}))
	})
	id, first := w.signIn()
	w.advance(after)
	ctx, hangUp := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := refresh(ctx, t, e, first); !errors.Is(err, context.Canceled) {
			t.Errorf("who hung up: %v", err)
		}
	})
	<-asked
	wg.Go(func() {
		if _, err := refresh(t.Context(), t, e, first); err != nil {
			t.Errorf("the other: %v", err)
		}
	})
	hangUp()
	close(answer)
	wg.Wait()
	if why := w.revoked(id); why != "" {
		t.Errorf("revoked: %s", why)
	}
}

// Whoever replays a token cannot escape the revocation by hanging up.
func TestReuseThoughHungUp(t *testing.T) {
	w := newWorld(t)
	f := &faulty{Grants: w.store}
	e := w.endpoint(func(c *token.Config) { c.Grants = f })
	id, first := w.signIn()
	if _, err := refresh(t.Context(), t, e, first); err != nil {
		t.Fatal(err)
	}
	w.advance(window)
	ctx, hangUp := context.WithCancel(t.Context())
	f.read = hangUp
	if _, err := refresh(ctx, t, e, first); oauth.CodeOf(err) != oauth.InvalidGrant || w.revoked(id) != "refresh_token_reused" {
		t.Errorf("%v, revoked %q", err, w.revoked(id))
	}
}

// A reuse that could not be stored is "not now": the next attempt ends the grant.
func TestReuseNotStored(t *testing.T) {
	w := newWorld(t)
	f := &faulty{Grants: w.store}
	e := w.endpoint(func(c *token.Config) { c.Grants = f })
	id, first := w.signIn()
	if _, err := refresh(t.Context(), t, e, first); err != nil {
		t.Fatal(err)
	}
	w.advance(window)
	f.revokeErr = storage.ErrUnavailable
	if _, err := refresh(t.Context(), t, e, first); !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("%v", err)
	}
	f.revokeErr = nil
	if _, err := refresh(t.Context(), t, e, first); oauth.CodeOf(err) != oauth.InvalidGrant || w.revoked(id) != "refresh_token_reused" {
		t.Errorf("%v, revoked %q", err, w.revoked(id))
	}
}

// Revocation between any two steps of a refresh wins.
func TestRevokedInBetween(t *testing.T) {
	for name, set := range map[string]func(*faulty, func()){
		"while the upstream thinks":       func(*faulty, func()) {},
		"after the rotation did not work": func(f *faulty, revoke func()) { f.rotated = revoke },
		"after the grant was read":        func(f *faulty, revoke func()) { f.read = revoke },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			f := &faulty{Grants: w.store}
			id, first := w.signIn()
			revoke := sync.OnceFunc(func() {
				if _, err := w.store.RevokeGrant(context.Background(), id, w.now(), "test"); err != nil {
					t.Error(err)
				}
			})
			set(f, revoke)
			e := w.endpoint(func(c *token.Config) {
				c.Grants = f
				c.Rechecker = w.rechecker(upstream(func(who connector.Identity) (connector.Identity, error) {
					revoke()
					return who, nil
				}))
			})
			w.advance(after)
			if next, err := refresh(t.Context(), t, e, first); oauth.CodeOf(err) != oauth.InvalidGrant {
				t.Errorf("%q, %v", next, err)
			}
		})
	}
}

// An audience that does not trust the client any more ends what was granted while
// it did; another client's tokens are not touched.
func TestAudienceTrustsNoMore(t *testing.T) {
	w := newWorld(t)
	id, first := w.signIn("audience:server:client_id:k8s")
	other, plain := w.signIn()
	second, err := refresh(t.Context(), t, w.endpoint(), first)
	if err != nil {
		t.Fatal(err)
	}
	e := w.endpoint(func(c *token.Config) { c.Clients = w.clients() })
	if _, err := refresh(t.Context(), t, e, second); oauth.CodeOf(err) != oauth.InvalidGrant || w.revoked(id) == "" {
		t.Errorf("%v, revoked %q", err, w.revoked(id))
	}
	if _, err := refresh(t.Context(), t, e, plain); err != nil || w.revoked(other) != "" {
		t.Errorf("another: %v, revoked %q", err, w.revoked(other))
	}
}

// RFC 7009 section 2.2.1, SECURITY: fosite CVE-2020-15223: a store that fails is
// no 200, wherever it does.
func TestRevokeStoreFails(t *testing.T) {
	w := newWorld(t)
	f := &faulty{Grants: w.store, revokeErr: storage.ErrUnavailable}
	e := w.endpoint(func(c *token.Config) { c.Grants = f })
	id, first := w.signIn()
	out := httptest.NewRecorder()
	if err := e.Revoke(out, form("token", first)); !errors.Is(err, storage.ErrUnavailable) || out.Header().Get("Cache-Control") != "" {
		t.Errorf("the write fails: %v", err)
	}
	f.revokeErr = nil
	ctx, hangUp := context.WithCancel(t.Context())
	f.read = hangUp
	if err := e.Revoke(out, form("token", first).WithContext(ctx)); err != nil || w.revoked(id) != "revoked_by_client" {
		t.Errorf("who hung up: %v, revoked %q", err, w.revoked(id))
	}
	w.store.Close()
	for name, serve := range map[string]func(http.ResponseWriter, *http.Request) error{"revoke": e.Revoke, "introspect": e.Introspect} {
		out := httptest.NewRecorder()
		if err := serve(out, form("token", first)); !errors.Is(err, storage.ErrUnavailable) || out.Body.Len() > 0 || len(out.Header()) > 0 {
			t.Errorf("%s, the read fails: %v, %s", name, err, out.Body)
		}
	}
}

// Another client learns nothing and changes nothing with a token that it found,
// and costs no query: also when it is called so that the token seems to be its
// own, which costs what a token of its own does.
func TestForeignToken(t *testing.T) {
	w := newWorld(t)
	id, first := w.signIn()
	if _, err := refresh(t.Context(), t, w.endpoint(), first); err != nil {
		t.Fatal(err)
	}
	w.advance(window) // reuse, if it were the client's own
	asked := new(asked)
	e := w.endpoint(func(c *token.Config) { asked.Grants, c.Grants = c.Grants, asked })
	seeming := oauth.NewestRefreshToken(storage.Grant{ID: id, ClientID: "other"})
	for _, c := range []struct {
		name, token string
		cost        int64
	}{{"another client's", first, 0}, {"one that seems to be its own", w.refreshTokens().Make(seeming.Encode()), 7}} {
		foreign := func(pairs ...string) *http.Request { return form(append(pairs, "client_id", "other")...) }
		out := httptest.NewRecorder()
		asked.n.Store(0)
		for _, scope := range []string{"", "openid", "openid profile"} {
			err := e.Token(out, foreign("grant_type", "refresh_token", "refresh_token", c.token, "scope", scope))
			if err == nil || err.Error() != oauth.ErrInvalidRefreshToken().Error() {
				t.Errorf("%s: refresh, scope %q: %v", c.name, scope, err)
			}
		}
		if err := e.Revoke(out, foreign("token", c.token)); err == nil || err.Error() != oauth.ErrForeignToken().Error() {
			t.Errorf("%s: revoke: %v", c.name, err)
		}
		if err := e.Introspect(out, foreign("token", c.token)); err != nil || out.Body.String() != `{"active":false}` {
			t.Errorf("%s: introspect: %v, %s", c.name, err, out.Body)
		}
		if n := asked.n.Load(); n > c.cost || (n == 0) != (c.cost == 0) {
			t.Errorf("%s: %d queries", c.name, n)
		}
		if why := w.revoked(id); why != "" {
			t.Errorf("%s: revoked: %s", c.name, why)
		}
	}
}

// A refresh is one statement whatever other connectors want to be asked: one that
// is strict, or cannot be asked at all, costs the people of others nothing.
func TestOneStatementAtEachConnector(t *testing.T) {
	strict := recheck.Source{Refresher: upstream(echo), Recheck: oauth.Recheck{After: time.Second, StaleIfError: time.Hour}}
	lax := strict
	lax.Recheck.After = 2 * time.Hour
	never := strict
	never.Recheck.After = 0
	for name, c := range map[string]struct {
		ldap *recheck.Source
		cost int64
	}{"cannot be asked": {nil, 1}, "is never asked": {&never, 1}, "is asked rarely": {&lax, 1}, "is asked each time": {&strict, 3}} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			sources := map[string]recheck.Source{"strict": strict, "lax": lax, "never": never}
			if c.ldap != nil {
				sources["ldap"] = *c.ldap
			}
			asked := &asked{Grants: w.store}
			e := w.endpoint(func(cfg *token.Config) { cfg.Grants, cfg.Rechecker = asked, w.recheckerOf(sources) })
			_, next := w.signIn()
			for range 2 {
				w.advance(time.Hour - time.Minute)
				asked.n.Store(0)
				var err error
				if next, err = refresh(t.Context(), t, e, next); err != nil {
					t.Fatal(err)
				}
				if n := asked.n.Load(); n != c.cost {
					t.Errorf("%d statements", n)
				}
			}
		})
	}
}

// echo says what it is told.
func echo(before connector.Identity) (connector.Identity, error) { return before, nil }

// asked counts how often the store is asked for something.
type asked struct {
	storage.Grants
	n atomic.Int64
}

func (a *asked) Grant(ctx context.Context, id storage.GrantID, now time.Time) (storage.Grant, storage.Identity, error) {
	a.n.Add(1)
	return a.Grants.Grant(ctx, id, now)
}

func (a *asked) RotateGrant(ctx context.Context, in storage.Rotation) (storage.Grant, storage.Identity, error) {
	a.n.Add(1)
	return a.Grants.RotateGrant(ctx, in)
}

func (a *asked) RevokeGrant(ctx context.Context, id storage.GrantID, now time.Time, reason string) (bool, error) {
	a.n.Add(1)
	return a.Grants.RevokeGrant(ctx, id, now, reason)
}
