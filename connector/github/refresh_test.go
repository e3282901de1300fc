package github_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/countersign/countersign/connector"
	"github.com/countersign/countersign/connector/connectortest"
	"github.com/countersign/countersign/connector/github"
)

func TestRefresh(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.connect(orgs(github.Org{Name: "octo-org"}))
	who := w.in(c)
	w.Change("octocat", func(a *connectortest.Account) { a.Teams = a.Teams[2:] })
	next := w.again(c, who)
	w.same("after a team was taken away", next.Groups, []string{"octo-org:dev"})
	if string(next.Secret) != string(who.Secret) {
		t.Error("a token that does not end was changed")
	}
	w.Change("octocat", func(a *connectortest.Account) { a.Orgs = a.Orgs[1:] })
	if _, err := c.Refresh(t.Context(), next); !isDenied(err) || errors.Is(err, connector.ErrUpstream) {
		t.Errorf("after the membership ended: %v", err)
	}
	w.Change("octocat", func(a *connectortest.Account) {
		a.Orgs = []connectortest.Membership{{Org: "octo-org", State: "active", Blocked: true}}
	})
	if _, err := c.Refresh(t.Context(), next); !errors.Is(err, connector.ErrUpstream) || errors.Is(err, connector.ErrGone) || !strings.Contains(err.Error(), "access restrictions") {
		t.Errorf("after the organization restricted apps: %v", err)
	}
	for name, secret := range map[string]string{"nothing": "", "nonsense": "x"} {
		want := map[string]error{"nothing": connector.ErrCannotAsk, "nonsense": connector.ErrUpstream}[name]
		if _, err := c.Refresh(t.Context(), connector.Identity{UserID: "583231", Secret: []byte(secret)}); !errors.Is(err, want) {
			t.Errorf("with %s: %v", name, err)
		}
	}
}

func TestGone(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*world){
		"revoked":   func(w *world) { w.Revoke("octocat") },
		"suspended": func(w *world) { w.Change("octocat", func(a *connectortest.Account) { a.Suspended = true }) },
	} {
		for _, expiring := range []bool{false, true} {
			t.Run(fmt.Sprint(name, expiring), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				if expiring {
					w.Expiring()
				}
				c := w.connect(allGroups)
				who := w.in(c)
				end(w)
				if _, err := c.Refresh(t.Context(), who); !errors.Is(err, connector.ErrGone) || errors.Is(err, connector.ErrUpstream) {
					t.Errorf("%v", err)
				}
				if name == "suspended" { // also when signing in, where nobody is gone
					if _, err := w.signIn(c); !errors.Is(err, connector.ErrUpstream) || errors.Is(err, connector.ErrGone) {
						t.Errorf("signing in: %v", err)
					}
				}
			})
		}
	}
}

// Tokens of GitHub Apps end, and are changed against others, once.
func TestRotation(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Expiring()
	c := w.connect(allGroups)
	who := w.in(c)
	if strings.Contains(string(who.Secret), "gho_") || !strings.Contains(string(who.Secret), "ghr_") {
		t.Fatalf("kept %s", who.Secret)
	}
	next := w.again(c, who)
	if string(next.Secret) != string(who.Secret) {
		t.Error("a token was changed before its time")
	}
	w.ahead.Add(8*3600 - 30)
	next = w.again(c, who)
	if string(next.Secret) == string(who.Secret) {
		t.Error("a token that ends was not changed")
	}
	w.ahead.Add(8 * 3600)
	last := w.again(c, next)
	// The old ones are not good any more.
	for _, old := range []connector.Identity{who, next} {
		if _, err := c.Refresh(t.Context(), old); !errors.Is(err, connector.ErrGone) {
			t.Errorf("an old refresh token: %v", err)
		}
	}
	w.again(c, last)
}

// A refresh token that was used up just before the API failed is not lost.
func TestRotationBeforeFailure(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Expiring()
	c := w.connect()
	who := w.in(c)
	w.ahead.Add(9 * 3600)
	w.Handle("/user", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) })
	failed, err := c.Refresh(t.Context(), who)
	if !errors.Is(err, connector.ErrUpstream) || len(failed.Secret) == 0 {
		t.Fatalf("%+v, %v", failed, err)
	}
	w.Handle("/user", nil)
	who.Secret = failed.Secret
	who = w.again(c, who)
	// Nothing was changed: nothing comes.
	w.Handle("/user", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) })
	if failed, err := c.Refresh(t.Context(), who); !errors.Is(err, connector.ErrUpstream) || failed.Secret != nil {
		t.Errorf("%+v, %v", failed, err)
	}
}

// Whose next tokens were in an answer that was lost is not gone because the one before
// is used up: they sign in again.
func TestRotationWhoseAnswerWasLost(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Expiring()
	c := w.connect()
	who := w.in(c)
	w.ahead.Add(9 * 3600)
	w.Handle("/login/oauth/access_token", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	failed, err := c.Refresh(t.Context(), who)
	if !errors.Is(err, connector.ErrUpstream) || len(failed.Secret) == 0 {
		t.Fatalf("%+v, %v", failed, err)
	}
	lost := who
	lost.Secret = failed.Secret
	if failed, err := c.Refresh(t.Context(), lost); !errors.Is(err, connector.ErrUpstream) || failed.Secret != nil {
		t.Errorf("the same again: %+v, %v", failed, err)
	}
	w.Handle("/login/oauth/access_token", nil)
	w.again(c, who) // uses the token up
	if _, err := c.Refresh(t.Context(), lost); !errors.Is(err, connector.ErrCannotAsk) || errors.Is(err, connector.ErrGone) {
		t.Errorf("after the answer was lost: %v", err)
	}
	if _, err := c.Refresh(t.Context(), who); !errors.Is(err, connector.ErrGone) {
		t.Errorf("where none was: %v", err)
	}
}

// Whose token it is does not change.
func TestSomebodyElse(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Put(connectortest.Account{ID: 1, Login: "mallory", Emails: []connectortest.Email{{Email: "m@example.com", Primary: true, Verified: true}}})
	for _, asID := range []bool{false, true} {
		c := w.connect(func(c *github.Config) { c.LoginAsID = asID })
		who := w.in(c)
		w.Swap("octocat", "mallory")
		if next, err := c.Refresh(t.Context(), who); !errors.Is(err, connector.ErrUpstream) || next.UserID != "" {
			t.Errorf("%+v, %v", next, err)
		}
		// Their login may be given to another account.
		w.Swap("mallory", "octocat")
		w.Change("octocat", func(a *connectortest.Account) { a.ID = 99 })
		if _, err := c.Refresh(t.Context(), who); !errors.Is(err, connector.ErrUpstream) {
			t.Errorf("%v", err)
		}
		w.Change("octocat", func(a *connectortest.Account) { a.ID = 583231 })
	}
}

// What has not changed costs nothing.
func TestConditionalRequests(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Change("octocat", func(a *connectortest.Account) {
		for i := range 150 {
			a.Teams = append(a.Teams, connectortest.Team{Org: "octo-org", Name: fmt.Sprint("team ", i)})
		}
	})
	c := w.connect(orgs(github.Org{Name: "octo-org"}, github.Org{Name: "other"}))
	who := w.in(c)
	if n := w.statuses(); n[200] != 6 || len(n) != 1 { // user, emails, 2 of teams, 2 memberships
		t.Errorf("the first time: %v", n)
	}
	w.Limit(1, w.now().Add(time.Hour)) // not one request that costs
	for range 3 {
		next := w.again(c, who)
		w.same("groups", next.Groups, who.Groups)
		if n := w.statuses(); n[304] != 6 || len(n) != 1 {
			t.Errorf("again: %v", n)
		}
	}
	w.Limit(5000, w.now().Add(time.Hour))
	w.Change("octocat", func(a *connectortest.Account) { a.Teams = a.Teams[:1] })
	w.same("after a change", w.again(c, who).Groups, []string{"octo-org:Justice League"})
	if n := w.statuses(); n[304] != 4 || n[200] != 1 {
		t.Errorf("after a change: %v", n)
	}
	// Another token knows nothing of it.
	other := w.in(c)
	if n := w.statuses(); n[304] != 0 || other.UserID != who.UserID {
		t.Errorf("another token: %v", n)
	}
}

// A 304 that nobody asked for is no answer.
func TestNotModifiedUnasked(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Handle("/user", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotModified) })
	if _, err := w.signIn(w.connect()); !errors.Is(err, connector.ErrUpstream) {
		t.Errorf("%v", err)
	}
}

// GitHub is not asked before it wants to.
func TestRateLimits(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		status int
		header func(now time.Time) map[string]string
		body   string
		wait   int64 // seconds
	}{
		"secondary, 403":           {403, func(time.Time) map[string]string { return map[string]string{"Retry-After": "30"} }, "", 30},
		"secondary, 429":           {429, func(time.Time) map[string]string { return map[string]string{"Retry-After": "90"} }, "", 90},
		"secondary, without time":  {403, nil, "You have exceeded a secondary rate limit. Please wait a few minutes before you try again.", 60},
		"429 without anything":     {429, nil, "", 60},
		"429 with nonsense":        {429, func(time.Time) map[string]string { return map[string]string{"Retry-After": "soon"} }, "", 60},
		"primary":                  {403, primary(600), "API rate limit exceeded for user ID 1.", 600},
		"primary, 429":             {429, primary(600), "", 600},
		"primary, longer than all": {403, primary(1 << 30), "", 3600},
		"longer than all":          {403, func(time.Time) map[string]string { return map[string]string{"Retry-After": "99999999"} }, "", 3600},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			conn := w.connect()
			who := w.in(conn)
			w.Handle("/user/emails", func(out http.ResponseWriter, _ *http.Request) {
				if c.header != nil {
					for name, value := range c.header(w.now()) {
						out.Header().Set(name, value)
					}
				}
				out.WriteHeader(c.status)
				fmt.Fprintf(out, `{"message":%q}`, c.body)
			})
			w.Seen()
			refused := func(when string, asked bool) {
				t.Helper()
				if _, err := conn.Refresh(t.Context(), who); !errors.Is(err, connector.ErrUpstream) || errors.Is(err, connector.ErrGone) || isDenied(err) || !strings.Contains(err.Error(), "rate limit") {
					t.Errorf("%s: %v", when, err)
				}
				if got := w.asked("/user/emails") > 0; got != asked {
					t.Errorf("%s: it was asked: %v", when, got)
				}
			}
			refused("first", true)
			w.Handle("/user/emails", nil)
			refused("right after", false)
			w.ahead.Add(c.wait - 1)
			refused("just before", false)
			// Another person is another matter.
			if _, err := w.signIn(conn); err != nil {
				t.Errorf("with another token: %v", err)
			}
			w.Seen()
			w.ahead.Add(1)
			w.again(conn, who)
		})
	}
}

func primary(seconds int64) func(time.Time) map[string]string {
	return func(now time.Time) map[string]string {
		return map[string]string{"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": strconv.FormatInt(now.Unix()+seconds, 10)}
	}
}

// Also as the server itself counts.
func TestPrimaryRateLimit(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.connect()
	who := w.in(c)
	w.Limit(0, w.now().Add(10*time.Minute))
	w.Change("octocat", func(a *connectortest.Account) { a.Name = "New" })
	if _, err := c.Refresh(t.Context(), who); !errors.Is(err, connector.ErrUpstream) {
		t.Errorf("%v", err)
	}
	w.Seen()
	if _, err := c.Refresh(t.Context(), who); !errors.Is(err, connector.ErrUpstream) || w.asked("/user") > 0 {
		t.Errorf("it was asked again: %v", err)
	}
	w.ahead.Add(600)
	w.Limit(5000, w.now().Add(time.Hour))
	if next := w.again(c, who); next.Name != "New" {
		t.Errorf("%+v", next)
	}
}

// Answers that are not believed, when signing in and later. None of them says that
// somebody is gone.
func TestHostileAnswers(t *testing.T) {
	t.Parallel()
	say := func(body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write([]byte(body))
		}
	}
	status := func(n int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(n) }
	}
	linked := func(page func(*http.Request) string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Link", page(r))
			_, _ = w.Write([]byte(`[{"name":"x","organization":{"login":"octo-org"}}]`))
		}
	}
	huge := strings.Repeat("x", 10<<20)
	for name, c := range map[string]struct {
		path string
		h    http.HandlerFunc
	}{
		"10 MB":              {"/user", say(`{"id":1,"login":"` + huge + `"}`)},
		"10 MB with an ETag": {"/user", func(w http.ResponseWriter, r *http.Request) { w.Header().Set("ETag", `"x"`); say(`"`+huge+`"`)(w, r) }},
		"10 MB of teams":     {"/user/teams", say(`["` + huge + `"]`)},
		"10 MB of error":     {"/user", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(403); _, _ = w.Write([]byte(huge)) }},
		"a redirect":         {"/user", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) }},
		"a redirect elsewhere": {"/user/teams", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/elsewhere", http.StatusMovedPermanently)
		}},
		"no JSON":               {"/user", say("<html>")},
		"half a JSON":           {"/user", say(`{"id": 5832`)},
		"null":                  {"/user", say("null")},
		"nothing":               {"/user", say("")},
		"a list":                {"/user", say("[]")},
		"an id in text":         {"/user", say(`{"id":"583231","login":"octocat"}`)},
		"no id":                 {"/user", say(`{"login":"octocat"}`)},
		"id 0":                  {"/user", say(`{"id":0,"login":"octocat"}`)},
		"a negative id":         {"/user", say(`{"id":-1,"login":"octocat"}`)},
		"a broken id":           {"/user", say(`{"id":1.5,"login":"octocat"}`)},
		"no login":              {"/user", say(`{"id":583231}`)},
		"emails are an object":  {"/user/emails", say("{}")},
		"emails are texts":      {"/user/emails", say(`["a@example.com"]`)},
		"teams are texts":       {"/user/teams", say(`["admins"]`)},
		"500":                   {"/user", status(500)},
		"502 for teams":         {"/user/teams", status(502)},
		"503 for a membership":  {"/user/memberships/orgs/octo-org", status(503)},
		"202":                   {"/user", status(202)},
		"204":                   {"/user", status(204)},
		"404 for the user":      {"/user", status(404)},
		"a 401 page of a proxy": {"/user", status(401)},
		"a 403 page of a proxy": {"/user/memberships/orgs/octo-org", status(403)},
		"a 404 page of a proxy": {"/user/memberships/orgs/octo-org", status(404)},
		"403 for the addresses": {"/user/emails", status(403)},
		"1,000 pages": {"/user/teams", linked(func(r *http.Request) string {
			return `<http://x/user/teams?page=2>; rel="next", <http://x/user/teams?page=1000>; rel="last"`
		})},
		"pages without end": {"/user/teams", linked(func(r *http.Request) string {
			n, _ := strconv.Atoi(r.URL.Query().Get("page"))
			return fmt.Sprintf(`<http://x/user/teams?page=%d>; rel="next"`, n+1)
		})},
		"pages in a circle": {"/user/teams", linked(func(*http.Request) string { return `<http://x/user/teams?page=1>; rel="next"` })},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			conn := w.connect(orgs(github.Org{Name: "octo-org"}))
			who := w.in(conn)
			w.Handle(c.path, c.h)
			w.Seen()
			for when, err := range map[string]error{
				"signing in": second(w.signIn(conn)), "later": second(conn.Refresh(t.Context(), who)),
			} {
				if !errors.Is(err, connector.ErrUpstream) || errors.Is(err, connector.ErrGone) || isDenied(err) {
					t.Errorf("%s: %v", when, err)
				}
				if err != nil && len(err.Error()) > 2000 {
					t.Errorf("%s: the error has %d bytes", when, len(err.Error()))
				}
			}
			seen := w.Seen()
			if len(seen) > 100 {
				t.Errorf("%d requests", len(seen))
			}
			for _, r := range seen {
				if r.Path == "/elsewhere" {
					t.Error("a token was sent elsewhere")
				}
			}
			w.Handle(c.path, nil)
			w.again(conn, who)
		})
	}
}

func second[T any](_ T, err error) error { return err }

func TestHostileTokens(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{
		"10 MB":             `{"access_token":"` + strings.Repeat("x", 10<<20) + `"}`,
		"a large token":     `{"access_token":"` + strings.Repeat("x", 10<<10) + `"}`,
		"no token":          `{"token_type":"bearer"}`,
		"an error":          `{"error":"incorrect_client_credentials","error_description":"wrong"}`,
		"an error and more": `{"error":"server_error","access_token":"x"}`,
		"no JSON":           "<html>",
		"a line break":      `{"access_token":"a\r\nHost: evil"}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.Expiring()
			c := w.connect()
			who := w.in(c)
			w.ahead.Add(9 * 3600)
			w.Handle("/login/oauth/access_token", func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				_, _ = w.Write([]byte(body))
			})
			for when, err := range map[string]error{
				"signing in": second(w.signIn(c)), "later": second(c.Refresh(t.Context(), who)),
			} {
				if !errors.Is(err, connector.ErrUpstream) || errors.Is(err, connector.ErrGone) {
					t.Errorf("%s: %v", when, err)
				}
			}
			w.Handle("/login/oauth/access_token", nil)
			w.again(c, who)
		})
	}
}

// An API that hangs holds nobody for longer than they want to wait.
func TestHangs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.connect(allGroups)
	who := w.in(c)
	release := make(chan struct{})
	defer close(release)
	w.Handle("/user/teams", func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := c.Refresh(ctx, who); !errors.Is(err, connector.ErrUpstream) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
}

// Everybody at once, with one cache.
func TestCrowd(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.connect(orgs(github.Org{Name: "octo-org"}))
	var all sync.WaitGroup
	for range 20 {
		who := w.in(c)
		all.Go(func() {
			for range 5 {
				if next, err := c.Refresh(t.Context(), who); err != nil || len(next.Groups) != 2 {
					t.Errorf("%+v, %v", next, err)
				}
			}
		})
	}
	all.Wait()
}
