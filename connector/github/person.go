package github

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strconv"

	gogithub "github.com/google/go-github/v89/github"
	"golang.org/x/sync/errgroup"

	"github.com/countersign/countersign/connector"
)

// answers are all that the API said of a person.
type answers struct {
	user   gogithub.User
	claims map[string]any
	emails []gogithub.UserEmail
	// member has the configured organizations that they are in, unsaid what those
	// answered that do not tell.
	member map[string]bool
	unsaid error
	orgs   []gogithub.Organization
	teams  []gogithub.Team
}

// person asks who a token speaks for, and returns the number of their account, too.
func (c *Connector) person(ctx context.Context, token string) (connector.Identity, int64, error) {
	a, err := c.answers(ctx, c.reader(token))
	if err != nil {
		return connector.Identity{}, 0, err
	}
	id, login := a.user.GetID(), a.user.GetLogin()
	if id <= 0 || login == "" {
		return connector.Identity{}, 0, fmt.Errorf("%w: it gave no id or no login", connector.ErrUpstream)
	}
	who := connector.Identity{
		UserID: strconv.FormatInt(id, 10), Name: a.user.GetName(), PreferredUsername: login, Claims: a.claims,
	}
	if c.cfg.LoginAsID {
		who.UserID = login
	}
	if who.Name == "" {
		who.Name = login
	}
	who.Email, who.EmailVerified = c.email(a.emails)
	who.Groups, err = c.groups(a)
	return who, id, err
}

// answers asks everything at once, as far as maxAtOnce lets.
func (c *Connector) answers(ctx context.Context, r *reader) (*answers, error) {
	a := &answers{}
	group, ctx := errgroup.WithContext(ctx)
	var emails, orgs, teams []any
	group.Go(func() error {
		var raw json.RawMessage
		if _, err := r.get(ctx, "user", &raw); err != nil {
			return err
		}
		if err := errors.Join(json.Unmarshal(raw, &a.user), json.Unmarshal(raw, &a.claims)); err != nil {
			return fmt.Errorf("%w: reading the user: %w", connector.ErrUpstream, err)
		}
		return nil
	})
	group.Go(func() (err error) {
		a.emails, emails, err = read[gogithub.UserEmail](ctx, r, "user/emails")
		return err
	})
	if c.wantsGroups() {
		group.Go(func() (err error) { a.teams, teams, err = read[gogithub.Team](ctx, r, "user/teams"); return err })
	}
	if c.wantsGroups() && !c.restricted() {
		group.Go(func() (err error) { a.orgs, orgs, err = read[gogithub.Organization](ctx, r, "user/orgs"); return err })
	}
	group.Go(func() error { return c.memberships(ctx, r, a) })
	if err := group.Wait(); err != nil {
		return nil, err
	}
	if a.claims == nil {
		return nil, fmt.Errorf("%w: its answer is null", connector.ErrUpstream)
	}
	for name, list := range map[string][]any{"emails": emails, "orgs": orgs, "teams": teams} {
		if list != nil {
			a.claims[name] = list
		}
	}
	return a, nil
}

func read[T any](ctx context.Context, r *reader, path string) ([]T, []any, error) {
	list, err := r.list(ctx, path)
	if err != nil {
		return nil, nil, err
	}
	return decode[T](list)
}

// memberships finds the configured organizations that the person is in. An invitation
// is no membership.
func (c *Connector) memberships(ctx context.Context, r *reader, a *answers) error {
	names := c.organizations()
	in, unsaid := make([]bool, len(names)), make([]error, len(names))
	group, ctx := errgroup.WithContext(ctx)
	for i, name := range names {
		group.Go(func() error {
			var m gogithub.Membership
			_, err := r.get(ctx, "user/memberships/orgs/"+url.PathEscape(name), &m)
			switch {
			case errors.Is(err, errNotThere):
				return nil
			case errors.Is(err, errNotAllowed):
				unsaid[i] = err
				return nil
			}
			in[i] = err == nil && m.GetState() == "active"
			return err
		})
	}
	err := group.Wait()
	a.member, a.unsaid = make(map[string]bool), errors.Join(unsaid...)
	for i, name := range names {
		a.member[name] = in[i]
	}
	return err
}
