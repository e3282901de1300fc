package telemetry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"
)

// ReadinessConfig bounds what probes cost and how old their answer may be.
// Together the two durations stay under two seconds: that is how soon a failure
// must show.
type ReadinessConfig struct {
	// Now is the clock. Required.
	Now func() time.Time

	// Timeout is how long the checks may take, all at once: 1 s, at most that.
	Timeout time.Duration

	// MaxAge is for how long an answer is given again instead of asking: 500 ms,
	// at most 1 s.
	MaxAge time.Duration
}

// Readiness knows whether requests should be sent here. Checks run when somebody
// asks, never by themselves, and however many ask, one round at a time.
type Readiness struct {
	config   ReadinessConfig
	draining atomic.Bool

	mu      sync.Mutex
	checks  []*check
	current *round // the one that runs, or has answered last
}

// check is one question.
type check struct {
	name    string
	warning bool
	ask     func(context.Context) error
	busy    atomic.Bool
}

// round is one run of all checks. Its answers are read only after done is closed.
type round struct {
	done     chan struct{}
	finished time.Time
	states   []state
	// stale: its answers count for nobody who asks once it is done. It is
	// guarded by the lock of Readiness.
	stale bool
}

// state is the answer to one check.
type state struct {
	name    string
	warning bool
	err     error
}

// NewReadiness makes a Readiness without checks, which is ready.
func NewReadiness(c ReadinessConfig) (*Readiness, error) {
	if c.Timeout == 0 {
		c.Timeout = time.Second
	}
	if c.MaxAge == 0 {
		c.MaxAge = 500 * time.Millisecond
	}
	switch {
	case c.Now == nil:
		return nil, errors.New("configuring readiness: no clock")
	case c.Timeout < 0 || c.Timeout > time.Second:
		return nil, fmt.Errorf("configuring readiness: a timeout of %s is not between 0 and 1 s", c.Timeout)
	case c.MaxAge < 0 || c.MaxAge > time.Second:
		return nil, fmt.Errorf("configuring readiness: an age of %s is not between 0 and 1 s", c.MaxAge)
	}
	return &Readiness{config: c}, nil
}

// Add adds a check that must pass. Its error says why not, without secrets. It
// should heed its context; one that does not return is not asked again until it
// has.
func (r *Readiness) Add(name string, ask func(context.Context) error) {
	r.add(&check{name: name, ask: ask})
}

// Warn adds a check that only shows: its error appears in the verbose answer and
// fails nothing.
func (r *Readiness) Warn(name string, ask func(context.Context) error) {
	r.add(&check{name: name, warning: true, ask: ask})
}

func (r *Readiness) add(c *check) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.checks = append(r.checks, c)
	r.current = nil
}

// Changed says that answers will differ from now on: the next probe asks again,
// however young the last answer is. Without it, one that was asked while the
// server started would keep requests away for MaxAge longer than need be.
func (r *Readiness) Changed() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.current != nil {
		r.current.stale = true
	}
}

// Drain makes readiness fail from now on.
func (r *Readiness) Drain() { r.draining.Store(true) }

// errDraining is why a server that ends is not ready.
var errDraining = errors.New("the server is ending")

// states returns the answers, at most MaxAge old. A caller that gives up gets
// its reason.
func (r *Readiness) states(ctx context.Context) []state {
	if r.draining.Load() {
		return []state{{name: "draining", err: errDraining}}
	}
	round := r.round()
	select {
	case <-round.done:
		return round.states
	case <-ctx.Done():
		return []state{{name: "readiness", err: ctx.Err()}}
	}
}

// round returns the round whose answers count now, and starts one if there is
// none.
func (r *Readiness) round() *round {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.current != nil && !r.current.outdated(r.config.Now(), r.config.MaxAge) {
		return r.current
	}
	r.current = &round{done: make(chan struct{})}
	go r.run(r.current, slices.Clone(r.checks))
	return r.current
}

// outdated reports whether a round has ended longer than maxAge ago, or, by a
// clock that was set back, in the future.
func (r *round) outdated(now time.Time, maxAge time.Duration) bool {
	select {
	case <-r.done:
		age := now.Sub(r.finished)
		return r.stale || age < 0 || age >= maxAge
	default:
		return false
	}
}

// run asks all checks at once. It belongs to no request: several wait for it.
func (r *Readiness) run(round *round, checks []*check) {
	ctx, cancel := context.WithTimeout(context.Background(), r.config.Timeout)
	defer cancel()
	round.states = make([]state, len(checks))
	var wg sync.WaitGroup
	for i, c := range checks {
		wg.Go(func() {
			round.states[i] = state{name: c.name, warning: c.warning, err: c.answer(ctx, r.config.Timeout)}
		})
	}
	wg.Wait()
	round.finished = r.config.Now()
	close(round.done)
}

// answer asks one check and waits no longer than ctx, whether the check heeds it
// or not.
func (c *check) answer(ctx context.Context, timeout time.Duration) error {
	if !c.busy.CompareAndSwap(false, true) {
		return errors.New("an earlier check has not returned yet")
	}
	result := make(chan error, 1)
	go func() {
		err := c.safely(ctx)
		c.busy.Store(false)
		result <- err
	}()
	select {
	case err := <-result:
		return err
	case <-ctx.Done():
		return fmt.Errorf("no answer within %s", timeout)
	}
}

// safely makes an error of a panic: a probe must not end the process.
func (c *check) safely(ctx context.Context) (err error) {
	defer func() {
		if value := recover(); value != nil {
			err = fmt.Errorf("the check panicked: %v", value)
		}
	}()
	return c.ask(ctx)
}

// Handler answers probes on the telemetry listener: 200 or 503, with the
// reasons, and with every check when asked with ?verbose.
func (r *Readiness) Handler() http.Handler { return r.handler(true) }

// PublicHandler answers probes where everybody can ask: it names what fails, and
// keeps the reasons for the operator.
func (r *Readiness) PublicHandler() http.Handler { return r.handler(false) }

func (r *Readiness) handler(reasons bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		states := r.states(req.Context())
		failing := slices.ContainsFunc(states, state.failing)
		status := http.StatusOK
		if failing {
			status = http.StatusServiceUnavailable
		}
		plainText(w, status)
		verbose := reasons && req.URL.Query().Has("verbose")
		for _, s := range states {
			if verbose || s.failing() {
				fmt.Fprintln(w, s.line(reasons))
			}
		}
		if failing {
			fmt.Fprintln(w, "not ready")
			return
		}
		fmt.Fprintln(w, "ready")
	})
}

func (s state) failing() bool { return s.err != nil && !s.warning }

// line says how a check went.
func (s state) line(reasons bool) string {
	mark := "[-]"
	switch {
	case s.err == nil:
		return "[+] " + s.name + ": ok"
	case s.warning:
		mark = "[!]"
	}
	if !reasons {
		return mark + " " + s.name
	}
	return mark + " " + s.name + ": " + oneLine(s.err.Error())
}

// maxReason bounds a reason, in bytes.
const maxReason = 512

// oneLine keeps a reason to a line of its own.
func oneLine(s string) string {
	s = strings.ToValidUTF8(s[:min(len(s), maxReason)], "")
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, s)
}
