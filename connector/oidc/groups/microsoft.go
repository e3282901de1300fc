package groups

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/countersign/countersign/connector"
)

// MicrosoftConfig is what NewMicrosoft needs. URL, Client and Now are required.
type MicrosoftConfig struct {
	// URL is the root of Microsoft Graph: see GraphOf.
	URL string
	// Names calls groups by their names, which are not unique, instead of their ids.
	Names bool
	// SecurityOnly leaves out groups that are for mail only.
	SecurityOnly bool

	// Client speaks to Microsoft; see package upstream.
	Client *http.Client
	Now    func() time.Time
}

// GraphOf is the root of Microsoft Graph in the cloud of an issuer of Entra ID; empty
// for other issuers. That of the US Department of Defense has the issuer of its
// government, and has to be named: https://dod-graph.microsoft.us.
// https://learn.microsoft.com/graph/deployments
func GraphOf(issuer string) string {
	u, err := url.Parse(issuer)
	if err != nil || u.Scheme != "https" {
		return ""
	}
	return map[string]string{
		"login.microsoftonline.com":        "https://graph.microsoft.com",
		"login.microsoftonline.us":         "https://graph.microsoft.us",
		"login.chinacloudapi.cn":           "https://microsoftgraph.chinacloudapi.cn",
		"login.partner.microsoftonline.cn": "https://microsoftgraph.chinacloudapi.cn",
	}[strings.ToLower(u.Host)]
}

// ParseGraph reads the root of a Microsoft Graph: a host and nothing else, and https,
// but on loopback.
func ParseGraph(address string) (*url.URL, error) {
	u, err := url.Parse(address)
	if err != nil || !secure(u) || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("%.100q is no https address of a host alone, such as https://graph.microsoft.com", address)
	}
	return u, nil
}

// Microsoft asks for the groups of people of Entra ID, in their own name: Microsoft
// Graph.
// https://learn.microsoft.com/graph/api/user-list-transitivememberof
type Microsoft struct {
	cfg  MicrosoftConfig
	api  *api
	root *url.URL
}

// NewMicrosoft checks the configuration. It asks nobody.
func NewMicrosoft(cfg MicrosoftConfig) (*Microsoft, error) {
	if cfg.URL == "" || cfg.Client == nil || cfg.Now == nil {
		return nil, errors.New("groups: URL, Client and Now are required")
	}
	root, err := ParseGraph(cfg.URL)
	if err != nil {
		return nil, fmt.Errorf("groups: %w", err)
	}
	return &Microsoft{cfg: cfg, api: &api{client: cfg.Client, now: cfg.Now}, root: root}, nil
}

// member is what Graph says of something that the person is a member of. What we may
// not read is null.
// https://learn.microsoft.com/graph/permissions-overview#limited-information-returned-for-inaccessible-member-objects
type member struct {
	Type     string  `json:"@odata.type"`
	ID       string  `json:"id"`
	Name     *string `json:"displayName"`
	Security *bool   `json:"securityEnabled"`
}

// Groups returns the groups of the person that the token speaks for, with those that
// they are in by other groups, unless what the claims say is all that is wanted: then
// ok is false. Its error wraps connector.ErrUpstream.
func (m *Microsoft) Groups(ctx context.Context, claims map[string]any, token string) (groups []string, ok bool, err error) {
	if !m.cfg.Names && !m.cfg.SecurityOnly && !Elsewhere(claims) {
		return nil, false, nil
	}
	// Without a cast to groups: Graph answers that from an index that comes later.
	next := m.root.JoinPath("/v1.0/me/transitiveMemberOf")
	next.RawQuery = url.Values{"$select": {"id,displayName,securityEnabled"}, "$top": {"999"}}.Encode()
	for range maxPages {
		var page struct {
			Value []member `json:"value"`
			Next  string   `json:"@odata.nextLink"`
		}
		if err := m.page(ctx, next, token, &page); err != nil {
			return nil, false, err
		}
		if page.Value == nil {
			return nil, false, fmt.Errorf("%w: Graph's answer is no list", connector.ErrUpstream)
		}
		for _, of := range page.Value {
			if groups, err = m.add(groups, of); err != nil {
				return nil, false, err
			}
		}
		if len(groups) > maxGroups {
			break
		}
		if page.Next == "" {
			return groups, true, nil
		}
		if next, err = m.follow(page.Next); err != nil {
			return nil, false, err
		}
	}
	return nil, false, tooMany()
}

func (m *Microsoft) page(ctx context.Context, address *url.URL, token string, into any) error {
	err := m.api.get(ctx, address, token, into)
	if answered(err, http.StatusForbidden) || answered(err, http.StatusUnauthorized) {
		return fmt.Errorf("%w (scopes must have User.Read)", err)
	}
	return err
}

// add puts a group to the others. Roles and administrative units are none.
func (m *Microsoft) add(groups []string, of member) ([]string, error) {
	switch {
	case of.Type != "#microsoft.graph.group":
		return groups, nil
	case of.ID == "":
		return nil, fmt.Errorf("%w: a group of Graph's has no id", connector.ErrUpstream)
	case m.cfg.SecurityOnly && of.Security == nil, m.cfg.Names && (of.Name == nil || *of.Name == ""):
		return nil, fmt.Errorf("%w: Graph does not let us see more than the id of group %.40q: scopes must have GroupMember.Read.All, which an administrator consents to", connector.ErrUpstream, of.ID)
	case m.cfg.SecurityOnly && !*of.Security:
		return groups, nil
	case m.cfg.Names:
		return append(groups, *of.Name), nil
	}
	return append(groups, of.ID), nil
}

// follow checks the address of a next page: the person's token goes there.
func (m *Microsoft) follow(link string) (*url.URL, error) {
	u, err := url.Parse(link)
	if err != nil || u.Scheme != m.root.Scheme || !strings.EqualFold(u.Host, m.root.Host) || u.User != nil || !strings.HasPrefix(u.Path, "/v1.0/") {
		return nil, fmt.Errorf("%w: Graph's next page is at %.200q, not at %s", connector.ErrUpstream, link, m.root.Host)
	}
	return u, nil
}
