package telemetry

import (
	"context"
	"time"

	"github.com/countersign/countersign/storage"
)

// Store measures the calls of next, and makes a span of each within the span of
// its request. It changes nothing of what is asked or answered.
func (m *Metrics) Store(next storage.Store) storage.Store { return &store{Store: next, metrics: m} }

// store has a method for each of storage.Store; a test holds that.
type store struct {
	storage.Store
	metrics *Metrics
}

// call begins a call of the method; what it returns ends it with its error.
func (s *store) call(ctx context.Context, method string) (context.Context, func(*error)) {
	started := s.metrics.now()
	ctx, end := child(ctx, "store "+method)
	return ctx, func(err *error) {
		s.metrics.StoreCall(method, *err, s.metrics.now().Sub(started))
		result := storeResult(*err)
		end(result == "unavailable" || result == Errored)
	}
}

func (s *store) MasterSecret(ctx context.Context, candidate []byte, now time.Time) (_ []byte, err error) {
	ctx, end := s.call(ctx, "MasterSecret")
	defer end(&err)
	return s.Store.MasterSecret(ctx, candidate, now)
}

func (s *store) Ping(ctx context.Context) (_ time.Time, err error) {
	ctx, end := s.call(ctx, "Ping")
	defer end(&err)
	return s.Store.Ping(ctx)
}

func (s *store) SignIn(ctx context.Context, in storage.SignIn) (_ bool, err error) {
	ctx, end := s.call(ctx, "SignIn")
	defer end(&err)
	return s.Store.SignIn(ctx, in)
}

func (s *store) Session(ctx context.Context, idHash [32]byte, now time.Time) (_ storage.Session, _ storage.Identity, err error) {
	ctx, end := s.call(ctx, "Session")
	defer end(&err)
	return s.Store.Session(ctx, idHash, now)
}

func (s *store) EndSession(ctx context.Context, idHash [32]byte, with storage.Ending) (ended bool, err error) {
	ctx, end := s.call(ctx, "EndSession")
	defer end(&err)
	return s.Store.EndSession(ctx, idHash, with)
}

func (s *store) Authorize(ctx context.Context, in storage.Authorization) (err error) {
	ctx, end := s.call(ctx, "Authorize")
	defer end(&err)
	return s.Store.Authorize(ctx, in)
}

func (s *store) Grant(ctx context.Context, id storage.GrantID, now time.Time) (_ storage.Grant, _ storage.Identity, err error) {
	ctx, end := s.call(ctx, "Grant")
	defer end(&err)
	return s.Store.Grant(ctx, id, now)
}

func (s *store) RedeemCode(ctx context.Context, in storage.Redemption) (err error) {
	ctx, end := s.call(ctx, "RedeemCode")
	defer end(&err)
	return s.Store.RedeemCode(ctx, in)
}

func (s *store) RotateGrant(ctx context.Context, in storage.Rotation) (_ storage.Grant, _ storage.Identity, err error) {
	ctx, end := s.call(ctx, "RotateGrant")
	defer end(&err)
	return s.Store.RotateGrant(ctx, in)
}

func (s *store) RevokeGrants(ctx context.Context, in storage.Revocation) (_ storage.Revoked, err error) {
	ctx, end := s.call(ctx, "RevokeGrants")
	defer end(&err)
	return s.Store.RevokeGrants(ctx, in)
}

func (s *store) GrantsOf(ctx context.Context, in storage.Holding) (_ []storage.Grant, err error) {
	ctx, end := s.call(ctx, "GrantsOf")
	defer end(&err)
	return s.Store.GrantsOf(ctx, in)
}

func (s *store) EndSessions(ctx context.Context, in storage.SessionEnd) (_ storage.Revoked, err error) {
	ctx, end := s.call(ctx, "EndSessions")
	defer end(&err)
	return s.Store.EndSessions(ctx, in)
}

func (s *store) SessionsOf(ctx context.Context, in storage.Holding) (_ []storage.Session, err error) {
	ctx, end := s.call(ctx, "SessionsOf")
	defer end(&err)
	return s.Store.SessionsOf(ctx, in)
}

func (s *store) RecheckIdentity(ctx context.Context, id storage.Identity, sealedSecret []byte) (err error) {
	ctx, end := s.call(ctx, "RecheckIdentity")
	defer end(&err)
	return s.Store.RecheckIdentity(ctx, id, sealedSecret)
}

func (s *store) ClaimRecheck(ctx context.Context, in storage.RecheckClaim) (_ storage.Identity, _ []byte, err error) {
	ctx, end := s.call(ctx, "ClaimRecheck")
	defer end(&err)
	return s.Store.ClaimRecheck(ctx, in)
}

func (s *store) KeepArrival(ctx context.Context, a storage.Arrival, now time.Time) (err error) {
	ctx, end := s.call(ctx, "KeepArrival")
	defer end(&err)
	return s.Store.KeepArrival(ctx, a, now)
}

func (s *store) TakeArrival(ctx context.Context, id [32]byte, now time.Time) (_ storage.Arrival, err error) {
	ctx, end := s.call(ctx, "TakeArrival")
	defer end(&err)
	return s.Store.TakeArrival(ctx, id, now)
}

func (s *store) RevokeGrant(ctx context.Context, id storage.GrantID, now time.Time, reason string) (_ bool, err error) {
	ctx, end := s.call(ctx, "RevokeGrant")
	defer end(&err)
	return s.Store.RevokeGrant(ctx, id, now, reason)
}

func (s *store) Consent(ctx context.Context, connectorID, userID, clientID string, now time.Time) (_ storage.Consent, err error) {
	ctx, end := s.call(ctx, "Consent")
	defer end(&err)
	return s.Store.Consent(ctx, connectorID, userID, clientID, now)
}

func (s *store) RecordLoginFailure(ctx context.Context, keys []string, now time.Time, window time.Duration) (err error) {
	ctx, end := s.call(ctx, "RecordLoginFailure")
	defer end(&err)
	return s.Store.RecordLoginFailure(ctx, keys, now, window)
}

func (s *store) LoginFailures(ctx context.Context, keys []string, now time.Time) (_ map[string]storage.LoginFailure, err error) {
	ctx, end := s.call(ctx, "LoginFailures")
	defer end(&err)
	return s.Store.LoginFailures(ctx, keys, now)
}

func (s *store) SigningKeys(ctx context.Context) (_ []storage.SigningKey, err error) {
	ctx, end := s.call(ctx, "SigningKeys")
	defer end(&err)
	return s.Store.SigningKeys(ctx)
}

func (s *store) AddSigningKey(ctx context.Context, key storage.SigningKey) (err error) {
	ctx, end := s.call(ctx, "AddSigningKey")
	defer end(&err)
	return s.Store.AddSigningKey(ctx, key)
}

func (s *store) DeleteSigningKey(ctx context.Context, kid string) (deleted bool, err error) {
	ctx, end := s.call(ctx, "DeleteSigningKey")
	defer end(&err)
	return s.Store.DeleteSigningKey(ctx, kid)
}

func (s *store) AcquireLease(ctx context.Context, name, holder string, now, until time.Time) (_ bool, err error) {
	ctx, end := s.call(ctx, "AcquireLease")
	defer end(&err)
	return s.Store.AcquireLease(ctx, name, holder, now, until)
}

func (s *store) ReleaseLease(ctx context.Context, name, holder string) (err error) {
	ctx, end := s.call(ctx, "ReleaseLease")
	defer end(&err)
	return s.Store.ReleaseLease(ctx, name, holder)
}

func (s *store) DeleteExpired(ctx context.Context, in storage.Expired) (_ storage.Deleted, err error) {
	ctx, end := s.call(ctx, "DeleteExpired")
	defer end(&err)
	return s.Store.DeleteExpired(ctx, in)
}

func (s *store) ClaimLogoutDelivery(ctx context.Context, except []string, now, until time.Time) (_ storage.LogoutDelivery, err error) {
	ctx, end := s.call(ctx, "ClaimLogoutDelivery")
	defer end(&err)
	return s.Store.ClaimLogoutDelivery(ctx, except, now, until)
}

func (s *store) PostponeLogoutDelivery(ctx context.Context, d storage.LogoutDelivery, next time.Time) (err error) {
	ctx, end := s.call(ctx, "PostponeLogoutDelivery")
	defer end(&err)
	return s.Store.PostponeLogoutDelivery(ctx, d, next)
}

func (s *store) FinishLogoutDelivery(ctx context.Context, d storage.LogoutDelivery) (err error) {
	ctx, end := s.call(ctx, "FinishLogoutDelivery")
	defer end(&err)
	return s.Store.FinishLogoutDelivery(ctx, d)
}
