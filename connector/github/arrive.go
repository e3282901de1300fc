package github

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/oauth2"

	"github.com/countersign/countersign/connector"
	"github.com/countersign/countersign/connector/upstream"
)

// Arrive implements connector.RedirectConnector.
func (c *Connector) Arrive(ctx context.Context, a connector.Arrival) (connector.Identity, error) {
	if len(a.Kept) != secretBytes || a.Received != nil {
		return connector.Identity{}, fmt.Errorf("%w: there was no such departure", connector.ErrUpstream)
	}
	code, err := upstream.Code(a.Query, func(iss string) bool { return iss == "" || c.ours(iss) })
	if err != nil {
		return connector.Identity{}, err
	}
	tokens, err := c.oauth2().Exchange(c.context(ctx), code, oauth2.VerifierOption(secret(a.Kept).verifier()))
	if err != nil {
		return connector.Identity{}, fmt.Errorf("%w: redeeming the code: %w", connector.ErrUpstream, upstream.Quiet(err))
	}
	k, err := c.keep(tokens)
	if err != nil {
		return connector.Identity{}, err
	}
	who, id, err := c.person(ctx, k.AccessToken)
	if err != nil {
		return connector.Identity{}, whileSigningIn(err)
	}
	k.ID = id
	who.Secret, err = k.encode()
	return who, err
}

// whileSigningIn: nobody is gone who has just come.
func whileSigningIn(err error) error {
	if errors.Is(err, connector.ErrGone) {
		return fmt.Errorf("%w: %v", connector.ErrUpstream, err)
	}
	return err
}
