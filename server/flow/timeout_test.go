package flow

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/countersign/countersign/connector"
)

// Only what took too long is called so: not what an upstream has answered, and not
// what nobody waited for.
func TestTimedOut(t *testing.T) {
	t.Parallel()
	answered, end := context.WithTimeout(t.Context(), time.Hour)
	end()
	late, end := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	t.Cleanup(end)
	gone, leave := context.WithCancel(t.Context())
	leave()
	for name, c := range map[string]struct {
		question, person context.Context
		upstream         bool
	}{
		"asking":                    {t.Context(), t.Context(), false},
		"answered":                  {answered, t.Context(), false},
		"late":                      {late, t.Context(), true},
		"late, for somebody gone":   {late, gone, false},
		"nobody waits for it after": {gone, gone, false},
	} {
		cause := errors.New("cause")
		err := timedOut(c.question, httptest.NewRequestWithContext(c.person, http.MethodGet, "/", nil), cause)
		if !errors.Is(err, cause) || errors.Is(err, connector.ErrUpstream) != c.upstream {
			t.Errorf("%s: %v", name, err)
		}
	}
}
