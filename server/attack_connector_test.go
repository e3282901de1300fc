package server_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/countersign/countersign/connector"
	"github.com/countersign/countersign/server"
)

// upstream is a connector that answers what a test wants, as a foreign directory
// might.
type upstream func(username, password string) (connector.Identity, error)

func (upstream) Prompt() string { return "User" }

func (u upstream) Login(_ context.Context, username, password string) (connector.Identity, error) {
	return u(username, password)
}

func answering(u upstream) option {
	return func(c *server.Config) { c.Connectors[0].Password = u }
}

// What goes wrong upstream is the log's, bounded and without secrets; the person
// gets a page, and nobody is signed in.
func TestUpstreamFails(t *testing.T) {
	t.Parallel()
	const secret = "s3cret-of-the-upstream"
	var log journal
	var fault error
	w := newWorld(t, "sqlite", logging(&log), answering(func(string, string) (connector.Identity, error) { return connector.Identity{}, fault }))
	for name, c := range map[string]struct {
		err  error
		want int
	}{
		"upstream": {fmt.Errorf("%w: %w", connector.ErrUpstream, &url.Error{Op: "Get", URL: "https://idp.example/x?code=" + secret, Err: errors.New("refused")}), 502},
		"long":     {fmt.Errorf("%w: %s", connector.ErrUpstream, strings.Repeat("x\r\n\x1b[2J", 1<<16)), 502},
		"denied":   {&connector.DeniedError{Message: `<script>alert(1)</script>"><img src=x onerror=alert(1)>`}, 403},
		"timeout":  {context.DeadlineExceeded, 503},
		"unknown":  {errors.New("dialing with " + "password"), 500},
		"wrong":    {connector.ErrInvalidCredentials, 422},
		"wrapped":  {fmt.Errorf("ldap: %w", connector.ErrInvalidCredentials), 422},
	} {
		fault = c.err
		p := w.browser()
		page := w.submit(p, w.get(p, w.request()), "login", name, "password", "x")
		if page.Status != c.want || w.setCookie(page, "countersign_session") != nil {
			t.Errorf("%s: status %d, want %d", name, page.Status, c.want)
		}
		if strings.Contains(page.Body, secret) || strings.Contains(page.Body, "<script>alert") {
			t.Errorf("%s: %s", name, page.Body)
		}
	}
	checkLog(t, log.String())
	if strings.Contains(log.String(), secret) {
		t.Error("a secret of the upstream is in the log")
	}
	if !strings.Contains(log.String(), "refused") {
		t.Error("the cause is not in the log")
	}
	if n := w.rows(); n["sessions"]+n["identities"] != 0 {
		t.Errorf("rows: %v", n)
	}
}

// An upstream's answer is foreign input: without an id it is nobody, and what
// cannot be stored is refused rather than bent.
func TestHostileIdentities(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		var id connector.Identity
		var log trail
		w := newWorld(t, engine, answering(func(string, string) (connector.Identity, error) { return id, nil }), auditing(&log))
		for name, c := range map[string]struct {
			id connector.Identity
			ok bool
		}{
			"no id":               {connector.Identity{Email: alice, Name: "Nobody"}, false},
			"NUL in the id":       {connector.Identity{UserID: "x\x00"}, false},
			"NUL in a group":      {connector.Identity{UserID: "x", Groups: []string{"a\x00b"}}, false},
			"bad UTF-8":           {connector.Identity{UserID: "x", Name: "\xff"}, false},
			"NUL in a method":     {connector.Identity{UserID: "x", AMR: []string{"\x00"}}, false},
			"an id of 1 KB":       {connector.Identity{UserID: strings.Repeat("x", 1024)}, false},
			"an id of 300 bytes":  {connector.Identity{UserID: strings.Repeat("x", 300)}, true},
			"line breaks":         {connector.Identity{UserID: "a\r\nb", Name: "x\r\nX-Injected: 1", Groups: []string{"\n"}}, true},
			"a thousand groups":   {connector.Identity{UserID: "many", Groups: strings.Split(strings.Repeat("group,", 1000), ",")}, true},
			"nothing but an id":   {connector.Identity{UserID: "bare"}, true},
			"an id like a path":   {connector.Identity{UserID: "../../x?y#z"}, true},
			"writing that turns":  {connector.Identity{UserID: "t", Name: "\u202eecila"}, true},
			"an id of two people": {connector.Identity{UserID: "user-alice,user-bob"}, true},
		} {
			id = c.id
			p := w.browser()
			log.next(t)
			page := w.submit(p, w.get(p, w.request()), "login", "x", "password", "x")
			if !c.ok {
				if page.Status != http.StatusBadGateway || len(p.Cookies(w.issuer)) != 0 {
					t.Errorf("%s: status %d, cookies %v", name, page.Status, p.Cookies(w.issuer))
				}
				says(t, log.expect(t, name, "login.failed"), "reason", "upstream_failed", "connector_id", "staff")
				continue
			}
			a := w.redeem(w.response(w.approve(p, page)).Get("code"))
			if sub, _ := claims(t, a.str("id_token"))["sub"].(string); a.status != http.StatusOK || sub == "" || len(sub) > 255 {
				t.Errorf("%s: %d %q", name, a.status, sub)
			}
		}
	})
}

// A request that fits at its beginning fits to its end: the flow's marks have
// room from the start.
func TestLargestRequestFinishes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "sqlite", https)
	fits := func(size int) bool {
		page := w.once(w.browser(), http.MethodGet, w.request("prompt", "consent select_account", "nonce", "", "state", strings.Repeat("s", size)), nil)
		return strings.HasPrefix(page.Header.Get("Location"), "/dex/flow/")
	}
	small, large := 1024, 4096
	if !fits(small) || fits(large) {
		t.Fatalf("1 KB of state fits: %v, 4 KB fits: %v", fits(small), fits(large))
	}
	for large-small > 1 {
		if middle := (small + large) / 2; fits(middle) {
			small = middle
		} else {
			large = middle
		}
	}
	p := w.browser()
	for _, prompt := range []string{"consent select_account", "select_account consent"} {
		page := w.get(p, w.request("prompt", prompt, "nonce", "", "state", strings.Repeat("s", small)))
		if strings.HasSuffix(page.URL.Path, "/account") {
			page = w.submit(p, page, "account", "continue")
		} else {
			page = w.submit(p, page, "login", alice, "password", alicePassword)
		}
		if back := w.response(w.approve(p, page)); back.Get("code") == "" || len(back.Get("state")) != small {
			t.Errorf("a state of %d bytes fits at first and then: %v", small, back.Get("error_description"))
		}
	}
}
