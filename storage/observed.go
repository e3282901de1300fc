package storage

import (
	"context"
	"time"
)

// Observer is told of every call of a Store: the method, how it ended and how
// long it took. It is called once per call, on the caller's goroutine.
type Observer func(ctx context.Context, method string, err error, took time.Duration)

// Observed returns a Store that reports each call of store to observe, whatever
// the engine. now is the clock that calls are measured with.
func Observed(store Store, now func() time.Time, observe Observer) Store {
	return &observed{store: store, now: now, observe: observe}
}

type observed struct {
	store   Store
	now     func() time.Time
	observe Observer
}

var _ Store = (*observed)(nil)

// call starts a measurement; the function it returns ends it.
func (o *observed) call(ctx context.Context, method string, err *error) func() {
	start := o.now()
	return func() { o.observe(ctx, method, *err, o.now().Sub(start)) }
}

func (o *observed) SignIn(ctx context.Context, in SignIn) (err error) {
	defer o.call(ctx, "SignIn", &err)()
	return o.store.SignIn(ctx, in)
}

func (o *observed) Session(ctx context.Context, idHash [32]byte, now time.Time) (_ Session, _ Identity, err error) {
	defer o.call(ctx, "Session", &err)()
	return o.store.Session(ctx, idHash, now)
}

func (o *observed) EndSession(ctx context.Context, idHash [32]byte) (err error) {
	defer o.call(ctx, "EndSession", &err)()
	return o.store.EndSession(ctx, idHash)
}

func (o *observed) Authorize(ctx context.Context, in Authorization) (err error) {
	defer o.call(ctx, "Authorize", &err)()
	return o.store.Authorize(ctx, in)
}

func (o *observed) Grant(ctx context.Context, id GrantID, now time.Time) (_ Grant, _ Identity, err error) {
	defer o.call(ctx, "Grant", &err)()
	return o.store.Grant(ctx, id, now)
}

func (o *observed) RedeemCode(ctx context.Context, id GrantID, now, expiresAt time.Time) (err error) {
	defer o.call(ctx, "RedeemCode", &err)()
	return o.store.RedeemCode(ctx, id, now, expiresAt)
}

func (o *observed) RevokeGrant(ctx context.Context, id GrantID, now time.Time, reason string) (_ bool, err error) {
	defer o.call(ctx, "RevokeGrant", &err)()
	return o.store.RevokeGrant(ctx, id, now, reason)
}

func (o *observed) Consent(ctx context.Context, connectorID, userID, clientID string, now time.Time) (_ Consent, err error) {
	defer o.call(ctx, "Consent", &err)()
	return o.store.Consent(ctx, connectorID, userID, clientID, now)
}

func (o *observed) RecordLoginFailure(ctx context.Context, keys []string, now time.Time, window time.Duration) (err error) {
	defer o.call(ctx, "RecordLoginFailure", &err)()
	return o.store.RecordLoginFailure(ctx, keys, now, window)
}

func (o *observed) LoginFailures(ctx context.Context, keys []string, now time.Time) (_ map[string]LoginFailure, err error) {
	defer o.call(ctx, "LoginFailures", &err)()
	return o.store.LoginFailures(ctx, keys, now)
}

func (o *observed) SigningKeys(ctx context.Context) (_ []SigningKey, err error) {
	defer o.call(ctx, "SigningKeys", &err)()
	return o.store.SigningKeys(ctx)
}

func (o *observed) AddSigningKey(ctx context.Context, key SigningKey) (err error) {
	defer o.call(ctx, "AddSigningKey", &err)()
	return o.store.AddSigningKey(ctx, key)
}

func (o *observed) DeleteSigningKey(ctx context.Context, kid string) (err error) {
	defer o.call(ctx, "DeleteSigningKey", &err)()
	return o.store.DeleteSigningKey(ctx, kid)
}

func (o *observed) AcquireLease(ctx context.Context, name, holder string, now, until time.Time) (_ bool, err error) {
	defer o.call(ctx, "AcquireLease", &err)()
	return o.store.AcquireLease(ctx, name, holder, now, until)
}

func (o *observed) ReleaseLease(ctx context.Context, name, holder string) (err error) {
	defer o.call(ctx, "ReleaseLease", &err)()
	return o.store.ReleaseLease(ctx, name, holder)
}

func (o *observed) MasterSecret(ctx context.Context, candidate []byte, now time.Time) (_ []byte, err error) {
	defer o.call(ctx, "MasterSecret", &err)()
	return o.store.MasterSecret(ctx, candidate, now)
}

func (o *observed) Ping(ctx context.Context) (_ time.Time, err error) {
	defer o.call(ctx, "Ping", &err)()
	return o.store.Ping(ctx)
}

// Close is not a call to the database and is not observed.
func (o *observed) Close() error { return o.store.Close() }
