package github

import (
	"context"
	"errors"
	"fmt"
	"net/url"

	"golang.org/x/oauth2"

	"github.com/countersign/countersign/connector"
)

// Arrive implements connector.RedirectConnector.
func (c *Connector) Arrive(ctx context.Context, a connector.Arrival) (connector.Identity, error) {
	if len(a.Kept) != secretBytes || a.Received != nil {
		return connector.Identity{}, fmt.Errorf("%w: there was no such departure", connector.ErrUpstream)
	}
	code, err := c.code(a.Query)
	if err != nil {
		return connector.Identity{}, err
	}
	tokens, err := c.oauth2().Exchange(c.context(ctx), code, oauth2.VerifierOption(secret(a.Kept).verifier()))
	if err != nil {
		return connector.Identity{}, fmt.Errorf("%w: redeeming the code: %w", connector.ErrUpstream, quiet(err))
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

// code reads the authorization response (RFC 6749 section 4.1.2, RFC 9207).
func (c *Connector) code(q url.Values) (string, error) {
	for _, name := range []string{"code", "error", "iss"} {
		if len(q[name]) > 1 {
			return "", fmt.Errorf("%w: %s occurs more than once", connector.ErrUpstream, name)
		}
	}
	// RFC 9207 section 2.4: before anything else of the response is believed.
	if q.Has("iss") && !c.ours(q.Get("iss")) {
		return "", fmt.Errorf("%w: the answer is of issuer %.100q (RFC 9207)", connector.ErrUpstream, q.Get("iss"))
	}
	switch code := q.Get("error"); code {
	case "":
	case "access_denied":
		return "", connector.ErrTurnedBack
	default:
		return "", fmt.Errorf("%w: it answered %.100q: %.300q", connector.ErrUpstream, code, q.Get("error_description"))
	}
	if q.Get("code") == "" {
		return "", fmt.Errorf("%w: it answered without a code", connector.ErrUpstream)
	}
	return q.Get("code"), nil
}

// whileSigningIn: nobody is gone who has just come.
func whileSigningIn(err error) error {
	if errors.Is(err, connector.ErrGone) {
		return fmt.Errorf("%w: %v", connector.ErrUpstream, err)
	}
	return err
}

// quiet keeps what the token endpoint answered out of the log: it may be tokens.
func quiet(err error) error {
	if e, ok := errors.AsType[*oauth2.RetrieveError](err); ok {
		status := 0
		if e.Response != nil {
			status = e.Response.StatusCode
		}
		return fmt.Errorf("status %d, error %.100q, %.300q", status, e.ErrorCode, e.ErrorDescription)
	}
	return err
}
