package recheck_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/countersign/countersign/connector"
	"github.com/countersign/countersign/server/recheck"
	"github.com/countersign/countersign/storage"
)

// onceDirectory gives out secrets that are good for one question, as upstreams
// that rotate refresh tokens do, and counts those who come with an old one.
type onceDirectory struct {
	mu     sync.Mutex
	secret int
	old    int
	until  chan struct{}
}

func (*onceDirectory) SecretIsGoodForOneUse() {}

func (d *onceDirectory) Refresh(ctx context.Context, before connector.Identity) (connector.Identity, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.until != nil {
		select {
		case <-d.until:
		case <-ctx.Done():
			return connector.Identity{}, ctx.Err()
		}
	}
	if string(before.Secret) != fmt.Sprint("secret ", d.secret) {
		d.old++
		return connector.Identity{}, connector.ErrGone
	}
	d.secret++
	before.Secret = fmt.Append(nil, "secret ", d.secret)
	before.Groups = []string{fmt.Sprint("group ", d.secret)}
	return before, nil
}

// keep stores the first secret of a person.
func (w *world) keep(i storage.Identity, secret string) {
	w.t.Helper()
	sealed, err := w.secrets.Seal(i.ConnectorID, connector.Identity{UserID: i.UserID, Secret: []byte(secret)})
	if err == nil {
		err = w.store.RecheckIdentity(w.t.Context(), i, sealed)
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

// A secret that is good for one use survives any number of questions by any number
// of replicas at once.
func TestSecretsOfOneUse(t *testing.T) {
	w := newWorld(t)
	d := &onceDirectory{}
	id, person := w.signIn("once", "jane")
	w.keep(person, "secret 0")
	replicas := make([]*recheck.Rechecker, 3)
	for i := range replicas {
		other := w.open()
		replicas[i] = w.rechecker(map[string]connector.Refresher{"once": d}, func(c *recheck.Config) { c.Store = other })
	}
	for round := 1; round <= 3; round++ {
		w.advance(after + time.Second)
		stale := w.identity(id)
		var all sync.WaitGroup
		for i := range 12 {
			all.Go(func() {
				if err := replicas[i%len(replicas)].Fresh(t.Context(), stale); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if got := w.identity(id).Groups; d.secret != round || d.old != 0 || len(got) != 1 || got[0] != fmt.Sprint("group ", round) {
			t.Fatalf("round %d: %d questions, %d with an old secret, groups %q", round, d.secret, d.old, got)
		}
	}
}

// heldClaim is that of somebody who never answers, for a minute.
func (w *world) heldClaim() storage.RecheckClaim {
	return storage.RecheckClaim{ConnectorID: "once", UserID: "jane", CheckedAfter: w.now(), Now: w.now(), Until: w.now().Add(time.Minute)}
}

// Who asks and never answers holds the others up for no longer than a question may
// take; whose answer is bearable goes on with it.
func TestClaimIsHeld(t *testing.T) {
	w := newWorld(t)
	d := &onceDirectory{}
	_, person := w.signIn("once", "jane")
	w.keep(person, "secret 0")
	w.advance(after + time.Second)
	if _, _, err := w.store.ClaimRecheck(t.Context(), w.heldClaim()); err != nil {
		t.Fatal(err)
	}
	r := w.rechecker(map[string]connector.Refresher{"once": d}, func(c *recheck.Config) { c.Timeout = 300 * time.Millisecond })
	if err := r.Fresh(t.Context(), person); err != nil {
		t.Errorf("an answer that can be borne: %v", err)
	}
	w.advance(stale)
	if _, _, err := w.store.ClaimRecheck(t.Context(), w.heldClaim()); err != nil {
		t.Fatal(err)
	}
	if err := r.Fresh(t.Context(), person); !errors.Is(err, connector.ErrUpstream) {
		t.Errorf("one that cannot: %v", err)
	}
	w.advance(2 * time.Minute)
	if err := r.Fresh(t.Context(), person); err != nil || d.secret != 1 {
		t.Errorf("after the claim: %v, %d questions", err, d.secret)
	}
}

// mute cannot be asked, since its upstream gave no secret.
type mute struct{}

func (mute) SecretIsGoodForOneUse() {}

func (mute) Refresh(context.Context, connector.Identity) (connector.Identity, error) {
	return connector.Identity{}, connector.ErrCannotAsk
}

// Who finds that nobody can be asked holds nobody up who comes right after.
func TestClaimOfNobodyToAsk(t *testing.T) {
	w := newWorld(t)
	_, person := w.signIn("mute", "jane")
	r := w.rechecker(map[string]connector.Refresher{"mute": mute{}}, func(c *recheck.Config) { c.Timeout = 300 * time.Millisecond })
	w.advance(after + time.Second)
	for range 3 {
		if err := r.Fresh(t.Context(), person); err != nil {
			t.Errorf("an answer that can be borne: %v", err)
		}
	}
	if log := w.log.String(); log != "" {
		t.Errorf("the log has %s", log)
	}
	w.advance(stale)
	for range 3 {
		if err := r.Fresh(t.Context(), person); !errors.Is(err, recheck.ErrSignInAgain) {
			t.Errorf("one that cannot: %v", err)
		}
	}
}

// Master secrets that were lost are no reason to take people for gone.
func TestSecretOfLostMaster(t *testing.T) {
	w := newWorld(t)
	d := &onceDirectory{}
	_, person := w.signIn("once", "jane")
	w.keep(person, "secret 0")
	w.advance(after + stale + time.Second)
	r := w.rechecker(map[string]connector.Refresher{"once": d}, func(c *recheck.Config) { c.Secrets = newSecrets(t, "other") })
	if err := r.Fresh(t.Context(), person); !errors.Is(err, connector.ErrUpstream) || d.old != 0 {
		t.Errorf("%v, %d questions with nothing", err, d.old)
	}
}

// A connector that knows people only while they sign in is believed for as long as
// it may be, and nothing is revoked afterwards.
func TestNobodyToAsk(t *testing.T) {
	w := newWorld(t)
	id, person := w.signIn("saml", "jane")
	r := w.rechecker(map[string]connector.Refresher{"saml": nil})
	w.advance(after - time.Second)
	if err := r.Fresh(t.Context(), person); err != nil {
		t.Error(err)
	}
	w.advance(2 * time.Second)
	if err := r.Fresh(t.Context(), person); !errors.Is(err, recheck.ErrSignInAgain) {
		t.Errorf("too old: %v", err)
	}
	if g, _ := w.grant(id); !g.RevokedAt.IsZero() {
		t.Error("the grant is revoked")
	}
}

// The operator's rules hold for what is learnt later, too.
func TestAccept(t *testing.T) {
	w := newWorld(t)
	d := &onceDirectory{}
	id, person := w.signIn("once", "jane")
	w.keep(person, "secret 0")
	var denied error
	r := w.rechecker(map[string]connector.Refresher{"once": d}, func(c *recheck.Config) {
		s := c.Sources["once"]
		s.Accept = func(who connector.Identity) (connector.Identity, error) {
			who.Groups = append(who.Groups, "ruled")
			return who, denied
		}
		c.Sources["once"] = s
	})
	w.advance(after + time.Second)
	if err := r.Fresh(t.Context(), person); err != nil {
		t.Fatal(err)
	}
	if got := w.identity(id).Groups; len(got) != 2 || got[1] != "ruled" {
		t.Errorf("groups %q", got)
	}
	denied = &connector.DeniedError{Message: "not in a group"}
	w.advance(after + time.Second)
	if err := r.Fresh(t.Context(), w.identity(id)); !errors.Is(err, recheck.ErrGone) {
		t.Errorf("denied: %v", err)
	}
	if g, _ := w.grant(id); g.RevokedAt.IsZero() {
		t.Error("the grant lives")
	}
}

// failing changes its secret, and fails then.
type failing struct {
	onceDirectory
	fails bool
}

func (d *failing) Refresh(ctx context.Context, before connector.Identity) (connector.Identity, error) {
	who, err := d.onceDirectory.Refresh(ctx, before)
	if err == nil && d.fails {
		return connector.Identity{Secret: who.Secret}, fmt.Errorf("%w: in between", connector.ErrUpstream)
	}
	return who, err
}

// A secret that was changed just before the upstream or the operator's rules failed is
// kept, and nothing else.
func TestSecretChangedBeforeFailure(t *testing.T) {
	w := newWorld(t)
	d := &failing{fails: true}
	id, person := w.signIn("once", "jane")
	w.keep(person, "secret 0")
	known := w.identity(id)
	var broken error
	r := w.rechecker(map[string]connector.Refresher{"once": d}, func(c *recheck.Config) {
		s := c.Sources["once"]
		s.Accept = func(who connector.Identity) (connector.Identity, error) { return who, broken }
		c.Sources["once"] = s
	})
	w.advance(after + stale + time.Second)
	for i, fail := range []func(){func() {}, func() { d.fails, broken = false, connector.ErrUpstream }} {
		fail()
		if err := r.Fresh(t.Context(), w.identity(id)); !errors.Is(err, connector.ErrUpstream) {
			t.Errorf("failure %d: %v", i, err)
		}
		now := w.identity(id)
		if d.secret != i+1 || d.old != 0 || !now.CheckedAt.Equal(known.CheckedAt) || len(now.Groups) != len(known.Groups) {
			t.Errorf("failure %d: %d questions, %d with an old secret, stored %+v", i, d.secret, d.old, now)
		}
		w.advance(time.Minute)
	}
	broken = nil
	if err := r.Fresh(t.Context(), w.identity(id)); err != nil || d.secret != 3 || d.old != 0 || len(w.identity(id).Groups) != 1 {
		t.Errorf("afterwards: %v, %d questions, %d with an old secret", err, d.secret, d.old)
	}
}
