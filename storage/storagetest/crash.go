package storagetest

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/countersign/countersign/storage"
)

// Crash takes a step (by its name in Transition) on another handle to the
// database, whose process or connection ends after so many parts of whatever an
// engine does for one: statements, or messages. It returns what the caller learns,
// ErrLost when it learns nothing, and whether the step got through without.
type Crash func(t *testing.T, name string, scene Scene, parts int) (through bool, err error)

// ErrLost is what the caller of a process that was killed learns.
var ErrLost = errors.New("the process is gone")

// Scene are the records that a step is about. It survives JSON, so that another
// process can take the step.
type Scene struct {
	// In is what was signed in.
	In storage.SignIn
	// Next is what signs in, and replaces it.
	Next storage.SignIn
	// Authorization is a further grant of the session of In.
	Authorization storage.Authorization
	Key           storage.SigningKey
	Delivery      storage.LogoutDelivery
	Arrival       storage.Arrival
	// Name is of a lease and of a login failure.
	Name string
}

// step is a transition of the contract in one scene.
type step struct {
	// prepare stores what the step starts from. It may be nil.
	prepare func(*testing.T, storage.Store, *Scene)
	do      func(context.Context, storage.Store, Scene) error
	// again is what the step returns when it is taken once more.
	again error
}

// Transition takes the step of that name: what the process does that Crash kills.
func Transition(ctx context.Context, name string, s storage.Store, scene Scene) error {
	if name == masterSecret {
		_, err := s.MasterSecret(ctx, []byte(scene.Name), epoch)
		return err
	}
	if name == takeArrival {
		_, err := s.TakeArrival(ctx, scene.Arrival.ID, epoch)
		return err
	}
	taken, ok := steps[name]
	if !ok {
		return fmt.Errorf("there is no transition %q", name)
	}
	return taken.do(ctx, s, scene)
}

// others are no steps: they change nothing, so that a crash leaves nothing, or have
// a test of their own.
var others = []string{"Session", "SessionsOf", "Grant", "GrantsOf", "Consent", "LoginFailures", "SigningKeys", "Ping", "Close", masterSecret, takeArrival}

// RunCrashes crashes every transition of the contract before each of its parts,
// until it gets through. The database must show all of it or nothing of it,
// everything that was acknowledged, and repeating must lead to the end that the
// contract promises.
func RunCrashes(t *testing.T, create func(t *testing.T) (Database, Crash)) {
	for i := range reflect.TypeFor[storage.Store]().NumMethod() {
		name := reflect.TypeFor[storage.Store]().Method(i).Name
		if _, ok := steps[name]; !ok && !slices.Contains(others, name) {
			t.Errorf("storagetest crashes no %s", name)
		}
	}
	open, crash := create(t)
	s := open(t)
	for name := range steps {
		t.Run(name, func(t *testing.T) {
			nothing, all := 0, 0
			for parts := 0; ; parts++ {
				through, happened := crashes(t, s, crash, name, parts)
				if through {
					break
				}
				if happened {
					all++
				} else {
					nothing++
				}
			}
			t.Logf("crashed %d times with nothing done, %d times with all done", nothing, all)
			if nothing == 0 || all == 0 {
				t.Error("the crashes do not reach from the beginning to the end")
			}
		})
	}
	t.Run(takeArrival, func(t *testing.T) {
		for parts := 0; !crashesArrival(t, s, crash, parts); parts++ {
		}
	})
	t.Run(masterSecret, func(t *testing.T) {
		for parts := 0; ; parts++ {
			open, crash := create(t)
			if crashesSecret(t, open(t), crash, parts) {
				return
			}
		}
	})
}

// masterSecret is the transition that there is one of in a database, and that
// shows only by being taken.
const masterSecret = "MasterSecret"

// takeArrival is the transition that shows only by being taken again.
const takeArrival = "TakeArrival"

func crashesArrival(t *testing.T, s storage.Store, crash Crash, parts int) (through bool) {
	t.Helper()
	scene := newScene()
	must(t, s.KeepArrival(t.Context(), scene.Arrival, epoch))
	through, err := crash(t, takeArrival, scene, parts)
	again, failed := s.TakeArrival(t.Context(), scene.Arrival.ID, epoch)
	if found(t, failed) {
		equal(t, again, scene.Arrival)
		if err == nil {
			t.Errorf("after %d parts: acknowledged and taken twice", parts)
		}
	}
	return through
}

func crashesSecret(t *testing.T, s storage.Store, crash Crash, parts int) (through bool) {
	t.Helper()
	scene := newScene()
	through, err := crash(t, masterSecret, scene, parts)
	kept, failed := s.MasterSecret(t.Context(), []byte("another"), epoch)
	must(t, failed)
	if mine := string(kept) == scene.Name; err == nil && !mine {
		t.Errorf("after %d parts: acknowledged and lost", parts)
	} else if !mine {
		equal(t, string(kept), "another")
	}
	again, failed := s.MasterSecret(t.Context(), []byte(scene.Name), epoch)
	must(t, failed)
	equal(t, again, kept)
	return through
}

// crashes takes one step that crashes after some parts, and looks at what is left
// of it. It reports that the step got through, or else whether it happened.
func crashes(t *testing.T, s storage.Store, crash Crash, name string, parts int) (through, happened bool) {
	t.Helper()
	taken, scene := steps[name], newScene()
	if taken.prepare != nil {
		taken.prepare(t, s, &scene)
	}
	before := look(t, s, scene)
	through, err := crash(t, name, scene, parts)
	excused := !through && (isUnavailable(err) || errors.Is(err, ErrLost))
	if err != nil && !excused {
		t.Fatalf("after %d parts: through: %v, %v", parts, through, err)
	}
	found := look(t, s, scene)
	again := Transition(t.Context(), name, s, scene)
	after := look(t, s, scene)
	forget(t, s, scene, after)
	if cmp.Equal(before, after) {
		t.Fatalf("%s changes nothing that can be seen", name)
	}
	happened = cmp.Equal(found, after)
	switch {
	case !happened && err == nil:
		t.Errorf("after %d parts: acknowledged and lost:\n%s", parts, cmp.Diff(after, found))
	case !happened && !cmp.Equal(found, before):
		t.Errorf("after %d parts: half done (+):\n%s", parts, cmp.Diff(before, found))
	case happened && !errors.Is(again, taken.again):
		t.Errorf("after %d parts: again, done already: %v, want %v", parts, again, taken.again)
	case !happened && again != nil:
		t.Errorf("after %d parts: again: %v", parts, again)
	}
	return through, happened
}

func newScene() Scene {
	in, next := signIn(), signIn()
	scene := Scene{In: in, Next: next, Authorization: authorization(in)}
	scene.In.Grant.SID, scene.In.ClearFailures = in.Session.SID, nil
	scene.Authorization.TouchSession, scene.Authorization.Grant.SID = true, in.Session.SID
	Fill(&scene.Key)
	Fill(&scene.Name)
	scene.Arrival = newArrival()
	scene.Next.Replaces, scene.Next.ClearFailures = in.Session.IDHash, failureKeys(scene)
	scene.Next.Ending = ending([]string{in.Grant.ClientID}, []string{in.Grant.ClientID, scene.Authorization.Grant.ClientID})
	return scene
}

func failureKeys(scene Scene) []string {
	return []string{scene.Name + " a", scene.Name + " b", scene.Name + " c"}
}

// sight is all that a store shows of a scene. Counts are seen as "some": a
// failure that is counted again after a crash counts twice.
type sight struct {
	Sessions   []storage.Session
	Identities []storage.Identity
	Grants     []storage.Grant
	Consents   []storage.Consent
	Failures   []string
	Keys       []string
	Leased     bool
	Told       []string
	Arrived    bool
	Asked      bool
}

func look(t *testing.T, s storage.Store, scene Scene) (seen sight) {
	t.Helper()
	for _, hash := range [][32]byte{scene.In.Session.IDHash, scene.Next.Session.IDHash} {
		if session, identity, err := s.Session(t.Context(), hash, epoch); found(t, err) {
			seen.Sessions = append(seen.Sessions, session)
			seen.Identities = append(seen.Identities, identity)
		}
	}
	for _, id := range []storage.GrantID{scene.In.Grant.ID, scene.Next.Grant.ID, scene.Authorization.Grant.ID} {
		if grant, identity, err := s.Grant(t.Context(), id, epoch); found(t, err) {
			seen.Grants = append(seen.Grants, grant)
			seen.Identities = append(seen.Identities, identity)
		}
	}
	given := scene.Authorization.Consent
	if consent, err := s.Consent(t.Context(), given.ConnectorID, given.UserID, given.ClientID, epoch); found(t, err) {
		seen.Consents = append(seen.Consents, consent)
	}
	failures, err := s.LoginFailures(t.Context(), failureKeys(scene), epoch)
	must(t, err)
	for _, key := range failureKeys(scene) {
		if failures[key].Count > 0 {
			seen.Failures = append(seen.Failures, key)
		}
	}
	keys, err := s.SigningKeys(t.Context())
	must(t, err)
	for _, key := range keys {
		if key.KID == scene.Key.KID {
			seen.Keys = append(seen.Keys, key.KID)
		}
	}
	// Another holder takes the lease for no time at all, if it can be had.
	free, err := s.AcquireLease(t.Context(), scene.Name, "another", epoch, epoch)
	must(t, err)
	seen.Leased = !free
	seen.Told = due(t, s, scene)
	// One that has expired comes, and would be overwritten; a claim that is over is
	// made.
	probe := scene.Arrival
	probe.ExpiresAt = epoch
	seen.Arrived = conflicts(t, s.KeepArrival(t.Context(), probe, epoch))
	over := claim(scene.In.Identity, epoch)
	over.Until = epoch.Add(-time.Second)
	if _, _, err := s.ClaimRecheck(t.Context(), over); !errors.Is(err, storage.ErrNotFound) {
		seen.Asked = conflicts(t, err)
	}
	return seen
}

// forget deletes the deliveries of a scene, which the next one would meet.
func forget(t *testing.T, s storage.Store, scene Scene, seen sight) {
	t.Helper()
	for _, id := range seen.Told {
		must(t, s.FinishLogoutDelivery(t.Context(), storage.LogoutDelivery{SID: scene.In.Session.SID, ClientID: id}))
	}
}

func conflicts(t *testing.T, err error) bool {
	t.Helper()
	if isConflict(err) {
		return true
	}
	must(t, err)
	return false
}

func found(t *testing.T, err error) bool {
	t.Helper()
	if errors.Is(err, storage.ErrNotFound) {
		return false
	}
	must(t, err)
	return true
}

// due are the clients of a scene that have to be told at epoch. They are claimed
// for no time at all.
func due(t *testing.T, s storage.Store, scene Scene) (clients []string) {
	t.Helper()
	var passed []string
	for {
		d, err := s.ClaimLogoutDelivery(t.Context(), passed, epoch, epoch)
		if !found(t, err) {
			slices.Sort(clients)
			return clients
		}
		passed = append(passed, d.ClientID)
		if d.SID == scene.In.Session.SID {
			clients = append(clients, d.ClientID)
		}
	}
}
