package recheck_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/countersign/countersign/connector"
	"github.com/countersign/countersign/server/recheck"
	"github.com/countersign/countersign/storage"
	"github.com/countersign/countersign/storage/sqlite"
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

// watched says when somebody has tried to claim.
type watched struct {
	storage.Identities
	tried chan struct{}
}

func (s watched) ClaimRecheck(ctx context.Context, in storage.RecheckClaim) (storage.Identity, []byte, error) {
	i, sealed, err := s.Identities.ClaimRecheck(ctx, in)
	select {
	case s.tried <- struct{}{}:
	default: // it was said
	}
	return i, sealed, err
}

// A replica whose clock is ahead, by less than anybody is told of, does not ask while
// another one does: its question would come with a secret that has been used.
func TestClaimAtAnotherClock(t *testing.T) {
	w := newWorld(t)
	d := &onceDirectory{until: make(chan struct{})}
	id, person := w.signIn("once", "jane")
	w.keep(person, "secret 0")
	w.advance(after)
	sources := map[string]connector.Refresher{"once": d}
	answers, tried := make(chan error), [2]chan struct{}{make(chan struct{}, 1), make(chan struct{}, 1)}
	for i, ahead := range []time.Duration{0, 50 * time.Second} {
		r := w.rechecker(sources, func(c *recheck.Config) {
			c.Store = watched{w.store, tried[i]}
			c.Now = func() time.Time { return w.now().Add(ahead) }
		})
		go func() { answers <- r.Fresh(t.Context(), person) }()
		<-tried[i]
	}
	close(d.until)
	for range 2 {
		if err := <-answers; err != nil {
			t.Error(err)
		}
	}
	if g, _ := w.grant(id); d.secret != 1 || d.old != 0 || !g.RevokedAt.IsZero() {
		t.Errorf("%d questions, %d with an old secret, revoked %v", d.secret, d.old, !g.RevokedAt.IsZero())
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

// hasty takes answers to a store that waits for nobody for long, and says when it
// could not take one.
type hasty struct {
	storage.Identities
	impatient storage.Identities
	failed    chan struct{}
}

func (s hasty) RecheckIdentity(ctx context.Context, i storage.Identity, sealed []byte) error {
	err := s.impatient.RecheckIdentity(ctx, i, sealed)
	if errors.Is(err, storage.ErrUnavailable) {
		s.failed <- struct{}{}
	}
	return err
}

// A store that is away just when the upstream answers does not lose the secret that
// came with the answer: the one before is good for nothing any more.
func TestSecretOutlivesAnOutage(t *testing.T) {
	for name, fails := range map[string]bool{"an answer": false, "a failure": true} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			d := &failing{fails: fails}
			d.until = make(chan struct{})
			_, person := w.signIn("once", "jane")
			w.keep(person, "secret 0")
			w.advance(after)
			impatient, err := sqlite.Open(sqlite.Config{File: w.file, StatementTimeout: 500 * time.Millisecond})
			if err != nil {
				t.Fatal(err)
			}
			defer impatient.Close()
			claimed, failed := make(chan struct{}, 1), make(chan struct{}, 1000)
			r := w.rechecker(map[string]connector.Refresher{"once": d}, func(c *recheck.Config) {
				c.Store = hasty{watched{w.store, claimed}, impatient, failed}
			})
			answer := make(chan error, 1)
			go func() { answer <- r.Fresh(t.Context(), person) }()
			<-claimed
			release := w.lock()
			close(d.until)
			<-failed
			release()
			if err := <-answer; err != nil {
				t.Error(err)
			}
			_, sealed, err := w.store.ClaimRecheck(t.Context(), w.heldClaim())
			if err != nil {
				t.Fatal(err)
			}
			if secret, err := w.secrets.Open("once", "jane", sealed); err != nil || string(secret) != "secret 1" {
				t.Errorf("kept %q, %v", secret, err)
			}
		})
	}
}

// A process that ends waits for the answer to a question for which nobody waits any
// more: the secret that comes with it is not lost.
func TestEndingWaitsForAnswers(t *testing.T) {
	w := newWorld(t)
	d := &onceDirectory{until: make(chan struct{})}
	id, person := w.signIn("once", "jane")
	w.keep(person, "secret 0")
	w.advance(after)
	claimed := make(chan struct{}, 1)
	r := w.rechecker(map[string]connector.Refresher{"once": d}, func(c *recheck.Config) { c.Store = watched{w.store, claimed} })
	ctx, hangUp := context.WithCancel(t.Context())
	answer := make(chan error, 1)
	go func() { answer <- r.Fresh(ctx, person) }()
	<-claimed
	hangUp()
	if err := <-answer; !errors.Is(err, context.Canceled) {
		t.Errorf("who hung up: %v", err)
	}
	go close(d.until)
	r.Run(ctx)
	if groups := w.identity(id).Groups; len(groups) != 1 || groups[0] != "group 1" {
		t.Errorf("at the end the groups are %q", groups)
	}
	r.Run(ctx) // nothing is asked: it does not wait
}

// lock keeps everybody from writing until it is released.
func (w *world) lock() (release func()) {
	w.t.Helper()
	db, err := sql.Open("sqlite", "file:"+w.file+"?_txlock=immediate&_pragma=busy_timeout(10000)")
	if err != nil {
		w.t.Fatal(err)
	}
	tx, err := db.BeginTx(w.t.Context(), nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return func() {
		if err := errors.Join(tx.Rollback(), db.Close()); err != nil {
			w.t.Error(err)
		}
	}
}

// mute has given no secret for the person, as an OpenID provider may give no refresh
// token.
type mute struct{}

func (mute) SecretIsGoodForOneUse() {}

func (mute) Refresh(context.Context, connector.Identity) (connector.Identity, error) {
	return connector.Identity{}, connector.ErrCannotAsk
}

// Who cannot be asked about keeps nobody waiting, however many come at once to
// whichever replica, and is no failure of the upstream.
func TestNobodyWaitsForWhoCannotBeAsked(t *testing.T) {
	w := newWorld(t)
	_, person := w.signIn("oidc", "jane")
	replicas := make([]*recheck.Rechecker, 2)
	for i := range replicas {
		replicas[i] = w.rechecker(map[string]connector.Refresher{"oidc": mute{}})
	}
	for _, test := range []struct {
		wait time.Duration
		want error
	}{{after, nil}, {stale, recheck.ErrSignInAgain}} {
		w.advance(test.wait)
		for i := range 4 {
			if err := replicas[i%2].Fresh(t.Context(), person); !errors.Is(err, test.want) {
				t.Errorf("question %d after %s: %v, want %v", i, test.wait, err, test.want)
			}
		}
	}
	if w.log.String() != "" {
		t.Errorf("the log says %s", w.log.String())
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
