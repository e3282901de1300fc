package saml

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/beevik/etree"

	"github.com/countersign/countersign/connector"
)

// againInterval is how often a signature by an unknown key may make us read the
// provider's metadata: anybody can make one up.
const againInterval = 10 * time.Second

// errUnknownKey: none of the provider's keys has made a signature.
var errUnknownKey = errors.New("none of the provider's certificates has made it")

// newKey is errUnknownKey of what the provider seems to have signed.
type newKey struct{ error }

// Unwrap implements what errors.Is and errors.As look for.
func (n newKey) Unwrap() error { return n.error }

// response reads a response. Where the provider seems to have signed it with a key
// that is not known, its metadata may have a new one: they are read again.
func (c *Connector) response(ctx context.Context, raw []byte) (assertion, error) {
	p, err := c.known()
	if err != nil {
		return assertion{}, fmt.Errorf("%w: %w", connector.ErrUpstream, err)
	}
	a, err := c.readResponse(ctx, raw, p)
	if _, maybe := errors.AsType[newKey](err); !maybe || !c.fromMetadata() {
		return a, err
	}
	if again := c.learnAgain(ctx, p); again != nil {
		return a, fmt.Errorf("%w (%w)", err, again)
	}
	if p, err = c.known(); err != nil {
		return assertion{}, fmt.Errorf("%w: %w", connector.ErrUpstream, err)
	}
	return c.readResponse(ctx, raw, p)
}

func (c *Connector) readResponse(ctx context.Context, raw []byte, p *provider) (a assertion, err error) {
	err = c.read(ctx, func() (err error) {
		a, err = read(raw, c.expected(p))
		return err
	})
	return a, err
}

func (c *Connector) fromMetadata() bool { return c.cfg.MetadataURL != "" || c.cfg.MetadataFile != "" }

// seemsFrom reports whether a response names an issuer: itself, or at least in its
// assertion. It proves nothing; what other providers post to the same address does
// not.
func seemsFrom(response *etree.Element, issuer string) bool {
	for _, el := range append([]*etree.Element{response}, children(response, nsAssertion, tagAssertion)...) {
		if name, err := optional(el, nsAssertion, "Issuer"); name != nil || err != nil {
			return err == nil && checkIssuer(name, issuer) == nil
		}
	}
	return false
}

// learnAgain reads the metadata again, unless that was done since old was known, or
// a moment ago. Who comes meanwhile waits for what is being done.
func (c *Connector) learnAgain(ctx context.Context, old *provider) error {
	select {
	case c.turn <- struct{}{}:
		defer func() { <-c.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if c.provider.Load() != old {
		return nil
	}
	now := c.cfg.Now()
	if now.Sub(c.reread) < againInterval {
		return errors.New("its metadata were read a moment ago")
	}
	c.reread = now
	return c.learn(ctx)
}
