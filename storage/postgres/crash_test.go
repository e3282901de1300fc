package postgres_test

import (
	"strings"
	"testing"

	"github.com/countersign/countersign/storage"
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
		open(t, patient(dsn))
		proxy := pgproxy.New(t, c.Address())
		config := patient(strings.Replace(dsn, c.Address(), proxy.Address(), 1))
		config.MaxOpenConns = 1
		breaking := open(t, config)
		return func(t *testing.T) storage.Store { return open(t, patient(dsn)) },
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
