package faults_test

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
)

// chain is one grant at a client, from its first refresh token on.
type chain struct {
	number int64
	client string
	// refresh and access are the newest tokens that were acknowledged.
	refresh, access string

	mu sync.Mutex
	// successors are the answers that were given, by the token presented, which
	// are in order in used.
	successors map[string]string
	used       []string
}

var chains atomic.Int64

func newChain(client string, a answer) *chain {
	return &chain{number: chains.Add(1), client: client, refresh: a.values.Refresh, access: a.values.Access, successors: map[string]string{}}
}

// succeeds notes an answer, and reports whether it is the one given before.
func (c *chain) succeeds(token, next string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	known, again := c.successors[token]
	if !again {
		c.successors[token] = next
		c.used = append(c.used, token)
	}
	return !again || known == next
}

// take makes an answer the newest.
func (c *chain) take(a answer) { c.refresh, c.access = a.values.Refresh, a.values.Access }

// refresh presents the newest token until there is an answer, and takes it. It
// reports whether the chain goes on.
func (p *party) refresh(c *chain, via http.RoundTripper) bool {
	err := p.persist(func(ctx context.Context) error {
		a, err := p.redeem(ctx, via, c, c.refresh)
		if err == nil {
			c.take(a)
			p.count("refreshes")
		}
		return err
	})
	return p.check(chainsKept, err == nil, "grant %d: %v", c.number, err)
}

// revoke gives a chain back until that is acknowledged, if need be while its
// newest token is presented elsewhere. It returns all tokens that may be newest.
func (p *party) revoke(c *chain, racing bool) (newest []string) {
	newest = []string{c.refresh}
	var refreshing sync.WaitGroup
	if racing {
		refreshing.Go(func() {
			ctx, cancel := limited(p.t)
			defer cancel()
			if a, err := p.redeem(ctx, p.world, c, c.refresh); err == nil {
				newest = append(newest, a.values.Refresh)
			}
		})
	}
	err := p.persist(func(ctx context.Context) error {
		a, err := p.post(ctx, p.world, "/revoke", c.client, url.Values{"token": {c.refresh}})
		if err == nil && a.status != http.StatusOK {
			return errRefused
		}
		return err
	})
	refreshing.Wait()
	if err != nil {
		p.t.Errorf("revoking: %v", err)
	}
	p.count("revocations")
	return newest
}

// grave is a chain that was revoked.
type grave struct {
	*chain
	newest []string
}

// rests asks one replica whether anything of a revoked chain works. It asks once;
// without an answer nothing is learned.
func (p *party) rests(g grave, at http.RoundTripper, invariant string) error {
	ctx, cancel := limited(p.t)
	defer cancel()
	var errs []error
	for _, token := range g.newest {
		_, err := p.redeem(ctx, at, g.chain, token)
		if errors.Is(err, errAgain) {
			errs = append(errs, err)
			continue
		}
		p.check(invariant, errors.Is(err, errRefused), "a refresh token of grant %d works", g.number)
	}
	works, err := p.userInfo(ctx, at, g.access)
	errs = append(errs, err)
	if err == nil {
		p.check(invariant, !works, "an access token of grant %d works", g.number)
	}
	works, err = p.introspect(ctx, at, g.client, g.access)
	errs = append(errs, err)
	if err == nil {
		p.check(invariant, !works, "an access token of grant %d is active", g.number)
	}
	return errors.Join(errs...)
}
