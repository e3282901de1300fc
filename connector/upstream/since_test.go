package upstream_test

import (
	"testing"
	"time"

	"github.com/countersign/countersign/connector/upstream"
)

func TestSince(t *testing.T) {
	t.Parallel()
	own := []byte("own")
	for _, since := range []time.Time{{}, time.Unix(1_800_000_000, 0), time.Unix(0, 0), time.Unix(-1, 0)} {
		kept := upstream.KeepSince(own, since)
		got, ok := upstream.KeptSince(kept, len(own))
		if !ok || !got.Equal(since) || got.IsZero() != since.IsZero() || string(kept[:len(own)]) != "own" {
			t.Errorf("%s: %s, %v", since, got, ok)
		}
		for n := range len(kept) {
			if _, ok := upstream.KeptSince(kept[:n], len(own)); ok && n != len(own) {
				t.Errorf("%s: %d bytes of it are taken", since, n)
			}
		}
		if _, ok := upstream.KeptSince(append(kept, 0), len(own)); ok {
			t.Errorf("%s: more than it is taken", since)
		}
	}
}
