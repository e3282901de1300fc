package github

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"golang.org/x/oauth2"

	"github.com/countersign/countersign/connector"
	"github.com/countersign/countersign/connector/upstream"
)

// maxToken bounds each token that is kept, in bytes.
const maxToken = 4 << 10

// early is how long before its end an access token is not used any more.
const early = time.Minute

// kept is the Secret of an Identity. Tokens of OAuth apps do not end; those of GitHub
// Apps do after eight hours, and come with a refresh token that is good for one use.
type kept struct {
	AccessToken  string `json:"a"`
	RefreshToken string `json:"r,omitempty"`
	// Expires is when the access token ends, in seconds since 1970; 0: never.
	Expires int64 `json:"e,omitempty"`
	// ID is the number of the account, also where the login is the user's id.
	ID int64 `json:"i"`
	// Lost: an answer that may have brought the next RefreshToken never came.
	Lost bool `json:"l,omitempty"`
}

func (k kept) encode() ([]byte, error) {
	secret, err := json.Marshal(k)
	if err != nil {
		return nil, fmt.Errorf("encoding what is kept: %w", err)
	}
	return secret, nil
}

// keep is what to keep of the token endpoint's answer.
func (c *Connector) keep(t *oauth2.Token) (kept, error) {
	if len(t.AccessToken) > maxToken || len(t.RefreshToken) > maxToken {
		return kept{}, fmt.Errorf("%w: its tokens have %d and %d bytes", connector.ErrUpstream, len(t.AccessToken), len(t.RefreshToken))
	}
	k := kept{AccessToken: t.AccessToken, RefreshToken: t.RefreshToken}
	if t.ExpiresIn > 0 {
		k.Expires = c.cfg.Now().Add(time.Duration(t.ExpiresIn) * time.Second).Unix()
	}
	return k, nil
}

// SecretIsGoodForOneUse implements connector.SecretRefresher: a refresh token of a
// GitHub App is.
func (*Connector) SecretIsGoodForOneUse() {}

// Refresh implements connector.Refresher with the person's own token.
func (c *Connector) Refresh(ctx context.Context, before connector.Identity) (connector.Identity, error) {
	var old kept
	if len(before.Secret) == 0 {
		return connector.Identity{}, fmt.Errorf("%w: no token of theirs was kept", connector.ErrCannotAsk)
	}
	if err := json.Unmarshal(before.Secret, &old); err != nil {
		return connector.Identity{}, fmt.Errorf("%w: reading what was kept: %w", connector.ErrUpstream, err)
	}
	who, k, err := c.ask(ctx, old)
	if err == nil && who.UserID != before.UserID {
		err = fmt.Errorf("%w: their login has changed, and it is their user id", connector.ErrGone)
	}
	if err != nil && k == old {
		return connector.Identity{}, err
	}
	if err != nil {
		who = connector.Identity{}
	}
	var encoding error
	who.Secret, encoding = k.encode()
	return who, errors.Join(err, encoding)
}

// ask asks about a person, with a new token if the old one ends. It returns the one to
// keep, also with an error.
func (c *Connector) ask(ctx context.Context, k kept) (connector.Identity, kept, error) {
	var err error
	ends := k.Expires != 0 && !c.cfg.Now().Add(early).Before(time.Unix(k.Expires, 0))
	if ends {
		if k, err = c.rotate(ctx, k); err != nil {
			return connector.Identity{}, k, err
		}
	}
	who, id, err := c.person(ctx, k.AccessToken)
	if errors.Is(err, errUnauthorized) && !ends && k.RefreshToken != "" { // before its time
		if k, err = c.rotate(ctx, k); err == nil {
			who, id, err = c.person(ctx, k.AccessToken)
		}
	}
	if err == nil && id != k.ID {
		err = fmt.Errorf("%w: it speaks of account %d, not %d", connector.ErrUpstream, id, k.ID)
	}
	return who, k, err
}

// rotate redeems the refresh token. With an error, what is kept stays, but for that an
// answer may have been lost. A token that is not taken any more may be used up then:
// nobody is gone for that, they sign in again.
func (c *Connector) rotate(ctx context.Context, k kept) (kept, error) {
	if k.RefreshToken == "" {
		return k, fmt.Errorf("%w: their token has ended, and there is no refresh token", connector.ErrGone)
	}
	t, err := c.oauth2().TokenSource(c.context(ctx), &oauth2.Token{RefreshToken: k.RefreshToken}).Token()
	if e, ok := errors.AsType[*oauth2.RetrieveError](err); ok && (e.ErrorCode == "bad_refresh_token" || e.ErrorCode == "invalid_grant") {
		over := connector.ErrGone
		if k.Lost {
			over = connector.ErrCannotAsk
		}
		return k, fmt.Errorf("%w: GitHub does not take the refresh token any more: %.300q", over, e.ErrorDescription)
	}
	if err != nil {
		k.Lost = k.Lost || upstream.Lost(err)
		return k, fmt.Errorf("%w: refreshing: %w", connector.ErrUpstream, upstream.Quiet(err))
	}
	next, err := c.keep(t)
	if err != nil {
		return k, err
	}
	next.ID = k.ID
	return next, nil
}
