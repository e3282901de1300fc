package postgres_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/countersign/countersign/storage"
	"github.com/countersign/countersign/storage/postgres"
	"github.com/countersign/countersign/storage/storagetest"
	"github.com/countersign/countersign/storage/storagetest/pgcluster"
	"github.com/countersign/countersign/storage/storagetest/pgproxy"
)

// The connection breaks before each message, ours or the server's, from the one
// that prepares the first statement to the last answer.
func TestCrashAtEveryMessage(t *testing.T) {
	c := cluster(t, pgcluster.Options{})
	storagetest.RunCrashes(t, func(t *testing.T) (storagetest.Database, storagetest.Crash) {
		dsn := c.Schema(t)
		open(t, postgres.Config{DSN: dsn})
		proxy := pgproxy.New(t, c.Address())
		breaking := open(t, postgres.Config{DSN: strings.Replace(dsn, c.Address(), proxy.Address(), 1), MaxOpenConns: 1})
		return func(t *testing.T) storage.Store { return open(t, postgres.Config{DSN: dsn}) },
			func(t *testing.T, name string, scene storagetest.Scene, parts int) (bool, error) {
				if _, err := breaking.Ping(t.Context()); err != nil { // connects
					t.Fatal(err)
				}
				proxy.CutAfter(parts)
				err := storagetest.Transition(t.Context(), name, breaking, scene)
				return !proxy.Disarm(), err
			}
	})
}

// The server commits, and its answer is lost: the transition has happened, the
// caller cannot know, and asking again tells.
func TestLostCommitIsUnavailable(t *testing.T) {
	c := cluster(t, pgcluster.Options{})
	proxy := pgproxy.New(t, c.Address())
	s, direct := open(t, postgres.Config{DSN: c.DSNAt(proxy.Address())}), open(t, postgres.Config{DSN: c.DSN()})
	for round := range 20 {
		in, now := storagetest.Valid()
		proxy.LoseCommits(1)
		if err := storagetest.ErrorOf(s.SignIn(t.Context(), in)); !errors.Is(err, storage.ErrUnavailable) {
			t.Fatalf("signing in: %v", err)
		}
		if _, _, err := direct.Grant(t.Context(), in.Grant.ID, now); err != nil {
			t.Errorf("signed in: %v", err)
		}
		next := storagetest.Redeemed(t, s)
		proxy.LoseCommits(1)
		if _, _, err := s.RotateGrant(t.Context(), next); !errors.Is(err, storage.ErrUnavailable) {
			t.Fatalf("rotating: %v", err)
		}
		if grant, _, err := direct.Grant(t.Context(), next.ID, now); err != nil || grant.Generation != next.Next {
			t.Errorf("rotated to %d, %v", grant.Generation, err)
		}
		// What changes nothing is not what is lost.
		proxy.LoseCommits(1)
		if _, _, err := s.RotateGrant(t.Context(), next); !errors.Is(err, storage.ErrConflict) {
			t.Errorf("rotating again: %v", err)
		}
		if did, err := s.RevokeGrant(t.Context(), next.ID, now, "because"); did || !errors.Is(err, storage.ErrUnavailable) {
			t.Errorf("revoking: %v, %v", did, err)
		}
		if did, err := s.RevokeGrant(t.Context(), next.ID, now, "again"); did || err != nil {
			t.Errorf("revoking again: %v, %v", did, err)
		}
		if lost := proxy.Lost(); lost != 3*(round+1) {
			t.Fatalf("%d answers were lost in %d rounds", lost, round+1)
		}
	}
}
