package audit_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/countersign/countersign/server/audit"
	"github.com/countersign/countersign/storage"
)

var epoch = time.Date(2026, 3, 4, 5, 6, 7, 89_000_000, time.UTC)

func now() time.Time { return epoch }

// lines is an output in memory.
type lines struct{ bytes.Buffer }

func newLog(t testing.TB, out *lines) *audit.Log {
	t.Helper()
	l, err := audit.New(audit.Config{Output: out, Count: func(string) {}, Logger: slog.New(slog.DiscardHandler), Now: now})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// one writes an event outside of a request and returns its record.
func one(t *testing.T, e audit.Event) map[string]any {
	t.Helper()
	var out lines
	newLog(t, &out).Write(context.Background(), e)
	return record(t, out.Bytes())
}

func record(t *testing.T, line []byte) map[string]any {
	t.Helper()
	if bytes.Count(line, []byte("\n")) != 1 || !bytes.HasSuffix(line, []byte("\n")) {
		t.Fatalf("not one line: %q", line)
	}
	var r map[string]any
	if err := json.Unmarshal(line, &r); err != nil {
		t.Fatalf("%v: %s", err, line)
	}
	return r
}

var (
	alice   = audit.Person{ConnectorID: "ldap", UserID: "u-1"}
	browser = audit.Session{SID: "s-1", Person: alice}
	login   = audit.GrantOf(storage.Grant{
		ID: storage.GrantID{1, 2}, ClientID: "app", ConnectorID: "ldap", UserID: "u-1", SID: "s-1",
		Nonce: "n", CodeChallenge: "c", RedirectURI: "https://app.example/cb",
	})
	laptop = audit.HolderOf(storage.Grant{RefreshedIPAddress: "192.0.2.1", RefreshedUserAgent: "kubectl", RefreshedAt: epoch})
	key    = audit.Key{KID: "k-1", Algorithm: "ES256"}
)

// with is a record of these pairs, after those that several events have.
func with(common map[string]any, pairs ...any) map[string]any {
	all := map[string]any{}
	for k, v := range common {
		all[k] = v
	}
	for i := 0; i+1 < len(pairs); i += 2 {
		all[pairs[i].(string)] = pairs[i+1]
	}
	return all
}

// Every event there is, and every field of its record.
func TestEvents(t *testing.T) {
	person := map[string]any{"connector_id": "ldap", "user_id": "u-1"}
	session := with(person, "sid", "s-1")
	grant := with(session, "client_id", "app", "grant_id", "01020000000000000000000000000000")
	held := with(grant, "held_by_address", "192.0.2.1", "held_by_user_agent", "kubectl", "held_since", "2026-03-04T05:06:07.089Z")
	tested := map[string]bool{}
	for _, test := range []struct {
		name  string
		event audit.Event
		want  map[string]any
	}{
		{"login.succeeded", audit.LoginSucceeded{Session: browser, Subject: "sub", Account: "a1", ClientID: "app"},
			with(session, "sub", "sub", "account", "a1", "client_id", "app")},
		{"login.failed", audit.LoginFailed{Person: audit.Person{ConnectorID: "ldap"}, Account: "a1", ClientID: "app", Reason: audit.WrongCredentials},
			map[string]any{"connector_id": "ldap", "account": "a1", "client_id": "app", "reason": "wrong_credentials"}},
		{"login.failed", audit.LoginFailed{Person: alice, Account: "a1", ClientID: "app", Reason: audit.AnotherPerson},
			with(person, "account", "a1", "client_id", "app", "reason", "another_person")},
		{"consent.given", audit.ConsentGiven{Session: browser, ClientID: "app", Scopes: []string{"openid", "email"}},
			with(session, "client_id", "app", "scope", "openid email")},
		{"consent.refused", audit.ConsentRefused{Session: browser, ClientID: "app", Scopes: []string{"openid"}},
			with(session, "client_id", "app", "scope", "openid")},
		{"code.issued", audit.CodeIssued{Grant: login, Scopes: []string{"openid"}}, with(grant, "scope", "openid")},
		{"code.redeemed", audit.CodeRedeemed{Grant: login}, grant},
		{"code.reused", audit.CodeReused{Grant: login, HeldBy: laptop}, held},
		{"token.refreshed", audit.TokenRefreshed{Grant: login, Generation: 7}, with(grant, "generation", 7.0)},
		{"token.repeated", audit.TokenRepeated{Grant: login, Generation: 7, HeldBy: laptop}, with(held, "generation", 7.0)},
		{"token.reused", audit.TokenReused{Grant: login, Generation: 7, Presented: 0, HeldBy: laptop},
			with(held, "generation", 7.0, "presented_generation", 0.0)},
		{"grant.revoked", audit.GrantRevoked{Grant: login, By: audit.ByClient, Reason: "revoked_by_client"},
			with(grant, "by", "client", "reason", "revoked_by_client")},
		{"grants.revoked", audit.GrantsRevoked{Of: audit.Selector{Person: alice, ClientID: "app", SID: "s-1"}, Grants: 3, By: audit.ByPerson, Reason: "lost"},
			with(session, "client_id", "app", "grants", 3.0, "by", "person", "reason", "lost")},
		{"grants.revoked", audit.GrantsRevoked{By: audit.ByAdministrator}, map[string]any{"grants": 0.0, "by": "administrator"}},
		{"identity.refused", audit.IdentityRefused{Person: alice, Grants: 2, Sessions: 3, Reason: "identity_gone"},
			with(person, "grants", 2.0, "sessions", 3.0, "reason", "identity_gone")},
		{"session.ended", audit.SessionEnded{Session: browser, By: audit.ByPerson, ClientID: "app"}, with(session, "by", "person", "client_id", "app")},
		{"sessions.ended", audit.SessionsEnded{Of: audit.Selector{Person: alice}, Sessions: 2, By: audit.ByPerson, Reason: "lost"},
			with(person, "sessions", 2.0, "by", "person", "reason", "lost")},
		{"logout.delivered", audit.LogoutDelivered{Session: browser, ClientID: "app", Attempts: 1}, with(session, "client_id", "app", "attempts", 1.0)},
		{"logout.abandoned", audit.LogoutAbandoned{Session: browser, ClientID: "app", Attempts: 9}, with(session, "client_id", "app", "attempts", 9.0)},
		{"key.created", audit.KeyCreated{Key: key, ActiveFrom: epoch}, map[string]any{"kid": "k-1", "alg": "ES256", "active_from": "2026-03-04T05:06:07.089Z"}},
		{"key.activated", audit.KeyActivated{Key: key, ActiveFrom: epoch}, map[string]any{"kid": "k-1", "alg": "ES256", "active_from": "2026-03-04T05:06:07.089Z"}},
		{"key.retired", audit.KeyRetired{Key: key}, map[string]any{"kid": "k-1", "alg": "ES256"}},
		{"key.deleted", audit.KeyDeleted{Key: key}, map[string]any{"kid": "k-1", "alg": "ES256"}},
	} {
		tested[test.name] = true
		want := with(test.want, "time", "2026-03-04T05:06:07.089Z", "event", test.name)
		if diff := cmp.Diff(want, one(t, test.event)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
	}
	readme := source(t, "../../README.md")
	for _, name := range names(t) {
		if !tested[name] {
			t.Errorf("%s is not in this table", name)
		}
		if !strings.Contains(readme, "`"+name+"`") {
			t.Errorf("%s is not in the README", name)
		}
	}
}

// names are those of all events, as their source has them.
func names(t *testing.T) (names []string) {
	t.Helper()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		for _, found := range regexp.MustCompile(`\) name\(\) string \{ return "([a-z.]+)" \}`).FindAllStringSubmatch(source(t, file), -1) {
			names = append(names, found[1])
		}
	}
	if len(names) < 20 {
		t.Fatalf("found %d events only", len(names))
	}
	return names
}

func source(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// What strangers and upstreams choose stays one bounded line of valid JSON that
// does nothing to a terminal.
func TestHostileText(t *testing.T) {
	for _, hostile := range []string{
		"a\r\n{\"event\":\"login.succeeded\"}", "\x1b[2J\x1b]0;x\x07", "\u009b2J\u202e\u2028\u2029", "\xff\xfe\xc3(", "\x00\x7f",
		strings.Repeat("a", 10_000), strings.Repeat("ä", 10_000), strings.Repeat("\x00", 10_000), `"},{"event":"x`, "\xed\xa0\xbd",
	} {
		var out lines
		log := newLog(t, &out)
		log.Write(t.Context(), audit.LoginSucceeded{
			Session: audit.Session{SID: hostile, Person: audit.Person{ConnectorID: hostile, UserID: hostile}},
			Subject: hostile, Account: hostile, ClientID: hostile,
		})
		if out.Len() > 20_000 {
			t.Errorf("%.20q: a line of %d bytes", hostile, out.Len())
		}
		r := record(t, out.Bytes())
		if r["event"] != "login.succeeded" || len(r) != 8 {
			t.Errorf("%.20q: the record is %v", hostile, r)
		}
		for key, value := range r {
			if strings.ContainsAny(value.(string), "\r\n\x1b\x00\x07\x7f\u009b\u202e\u2028\u2029") {
				t.Errorf("%.20q is in %s", hostile, key)
			}
		}
	}
}

// An audit that is turned off takes everything and writes nothing.
func TestOff(t *testing.T) {
	var off *audit.Log
	off.Write(t.Context(), audit.CodeRedeemed{})
	if err := off.Check(); err != nil {
		t.Error(err)
	}
}

func TestConfigurationIsChecked(t *testing.T) {
	if _, err := audit.New(audit.Config{}); err == nil {
		t.Error("accepted")
	}
}
