package saml

import "context"

// Learn reads the provider's metadata once.
func Learn(ctx context.Context, c *Connector) error { return c.learn(ctx) }
