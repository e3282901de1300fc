package saml

import (
	"context"
)

// Learn reads the provider's metadata once.
func Learn(ctx context.Context, c *Connector) error { return c.learn(ctx) }

// Busy reads as many messages at once as may be, until it is told to end.
func Busy(c *Connector) (end func()) {
	for range cap(c.readers) {
		c.readers <- struct{}{}
	}
	return func() {
		for range cap(c.readers) {
			<-c.readers
		}
	}
}
