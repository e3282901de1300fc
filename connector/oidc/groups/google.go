package groups

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/countersign/countersign/connector"
)

// GoogleConfig is what NewGoogle needs. ServiceAccount, Admins, Client and Now are
// required.
type GoogleConfig struct {
	ServiceAccount *ServiceAccount
	// Admins are the administrators to act for, by the domain of people's addresses;
	// "*" stands for every other domain.
	Admins map[string]string
	// Transitive asks for the groups of groups, too: one question for each.
	Transitive bool
	// APIURL is that of the API. Default: https://admin.googleapis.com
	APIURL string

	// Client speaks to Google; see package upstream.
	Client *http.Client
	Now    func() time.Time
}

// Google asks for the groups of people of a Google Workspace: the Directory API of
// the Admin SDK. A group is called by its address.
// https://developers.google.com/workspace/admin/directory/reference/rest/v1/groups/list
type Google struct {
	cfg       GoogleConfig
	api       *api
	list      *url.URL
	delegates map[string]*delegate // by domain
}

// NewGoogle checks the configuration. It asks nobody.
func NewGoogle(cfg GoogleConfig) (*Google, error) {
	if cfg.ServiceAccount == nil || len(cfg.Admins) == 0 || cfg.Client == nil || cfg.Now == nil {
		return nil, errors.New("groups: ServiceAccount, Admins, Client and Now are required")
	}
	if cfg.APIURL == "" {
		cfg.APIURL = "https://admin.googleapis.com"
	}
	base, err := url.Parse(cfg.APIURL)
	if err != nil || !secure(base) {
		return nil, fmt.Errorf("groups: APIURL is %q, no https address", cfg.APIURL)
	}
	g := &Google{
		cfg: cfg, api: &api{client: cfg.Client, now: cfg.Now}, list: base.JoinPath("/admin/directory/v1/groups"),
		delegates: make(map[string]*delegate),
	}
	same := make(map[string]*delegate) // one token for each administrator
	for domain, admin := range cfg.Admins {
		if same[admin] == nil {
			same[admin] = &delegate{ServiceAccount: cfg.ServiceAccount, api: g.api, admin: admin, slot: make(chan struct{}, 1)}
		}
		g.delegates[strings.ToLower(domain)] = same[admin]
	}
	return g, nil
}

// Groups returns the addresses of the groups of the person that claims are about, in
// Google's order; those of groups come after them. Its error is or wraps
// *connector.DeniedError or connector.ErrUpstream.
func (g *Google) Groups(ctx context.Context, claims map[string]any, _ string) ([]string, bool, error) {
	d, email, err := g.person(claims)
	if err != nil {
		return nil, false, err
	}
	groups, err := g.all(ctx, d, email)
	if err != nil {
		return nil, false, err
	}
	return groups, true, nil
}

// outsider is who is in none of the domains.
var outsider = &connector.DeniedError{Message: "Your Google account does not belong to an organization that may sign in here."}

// person says who is asked about, and by whom. An account without hd is managed by
// nobody: whoever once read an address of the company may have made it, and would get
// the groups of whoever has that address now.
// https://developers.google.com/identity/openid-connect/openid-connect#validatinganidtoken
func (g *Google) person(claims map[string]any) (*delegate, string, error) {
	email, _ := claims["email"].(string)
	hd, _ := claims["hd"].(string)
	if email == "" { // which says nothing about the person
		return nil, "", fmt.Errorf("%w: the claim email is missing: scopes must have email", connector.ErrUpstream)
	}
	at := strings.LastIndexByte(email, '@')
	if hd == "" || at < 1 || claims["email_verified"] != true && claims["email_verified"] != "true" {
		return nil, "", outsider
	}
	d := g.delegates[strings.ToLower(email[at+1:])]
	if d == nil {
		d = g.delegates["*"]
	}
	if d == nil {
		return nil, "", outsider
	}
	return d, email, nil
}

// all are the groups of a member, and theirs. A group that is known already is not
// asked about again, so that circles end.
func (g *Google) all(ctx context.Context, d *delegate, email string) (groups []string, err error) {
	known := make(map[string]bool)
	for level := []string{email}; len(level) > 0; {
		lists := make([][]string, len(level))
		group, groupCtx := errgroup.WithContext(ctx)
		group.SetLimit(maxAtOnce)
		for i, member := range level {
			group.Go(func() (err error) {
				lists[i], err = g.of(groupCtx, d, member)
				return err
			})
		}
		if err := group.Wait(); err != nil {
			return nil, err
		}
		level = nil
		for _, list := range lists {
			for _, name := range list {
				if !known[name] {
					known[name] = true
					level = append(level, name)
				}
			}
		}
		if groups = append(groups, level...); len(groups) > maxGroups {
			return nil, tooMany()
		}
		if !g.cfg.Transitive {
			break
		}
	}
	return groups, nil
}

// perPage is the most that Google gives.
const perPage = 200

// of are the groups that a member, a person or a group, is in directly.
func (g *Google) of(ctx context.Context, d *delegate, member string) (groups []string, err error) {
	q := url.Values{"userKey": {member}, "maxResults": {strconv.Itoa(perPage)}}
	for range maxPages {
		var page struct {
			Kind   string `json:"kind"`
			ETag   string `json:"etag"`
			Groups []struct {
				Email string `json:"email"`
			} `json:"groups"`
			Next string `json:"nextPageToken"`
		}
		if err := g.page(ctx, d, q, &page); err != nil {
			return nil, err
		}
		if page.Kind == "" && page.ETag == "" && page.Groups == nil {
			return nil, fmt.Errorf("%w: Google's answer is no list of groups", connector.ErrUpstream)
		}
		for _, group := range page.Groups {
			if group.Email == "" {
				return nil, fmt.Errorf("%w: a group of Google's has no address", connector.ErrUpstream)
			}
			groups = append(groups, group.Email)
		}
		if page.Next == "" {
			return groups, nil
		}
		q.Set("pageToken", page.Next)
	}
	return nil, tooMany()
}

// page reads one page, with another token if Google does not take the one we have.
func (g *Google) page(ctx context.Context, d *delegate, q url.Values, into any) error {
	address := *g.list
	address.RawQuery = q.Encode()
	token, err := d.access(ctx, "")
	if err != nil {
		return err
	}
	err = g.api.get(ctx, &address, token, into)
	if answered(err, http.StatusUnauthorized) { // before its time
		if token, err = d.access(ctx, token); err != nil {
			return err
		}
		err = g.api.get(ctx, &address, token, into)
	}
	if answered(err, http.StatusForbidden) {
		return fmt.Errorf("%w (is the service account delegated %s, and may %s read groups?)", err, scope, d.admin)
	}
	return err
}
