package server_test

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/countersign/countersign/connector"
	"github.com/countersign/countersign/e2e/person"
	"github.com/countersign/countersign/server"
)

// checks counts the passwords that reach the connector: each is a hash
// computation.
type checks struct {
	connector.PasswordConnector
	n atomic.Int64
}

func (c *checks) Login(ctx context.Context, username, password string) (connector.Identity, error) {
	c.n.Add(1)
	return c.PasswordConnector.Login(ctx, username, password)
}

// counting puts the counter in front of the connector; replicas share it.
func counting(c *checks) option {
	return func(cfg *server.Config) {
		if c.PasswordConnector == nil {
			c.PasswordConnector = cfg.Connectors[0].Password
		}
		cfg.Connectors[0].Password = c
	}
}

// guess posts a password with a flow of its own.
func (w *world) guess(p *person.Person, username, password string, header ...string) *person.Page {
	w.t.Helper()
	page := w.get(p, w.request("prompt", "login"))
	p.Header = http.Header{}
	for i := 0; i < len(header); i += 2 {
		p.Header.Set(header[i], header[i+1])
	}
	defer func() { p.Header = nil }()
	return w.submit(p, page, "login", username, "password", password)
}

// SECURITY 40 (authelia CVE-2026-47203): all spellings of an account, at all
// replicas, share one count; during the wait not even the right password is
// looked at, and nothing tells it from a wrong one; after the wait it works.
func TestGuessingOneAccount(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		c := new(checks)
		first, second := replicas(t, engine, counting(c))
		first.clock.freeze()
		spellings := []string{alice, "ALICE@EXAMPLE.COM", " Alice@Example.Com ", "ａｌｉｃｅ@example.com", "a\u200dlice@example.com", "ALIC\u00c9@example.com"}
		limited := 0
		for i := range 30 {
			w := first
			if i%2 == 1 {
				w = second
			}
			page := w.guess(w.browser(), spellings[i%len(spellings)], "wrong")
			if page.Status == http.StatusTooManyRequests {
				limited++
			}
		}
		if n := c.n.Load(); n > 7 || limited < 23 {
			t.Errorf("of 30 guesses %d were checked and %d limited", n, limited)
		}
		checked := c.n.Load()
		right, wrong := second.guess(second.browser(), alice, alicePassword), second.guess(second.browser(), alice, "wrong")
		if right.Status != http.StatusTooManyRequests || right.Header.Get("Retry-After") == "" || c.n.Load() != checked {
			t.Errorf("the right password during the wait: %d, Retry-After %q", right.Status, right.Header.Get("Retry-After"))
		}
		if a, b := anonymous(right), anonymous(wrong); a != b {
			t.Errorf("the right password shows:\n%s\n%s", a, b)
		}
		// Others are not kept out, from the same address.
		if page := first.guess(first.browser(), bob, bobPassword); !strings.HasSuffix(page.URL.Path, "/consent") {
			t.Errorf("bob: %d at %s", page.Status, page.URL)
		}
		first.clock.advance(15 * time.Minute)
		if page := first.guess(first.browser(), alice, alicePassword); !strings.HasSuffix(page.URL.Path, "/consent") {
			t.Errorf("after the wait: %d at %s", page.Status, page.URL)
		}
		// Which clears the account's count, and not the address's.
		if n := first.rows()["login_failures"]; n != 1 {
			t.Errorf("%d counts are left, want the address's", n)
		}
	})
}

// varying are the parts of a response that differ between any two requests.
var varying = regexp.MustCompile(`flow/[\w-]{22}|[0-9a-f]{32}|Date:.*`)

// anonymous is a response without those.
func anonymous(page *person.Page) string {
	var b strings.Builder
	fmt.Fprintln(&b, page.Status, page.URL.Path)
	for _, name := range []string{"Content-Length", "Retry-After", "Set-Cookie", "Location", "Content-Security-Policy", "Www-Authenticate", "Connection", "Vary"} {
		fmt.Fprintln(&b, name, page.Header.Values(name))
	}
	fmt.Fprintln(&b, len(page.Header), page.Body)
	return varying.ReplaceAllString(b.String(), "~")
}

// Keycloak CVE-2026-4633: a page tells nobody who exists, by its bytes or by the
// work that was done for it.
func TestExistenceIsNotTold(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		c, store := new(checks), new(tap)
		w := newWorld(t, engine, counting(c), through(store))
		w.clock.freeze()
		for _, password := range []string{"wrong", "", " ", "x\x00", strings.Repeat("x", 2000)} {
			var pages [2]string
			var work [2]int64
			var calls [2]string
			for i, who := range []string{alice, "nobob@example.com"} {
				store.arm(nil, nil)
				before := c.n.Load()
				page := w.guess(w.browser(), who, password)
				pages[i] = strings.ReplaceAll(strings.ReplaceAll(anonymous(page), who, "~"), fmt.Sprintf("[%d]", len(page.Body)), fmt.Sprintf("[%d]", len(page.Body)-len(who)))
				work[i], calls[i] = c.n.Load()-before, fmt.Sprint(store.taken())
			}
			if pages[0] != pages[1] {
				t.Errorf("password %.10q: somebody gets\n%s\nand nobody gets\n%s", password, pages[0], pages[1])
			}
			if work[0] != work[1] || calls[0] != calls[1] {
				t.Errorf("password %.10q: work for somebody %v %v, for nobody %v %v", password, work[0], calls[0], work[1], calls[1])
			}
			w.clock.advance(time.Hour)
		}
	})
}

// A hundred guesses at once, at two replicas: the count is not outrun.
func TestParallelGuessesOverHTTP(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		c := new(checks)
		first, second := replicas(t, engine, counting(c))
		first.clock.freeze()
		var guesses sync.WaitGroup
		var failures atomic.Int64
		for i := range 100 {
			w := first
			if i%2 == 1 {
				w = second
			}
			p := w.browser()
			page := w.get(p, w.request())
			guesses.Go(func() {
				page := w.submit(p, page, "login", alice, "password", fmt.Sprint("guess ", i))
				switch page.Status {
				case http.StatusUnprocessableEntity:
					failures.Add(1)
				case http.StatusTooManyRequests:
				default:
					t.Errorf("status %d", page.Status)
				}
			})
		}
		guesses.Wait()
		// Five are free, and each replica may have one in progress.
		if n := c.n.Load(); n > 7 || n != failures.Load() {
			t.Errorf("%d passwords were checked, %d answered so", n, failures.Load())
		}
	})
}

// One password for everybody, from one address, in whatever name the requests
// claim to come; behind a trusted proxy from as many addresses as it says.
func TestGuessingFromOneAddress(t *testing.T) {
	t.Parallel()
	c := new(checks)
	first, second := replicas(t, "sqlite", crowd, counting(c))
	first.clock.freeze()
	for i := range 70 {
		w := first
		if i%2 == 1 {
			w = second
		}
		from := fmt.Sprintf("203.0.113.%d", i)
		w.guess(w.browser(), fmt.Sprintf("user%d@example.com", i), "Summer2026", "X-Forwarded-For", from, "X-Real-IP", from, "Forwarded", "for="+from, "True-Client-IP", from, "CF-Connecting-IP", from)
	}
	if n := c.n.Load(); n > 52 {
		t.Errorf("%d of 70 guesses were checked", n)
	}
	// A right password does not pay for them.
	first.clock.advance(time.Minute)
	first.guess(first.browser(), "bob@example.com", "bob")
	before := c.n.Load()
	for i := range 5 {
		first.guess(first.browser(), fmt.Sprintf("more%d@example.com", i), "Summer2026")
	}
	if n := c.n.Load() - before; n > 1 {
		t.Errorf("signing in as bob paid for %d guesses", n)
	}

	// A proxy speaks for many people, each with their own count; what a client
	// writes to the left of the proxy's own entry counts for nothing.
	c = new(checks)
	w := newWorld(t, "sqlite", crowd, counting(c), func(cfg *server.Config) {
		cfg.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	})
	w.clock.freeze()
	for i := range 60 {
		w.guess(w.browser(), fmt.Sprintf("user%d@example.com", i), "x", "X-Forwarded-For", fmt.Sprintf("198.51.100.%d, 203.0.113.7", i))
	}
	if n := c.n.Load(); n > 51 {
		t.Errorf("%d of 60 guesses behind the proxy were checked", n)
	}
	if page := w.guess(w.browser(), "bob@example.com", "bob", "X-Forwarded-For", "203.0.113.8"); !strings.HasSuffix(page.URL.Path, "/consent") {
		t.Errorf("somebody else behind the proxy: %d", page.Status)
	}
}
