package script

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"sync"

	"golang.org/x/oauth2"
)

// crowd is people who sign in again and again, each time in a new browser,
// whatever happens to the provider.
type crowd struct {
	party  *Party
	cancel context.CancelFunc
	people sync.WaitGroup

	mu     sync.Mutex
	got    []Tokens
	failed []error
}

func (w *world) crowd(args []string) error {
	switch {
	case len(args) == 6 && args[0] == "start":
		return w.startCrowd(args[1], args[2], args[3], Account{Email: args[4], Password: args[5]})
	case w.crowded == nil:
		return usageError{}
	case len(args) == 2 && args[0] == "await":
		return w.crowded.await(args[1])
	case len(args) == 1 && args[0] == "stop":
		return w.dismissCrowd()
	}
	return usageError{}
}

func (w *world) startCrowd(count, issuer, client string, who Account) error {
	n, err := strconv.Atoi(count)
	if err != nil {
		return usageError{}
	}
	c := &crowd{}
	if c.party, err = NewParty(w.t.Context(), w.client, issuer, client, ""); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(w.t.Context())
	c.cancel = cancel
	for range n {
		c.people.Go(func() {
			for ctx.Err() == nil {
				tokens, err := c.party.SignIn(ctx, w.newPerson(), who)
				c.note(tokens, err)
			}
		})
	}
	w.crowded = c
	return nil
}

// note keeps what was promised to somebody, and what no outage explains.
func (c *crowd) note(tokens Tokens, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil {
		c.got = append(c.got, tokens)
	} else if !excused(err) {
		c.failed = append(c.failed, err)
	}
}

// excused reports an error that a provider or database that is away may cause:
// no answer, or 503.
func excused(err error) bool {
	var stuck *stuckError
	var refused *oauth2.RetrieveError
	switch {
	case errors.As(err, &stuck):
		return stuck.page.Status == http.StatusServiceUnavailable
	case errors.As(err, &refused):
		return refused.Response.StatusCode == http.StatusServiceUnavailable
	}
	return true
}

// await waits until that many more have signed in.
func (c *crowd) await(count string) error {
	n, err := strconv.Atoi(count)
	if err != nil {
		return usageError{}
	}
	before := c.count()
	return poll(func() error {
		if now := c.count(); now < before+n {
			return fmt.Errorf("%d have signed in, %d before", now, before)
		}
		return nil
	})
}

func (c *crowd) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.got)
}

func (c *crowd) stop() {
	c.cancel()
	c.people.Wait()
}

// dismissCrowd ends the crowd, and checks that every token that somebody was
// given works.
func (w *world) dismissCrowd() error {
	c := w.crowded
	c.stop()
	w.crowded = nil
	errs := slices.Clone(c.failed)
	for i, tokens := range c.got {
		if _, err := c.party.UserInfo(w.t.Context(), tokens.Access); err != nil {
			errs = append(errs, fmt.Errorf("access token %d of %d: %w", i+1, len(c.got), err))
		}
		if _, err := c.party.Verify(w.t.Context(), tokens.ID); err != nil {
			errs = append(errs, fmt.Errorf("id_token %d of %d: %w", i+1, len(c.got), err))
		}
	}
	fmt.Fprintf(w.ts.Stdout(), "%d signed in\n", len(c.got))
	return errors.Join(errs...)
}
