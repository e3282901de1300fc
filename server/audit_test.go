package server_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/countersign/countersign/connector/local"
	"github.com/countersign/countersign/server"
	"github.com/countersign/countersign/server/audit"
	"github.com/countersign/countersign/server/telemetry"
	"github.com/countersign/countersign/storage"
)

// trail collects the audit of any number of replicas.
type trail struct {
	journal
	seen int
}

// auditing writes audit records into a trail. It comes after what changes the
// logger.
func auditing(out *trail) option {
	return func(c *server.Config) {
		l, err := audit.New(audit.Config{Output: out, Count: c.Metrics.AuditRecord, Logger: c.Logger, Now: c.Now})
		if err != nil {
			panic(err)
		}
		c.Audit = l
	}
}

// next are the records since the last time.
func (r *trail) next(t *testing.T) (records []map[string]any) {
	t.Helper()
	text := r.String()
	for line := range strings.Lines(text[r.seen:]) {
		var record map[string]any
		if err := json.Unmarshal([]byte(line), &record); err != nil {
			t.Fatalf("%v: %q", err, line)
		}
		records = append(records, record)
	}
	r.seen = len(text)
	return records
}

// expect compares the events since the last time, and returns the last one.
func (r *trail) expect(t *testing.T, doing string, want ...string) map[string]any {
	t.Helper()
	records := r.next(t)
	var got []string
	for _, record := range records {
		got = append(got, record["event"].(string))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s: events (-want +got):\n%s", doing, diff)
	}
	if len(records) == 0 {
		return nil
	}
	return records[len(records)-1]
}

// says compares fields of a record, pairs of name and value.
func says(t *testing.T, record map[string]any, pairs ...any) {
	t.Helper()
	for i := 0; i+1 < len(pairs); i += 2 {
		if record[pairs[i].(string)] != pairs[i+1] {
			t.Errorf("%s: %s is %v, want %v", record["event"], pairs[i], record[pairs[i].(string)], pairs[i+1])
		}
	}
}

// from is a token request by a device of that user agent.
func (w *world) from(agent string, pairs ...string) answer {
	w.t.Helper()
	v := url.Values{"client_id": {"app"}, "client_secret": {"app-secret"}}
	for i := 0; i+1 < len(pairs); i += 2 {
		v.Set(pairs[i], pairs[i+1])
	}
	return w.post("/token", v, "User-Agent", agent)
}

func (w *world) redeemFrom(agent, code string) answer {
	return w.from(agent, "grant_type", "authorization_code", "code", code, "redirect_uri", callback, "code_verifier", verifier)
}

func (w *world) refreshFrom(agent, token string) answer {
	return w.from(agent, "grant_type", "refresh_token", "refresh_token", token)
}

// Everything that a person goes through, and its records.
func TestAuditOfALogin(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		var log trail
		w := newWorld(t, engine, withBye, auditing(&log))
		w.clock.freeze()
		log.expect(t, "the first start", "key.created", "key.activated", "key.created")

		p := w.browser()
		p.Header = http.Header{"User-Agent": {"Firefox"}}
		page := w.get(p, w.request("scope", offline))
		log.expect(t, "a request that nobody has signed in for")
		wrong := w.submit(p, page, "login", alice, "password", "guessed")
		failed := log.expect(t, "a wrong password", "login.failed")
		says(t, failed, "reason", "wrong_credentials", "connector_id", "staff", "client_id", "app", "user_agent", "Firefox", "address", "127.0.0.1", "user_id", nil, "request_id", wrong.Header.Get("X-Request-Id"))
		page = w.submit(p, page, "login", strings.ToUpper(alice), "password", alicePassword)
		login := log.expect(t, "signing in", "login.succeeded")
		says(t, login, "user_id", "user-alice", "client_id", "app", "account", failed["account"])
		if login["account"] == nil || login["sid"] == nil || login["request_id"] == nil {
			t.Errorf("the record is %v", login)
		}

		refused := w.browser()
		w.submit(refused, w.submit(refused, w.get(refused, w.request()), "login", bob, "password", bobPassword), "approval", "deny")
		says(t, log.expect(t, "refusing", "login.succeeded", "consent.refused"), "user_id", "user-bob", "client_id", "app", "scope", "openid email profile groups")

		code := w.response(w.submit(p, page, "approval", "approve")).Get("code")
		issued := log.expect(t, "consenting", "consent.given", "code.issued")
		says(t, issued, "sid", login["sid"], "scope", offline, "user_agent", "Firefox")
		grant := issued["grant_id"]
		first := w.redeemFrom("laptop", code).str("refresh_token")
		says(t, log.expect(t, "redeeming", "code.redeemed"), "grant_id", grant, "user_agent", "laptop", "user_id", "user-alice")
		second := w.refreshFrom("laptop", first).str("refresh_token")
		says(t, log.expect(t, "refreshing", "token.refreshed"), "grant_id", grant, "generation", 1.0)
		w.refreshFrom("laptop again", first)
		says(t, log.expect(t, "repeating", "token.repeated"), "grant_id", grant, "held_by_user_agent", "laptop", "user_agent", "laptop again")
		w.refreshFrom("desktop", second)
		log.expect(t, "refreshing", "token.refreshed")
		w.refreshFrom("thief", first).expect(t, "reuse", 400, "invalid_grant")
		says(t, log.expect(t, "reuse", "token.reused"), "grant_id", grant, "user_agent", "thief", "address", "127.0.0.1",
			"held_by_user_agent", "desktop", "held_by_address", "127.0.0.1", "generation", 2.0, "presented_generation", 0.0)
		w.refreshFrom("thief", first)
		w.refreshFrom("desktop", second)
		log.expect(t, "what is dead already")

		// The same browser, signed in: a code that comes back.
		code = w.code(p, w.request())
		log.expect(t, "single sign-on", "consent.given", "code.issued")
		w.redeemFrom("backend", code)
		log.expect(t, "redeeming", "code.redeemed")
		w.redeemFrom("thief", code)
		says(t, log.expect(t, "a code that comes back", "code.reused"), "user_agent", "thief", "held_by_user_agent", "backend")
		w.redeemFrom("thief", code)
		log.expect(t, "a code that comes back again")

		// What the client gives back, and what is no token.
		access := w.redeem(w.code(p, w.request())).str("access_token")
		log.next(t)
		for range 2 {
			w.post("/revoke", url.Values{"token": {access}, "client_id": {"app"}, "client_secret": {"app-secret"}})
		}
		says(t, log.expect(t, "revoking", "grant.revoked"), "by", "client", "user_id", "user-alice")
		w.post("/revoke", url.Values{"token": {"nonsense"}, "client_id": {"app"}, "client_secret": {"app-secret"}})
		log.expect(t, "revoking nothing")

		// Somebody else signs in in the same browser, and signs out.
		page = w.submit(p, w.get(p, w.request("prompt", "login")), "login", bob, "password", bobPassword)
		ended := log.expect(t, "another person", "login.succeeded", "session.ended")
		says(t, ended, "by", "login", "user_id", "user-alice", "sid", login["sid"], "client_id", "app")
		w.approve(p, page)
		log.next(t)
		w.signOut(p)
		says(t, log.expect(t, "signing out", "session.ended"), "by", "person", "user_id", "user-bob", "client_id", nil)
		w.get(p, w.logout())
		log.expect(t, "signing out again")
		hint := w.hint(p)
		log.next(t)
		w.get(p, w.logout("id_token_hint", hint))
		says(t, log.expect(t, "a client signs out", "session.ended"), "by", "client", "client_id", "app")
	})
}

// The failures of signing in, by their reasons.
func TestAuditOfFailedLogins(t *testing.T) {
	var log trail
	w := newWorld(t, "sqlite", auditing(&log))
	w.clock.freeze()
	hint := w.hint(w.browser())
	log.next(t)
	p := w.browser()
	page := w.get(p, w.request("id_token_hint", hint, "prompt", "login"))
	w.submit(p, page, "login", bob, "password", bobPassword)
	says(t, log.expect(t, "somebody else than the hint says", "login.failed"), "reason", "another_person", "user_id", "user-bob")
	p = w.browser()
	page = w.get(p, w.request())
	for range 5 {
		w.submit(p, page, "login", alice, "password", "guessed")
	}
	log.next(t)
	w.submit(p, page, "login", alice, "password", alicePassword)
	says(t, log.expect(t, "too many failures", "login.failed"), "reason", "throttled", "user_id", nil)
}

// Who is gone upstream, and who is not allowed any more.
func TestAuditOfRechecks(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		var log trail
		db, c := newDatabase(t, engine), new(clock)
		w := db.replica(t, c, auditing(&log))
		tokens := []string{w.tokens().str("refresh_token"), w.tokens().str("refresh_token"), w.tokens().str("refresh_token")}
		log.next(t)
		narrowed := db.replica(t, c, auditing(&log), func(cfg *server.Config) {
			cfg.Policy.Issuer = w.issuer
			cfg.Connectors = append(cfg.Connectors, partners(t))
			cfg.Clients[0].AllowedConnectors = []string{"partners"}
		})
		narrowed.refresh(tokens[0])
		says(t, log.expect(t, "a connector that is not allowed", "token.refreshed", "grant.revoked"), "by", "configuration", "reason", "not_allowed")
		gone := db.replica(t, c, auditing(&log), func(cfg *server.Config) {
			cfg.Policy.Issuer = w.issuer
			cfg.Connectors[0].Password = people(t, local.Password{Email: bob, Hash: hash(t, bobPassword), UserID: "user-bob", Username: "bob"})
		})
		c.advance(5 * time.Minute)
		gone.refresh(tokens[1])
		gone.refresh(tokens[2])
		says(t, log.expect(t, "a person who is gone", "identity.refused"), "user_id", "user-alice", "connector_id", "staff", "grants", 2.0, "reason", "identity_gone")
	})
}

// Back-channel logout is told when it has reached the client, and when it is given up.
func TestAuditOfBackchannelLogout(t *testing.T) {
	for name, test := range map[string]struct {
		answer int
		later  time.Duration
		want   string
	}{
		"delivered": {http.StatusOK, 0, "logout.delivered"},
		"abandoned": {http.StatusServiceUnavailable, 25 * time.Hour, "logout.abandoned"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var log trail
			r := newReceiver(t, status(test.answer))
			w := newWorld(t, "sqlite", telling(map[int]*receiver{0: r}), auditing(&log))
			p := w.browser()
			w.hint(p)
			w.signOut(p)
			r.await(t)
			w.clock.advance(test.later)
			eventually(t, "a record", func() bool { return strings.Contains(log.String(), test.want) })
			records := log.next(t)
			says(t, records[len(records)-1], "event", test.want, "client_id", "app", "user_id", "user-alice", "address", nil, "request_id", nil)
		})
	}
}

// A client that was dead all day is given up, and that is recorded, when the day is
// over: not with its next turn, an hour later, before which garbage collection takes
// away what has expired.
func TestAuditOfAClientThatStaysDead(t *testing.T) {
	t.Parallel()
	var log trail
	var metrics *telemetry.Metrics
	r := newReceiver(t, status(http.StatusServiceUnavailable))
	w := newWorld(t, "sqlite", telling(map[int]*receiver{0: r}), auditing(&log), func(c *server.Config) { metrics = c.Metrics })
	w.clock.freeze()
	p := w.browser()
	w.hint(p)
	w.signOut(p)
	eventually(t, "the failure is counted", func() bool { return counts(t, metrics, `{result="failed"} 1`) })
	w.exec(t, "UPDATE logout_deliveries SET attempts = 30")
	w.clock.advance(23*time.Hour + 30*time.Minute)
	eventually(t, "the last failure is counted", func() bool { return counts(t, metrics, `{result="failed"} 2`) })
	w.clock.advance(31 * time.Minute)
	eventually(t, "a record", func() bool { return strings.Contains(log.String(), "logout.abandoned") })
}

// One reuse is one event, whoever of 64 callers at four replicas does it; one
// sign-out likewise.
func TestAuditRace(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		var log trail
		db, c := newDatabase(t, engine), new(clock)
		nodes := []*world{db.replica(t, c, auditing(&log))}
		for range 3 {
			nodes = append(nodes, db.replica(t, c, auditing(&log), func(cfg *server.Config) { cfg.Policy.Issuer = nodes[0].issuer }))
		}
		w := nodes[0]
		c.freeze()
		p := w.browser()
		code := w.code(p, w.request("scope", offline))
		token := w.redeem(code).str("refresh_token")
		w.goOn(token)
		c.advance(time.Minute)
		twice := w.code(p, w.request("scope", offline))
		log.next(t)
		race := func(what, event string, times int, do func(n *world)) {
			t.Helper()
			var callers sync.WaitGroup
			for i := range times {
				callers.Go(func() { do(nodes[i%len(nodes)]) })
			}
			callers.Wait()
			n := 0
			for _, record := range log.next(t) {
				if record["event"] == event {
					n++
				}
			}
			if n != 1 {
				t.Errorf("%s: %d events", what, n)
			}
		}
		race("a reused refresh token", "token.reused", 64, func(n *world) { n.refresh(token) })
		race("a code that 64 redeem", "code.reused", 64, func(n *world) { n.redeem(twice) })
		post := func(n *world, cookies []*http.Cookie, path string, form url.Values) {
			header := []string{"Origin", "http://" + n.host(), "Sec-Fetch-Site", "same-origin"}
			for _, cookie := range cookies {
				header = append(header, "Cookie", cookie.String())
			}
			n.post(path, form, header...)
		}
		another := w.get(p, w.request("prompt", "login")).Forms[0]
		form := maps.Clone(another.Fields)
		form.Set("login", bob)
		form.Set("password", bobPassword)
		cookies := p.Cookies(another.Action.String())
		race("another person signs in", "session.ended", 8, func(n *world) {
			post(n, cookies, strings.TrimPrefix(another.Action.String(), w.issuer), form)
		})
		w.submit(p, w.get(p, w.request("prompt", "login")), "login", alice, "password", alicePassword)
		log.next(t)
		cookies = p.Cookies(w.issuer)
		race("signing out", "session.ended", 64, func(n *world) { post(n, cookies, "/logout", url.Values{}) })
	})
}

// What the store did not do has no record; what it does when asked again has one.
func TestAuditOfWhatDidNotHappen(t *testing.T) {
	var log trail
	store := new(tap)
	w := newWorld(t, "sqlite", through(store), auditing(&log))
	w.clock.freeze()
	loginPage := func() func() {
		p := w.browser()
		page := w.get(p, w.request())
		return func() { w.submit(p, page, "login", alice, "password", alicePassword) }
	}
	consentPage := func() func() {
		p := w.browser()
		page := w.submit(p, w.get(p, w.request()), "login", alice, "password", alicePassword)
		return func() { w.submit(p, page, "approval", "approve") }
	}
	redemption := func() func() {
		code := w.code(w.browser(), w.request())
		return func() { w.redeem(code) }
	}
	refreshed := func() func() {
		token := w.tokens().str("refresh_token")
		return func() { w.refresh(token) }
	}
	reused := func() func() {
		token := w.tokens().str("refresh_token")
		w.goOn(token)
		w.clock.advance(time.Minute)
		return func() { w.refresh(token) }
	}
	signingOut := func() func() {
		p := w.browser()
		w.hint(p)
		page := w.get(p, w.issuer+"/")
		return func() { w.submit(p, page) }
	}
	for _, test := range []struct {
		prepare func() func()
		fails   string
		want    []string
	}{
		{consentPage, "Authorize", []string{"consent.given", "code.issued"}},
		{loginPage, "SignIn", []string{"login.succeeded", "code.issued"}}, // alice has consented above
		{redemption, "RedeemCode", []string{"code.redeemed"}},
		{refreshed, "RotateGrant", []string{"token.refreshed"}},
		{reused, "RevokeGrant", []string{"token.reused"}},
		{signingOut, "EndSession", []string{"session.ended"}},
	} {
		do := test.prepare()
		log.next(t)
		store.arm(failAt(test.fails, 1, storage.ErrUnavailable), nil)
		do()
		store.arm(nil, nil)
		log.expect(t, test.fails+" fails")
		do()
		log.expect(t, test.fails+" works", test.want...)
	}
}

// Nothing that could be used is in the audit, nor in the log.
func TestNoSecretsInTheAudit(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		var log trail
		var ordinary journal
		w := newWorld(t, engine, withBye, logging(&ordinary), auditing(&log))
		w.clock.freeze()
		secrets := map[string]string{
			"password": alicePassword, "client secret": "app-secret", "verifier": verifier, "challenge": challenge, "state": "the-state", "nonce": "the-nonce",
			"password in the wrong field": "typed-into-the-wrong-field", "wrong password": "typed-wrong",
		}
		keep := func(name string, a answer) answer {
			for _, token := range []string{"access_token", "refresh_token", "id_token"} {
				if secrets[name+" "+token] = a.str(token); a.str(token) == "" {
					t.Fatalf("%s brings no %s: %d %s", name, token, a.status, a.raw)
				}
			}
			return a
		}
		p := w.browser()
		page := w.get(p, w.request("scope", offline))
		secrets["flow cookie"] = w.flowCookie(p, page).Value
		w.submit(p, page, "login", "typed-into-the-wrong-field", "password", "typed-wrong")
		code := w.response(w.approve(p, w.submit(p, page, "login", alice, "password", alicePassword))).Get("code")
		secrets["code"] = code
		for _, c := range p.Cookies(w.issuer) {
			secrets["session "+c.Name] = c.Value
		}
		first := keep("redeemed", w.redeem(code))
		second := keep("refreshed", w.goOn(first.str("refresh_token")))
		keep("repeated", w.goOn(first.str("refresh_token")))
		w.goOn(second.str("refresh_token"))
		w.refresh(first.str("refresh_token")).expect(t, "reuse", 400, "invalid_grant")
		w.redeem(code).expect(t, "a code that comes back", 400, "invalid_grant")
		third := keep("again", w.redeem(w.code(p, w.request("scope", offline))))
		w.post("/revoke", url.Values{"token": {third.str("access_token")}, "client_id": {"app"}, "client_secret": {"app-secret"}})
		w.get(p, w.logout("id_token_hint", third.str("id_token")))
		for name, secret := range secrets {
			if secret == "" {
				t.Errorf("no %s to look for", name)
			}
			for where, text := range map[string]string{"audit": log.String(), "log": ordinary.String()} {
				if strings.Contains(text, secret) || strings.Contains(text, url.QueryEscape(secret)) {
					t.Errorf("the %s is in the %s", name, where)
				}
			}
		}
		if n := len(log.next(t)); n < 15 {
			t.Errorf("%d records only", n)
		}
	})
}

// Whatever strangers send as their user agent or name, the audit is lines of JSON.
func TestAuditOfHostileText(t *testing.T) {
	var log trail
	w := newWorld(t, "sqlite", auditing(&log))
	w.tokens()
	log.next(t)
	hostile := []string{"a\xff\xfe\xc3(", "\u009b2J\u202e\u2028", strings.Repeat("a", 10_000), `"},{"event":"x`, "\xed\xa0\xbd"}
	for _, agent := range hostile {
		p := w.browser()
		p.Header = http.Header{"User-Agent": {agent}}
		for _, username := range append(hostile, "x\r\n{\"event\":\"login.succeeded\"}", "\x1b[2J", "\x00", "") {
			w.submit(p, w.get(p, w.request()), "login", username, "password", "guessed")
		}
	}
	for line := range strings.Lines(log.String()[log.seen:]) {
		if len(line) > 1000 || strings.ContainsAny(line[:len(line)-1], "\r\n\x1b\x00\u009b\u202e\u2028") {
			t.Errorf("%d bytes: %.300q", len(line), line)
		}
	}
	for _, record := range log.next(t) {
		if record["event"] != "login.failed" {
			t.Errorf("the event is %v", record["event"])
		}
	}
}

// A full disk keeps nobody out: requests go on, the operator is told, and records
// are written again when there is room.
func TestAuditOnAFullDisk(t *testing.T) {
	var ordinary journal
	var metrics *telemetry.Metrics
	var readiness *telemetry.Readiness
	path := filepath.Join(t.TempDir(), "audit.log")
	if err := os.Symlink("/dev/full", path); err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, "sqlite", logging(&ordinary), func(c *server.Config) {
		metrics, readiness = c.Metrics, c.Readiness
		file, err := audit.OpenFile(path, c.Now)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { file.Close() })
		if c.Audit, err = audit.New(audit.Config{Output: file, Count: c.Metrics.AuditRecord, Logger: c.Logger, Now: c.Now}); err != nil {
			t.Fatal(err)
		}
	})
	token := w.goOn(w.tokens().str("refresh_token")).str("refresh_token")
	if n := strings.Count(ordinary.String(), "audit records fail to be written"); n != 1 {
		t.Errorf("it was said %d times", n)
	}
	rec := httptest.NewRecorder()
	metrics.Exposition().ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if !strings.Contains(rec.Body.String(), `countersign_audit_records_total{result="failed"} 8`) {
		t.Error("the records that are lost are not counted")
	}
	verbose := func() string {
		rec := httptest.NewRecorder()
		readiness.Handler().ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/readyz?verbose", nil))
		return fmt.Sprint(rec.Code, " ", rec.Body)
	}
	if got := verbose(); !strings.HasPrefix(got, "200 ") || !strings.Contains(got, "[!] audit: records fail to be written: ") {
		t.Errorf("readyz says %q", got)
	}
	// The operator makes room.
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	w.clock.advance(2 * time.Second)
	w.goOn(token)
	if text, err := os.ReadFile(path); err != nil || strings.Count(string(text), "\n") != 1 || !strings.Contains(string(text), "token.refreshed") {
		t.Errorf("the file holds %q, %v", text, err)
	}
	if !strings.Contains(ordinary.String(), `"msg":"audit records are written again","lost":8`) {
		t.Error("it is not said that records are written again")
	}
	w.clock.advance(2 * time.Second) // for readiness to ask again
	if got := verbose(); !strings.Contains(got, "[+] audit: ok") {
		t.Errorf("readyz says %q", got)
	}
}

// Without an audit everything works, and nothing is written.
func TestAuditOff(t *testing.T) {
	w := newWorld(t, "sqlite", func(c *server.Config) { c.Audit = nil })
	p := w.browser()
	w.goOn(w.tokens().str("refresh_token"))
	w.hint(p)
	w.signOut(p)
}
