package storagetest

import (
	"context"
	"testing"
	"time"

	"github.com/countersign/countersign/storage"
)

// signedIn stores what a scene begins with.
func signedIn(t *testing.T, s storage.Store, scene *Scene) {
	t.Helper()
	must(t, ErrorOf(s.SignIn(t.Context(), scene.In)))
}

// codeRedeemed stores a grant that can be rotated.
func codeRedeemed(t *testing.T, s storage.Store, scene *Scene) {
	t.Helper()
	signedIn(t, s, scene)
	must(t, s.RedeemCode(t.Context(), redemption(scene.In)))
}

// toBeTold stores a delivery that is due.
func toBeTold(t *testing.T, s storage.Store, scene *Scene) {
	t.Helper()
	signedIn(t, s, scene)
	_, err := s.EndSession(t.Context(), scene.In.Session.IDHash, scene.Next.Ending)
	must(t, err)
}

// claimed is toBeTold, and takes the delivery.
func claimed(t *testing.T, s storage.Store, scene *Scene) {
	t.Helper()
	toBeTold(t, s, scene)
	var others []string
	for {
		d, err := s.ClaimLogoutDelivery(t.Context(), others, epoch, epoch.Add(time.Minute))
		must(t, err)
		if d.SID == scene.In.Session.SID {
			scene.Delivery = d
			return
		}
		others = append(others, d.ClientID)
	}
}

func redemption(in storage.SignIn) storage.Redemption {
	return storage.Redemption{ID: in.Grant.ID, Now: epoch, ExpiresAt: epoch.Add(720 * time.Hour), UserAgent: "agent", IPAddress: "address"}
}

// leased takes the lease of a scene.
func leased(t *testing.T, s storage.Store, scene *Scene) {
	t.Helper()
	must(t, lease(t.Context(), s, *scene))
}

func lease(ctx context.Context, s storage.Store, scene Scene) error {
	held, err := s.AcquireLease(ctx, scene.Name, "holder", epoch, epoch.Add(time.Hour))
	if err == nil && !held {
		return storage.ErrConflict
	}
	return err
}

// steps are all transitions of the contract.
var steps = map[string]step{
	"SignIn": {
		prepare: func(t *testing.T, s storage.Store, scene *Scene) {
			signedIn(t, s, scene)
			must(t, s.RecordLoginFailure(t.Context(), failureKeys(*scene), epoch, time.Hour))
		},
		do: func(ctx context.Context, s storage.Store, scene Scene) error {
			return ErrorOf(s.SignIn(ctx, scene.Next))
		},
		again: storage.ErrConflict,
	},
	"EndSession": {
		prepare: signedIn,
		do: func(ctx context.Context, s storage.Store, scene Scene) error {
			_, err := s.EndSession(ctx, scene.In.Session.IDHash, scene.Next.Ending)
			return err
		},
	},
	"EndSessions": {
		prepare: signedIn,
		do: func(ctx context.Context, s storage.Store, scene Scene) error {
			_, err := endAll(ctx, s, storage.Selector{SID: scene.In.Session.SID}, 10, scene.Next.Ending)
			return err
		},
	},
	"Authorize": {
		prepare: signedIn,
		do: func(ctx context.Context, s storage.Store, scene Scene) error {
			return s.Authorize(ctx, scene.Authorization)
		},
		again: storage.ErrConflict,
	},
	"RedeemCode": {
		prepare: signedIn,
		do: func(ctx context.Context, s storage.Store, scene Scene) error {
			return s.RedeemCode(ctx, redemption(scene.In))
		},
		again: storage.ErrConflict,
	},
	"RotateGrant": {
		prepare: codeRedeemed,
		do: func(ctx context.Context, s storage.Store, scene Scene) error {
			grant := *scene.In.Grant
			_, _, err := s.RotateGrant(ctx, storage.Rotation{
				ID: grant.ID, ClientID: grant.ClientID, Generation: grant.Generation, Next: grant.Generation + 1,
				Now: epoch.Add(time.Minute), UsedAfter: epoch.Add(-tick), UserAgent: scene.Name, IPAddress: scene.Name,
			})
			return err
		},
		again: storage.ErrConflict,
	},
	"RevokeGrant": {
		prepare: codeRedeemed,
		do: func(ctx context.Context, s storage.Store, scene Scene) error {
			_, err := s.RevokeGrant(ctx, scene.In.Grant.ID, epoch, scene.Name)
			return err
		},
	},
	"RevokeGrants": {
		prepare: func(t *testing.T, s storage.Store, scene *Scene) {
			codeRedeemed(t, s, scene)
			must(t, s.Authorize(t.Context(), scene.Authorization))
		},
		do: func(ctx context.Context, s storage.Store, scene Scene) error {
			_, err := revokeOf(ctx, s, scene.In.Identity.ConnectorID, scene.In.Identity.UserID, epoch, scene.Name)
			return err
		},
	},
	"RecheckIdentity": {
		prepare: signedIn,
		do: func(ctx context.Context, s storage.Store, scene Scene) error {
			next := scene.Next.Identity
			next.ConnectorID, next.UserID = scene.In.Identity.ConnectorID, scene.In.Identity.UserID
			next.CheckedAt = scene.In.Identity.CheckedAt.Add(time.Minute)
			return s.RecheckIdentity(ctx, next, scene.Next.SealedSecret)
		},
	},
	"ClaimRecheck": {
		prepare: signedIn,
		do: func(ctx context.Context, s storage.Store, scene Scene) error {
			_, _, err := s.ClaimRecheck(ctx, claim(scene.In.Identity, epoch))
			return err
		},
		again: storage.ErrConflict,
	},
	"KeepArrival": {
		do: func(ctx context.Context, s storage.Store, scene Scene) error {
			return s.KeepArrival(ctx, scene.Arrival, epoch)
		},
		again: storage.ErrConflict,
	},
	"RecordLoginFailure": {
		do: func(ctx context.Context, s storage.Store, scene Scene) error {
			return s.RecordLoginFailure(ctx, failureKeys(scene), epoch, time.Hour)
		},
	},
	"AddSigningKey": {
		do:    func(ctx context.Context, s storage.Store, scene Scene) error { return s.AddSigningKey(ctx, scene.Key) },
		again: storage.ErrConflict,
	},
	"DeleteSigningKey": {
		prepare: func(t *testing.T, s storage.Store, scene *Scene) { must(t, s.AddSigningKey(t.Context(), scene.Key)) },
		do: func(ctx context.Context, s storage.Store, scene Scene) error {
			_, err := s.DeleteSigningKey(ctx, scene.Key.KID)
			return err
		},
	},
	"AcquireLease": {do: lease},
	"ReleaseLease": {
		prepare: leased,
		do: func(ctx context.Context, s storage.Store, scene Scene) error {
			return s.ReleaseLease(ctx, scene.Name, "holder")
		},
	},
	"DeleteExpired": {
		prepare: func(t *testing.T, s storage.Store, scene *Scene) {
			signedIn(t, s, scene)
			// Seen at epoch, and expired when they are deleted.
			must(t, s.Authorize(t.Context(), scene.Authorization))
			next := scene.Next
			next.Replaces, next.Ending = [32]byte{}, storage.Ending{}
			must(t, ErrorOf(s.SignIn(t.Context(), next)))
		},
		do: func(ctx context.Context, s storage.Store, _ Scene) error {
			_, err := s.DeleteExpired(ctx, storage.Expired{Table: storage.TableGrants, Now: epoch.AddDate(1, 0, 0), Limit: 1e6})
			return err
		},
	},
	"ClaimLogoutDelivery": {
		prepare: toBeTold,
		do: func(ctx context.Context, s storage.Store, scene Scene) error {
			_, err := s.ClaimLogoutDelivery(ctx, nil, epoch, epoch.Add(time.Minute))
			return err
		},
		again: storage.ErrNotFound,
	},
	"PostponeLogoutDelivery": {
		prepare: claimed,
		do: func(ctx context.Context, s storage.Store, scene Scene) error {
			return s.PostponeLogoutDelivery(ctx, scene.Delivery, epoch)
		},
	},
	"FinishLogoutDelivery": {
		prepare: toBeTold,
		do: func(ctx context.Context, s storage.Store, scene Scene) error {
			session := scene.In.Session
			return s.FinishLogoutDelivery(ctx, storage.LogoutDelivery{SID: session.SID, ClientID: scene.In.Grant.ClientID})
		},
	},
}
