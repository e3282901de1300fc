package connectortest

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// api answers a request to the REST API.
func (g *GitHub) api(w http.ResponseWriter, r *http.Request, path string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	value, bearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	t := g.tokens[value]
	if !bearer || t == nil || !t.expires.IsZero() && !g.now().Before(t.expires) {
		fail(w, http.StatusUnauthorized, "Bad credentials")
		return
	}
	person := g.people[t.login]
	switch {
	case person == nil:
		fail(w, http.StatusUnauthorized, "Bad credentials")
	case person.Suspended:
		fail(w, http.StatusForbidden, "Sorry. Your account was suspended.")
	default:
		g.resource(w, r, path, person, value)
	}
}

// resource finds what was asked for.
func (g *GitHub) resource(w http.ResponseWriter, r *http.Request, path string, person *Account, token string) {
	switch org, membership := strings.CutPrefix(path, "/user/memberships/orgs/"); {
	case path == "/user":
		g.conditional(w, r, token, g.user(person))
	case path == "/user/emails":
		g.paged(w, r, path, token, list(person.Emails, func(e Email) any { return e }))
	case path == "/user/orgs":
		var active []Membership
		for _, m := range person.Orgs {
			if m.State == "active" && !m.Blocked {
				active = append(active, m)
			}
		}
		g.paged(w, r, path, token, list(active, func(m Membership) any { return g.org(m.Org) }))
	case path == "/user/teams":
		g.paged(w, r, path, token, list(person.Teams, func(t Team) any { return g.team(t) }))
	case membership:
		g.membership(w, r, person, org, token)
	default:
		fail(w, http.StatusNotFound, "Not Found")
	}
}

func list[T any](all []T, shape func(T) any) []any {
	out := make([]any, len(all))
	for i, v := range all {
		out[i] = shape(v)
	}
	return out
}

func (g *GitHub) user(a *Account) map[string]any {
	var email any
	if a.PublicEmail != "" {
		email = a.PublicEmail
	}
	var name any
	if a.Name != "" {
		name = a.Name
	}
	return map[string]any{
		"login": a.Login, "id": a.ID, "node_id": "MDQ6VXNlcjE=", "type": "User", "site_admin": false, "name": name, "email": email,
		"avatar_url": g.URL + "/images/" + a.Login, "url": g.APIURL() + "users/" + a.Login, "html_url": g.URL + "/" + a.Login,
		"company": nil, "blog": "", "location": nil, "two_factor_authentication": true, "created_at": "2008-01-14T04:33:35Z",
	}
}

func (g *GitHub) org(login string) map[string]any {
	return map[string]any{"login": login, "id": number(login), "url": g.APIURL() + "orgs/" + login, "description": "Some organization"}
}

func (g *GitHub) team(t Team) map[string]any {
	short := t.Slug
	if short == "" {
		short = slug(t.Name)
	}
	return map[string]any{
		"id": number(t.Org + t.Name), "name": t.Name, "slug": short, "description": "Some team", "privacy": "closed", "permission": "admin",
		"url": g.APIURL() + "teams/1", "members_count": 3, "repos_count": 10, "parent": nil, "organization": g.org(t.Org),
	}
}

func number(of string) int {
	sum := sha256.Sum256([]byte(of))
	return int(sum[0])<<16 | int(sum[1])<<8 | int(sum[2])
}

func (g *GitHub) membership(w http.ResponseWriter, r *http.Request, person *Account, org, token string) {
	for _, m := range person.Orgs {
		switch {
		case !strings.EqualFold(m.Org, org):
		case m.Blocked:
			fail(w, http.StatusForbidden, "Although you appear to have the correct authorization credentials, the `"+m.Org+"` organization has enabled OAuth App access restrictions.")
			return
		default:
			g.conditional(w, r, token, map[string]any{
				"url": g.APIURL() + "orgs/" + m.Org + "/memberships/" + person.Login, "state": m.State, "role": "member",
				"organization": g.org(m.Org), "user": map[string]any{"login": person.Login, "id": person.ID},
			})
			return
		}
	}
	fail(w, http.StatusNotFound, "Not Found")
}

// paged answers with one page, and links to the others.
func (g *GitHub) paged(w http.ResponseWriter, r *http.Request, path, token string, all []any) {
	size, err := strconv.Atoi(r.URL.Query().Get("per_page"))
	if err != nil || size < 1 {
		size = 30
	}
	size = min(size, 100)
	page, err := strconv.Atoi(r.URL.Query().Get("page"))
	if err != nil || page < 1 {
		page = 1
	}
	last := max(1, (len(all)+size-1)/size)
	var links []string
	link := func(rel string, n int) {
		q := url.Values{"per_page": {strconv.Itoa(size)}, "page": {strconv.Itoa(n)}}
		links = append(links, fmt.Sprintf("<%s?%s>; rel=%q", strings.TrimSuffix(g.APIURL(), "/")+path, q.Encode(), rel))
	}
	if page > 1 {
		link("prev", page-1)
	}
	if page < last {
		link("next", page+1)
		link("last", last)
	}
	if page > 1 {
		link("first", 1)
	}
	if len(links) > 0 {
		w.Header().Set("Link", strings.Join(links, ", "))
	}
	from := min((page-1)*size, len(all))
	g.conditional(w, r, token, all[from:min(from+size, len(all))])
}

// conditional answers with a document, or that it has not changed, which costs nothing
// of the rate limit.
func (g *GitHub) conditional(w http.ResponseWriter, r *http.Request, token string, document any) {
	body, err := json.Marshal(document)
	if err != nil {
		fail(w, http.StatusInternalServerError, err.Error())
		return
	}
	etag := fmt.Sprintf(`W/"%x"`, sha256.Sum256(append([]byte(token+r.URL.RawQuery+w.Header().Get("Link")), body...)))
	same := r.Header.Get("If-None-Match") == etag
	if !same {
		g.used++
	}
	w.Header().Set("X-RateLimit-Limit", strconv.Itoa(g.limit))
	w.Header().Set("X-RateLimit-Remaining", strconv.Itoa(max(0, g.limit-g.used)))
	w.Header().Set("X-RateLimit-Used", strconv.Itoa(g.used))
	w.Header().Set("X-RateLimit-Reset", strconv.FormatInt(g.reset.Unix(), 10))
	w.Header().Set("X-RateLimit-Resource", "core")
	if g.used > g.limit && g.now().Before(g.reset) {
		fail(w, http.StatusForbidden, "API rate limit exceeded for user ID 1.")
		return
	}
	w.Header().Set("ETag", etag)
	w.Header().Set("Cache-Control", "private, max-age=60, s-maxage=60")
	w.Header().Set("Vary", "Accept, Authorization, Cookie, X-GitHub-OTP")
	if same {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	_, _ = w.Write(body)
}
