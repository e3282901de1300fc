package groups_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/countersign/countersign/connector"
	"github.com/countersign/countersign/connector/connectortest"
	"github.com/countersign/countersign/connector/oidc/groups"
	"github.com/countersign/countersign/connector/upstream"
)

const admin = "super-user@example.com"

// clock is a clock that stands still.
type clock struct{ ahead atomic.Int64 }

func (c *clock) now() time.Time { return time.Unix(1_800_000_000+c.ahead.Load(), 0) }

func client(t *testing.T) *http.Client {
	t.Helper()
	c, err := upstream.Client(upstream.TLS{})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// workspace is one with Jane, who is in two groups.
type workspace struct {
	t *testing.T
	*connectortest.Workspace
	clock
}

func newWorkspace(t *testing.T) *workspace {
	t.Helper()
	w := &workspace{t: t}
	w.Workspace = connectortest.NewWorkspace(t, w.now, admin, "admin@sub.example.net")
	w.Put("jane@example.com", "devs@example.com", "ops@example.com")
	return w
}

func (w *workspace) connect(change ...func(*groups.GoogleConfig)) *groups.Google {
	w.t.Helper()
	account, err := groups.ParseServiceAccount(w.KeyFile(w.t))
	if err != nil {
		w.t.Fatal(err)
	}
	cfg := groups.GoogleConfig{
		ServiceAccount: account, Admins: map[string]string{"example.com": admin}, APIURL: w.URL, Client: client(w.t), Now: w.now,
	}
	for _, f := range change {
		f(&cfg)
	}
	g, err := groups.NewGoogle(cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	return g
}

// claims are of a managed account.
func claims(email string) map[string]any {
	return map[string]any{"email": email, "email_verified": true, "hd": "example.com"}
}

// of are the groups of somebody who has some.
func (w *workspace) of(g *groups.Google, email string) []string {
	w.t.Helper()
	all, ok, err := g.Groups(w.t.Context(), claims(email), "")
	if err != nil || !ok {
		w.t.Fatalf("%s: %v, %v", email, ok, err)
	}
	return all
}

func (w *workspace) same(what string, got, want []string) {
	w.t.Helper()
	if !slices.Equal(got, want) {
		w.t.Errorf("%s: %q, want %q", what, got, want)
	}
}

// asked are the paths of the requests since the last call.
func (w *workspace) asked() (n map[string]int) {
	n = make(map[string]int)
	for _, r := range w.Seen() {
		n[r.Path]++
	}
	return n
}

const (
	tokenPath = connectortest.WorkspaceTokenPath
	listPath  = connectortest.WorkspaceListPath
)

func transitive(c *groups.GoogleConfig) { c.Transitive = true }

func TestGoogle(t *testing.T) {
	t.Parallel()
	w := newWorkspace(t)
	w.Put("alone@example.com")
	w.Put("devs@example.com", "all@example.com")
	g := w.connect()
	w.same("direct", w.of(g, "jane@example.com"), []string{"devs@example.com", "ops@example.com"})
	w.same("none", w.of(g, "alone@example.com"), nil)
	if n := w.asked(); n[tokenPath] != 1 || n[listPath] != 2 {
		t.Errorf("asked %v", n)
	}
	// A token ends.
	w.ahead.Add(3600 - 59)
	w.same("later", w.of(g, "jane@example.com"), []string{"devs@example.com", "ops@example.com"})
	if n := w.asked(); n[tokenPath] != 1 {
		t.Errorf("asked %v", n)
	}
	// It ends before its time.
	w.ForgetTokens()
	w.same("after a revocation", w.of(g, "jane@example.com"), []string{"devs@example.com", "ops@example.com"})
	if n := w.asked(); n[tokenPath] != 1 || n[listPath] != 2 {
		t.Errorf("asked %v", n)
	}
}

func TestGooglePages(t *testing.T) {
	t.Parallel()
	w := newWorkspace(t)
	var many []string
	for i := range 450 {
		many = append(many, fmt.Sprintf("group-%d@example.com", i))
	}
	w.Put("jane@example.com", many...)
	w.same("pages", w.of(w.connect(), "jane@example.com"), many)
	if n := w.asked(); n[listPath] != 3 {
		t.Errorf("asked %v", n)
	}
}

// Groups of groups, in circles.
func TestGoogleTransitive(t *testing.T) {
	t.Parallel()
	w := newWorkspace(t)
	w.Put("devs@example.com", "all@example.com", "staff@example.com")
	w.Put("ops@example.com", "all@example.com", "ops@example.com")
	w.Put("all@example.com", "devs@example.com", "everybody@example.com")
	w.Put("staff@example.com")
	w.Put("everybody@example.com", "all@example.com")
	w.PageSize(1)
	w.same("transitive", w.of(w.connect(transitive), "jane@example.com"),
		[]string{"devs@example.com", "ops@example.com", "all@example.com", "staff@example.com", "everybody@example.com"})
	// A group of groups that cannot be read is not left out.
	w.Put("everybody@example.com", "gone@example.com")
	if all, ok, err := w.connect(transitive).Groups(t.Context(), claims("jane@example.com"), ""); !errors.Is(err, connector.ErrUpstream) || ok || all != nil {
		t.Errorf("%q, %v, %v", all, ok, err)
	}
}

// Many who need a token ask for it once.
func TestGoogleTokenOnce(t *testing.T) {
	t.Parallel()
	w := newWorkspace(t)
	g := w.connect()
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if _, _, err := g.Groups(t.Context(), claims("jane@example.com"), ""); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := w.asked(); n[tokenPath] != 1 {
		t.Errorf("asked %v", n)
	}
}

// Who asks, by the domain of the person; and who is nobody's.
func TestGoogleDomains(t *testing.T) {
	t.Parallel()
	w := newWorkspace(t)
	w.Put("bob@Sub.example.net", "net@example.net")
	w.Put("eve@other.example")
	g := w.connect(func(c *groups.GoogleConfig) { c.Admins["SUB.example.net"] = "admin@sub.example.net" })
	w.same("another administrator", w.of(g, "bob@Sub.example.net"), []string{"net@example.net"})
	unmanaged, unverified := claims("jane@example.com"), claims("jane@example.com")
	delete(unmanaged, "hd")
	unverified["email_verified"] = false
	w.asked()
	for name, c := range map[string]map[string]any{
		"a private account with a company's address": unmanaged,
		"an address that is not verified":            unverified,
		"half an address":                            claims("@example.com"),
		"another domain":                             claims("eve@other.example"),
		"a domain with ours before it":               claims("eve@example.com@other.example"),
		"a domain that ends as ours":                 claims("eve@notexample.com"),
	} {
		_, ok, err := g.Groups(t.Context(), c, "")
		if _, denied := errors.AsType[*connector.DeniedError](err); !denied || ok {
			t.Errorf("%s: %v", name, err)
		}
	}
	// An id_token that does not say the address is no verdict on a person.
	_, ok, err := g.Groups(t.Context(), map[string]any{"hd": "example.com", "email_verified": true}, "")
	if _, denied := errors.AsType[*connector.DeniedError](err); denied || ok || !errors.Is(err, connector.ErrUpstream) {
		t.Errorf("no address: %v", err)
	}
	if n := w.asked(); len(n) != 0 {
		t.Errorf("asked about outsiders: %v", n)
	}
	every := w.connect(func(c *groups.GoogleConfig) { c.Admins["*"] = admin })
	w.same("every domain", w.of(every, "eve@other.example"), nil)
}

// No answer means that somebody has no groups, but the one that says so.
func TestGoogleFails(t *testing.T) {
	t.Parallel()
	refuse := func(status int, reason string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			connectortest.GoogleError(w, status, reason, "a message")
		}
	}
	write := func(text string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write([]byte(text))
		}
	}
	for name, h := range map[string]http.HandlerFunc{
		"not allowed": refuse(403, "forbidden"), "nobody": refuse(404, "notFound"), "limited": refuse(429, "rateLimitExceeded"),
		"never a good token": refuse(401, "authError"), "failing": refuse(500, "backendError"), "overloaded": refuse(503, "backendError"),
		"an error that is no JSON": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(502) },
		"an empty document":        write("{}"),
		"null":                     write("null"),
		"a list":                   write("[]"),
		"a page":                   write("<html>"),
		"nothing":                  write(""),
		"half":                     write(`{"kind":"admin#directory#groups","groups":[{"email":"a@x"}`),
		"two documents":            write(`{"kind":"admin#directory#groups"}{"kind":"admin#directory#groups"}`),
		"a group without address":  write(`{"kind":"admin#directory#groups","groups":[{"id":"1"}]}`),
		"2 MB":                     write(`{"kind":"` + strings.Repeat("x", 2<<20) + `"}`),
		"pages without end":        write(`{"kind":"admin#directory#groups","groups":[{"email":"a@x"}],"nextPageToken":"same"}`),
		"elsewhere": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorkspace(t)
			w.Handle(listPath, h)
			all, ok, err := w.connect().Groups(t.Context(), claims("jane@example.com"), "")
			if !errors.Is(err, connector.ErrUpstream) || errors.Is(err, connector.ErrGone) || ok || all != nil {
				t.Fatalf("%q, %v, %v", all, ok, err)
			}
			if text := err.Error(); strings.Contains(text, "jane") || strings.Contains(text, "ya29.") {
				t.Errorf("the error tells of the person or a token: %v", err)
			}
			if w.asked()["/elsewhere"] != 0 {
				t.Error("the token was sent elsewhere")
			}
		})
	}
}

// A token endpoint that gives no token: the API is not asked without one.
func TestGoogleGivesNoToken(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"an empty document": "{}", "a page": "<html>", "2 MB": `{"access_token":"` + strings.Repeat("x", 2<<20) + `"}`, "another kind": `{"access_token":7}`,
	} {
		w := newWorkspace(t)
		w.Handle(tokenPath, func(out http.ResponseWriter, _ *http.Request) { _, _ = out.Write([]byte(text)) })
		_, ok, err := w.connect().Groups(t.Context(), claims("jane@example.com"), "")
		if n := w.asked(); !errors.Is(err, connector.ErrUpstream) || ok || n[listPath] != 0 {
			t.Errorf("%s: %v, asked %v", name, err, n)
		}
	}
}

// More groups than are taken for all.
func TestGoogleTooMany(t *testing.T) {
	t.Parallel()
	w := newWorkspace(t)
	var many []string
	for i := range 5001 {
		many = append(many, fmt.Sprintf("%d@example.com", i))
	}
	w.Put("jane@example.com", many...)
	if all, ok, err := w.connect().Groups(t.Context(), claims("jane@example.com"), ""); !errors.Is(err, connector.ErrUpstream) || ok {
		t.Errorf("%d groups, %v", len(all), err)
	}
	w.Put("jane@example.com", many[:5000]...)
	if all := w.of(w.connect(), "jane@example.com"); len(all) != 5000 {
		t.Errorf("%d groups", len(all))
	}
}

// An API that does not want to be asked is not asked, until it wants to.
func TestGoogleLimits(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		status int
		reason string
		after  string
		wait   int64
	}{
		"429":                {429, "rateLimitExceeded", "30", 30},
		"429 without a time": {429, "rateLimitExceeded", "", 5},
		"403 of a quota":     {403, "quotaExceeded", "", 5},
		"503 with a time":    {503, "backendError", "7", 7},
		"far too long":       {429, "rateLimitExceeded", "10000000000", 300},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorkspace(t)
			g := w.connect()
			w.Handle(listPath, func(out http.ResponseWriter, _ *http.Request) {
				if c.after != "" {
					out.Header().Set("Retry-After", c.after)
				}
				connectortest.GoogleError(out, c.status, c.reason, "a message")
			})
			fails := func(when string) {
				if _, _, err := g.Groups(t.Context(), claims("jane@example.com"), ""); !errors.Is(err, connector.ErrUpstream) {
					t.Errorf("%s: %v", when, err)
				}
			}
			fails("limited")
			w.Handle(listPath, nil)
			w.asked()
			w.ahead.Add(c.wait - 1)
			fails("too early")
			if n := w.asked(); len(n) != 0 {
				t.Errorf("asked too early: %v", n)
			}
			w.ahead.Add(1)
			w.same("afterwards", w.of(g, "jane@example.com"), []string{"devs@example.com", "ops@example.com"})
		})
	}
}

// Google hangs: nobody waits for longer than they want.
func TestGoogleHangs(t *testing.T) {
	t.Parallel()
	w := newWorkspace(t)
	release := make(chan struct{})
	defer close(release)
	w.Handle(listPath, func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, _, err := w.connect().Groups(ctx, claims("jane@example.com"), ""); !errors.Is(err, connector.ErrUpstream) || !errors.Is(err, context.DeadlineExceeded) || strings.Contains(err.Error(), "jane") {
		t.Errorf("%v", err)
	}
}
