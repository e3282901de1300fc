package connector

import "context"

// Background is implemented by connectors that have to learn something of their
// upstream before anybody can sign in, such as its keys. They start without it.
type Background interface {
	// Run learns it, again and again, until ctx is done. It is called once.
	Run(ctx context.Context)

	// Ready says why nobody can sign in at the moment, for the operator, or nil.
	// It asks nobody.
	Ready() error
}
