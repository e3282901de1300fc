package groups_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/countersign/countersign/connector"
	"github.com/countersign/countersign/connector/connectortest"
	"github.com/countersign/countersign/connector/oidc/groups"
)

// overage is what Entra ID says of somebody in more than 200 groups. The address is of
// an API that was switched off.
func overage() map[string]any {
	return map[string]any{
		"_claim_names":   map[string]any{"groups": "src1"},
		"_claim_sources": map[string]any{"src1": map[string]any{"endpoint": "https://graph.windows.net/tenant/users/oid/getMemberObjects"}},
	}
}

// Somebody who is in these.
var objects = []connectortest.GraphObject{
	{Type: "group", ID: "g-1", Name: "Developers"}, {Type: "directoryRole", ID: "r-1", Name: "Global Administrator"},
	{Type: "group", ID: "g-2", Name: "News", Mail: true}, {Type: "administrativeUnit", ID: "u-1", Name: "Unit"},
	{Type: "group", ID: "g-3", Name: "Operators"},
}

func graph(t *testing.T, scopes ...string) *connectortest.Graph {
	t.Helper()
	g := connectortest.NewGraph(t)
	g.Put("access", scopes, objects...)
	return g
}

func connect(t *testing.T, g *connectortest.Graph, c *clock, change ...func(*groups.MicrosoftConfig)) *groups.Microsoft {
	t.Helper()
	cfg := groups.MicrosoftConfig{URL: g.URL, Client: client(t), Now: c.now}
	for _, f := range change {
		f(&cfg)
	}
	m, err := groups.NewMicrosoft(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func names(c *groups.MicrosoftConfig)    { c.Names = true }
func security(c *groups.MicrosoftConfig) { c.SecurityOnly = true }

func TestMicrosoft(t *testing.T) {
	t.Parallel()
	type changes = []func(*groups.MicrosoftConfig)
	said := map[string]any{"groups": []any{"g-1"}}
	for name, c := range map[string]struct {
		scope   string
		changes changes
		claims  map[string]any
		want    []string // nil: it is not asked
	}{
		"the token says all":   {"User.Read", nil, said, nil},
		"the token says none":  {"User.Read", nil, map[string]any{}, nil},
		"too many":             {"User.Read", nil, overage(), []string{"g-1", "g-2", "g-3"}},
		"too many, of old":     {"User.Read", nil, map[string]any{"hasgroups": true}, []string{"g-1", "g-2", "g-3"}},
		"too many, as text":    {"User.Read", nil, map[string]any{"hasgroups": "true"}, []string{"g-1", "g-2", "g-3"}},
		"by name":              {"GroupMember.Read.All", changes{names}, said, []string{"Developers", "News", "Operators"}},
		"security groups":      {"GroupMember.Read.All", changes{security}, said, []string{"g-1", "g-3"}},
		"security, by name":    {"GroupMember.Read.All", changes{names, security}, overage(), []string{"Developers", "Operators"}},
		"another claim's link": {"User.Read", nil, map[string]any{"_claim_names": map[string]any{"wids": "src1"}}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := graph(t, c.scope)
			g.PageSize(2)
			all, ok, err := connect(t, g, new(clock), c.changes...).Groups(t.Context(), c.claims, "access")
			if err != nil || ok != (c.want != nil) || !slices.Equal(all, c.want) {
				t.Errorf("%q, %v, %v", all, ok, err)
			}
			if n := len(g.Seen()); n != 3 && c.want != nil || n != 0 && c.want == nil {
				t.Errorf("asked %d times", n)
			}
		})
	}
}

// In no group at all, which Graph says.
func TestMicrosoftNone(t *testing.T) {
	t.Parallel()
	g := connectortest.NewGraph(t)
	g.Put("access", []string{"User.Read"})
	all, ok, err := connect(t, g, new(clock)).Groups(t.Context(), overage(), "access")
	if err != nil || !ok || len(all) != 0 {
		t.Errorf("%q, %v, %v", all, ok, err)
	}
}

// No answer means that somebody has no groups, but the one that says so.
func TestMicrosoftFails(t *testing.T) {
	t.Parallel()
	refuse := func(status int, code string) func(*connectortest.Graph) {
		return func(g *connectortest.Graph) {
			g.Handle(func(w http.ResponseWriter, _ *http.Request) { connectortest.GraphError(w, status, code, "a message") })
		}
	}
	write := func(text string) func(*connectortest.Graph) {
		return func(g *connectortest.Graph) {
			g.Handle(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(text)) })
		}
	}
	next := func(link func(own string) string) func(*connectortest.Graph) {
		return func(g *connectortest.Graph) {
			write(`{"value":[{"@odata.type":"#microsoft.graph.group","id":"g-1"}],"@odata.nextLink":"` + link(g.URL) + `"}`)(g)
		}
	}
	group := `{"@odata.type":"#microsoft.graph.group","id":"g-1","displayName":"G","securityEnabled":true},`
	for name, change := range map[string]func(*connectortest.Graph){
		"a token without a scope": func(g *connectortest.Graph) { g.Put("access", nil, objects...) },
		"not allowed":             refuse(403, "Authorization_RequestDenied"), "not there": refuse(404, "Request_ResourceNotFound"),
		"not authenticated": refuse(401, "InvalidAuthenticationToken"),
		"limited":           refuse(429, "TooManyRequests"), "failing": refuse(500, "generalException"), "overloaded": refuse(503, "serviceNotAvailable"),
		"an empty document":    write("{}"),
		"null":                 write("null"),
		"a page":               write("<html>"),
		"half":                 write(`{"value":[` + group),
		"a group without id":   write(`{"value":[{"@odata.type":"#microsoft.graph.group","displayName":"G"}]}`),
		"2 MB":                 write(`{"value":[` + strings.Repeat(group, 20_000) + `]}`),
		"next on another host": next(func(string) string { return "https://evil.example/v1.0/me/transitiveMemberOf" }),
		"next with a user":     next(func(own string) string { return strings.Replace(own, "://", "://a:b@", 1) + "/v1.0/me" }),
		"next of another API":  next(func(own string) string { return own + "/elsewhere" }),
		"next is a path":       next(func(string) string { return "/v1.0/me/transitiveMemberOf" }),
		"next is a script":     next(func(string) string { return "javascript:alert(1)" }),
		"next is not secure": next(func(own string) string {
			return strings.Replace(own, "http:", "ftp:", 1) + "/v1.0/me/transitiveMemberOf"
		}),
		"a circle of nothing": func(g *connectortest.Graph) {
			write(`{"value":[],"@odata.nextLink":"` + g.URL + `/v1.0/me/transitiveMemberOf"}`)(g)
		},
		"a circle": next(func(own string) string { return own + "/v1.0/me/transitiveMemberOf" }),
		"elsewhere": func(g *connectortest.Graph) {
			g.Handle(func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := graph(t, "User.Read")
			change(g)
			all, ok, err := connect(t, g, new(clock)).Groups(t.Context(), overage(), "access")
			if !errors.Is(err, connector.ErrUpstream) || errors.Is(err, connector.ErrGone) || ok || all != nil {
				t.Fatalf("%q, %v, %v", all, ok, err)
			}
			if strings.HasPrefix(name, "next ") && !strings.Contains(err.Error(), "next page is at") {
				t.Errorf("its address was not what failed: %v", err)
			}
			for _, r := range g.Seen() {
				if r.Path == "/elsewhere" {
					t.Error("the token was sent elsewhere")
				}
			}
		})
	}
}

// With User.Read only, Graph says ids and nothing else: that is neither a group
// without a name nor one that is not for security.
func TestMicrosoftLimitedInformation(t *testing.T) {
	t.Parallel()
	g := graph(t, "User.Read")
	for _, change := range []func(*groups.MicrosoftConfig){names, security} {
		all, ok, err := connect(t, g, new(clock), change).Groups(t.Context(), nil, "access")
		if !errors.Is(err, connector.ErrUpstream) || ok || !strings.Contains(err.Error(), "GroupMember.Read.All") {
			t.Errorf("%q, %v, %v", all, ok, err)
		}
	}
}

// The foreign host of a next page gets no token.
func TestMicrosoftStaysAtHome(t *testing.T) {
	t.Parallel()
	foreign, g := graph(t, "User.Read"), graph(t, "User.Read")
	g.Handle(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"value":[],"@odata.nextLink":"%s/v1.0/me/transitiveMemberOf?$skiptoken=x"}`, foreign.URL)
	})
	if _, ok, err := connect(t, g, new(clock)).Groups(t.Context(), overage(), "access"); !errors.Is(err, connector.ErrUpstream) || ok {
		t.Errorf("%v", err)
	}
	if seen := foreign.Seen(); len(seen) != 0 {
		t.Errorf("it was asked: %v", seen)
	}
}

func TestMicrosoftTooMany(t *testing.T) {
	t.Parallel()
	g := connectortest.NewGraph(t)
	many := make([]connectortest.GraphObject, 5001)
	for i := range many {
		many[i] = connectortest.GraphObject{Type: "group", ID: fmt.Sprint(i)}
	}
	for n, good := range map[int]bool{5000: true, 5001: false} {
		g.Put("access", []string{"User.Read"}, many[:n]...)
		all, ok, err := connect(t, g, new(clock)).Groups(t.Context(), overage(), "access")
		if ok != good || good && len(all) != n || !good && !errors.Is(err, connector.ErrUpstream) {
			t.Errorf("of %d groups: %d, %v, %v", n, len(all), ok, err)
		}
	}
}

// Retry-After holds for all people: Graph counts by application.
func TestMicrosoftLimit(t *testing.T) {
	t.Parallel()
	g := graph(t, "User.Read")
	g.Put("another", []string{"User.Read"}, objects...)
	c := new(clock)
	m := connect(t, g, c)
	g.Handle(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", c.now().Add(20*time.Second).UTC().Format(http.TimeFormat))
		connectortest.GraphError(w, 429, "TooManyRequests", "Too many requests")
	})
	ask := func(token string) error {
		_, _, err := m.Groups(t.Context(), overage(), token)
		return err
	}
	if err := ask("access"); !errors.Is(err, connector.ErrUpstream) {
		t.Errorf("limited: %v", err)
	}
	g.Handle(nil)
	g.Seen()
	c.ahead.Add(19)
	if err := ask("another"); !errors.Is(err, connector.ErrUpstream) || len(g.Seen()) != 0 {
		t.Errorf("too early: %v", err)
	}
	c.ahead.Add(1)
	if err := ask("another"); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

func TestMicrosoftHangs(t *testing.T) {
	t.Parallel()
	g := graph(t, "User.Read")
	release := make(chan struct{})
	defer close(release)
	g.Handle(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, _, err := connect(t, g, new(clock)).Groups(ctx, overage(), "access"); !errors.Is(err, connector.ErrUpstream) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
}

func TestGraphOf(t *testing.T) {
	t.Parallel()
	for issuer, want := range map[string]string{
		"https://login.microsoftonline.com/t/v2.0":        "https://graph.microsoft.com",
		"https://login.microsoftonline.us/t/v2.0":         "https://graph.microsoft.us",
		"https://login.partner.microsoftonline.cn/t/v2.0": "https://microsoftgraph.chinacloudapi.cn",
		"http://login.microsoftonline.com/t/v2.0":         "",
		"https://login.microsoftonline.com.evil.example":  "",
		"https://accounts.google.com":                     "",
	} {
		if got := groups.GraphOf(issuer); got != want {
			t.Errorf("%s: %q", issuer, got)
		}
	}
	for _, bad := range []string{"", "graph.microsoft.com", "http://graph.microsoft.com", "https://graph.microsoft.com/v1.0", "https://a:b@graph.microsoft.com"} {
		if _, err := groups.NewMicrosoft(groups.MicrosoftConfig{URL: bad, Client: http.DefaultClient, Now: time.Now}); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}
