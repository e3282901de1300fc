package connectortest

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// Graph speaks what Microsoft documents of Microsoft Graph's
// GET /v1.0/me/transitiveMemberOf.
type Graph struct {
	*httptest.Server

	mu sync.Mutex
	// people are by their token.
	people map[string]*graphPerson
	handle http.HandlerFunc
	size   int
	seen   []Request
}

type graphPerson struct {
	objects []GraphObject
	scopes  []string
}

// GraphObject is something that a person is a member of.
type GraphObject struct {
	// Type is group, directoryRole or administrativeUnit.
	Type, ID, Name string
	// Mail is a group that is for mail only.
	Mail bool
}

// NewGraph starts one until the test ends.
func NewGraph(t testing.TB) *Graph {
	t.Helper()
	g := &Graph{people: map[string]*graphPerson{}, size: 999}
	g.Server = httptest.NewServer(http.HandlerFunc(g.serve))
	t.Cleanup(g.Close)
	return g
}

// Anybody is in place of a token that is not known to a test.
const Anybody = "*"

// Put says what a person is a member of who has that token, with those scopes.
func (g *Graph) Put(token string, scopes []string, objects ...GraphObject) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.people[token] = &graphPerson{objects, scopes}
}

// PageSize makes pages smaller than the 999 that are documented.
func (g *Graph) PageSize(n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.size = n
}

// Handle answers differently; nil: as documented again.
func (g *Graph) Handle(h http.HandlerFunc) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.handle = h
}

// Seen are the requests since it was called last.
func (g *Graph) Seen() []Request {
	g.mu.Lock()
	defer g.mu.Unlock()
	seen := g.seen
	g.seen = nil
	return seen
}

// GraphError answers with an error of Microsoft Graph's.
func GraphError(w http.ResponseWriter, status int, code, message string) {
	answer(w, status, map[string]any{"error": map[string]any{
		"code": code, "message": message, "innerError": map[string]string{"request-id": "00000000-0000-0000-0000-000000000000"},
	}})
}

func (g *Graph) serve(out http.ResponseWriter, r *http.Request) {
	w := &recorder{out, http.StatusOK}
	g.mu.Lock()
	h := g.handle
	g.mu.Unlock()
	defer func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.seen = append(g.seen, Request{Path: r.URL.Path, Query: r.URL.Query(), Status: w.status})
	}()
	if h != nil {
		h(w, r)
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	person := g.people[token]
	if person == nil && token != "" {
		person = g.people[Anybody]
	}
	switch {
	case person == nil:
		GraphError(w, http.StatusUnauthorized, "InvalidAuthenticationToken", "Access token validation failure.")
	case r.Method != http.MethodGet || r.URL.Path != "/v1.0/me/transitiveMemberOf":
		GraphError(w, http.StatusNotFound, "Request_ResourceNotFound", "Resource does not exist.")
	case !person.may("User.Read", "GroupMember.Read.All", "Directory.Read.All"):
		GraphError(w, http.StatusForbidden, "Authorization_RequestDenied", "Insufficient privileges to complete the operation.")
	default:
		g.list(w, r, person)
	}
}

func (p *graphPerson) may(any ...string) bool {
	for _, scope := range p.scopes {
		for _, enough := range any {
			if scope == enough {
				return true
			}
		}
	}
	return false
}

func (g *Graph) list(w http.ResponseWriter, r *http.Request, p *graphPerson) {
	q := r.URL.Query()
	size, err := strconv.Atoi(q.Get("$top"))
	if err != nil {
		size = 100
	}
	if size < 1 || size > 999 {
		GraphError(w, http.StatusBadRequest, "Request_BadRequest", "Invalid page size specified.")
		return
	}
	size = min(size, g.size)
	from, err := strconv.Atoi(strings.TrimPrefix(q.Get("$skiptoken"), "RFNwdAoAAQ"))
	if q.Has("$skiptoken") && err != nil {
		GraphError(w, http.StatusBadRequest, "Directory_ExpiredPageToken", "The specified page token value has expired.")
		return
	}
	to := min(from+size, len(p.objects))
	page := map[string]any{
		"@odata.context": g.URL + "/v1.0/$metadata#directoryObjects(id,displayName,securityEnabled)",
		"value":          list(p.objects[from:to], p.shape),
	}
	if to < len(p.objects) {
		more := url.Values{"$select": q["$select"], "$top": q["$top"], "$skiptoken": {fmt.Sprintf("RFNwdAoAAQ%d", to)}}
		page["@odata.nextLink"] = g.URL + r.URL.Path + "?" + more.Encode()
	}
	answer(w, http.StatusOK, page)
}

// shape is an object, of which nothing but the id is told to who may read no more.
func (p *graphPerson) shape(o GraphObject) any {
	shape := map[string]any{"@odata.type": "#microsoft.graph." + o.Type, "id": o.ID, "displayName": nil}
	all := p.may("Directory.Read.All") || o.Type == "group" && p.may("GroupMember.Read.All")
	if all {
		shape["displayName"] = o.Name
	}
	if o.Type == "group" {
		shape["securityEnabled"] = nil
		if all {
			shape["securityEnabled"] = !o.Mail
		}
	}
	return shape
}
