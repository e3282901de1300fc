package oidc

import (
	"context"
	"fmt"
	"net/url"

	"github.com/countersign/countersign/connector"
)

// SignOut implements connector.SignOuter by OpenID Connect RP-Initiated Logout 1.0
// section 2. The provider is asked for its metadata before, which it answers from
// memory: a browser that is led to one that is down would never come back.
func (c *Connector) SignOut(ctx context.Context, s connector.SignOut) (connector.Away, error) {
	if c.cfg.SignOutURL == "" {
		return connector.Away{}, nil
	}
	if err := c.learn(ctx); err != nil {
		return connector.Away{}, fmt.Errorf("%w: %w", connector.ErrUpstream, err)
	}
	p, err := c.ready()
	if err != nil || p.LogoutURL == "" {
		return connector.Away{}, err
	}
	u, err := url.Parse(p.LogoutURL)
	if err != nil {
		return connector.Away{}, fmt.Errorf("%w: reading end_session_endpoint: %w", connector.ErrUpstream, err)
	}
	q := u.Query()
	q.Set("client_id", c.cfg.ClientID)
	q.Set("post_logout_redirect_uri", c.cfg.SignOutURL)
	q.Set("state", s.State)
	if len(s.Session) > 0 { // without it, most providers ask the person
		q.Set("id_token_hint", string(s.Session))
	}
	u.RawQuery = q.Encode()
	return connector.Away{URL: u.String()}, nil
}

// SignedOut implements connector.SignOuter. What comes back is the state alone, and
// that has found this departure (OpenID Connect RP-Initiated Logout 1.0 section 3).
func (*Connector) SignedOut(context.Context, connector.Arrival) error { return nil }
