// Package backchannel tells clients that a session has ended: OpenID Connect
// Back-Channel Logout 1.0.
//
// What has to be told is in the store, so that a restart forgets nothing; any
// replica takes it from there, for as long as one attempt may last, and tries
// again with growing delay until it expires. It refuses to follow redirects, to
// read long answers, and to connect to private addresses of clients that are not
// allowed them.
//
// Threat: receivers that hang, fail, redirect to a machine inside, answer without
// end or were renamed to an address inside (DNS rebinding); one dead receiver
// with a thousand deliveries that makes all others wait.
package backchannel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/countersign/countersign/server/audit"
	"github.com/countersign/countersign/server/clients"
	"github.com/countersign/countersign/server/oauth"
	"github.com/countersign/countersign/storage"
)

const (
	// interval is how often the store is asked for what is due.
	interval = time.Second

	// timeout bounds an attempt, lease is how long it is left to who took it.
	timeout = 5 * time.Second
	lease   = 30 * time.Second

	// A failed delivery is tried again after firstDelay, then after three times
	// that, up to lastDelay.
	firstDelay = 5 * time.Second
	lastDelay  = time.Hour

	// rollout is how long replicas may run with an older configuration than others: a
	// client that one of them does not know may be one that was just added.
	rollout = 30 * time.Minute
)

// Results of attempts, for the count.
const (
	resultDelivered = "delivered"
	resultFailed    = "failed"
	resultExpired   = "expired"
	resultDropped   = "dropped" // the client is gone, or asks for it no more
)

// Config is what New needs. All fields but Audit are required.
type Config struct {
	Policy  oauth.Policy
	Store   storage.LogoutDeliveries
	Clients storage.Clients
	// Sign makes a compact JWS with the given algorithm and `typ`.
	Sign func(alg, typ string, claims any) (compact, kid string, err error)
	// Count is told the result of each attempt.
	Count func(result string)
	// Audit may be nil.
	Audit  *audit.Log
	Now    func() time.Time
	Random io.Reader
	Logger *slog.Logger
}

// Deliverer tells clients. It is safe for concurrent use.
type Deliverer struct {
	cfg  Config
	wake chan struct{}
	// public and private send to clients that may have private addresses and to
	// those that may not; they share no connections.
	public, private *http.Client

	lanes lanes
	// trouble is whether the store failed when last asked; used by Run alone.
	trouble bool
}

// New checks the configuration. It starts nothing: Run does.
func New(cfg Config) (*Deliverer, error) {
	if cfg.Store == nil || cfg.Clients == nil || cfg.Sign == nil || cfg.Count == nil || cfg.Now == nil ||
		cfg.Random == nil || cfg.Logger == nil {
		return nil, errors.New("backchannel: every field of Config but Audit is required")
	}
	return &Deliverer{
		cfg: cfg, wake: make(chan struct{}, 1), lanes: lanes{byClient: map[string]*lane{}},
		public: newSender(false), private: newSender(true),
	}, nil
}

// Wake says that there may be something to tell. It does not wait.
func (d *Deliverer) Wake() {
	select {
	case d.wake <- struct{}{}:
	default: // Run is about to look anyway
	}
}

// Run delivers until ctx is done, and then waits for what is under way, which is
// cut short. What was not delivered is due again when its lease is over.
func (d *Deliverer) Run(ctx context.Context) {
	var running sync.WaitGroup
	defer running.Wait()
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		d.start(ctx, &running)
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		case <-d.wake:
		}
	}
}

// start begins as many attempts as are due and there is room for.
func (d *Deliverer) start(ctx context.Context, running *sync.WaitGroup) {
	for ctx.Err() == nil {
		now := d.now()
		closed, room := d.lanes.closed(now)
		if !room {
			return // whoever finishes wakes us
		}
		delivery, err := d.cfg.Store.ClaimLogoutDelivery(ctx, closed, now, now.Add(lease))
		if errors.Is(err, storage.ErrNotFound) {
			err = nil
			d.report(ctx, err)
			return
		}
		if d.report(ctx, err); err != nil {
			return
		}
		d.lanes.enter(delivery.ClientID)
		running.Go(func() {
			defer d.Wake()
			failed := d.deliver(ctx, delivery)
			d.left(ctx, delivery.ClientID, failed)
		})
	}
}

// report logs when the store begins to fail and when it works again.
func (d *Deliverer) report(ctx context.Context, err error) {
	switch {
	case ctx.Err() != nil:
		return // shutting down
	case err != nil && !d.trouble:
		d.cfg.Logger.ErrorContext(ctx, "clients cannot be told of ended sessions: the store fails", "error", err)
	case err == nil && d.trouble:
		d.cfg.Logger.InfoContext(ctx, "clients are told of ended sessions again")
	}
	d.trouble = err != nil
}

// left ends an attempt, and logs when a client begins to fail and when it works
// again.
func (d *Deliverer) left(ctx context.Context, clientID string, failed error) {
	before, after := d.lanes.leave(clientID, failed, d.now())
	if ctx.Err() != nil {
		return // what was cut short says nothing of the client
	}
	if failed != nil {
		d.cfg.Count(resultFailed)
	}
	switch {
	case before == 0 && after > 0:
		d.cfg.Logger.WarnContext(ctx, "a client does not take its logout tokens, trying again",
			slog.String("client", clientID), slog.String("cause", failed.Error()))
	case before > 0 && after == 0:
		d.cfg.Logger.InfoContext(ctx, "a client takes its logout tokens again", slog.String("client", clientID))
	}
}

// deliver makes one attempt. It returns the receiver's failure: nothing else is
// held against it.
func (d *Deliverer) deliver(ctx context.Context, delivery storage.LogoutDelivery) (failed error) {
	client, err := clients.Lookup(ctx, d.cfg.Clients, delivery.ClientID)
	if err != nil {
		return nil // it is due again when the lease is over
	}
	if client == nil || client.BackchannelLogoutURI == "" {
		if d.now().Before(delivery.EndedAt.Add(rollout)) {
			d.postpone(ctx, delivery) // for a replica that knows it
			return nil
		}
		d.finish(ctx, delivery, resultDropped)
		return nil
	}
	if !d.now().Before(delivery.ExpiresAt) {
		d.cfg.Logger.WarnContext(ctx, "giving up to tell a client of an ended session",
			slog.String("client", client.ID), slog.Int64("attempts", delivery.Attempts-1), slog.Time("ended", delivery.EndedAt))
		if d.finish(ctx, delivery, resultExpired) {
			d.cfg.Audit.Write(ctx, audit.LogoutAbandoned{Session: sessionOf(delivery), ClientID: client.ID, Attempts: delivery.Attempts - 1})
		}
		return nil
	}
	token, err := d.token(*client, delivery)
	if err != nil {
		d.cfg.Logger.ErrorContext(ctx, "signing a logout token failed", "error", err)
		return nil
	}
	if failed = d.send(ctx, *client, token); failed == nil {
		d.cfg.Audit.Write(ctx, audit.LogoutDelivered{Session: sessionOf(delivery), ClientID: client.ID, Attempts: delivery.Attempts})
		d.finish(ctx, delivery, resultDelivered)
		return nil
	}
	if ctx.Err() == nil {
		d.postpone(ctx, delivery)
	}
	return failed
}

// token makes the token of one attempt.
func (d *Deliverer) token(client storage.Client, delivery storage.LogoutDelivery) (string, error) {
	var unique [16]byte
	if _, err := io.ReadFull(d.cfg.Random, unique[:]); err != nil {
		return "", fmt.Errorf("reading randomness: %w", err)
	}
	claims := oauth.NewLogoutToken(d.cfg.Policy, delivery, unique, d.now())
	token, _, err := d.cfg.Sign(oauth.SigningAlg(d.cfg.Policy, client), oauth.JWTTypeLogoutToken, claims)
	return token, err
}

// finish takes a delivery out of the store, and reports whether it did. When that
// fails it is made again: a client may be told twice, never not at all.
func (d *Deliverer) finish(ctx context.Context, delivery storage.LogoutDelivery, result string) bool {
	d.cfg.Count(result)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
	defer cancel()
	if err := d.cfg.Store.FinishLogoutDelivery(ctx, delivery); err != nil {
		d.cfg.Logger.WarnContext(ctx, "a delivery stays in the store", "error", err)
		return false
	}
	return true
}

// sessionOf names the session that has ended.
func sessionOf(d storage.LogoutDelivery) audit.Session {
	return audit.Session{SID: d.SID, Person: audit.Person{ConnectorID: d.ConnectorID, UserID: d.UserID}}
}

// postpone puts the next attempt off, to the delivery's end at most: whoever takes
// it then gives it up and says so. Garbage collection, which comes a little later,
// says nothing. When that fails, the lease does.
func (d *Deliverer) postpone(ctx context.Context, delivery storage.LogoutDelivery) {
	next := d.now().Add(delay(delivery.Attempts))
	if next.After(delivery.ExpiresAt) {
		next = delivery.ExpiresAt
	}
	if err := d.cfg.Store.PostponeLogoutDelivery(ctx, delivery, next); err != nil {
		d.cfg.Logger.WarnContext(ctx, "a delivery could not be put off", "error", err)
	}
}

// delay is how long to wait after so many attempts.
func delay(attempts int64) time.Duration {
	wait := firstDelay
	for ; attempts > 1 && wait < lastDelay; attempts-- {
		wait *= 3
	}
	return min(wait, lastDelay)
}

// now is the time as records keep it.
func (d *Deliverer) now() time.Time { return d.cfg.Now().UTC().Truncate(time.Microsecond) }
