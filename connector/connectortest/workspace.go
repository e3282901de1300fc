package connectortest

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// What every Workspace knows our service account by, and what it is delegated.
const (
	ServiceAccount      = "countersign@project.iam.gserviceaccount.com"
	serviceAccountKeyID = "0123456789abcdef"
	groupsScope         = "https://www.googleapis.com/auth/admin.directory.group.readonly"
)

// Workspace speaks what Google documents of groups.list (Admin SDK Directory API,
// directory_v1), and of OAuth 2.0 for service accounts with domain-wide delegation.
type Workspace struct {
	*httptest.Server
	key *rsa.PrivateKey
	now func() time.Time

	mu sync.Mutex
	// members are the groups that a member is in directly, by address.
	members map[string][]string
	admins  []string
	tokens  map[string]time.Time        // to when they are good
	handle  map[string]http.HandlerFunc // by path
	// pageSize is the most that a page has, at most 200.
	pageSize int
	seen     []Request
}

// serviceKey is the key of the service account: making one takes a while.
var serviceKey = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })

// NewWorkspace starts one until the test ends. Groups are read in the name of admins.
func NewWorkspace(t testing.TB, now func() time.Time, admins ...string) *Workspace {
	t.Helper()
	key, err := serviceKey()
	if err != nil {
		t.Fatal(err)
	}
	w := &Workspace{key: key, now: now, admins: admins, members: map[string][]string{}, tokens: map[string]time.Time{}, handle: map[string]http.HandlerFunc{}, pageSize: 200}
	w.Server = httptest.NewServer(http.HandlerFunc(w.serve))
	t.Cleanup(w.Close)
	return w
}

// KeyFile is the service account's key as Google's console gives it.
func (w *Workspace) KeyFile(t testing.TB) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(w.key)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(map[string]string{
		"type": "service_account", "project_id": "project", "client_email": ServiceAccount, "client_id": "100000000000000000001",
		"private_key_id": serviceAccountKeyID, "private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
		"auth_uri": w.URL + "/o/oauth2/auth", "token_uri": w.URL + WorkspaceTokenPath, "universe_domain": "googleapis.com",
	})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// Put says which groups a member, a person or a group, is in directly.
func (w *Workspace) Put(member string, groups ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.members[member] = groups
}

// PageSize makes pages smaller than the 200 that are documented.
func (w *Workspace) PageSize(n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pageSize = n
}

// Its addresses: of OAuth 2.0, and of groups.list.
const (
	WorkspaceTokenPath = "/token"
	WorkspaceListPath  = "/admin/directory/v1/groups"
)

// Handle answers a path differently; nil: as documented again.
func (w *Workspace) Handle(path string, h http.HandlerFunc) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.handle[path] = h
}

// ForgetTokens makes every token that was given out a wrong one.
func (w *Workspace) ForgetTokens() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tokens = map[string]time.Time{}
}

// Seen are the requests since it was called last.
func (w *Workspace) Seen() []Request {
	w.mu.Lock()
	defer w.mu.Unlock()
	seen := w.seen
	w.seen = nil
	return seen
}

func (w *Workspace) serve(out http.ResponseWriter, r *http.Request) {
	_ = r.ParseForm()
	rec := &recorder{out, http.StatusOK}
	w.mu.Lock()
	h := w.handle[r.URL.Path]
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.seen = append(w.seen, Request{Path: r.URL.Path, Query: r.URL.Query(), Form: r.PostForm, Status: rec.status})
	}()
	switch {
	case h != nil:
		h(rec, r)
	case r.Method == http.MethodPost && r.URL.Path == WorkspaceTokenPath:
		w.token(rec, r)
	case r.Method == http.MethodGet && r.URL.Path == WorkspaceListPath:
		w.list(rec, r)
	default:
		GoogleError(rec, http.StatusNotFound, "notFound", "Not Found")
	}
}

// GoogleError answers with an error of Google's APIs.
func GoogleError(w http.ResponseWriter, status int, reason, message string) {
	answer(w, status, map[string]any{"error": map[string]any{
		"code": status, "message": message, "errors": []any{map[string]string{"message": message, "domain": "global", "reason": reason}},
	}})
}

// token redeems an assertion (RFC 7523).
func (w *Workspace) token(out http.ResponseWriter, r *http.Request) {
	refuse := func(code, description string) {
		answer(out, http.StatusBadRequest, map[string]string{"error": code, "error_description": description})
	}
	if r.PostForm.Get("grant_type") != "urn:ietf:params:oauth:grant-type:jwt-bearer" {
		refuse("unsupported_grant_type", "Invalid grant_type")
		return
	}
	t, err := jwt.ParseSigned(r.PostForm.Get("assertion"), []jose.SignatureAlgorithm{jose.RS256})
	var claims struct {
		jwt.Claims
		Scope string `json:"scope"`
	}
	if err != nil || t.Headers[0].KeyID != serviceAccountKeyID || t.Claims(&w.key.PublicKey, &claims) != nil {
		refuse("invalid_grant", "Invalid JWT Signature.")
		return
	}
	now := w.now()
	expected := jwt.Expected{Issuer: ServiceAccount, AnyAudience: jwt.Audience{w.URL + WorkspaceTokenPath}, Time: now}
	if claims.ValidateWithLeeway(expected, 0) != nil || claims.IssuedAt == nil || claims.Expiry == nil || claims.Expiry.Time().Sub(claims.IssuedAt.Time()) > time.Hour {
		refuse("invalid_grant", "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe.")
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if claims.Scope != groupsScope || !slices.Contains(w.admins, claims.Subject) {
		answer(out, http.StatusUnauthorized, map[string]string{
			"error": "unauthorized_client", "error_description": "Client is unauthorized to retrieve access tokens using this method, or client not authorized for any of the scopes requested.",
		})
		return
	}
	value := word("ya29.")
	w.tokens[value] = now.Add(time.Hour)
	answer(out, http.StatusOK, map[string]any{"access_token": value, "expires_in": 3600, "token_type": "Bearer"})
}

// list is groups.list.
func (w *Workspace) list(out http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	defer w.mu.Unlock()
	value, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !w.now().Before(w.tokens[value]) {
		GoogleError(out, http.StatusUnauthorized, "authError", "Request had invalid authentication credentials.")
		return
	}
	q := r.URL.Query()
	groups, known := w.members[q.Get("userKey")]
	if !known {
		GoogleError(out, http.StatusNotFound, "notFound", "Resource Not Found: userKey")
		return
	}
	size, err := strconv.Atoi(q.Get("maxResults"))
	if err != nil || size < 1 {
		size = 200
	}
	size = min(size, w.pageSize)
	from := 0
	if token := q.Get("pageToken"); token != "" {
		text, _ := base64.StdEncoding.DecodeString(token) // what is none is no number
		if from, err = strconv.Atoi(string(text)); err != nil || from > len(groups) {
			GoogleError(out, http.StatusBadRequest, "invalid", "Invalid Input: pageToken")
			return
		}
	}
	to := min(from+size, len(groups))
	page := map[string]any{"kind": "admin#directory#groups", "etag": `"etag"`}
	if to > from {
		page["groups"] = list(groups[from:to], func(email string) any {
			return map[string]any{
				"kind": "admin#directory#group", "id": strconv.Itoa(number(email)), "etag": `"etag"`, "email": email,
				"name": email, "directMembersCount": "3", "description": "", "adminCreated": true,
			}
		})
	}
	if to < len(groups) {
		page["nextPageToken"] = base64.StdEncoding.EncodeToString([]byte(strconv.Itoa(to)))
	}
	answer(out, http.StatusOK, page)
}
