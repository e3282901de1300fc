package oidcprovider_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/countersign/countersign/connector/connectortest"
	"github.com/countersign/countersign/e2e/oidcprovider"
)

// A certified provider that says the groups of somebody as a distributed claim, as
// Entra ID does for too many: Microsoft Graph is asked for them, and the address of
// the claim is not.
func TestDistributedGroups(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	retired := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	t.Cleanup(retired.Close)
	graph := connectortest.NewGraph(t)
	graph.PageSize(1)
	groups := func(ids ...string) {
		objects := []connectortest.GraphObject{{Type: "directoryRole", ID: "role"}}
		for _, id := range ids {
			objects = append(objects, connectortest.GraphObject{Type: "group", ID: id})
		}
		graph.Put(connectortest.Anybody, []string{"User.Read"}, objects...)
	}
	op := oidcprovider.Start(t)
	op.Say("ada", map[string]any{
		"_claim_names":   map[string]any{"groups": "src1"},
		"_claim_sources": map[string]any{"src1": map[string]any{"endpoint": retired.URL}},
	})
	server, issuer := serve(t, connector(op, "entra", "    graphURL: "+graph.URL+"\n"))
	op.Register("entra", "client_secret_basic", issuer+"/callback")
	await(t, "the upstream is known", func() bool { return strings.Contains(server.Log(), "an upstream is known") })
	p := newParty(t, issuer)
	groups("g-1", "g-2")
	p.signIn("entra", "ada")
	p.groups("signed in", "g-1", "g-2")

	refresh := func(when string, want ...string) {
		t.Helper()
		if err := p.again(t.Context()); err != nil {
			t.Fatalf("%s: %v", when, err)
		}
		p.groups(when, want...)
	}
	groups("g-2")
	refresh("a group was taken away", "g-2")
	// Within staleIfError, what was said last stands.
	graph.Handle(func(w http.ResponseWriter, _ *http.Request) {
		connectortest.GraphError(w, 403, "Authorization_RequestDenied", "no")
	})
	refresh("Graph refuses", "g-2")
	graph.Handle(nil)
	groups()
	await(t, "Graph is asked again", func() bool {
		if err := p.again(t.Context()); err != nil {
			t.Fatal(err)
		}
		return len(p.claims.Groups) == 0
	})
	if n := asked.Load(); n != 0 {
		t.Errorf("the address of the claim was asked %d times", n)
	}
}
