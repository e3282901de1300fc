package recheck_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/countersign/countersign/connector"
	"github.com/countersign/countersign/server/recheck"
)

// A connector's own timeout is that of its questions, not everybody's.
func TestTimeoutOfSource(t *testing.T) {
	w := newWorld(t)
	hanging := newDirectory(t)
	hanging.set("jane", answer{status: 200, until: make(chan struct{})})
	r := w.rechecker(map[string]connector.Refresher{"hanging": hanging}, func(c *recheck.Config) {
		s := c.Sources["hanging"]
		s.Timeout = 100 * time.Millisecond
		c.Sources["hanging"], c.Timeout = s, time.Hour
	})
	_, jane := w.signIn("hanging", "jane")
	w.advance(stale)
	if err := r.Fresh(t.Context(), jane); !errors.Is(err, connector.ErrUpstream) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
}
