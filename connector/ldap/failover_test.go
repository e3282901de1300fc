package ldap_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	goldap "github.com/go-ldap/ldap/v3"

	"github.com/countersign/countersign/connector"
	"github.com/countersign/countersign/connector/ldap"
	"github.com/countersign/countersign/connector/ldaptest"
)

// pair is two servers with the same people.
func pair(t *testing.T) []*ldaptest.Server {
	t.Helper()
	var servers []*ldaptest.Server
	for range 2 {
		s := ldaptest.Start(t, ldaptest.Options{})
		s.Person(t, "bob", password)
		s.Group(t, "devs", ldaptest.PersonDN("bob"))
		servers = append(servers, s)
	}
	return servers
}

func byUID(c *ldap.Config) { c.User.IDAttr = "uid" }

// load signs people in, until the function it returns is called, which returns how
// many did. Nobody fails, and nobody waits longer than the deadline.
func load(t *testing.T, c *ldap.Connector) (count *atomic.Int64, stop func()) {
	t.Helper()
	count = new(atomic.Int64)
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for ctx.Err() == nil {
				bounded, cancel := context.WithTimeout(context.Background(), deadline)
				who, err := c.Login(bounded, "bob", password)
				cancel()
				if err != nil || !slices.Equal(who.Groups, []string{"devs"}) {
					t.Errorf("after %d logins: %q, %v", count.Load(), who.Groups, err)
					return
				}
				count.Add(1)
			}
		})
	}
	return count, func() { cancel(); all.Wait() }
}

// deadline is for one login in the tests: long, since the machine may be busy.
const deadline = 20 * time.Second

func await(t *testing.T, condition func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !condition(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it does not happen")
		}
	}
}

// A server is killed, and later the other: nobody who signs in meanwhile notices.
func TestKilledUnderLoad(t *testing.T) {
	t.Parallel()
	servers := pair(t)
	c := open(t, servers, byUID)
	run(t, c)
	count, stop := load(t, c)
	after := func(n int64) { n += count.Load(); await(t, func() bool { return t.Failed() || count.Load() >= n }) }
	after(50)
	servers[0].Kill()
	after(50)
	if err := servers[0].Restart(); err != nil {
		t.Fatal(err)
	}
	after(50)
	await(t, func() bool { return c.Ready() == nil })
	// The first is asked again as soon as it was seen, so that the other may go.
	await(t, func() bool { return servers[0].Connections(t) > 1 })
	servers[1].Kill()
	after(50)
	stop()
}

// A server that keeps its connections and says nothing is left for the other.
func TestFrozen(t *testing.T) {
	t.Parallel()
	servers := pair(t)
	c := open(t, servers, byUID)
	login(t, c, "bob") // there are connections now
	servers[0].Freeze()
	t.Cleanup(servers[0].Thaw)
	// One waits for the first server; asked every time, it would take minutes.
	for range 100 {
		login(t, c, "bob")
	}
	if err := c.Ready(); err != nil {
		t.Errorf("one of two is enough: %v", err)
	}
	servers[1].Freeze()
	t.Cleanup(servers[1].Thaw)
	short, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := c.Login(short, "bob", password); !errors.Is(err, connector.ErrUpstream) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("nobody answers: %v", err)
	}
	gone, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	if _, err := c.Login(gone, "bob", password); !errors.Is(err, context.Canceled) || errors.Is(err, connector.ErrUpstream) {
		t.Errorf("somebody went away: %v", err)
	}
}

// A server that is not there at the start is there as soon as it is, and says why
// it is not until then.
func TestStartWhileDown(t *testing.T) {
	s := ldaptest.Start(t, ldaptest.Options{})
	s.Person(t, "bob", password)
	s.Kill()
	c := open(t, one(s))
	if err := c.Ready(); err == nil {
		t.Error("it is ready before it was asked")
	}
	run(t, c)
	await(t, func() bool { return strings.Contains(c.Ready().Error(), "refused") })
	if _, err := c.Login(t.Context(), "bob", password); !errors.Is(err, connector.ErrUpstream) {
		t.Errorf("nobody is there: %v", err)
	}
	if _, err := c.Refresh(t.Context(), connector.Identity{UserID: "bob"}); !errors.Is(err, connector.ErrUpstream) {
		t.Errorf("nobody is there: %v", err)
	}
	if err := s.Restart(); err != nil {
		t.Fatal(err)
	}
	login(t, c, "bob")
	await(t, func() bool { return c.Ready() == nil })
}

// Connections that were kept over a restart of the only server are replaced.
func TestRestarted(t *testing.T) {
	s := ldaptest.Start(t, ldaptest.Options{})
	s.Person(t, "bob", password)
	c := open(t, one(s))
	for range 5 {
		login(t, c, "bob")
		s.Kill()
		if err := s.Restart(); err != nil {
			t.Fatal(err)
		}
	}
	login(t, c, "bob")
}

// A service account that is refused is not tried at every login: that would lock it.
// Nobody's password is called wrong for it.
func TestServiceAccountRefused(t *testing.T) {
	s := ldaptest.Start(t, ldaptest.Options{Config: "loglevel 256"})
	s.Person(t, "bob", password)
	var mu sync.Mutex
	now := time.Now()
	c := open(t, one(s), func(c *ldap.Config) {
		c.BindPassword = "wrong"
		c.Now = func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
	})
	before := s.Operations(t, "Bind")
	for range 20 {
		if _, err := c.Login(t.Context(), "bob", password); !errors.Is(err, connector.ErrUpstream) || errors.Is(err, connector.ErrInvalidCredentials) || !strings.Contains(err.Error(), "service account") {
			t.Fatal(err)
		}
	}
	if got := s.Operations(t, "Bind"); got != before+2 { // one is this question's own
		t.Errorf("%d binds, %d before", got, before)
	}
	before = s.Operations(t, "Bind")
	mu.Lock()
	now = now.Add(31 * time.Second)
	mu.Unlock()
	_, _ = c.Login(t.Context(), "bob", password)
	if got := s.Operations(t, "Bind"); got != before+2 {
		t.Errorf("%d binds after a while, %d before", got, before)
	}
}

// Somebody whom only one of two hosts has is not gone: it lags behind, or the other
// does. Nor is he while a host gives no answer for the first time; then it is left out.
func TestHostsThatDoNotAgree(t *testing.T) {
	t.Parallel()
	servers := pair(t)
	c := open(t, servers, byUID)
	who := login(t, c, "bob")
	remove := func(i int) {
		t.Helper()
		servers[i].Do(t, func(l *goldap.Conn) error { return l.Del(goldap.NewDelRequest(ldaptest.PersonDN("bob"), nil)) })
	}
	refresh := func(when string, want error) {
		t.Helper()
		if _, err := c.Refresh(t.Context(), who); !errors.Is(err, want) {
			t.Errorf("%s: %v", when, err)
		}
	}
	refresh("both have him", nil)
	remove(0)
	refresh("the second has him", connector.ErrUpstream)
	remove(1)
	refresh("neither has him", connector.ErrGone)
	servers[1].Person(t, "bob", password)
	servers[1].Kill()
	refresh("the second is silent", connector.ErrUpstream)
	refresh("the second is still silent", connector.ErrGone)
}

// Somebody who is deleted at one host and disabled at the other is gone, however
// slowly the two find to each other.
func TestHostsThatAgreeToRefuse(t *testing.T) {
	t.Parallel()
	nobody := scripted(t, func(id int64) []byte { return result(id, searchDone, 0, "") })
	has := func(control string) string {
		return scripted(t, func(id int64) []byte {
			return append(entry(id, "uid=bob", "uid", "bob", "userAccountControl", control), result(id, searchDone, 0, "")...)
		})
	}
	for control, want := range map[string]error{"512": connector.ErrUpstream, "514": connector.ErrGone} {
		c := open(t, nil, byUID, func(c *ldap.Config) { c.Hosts = []string{nobody, has(control)} })
		if _, err := c.Refresh(t.Context(), connector.Identity{UserID: "bob"}); !errors.Is(err, want) {
			t.Errorf("userAccountControl %s: %v", control, err)
		}
	}
}

// A host that answers, and not about the person, has not said that they are gone.
func TestHostsThatDoNotSay(t *testing.T) {
	t.Parallel()
	nobody := scripted(t, func(id int64) []byte { return result(id, searchDone, 0, "") })
	for name, answer := range map[string]func(id int64) []byte{
		"time limit":       func(id int64) []byte { return result(id, searchDone, 3, "") },
		"size limit":       func(id int64) []byte { return result(id, searchDone, 4, "") },
		"no rights":        func(id int64) []byte { return result(id, searchDone, 50, "") },
		"operations error": func(id int64) []byte { return result(id, searchDone, 1, "") },
		"a referral":       func(id int64) []byte { return result(id, searchDone, 10, "") },
	} {
		other := scripted(t, answer)
		c := open(t, nil, byUID, func(c *ldap.Config) { c.Hosts = []string{nobody, other} })
		if _, err := c.Refresh(t.Context(), connector.Identity{UserID: "bob"}); !errors.Is(err, connector.ErrUpstream) || errors.Is(err, connector.ErrGone) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
