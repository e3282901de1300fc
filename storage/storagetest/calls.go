package storagetest

import (
	"context"
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/countersign/countersign/storage"
)

// calls are one call of each method, by name.
func calls(s storage.Store, in storage.SignIn) map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		"SignIn": func(ctx context.Context) error { return ErrorOf(s.SignIn(ctx, signIn())) },
		"EndSession": func(ctx context.Context) error {
			_, err := s.EndSession(ctx, [32]byte{1}, storage.Ending{Now: epoch, RevokeClientIDs: []string{"a"}, TellClientIDs: []string{"a"}})
			return err
		},
		"ClaimLogoutDelivery": func(ctx context.Context) error {
			_, err := s.ClaimLogoutDelivery(ctx, nil, epoch, epoch.Add(time.Minute))
			return err
		},
		"PostponeLogoutDelivery": func(ctx context.Context) error {
			return s.PostponeLogoutDelivery(ctx, storage.LogoutDelivery{SID: "a"}, epoch)
		},
		"FinishLogoutDelivery": func(ctx context.Context) error {
			return s.FinishLogoutDelivery(ctx, storage.LogoutDelivery{SID: "a"})
		},
		"Authorize": func(ctx context.Context) error { return s.Authorize(ctx, authorization(in)) },
		"Session": func(ctx context.Context) error {
			_, _, err := s.Session(ctx, in.Session.IDHash, epoch)
			return err
		},
		"Grant": func(ctx context.Context) error {
			_, _, err := s.Grant(ctx, in.Grant.ID, epoch)
			return err
		},
		"RedeemCode": func(ctx context.Context) error {
			return s.RedeemCode(ctx, storage.Redemption{ID: in.Grant.ID, Now: epoch, ExpiresAt: epoch.Add(time.Hour)})
		},
		"RotateGrant": func(ctx context.Context) error {
			_, _, err := s.RotateGrant(ctx, rotation(in))
			return err
		},
		"RevokeGrants": func(ctx context.Context) error {
			_, err := s.RevokeGrants(ctx, storage.Revocation{
				Of:  storage.Selector{ConnectorID: in.Identity.ConnectorID, UserID: in.Identity.UserID},
				Now: epoch, Before: epoch, Reason: "because", Limit: 10,
			})
			return err
		},
		"EndSessions": func(ctx context.Context) error {
			_, err := s.EndSessions(ctx, storage.SessionEnd{
				Of: storage.Selector{SID: in.Session.SID}, Before: epoch, With: ending([]string{"a"}, []string{"a"}), Limit: 10,
			})
			return err
		},
		"GrantsOf": func(ctx context.Context) error {
			_, err := s.GrantsOf(ctx, storage.Holding{ConnectorID: "a", UserID: "b", Now: epoch, Limit: 10})
			return err
		},
		"SessionsOf": func(ctx context.Context) error {
			_, err := s.SessionsOf(ctx, storage.Holding{ConnectorID: "a", UserID: "b", Now: epoch, Limit: 10})
			return err
		},
		"RecheckIdentity": func(ctx context.Context) error { return s.RecheckIdentity(ctx, in.Identity, []byte{1}) },
		"ClaimRecheck": func(ctx context.Context) error {
			_, _, err := s.ClaimRecheck(ctx, claim(in.Identity, epoch))
			return err
		},
		"KeepArrival": func(ctx context.Context) error { return s.KeepArrival(ctx, newArrival(), epoch) },
		"TakeArrival": func(ctx context.Context) error {
			_, err := s.TakeArrival(ctx, [32]byte{1}, epoch)
			return err
		},
		"RevokeGrant": func(ctx context.Context) error {
			_, err := s.RevokeGrant(ctx, in.Grant.ID, epoch, "because")
			return err
		},
		"Consent": func(ctx context.Context) error {
			_, err := s.Consent(ctx, "a", "b", "c", epoch)
			return err
		},
		"RecordLoginFailure": func(ctx context.Context) error {
			return s.RecordLoginFailure(ctx, []string{"a"}, epoch, time.Hour)
		},
		"LoginFailures": func(ctx context.Context) error {
			_, err := s.LoginFailures(ctx, []string{"a"}, epoch)
			return err
		},
		"SigningKeys": func(ctx context.Context) error {
			_, err := s.SigningKeys(ctx)
			return err
		},
		"AddSigningKey": func(ctx context.Context) error {
			var key storage.SigningKey
			Fill(&key)
			return s.AddSigningKey(ctx, key)
		},
		"DeleteSigningKey": func(ctx context.Context) error {
			_, err := s.DeleteSigningKey(ctx, "a")
			return err
		},
		"AcquireLease": func(ctx context.Context) error {
			_, err := s.AcquireLease(ctx, "job", "holder", epoch, epoch.Add(time.Hour))
			return err
		},
		"ReleaseLease": func(ctx context.Context) error { return s.ReleaseLease(ctx, "job", "holder") },
		"DeleteExpired": func(ctx context.Context) error {
			_, err := s.DeleteExpired(ctx, storage.Expired{Table: storage.TableGrants, Now: epoch, Limit: 1})
			return err
		},
		"MasterSecret": func(ctx context.Context) error {
			_, err := s.MasterSecret(ctx, []byte("secret"), epoch)
			return err
		},
		"Ping": func(ctx context.Context) error {
			_, err := s.Ping(ctx)
			return err
		},
	}
}

// Calls are one call of each method of s, by name, none of which finds anything:
// for tests of a database that is away.
func Calls(t *testing.T, s storage.Store) map[string]func(context.Context) error {
	t.Helper()
	all := calls(s, signIn())
	contract := reflect.TypeFor[storage.Store]()
	for i := range contract.NumMethod() {
		if name := contract.Method(i).Name; all[name] == nil && name != "Close" {
			t.Fatalf("storagetest calls no %s", name)
		}
	}
	return all
}

// Valid are the records of a sign-in that every engine stores, alive at the time
// returned with them.
func Valid() (storage.SignIn, time.Time) { return signIn(), epoch }

// Redeemed stores a grant whose code was redeemed, and returns the rotation of
// its first refresh token.
func Redeemed(t testing.TB, s storage.Store) storage.Rotation {
	t.Helper()
	in := signIn()
	if err := ErrorOf(s.SignIn(t.Context(), in)); err != nil {
		t.Fatal(err)
	}
	if err := s.RedeemCode(t.Context(), storage.Redemption{ID: in.Grant.ID, Now: epoch, ExpiresAt: epoch.Add(720 * time.Hour)}); err != nil {
		t.Fatal(err)
	}
	return rotation(in)
}

func isUnavailable(err error) bool { return errors.Is(err, storage.ErrUnavailable) }
