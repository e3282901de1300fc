package clock_test

import (
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/countersign/countersign/server/clock"
	"github.com/countersign/countersign/storage"
	"github.com/countersign/countersign/storage/sqlite"
)

func TestCheck(t *testing.T) {
	store, err := sqlite.Open(sqlite.Config{File: filepath.Join(t.TempDir(), "db"), StatementTimeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() }) // it may be closed already
	if err := clock.Check(t.Context(), store, time.Now()); !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("without a database: %v", err)
	}
	if err := store.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	// A quarter of the limit is left to a slow machine.
	const close, far = clock.MaxError * 3 / 4, clock.MaxError * 5 / 4
	for off, wrong := range map[time.Duration]bool{
		0: false, close: false, -close: false, far: true, -far: true,
		1000 * time.Hour: true, -1000 * time.Hour: true,
	} {
		if err := clock.Check(t.Context(), store, time.Now().Add(off)); errors.Is(err, clock.ErrWrong) != wrong || !wrong && err != nil {
			t.Errorf("off by %s: %v", off, err)
		}
	}
	if err := clock.Check(t.Context(), store, time.Time{}); !errors.Is(err, clock.ErrWrong) {
		t.Errorf("in the year 1: %v", err)
	}
}
