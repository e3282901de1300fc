package e2e_test

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/countersign/countersign/e2e/person"
	"github.com/countersign/countersign/e2e/script"
	"github.com/countersign/countersign/storage/storagetest/freeport"
	"github.com/countersign/countersign/storage/storagetest/pgcluster"
)

// measured is a configuration as small as one can be. Its password is hashed the
// cheapest way that is allowed, so that a login measures us and not argon2id.
const measured = `
issuer: http://127.0.0.1:%[1]d/dex
storage: %[2]s
web: {http: "127.0.0.1:%[1]d"}
logger: {level: error}
staticClients:
- {id: cli, name: The Tool, public: true}
enablePasswordDB: true
staticPasswords:
- email: alice@example.com
  hash: $argon2id$v=19$m=7168,t=1,p=1$c2FsdCBvZiBzY3JpcHRzIQ$jlzuLkTMA7NywF9ljgSTe2RqPmsNhv1ks43B9ekHgYk
  username: alice
  userID: user-alice
  groups: [staff]
`

var alice = script.Account{Email: "alice@example.com", Password: "correct horse"}

// server is the built program and a configuration for it.
type server struct {
	b       *testing.B
	binary  string
	dir     string
	issuer  string
	process *script.Process
}

// newServer prepares a server on an engine, of a database that is empty.
func newServer(b *testing.B, binary, engine string) *server {
	b.Helper()
	s := &server{b: b, binary: binary, dir: b.TempDir()}
	storage := fmt.Sprintf("{type: sqlite3, config: {file: %q}}", filepath.Join(s.dir, "countersign.db"))
	if engine == "postgres" {
		storage = fmt.Sprintf("{type: postgres, config: {dsn: %q}}", pgcluster.Schema(b))
	}
	s.configure(storage)
	return s
}

func (s *server) configure(storage string) {
	s.b.Helper()
	port, err := freeport.Find()
	if err != nil {
		s.b.Fatal(err)
	}
	s.issuer = fmt.Sprintf("http://127.0.0.1:%d/dex", port)
	if err := os.WriteFile(filepath.Join(s.dir, "config.yaml"), fmt.Appendf(nil, measured, port, storage), 0o600); err != nil {
		s.b.Fatal(err)
	}
}

// start runs the server until it answers with 200.
func (s *server) start() {
	s.b.Helper()
	cmd := exec.Command(s.binary, "serve", filepath.Join(s.dir, "config.yaml"))
	var err error
	if s.process, err = script.Start(cmd, filepath.Join(s.dir, "out"), filepath.Join(s.dir, "err")); err != nil {
		s.b.Fatal(err)
	}
	s.b.Cleanup(s.process.Kill)
	for {
		resp, err := http.Get(s.issuer + "/.well-known/openid-configuration")
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return
			}
		}
		if s.process.Ended() {
			log, _ := os.ReadFile(filepath.Join(s.dir, "err"))
			s.b.Fatalf("the server ended:\n%s", log)
		}
		<-time.After(time.Millisecond)
	}
}

func (s *server) party() *script.Party {
	s.b.Helper()
	party, err := script.NewParty(s.b.Context(), http.DefaultClient, s.issuer, "cli", "")
	if err != nil {
		s.b.Fatal(err)
	}
	return party
}

// megabytes is the memory of the server that is in RAM.
func (s *server) megabytes() float64 {
	s.b.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.process.PID()))
	if err != nil {
		s.b.Skip("there is no /proc to ask")
	}
	found := regexp.MustCompile(`VmRSS:\s+(\d+) kB`).FindSubmatch(status)
	if found == nil {
		s.b.Fatalf("no VmRSS in:\n%s", status)
	}
	kB, err := strconv.ParseFloat(string(found[1]), 64)
	if err != nil {
		s.b.Fatal(err)
	}
	return kB / 1024
}

// From the start of the process to the first 200 of the discovery document.
func BenchmarkColdStart(b *testing.B) {
	binary := script.Binary(b)
	for _, engine := range []string{"sqlite", "postgres"} {
		b.Run(engine+"/empty", func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				s := newServer(b, binary, engine)
				b.StartTimer()
				s.start()
				b.StopTimer()
				s.process.Kill()
				b.StartTimer()
			}
		})
		b.Run(engine+"/existing", func(b *testing.B) {
			s := newServer(b, binary, engine)
			s.start()
			s.process.Kill()
			for b.Loop() {
				s.start()
				b.StopTimer()
				s.process.Kill()
				b.StartTimer()
			}
		})
	}
}

// A login from the authorization request to the verified id_token, each in a new
// browser, and the memory before and after a thousand of them.
func BenchmarkThousandLogins(b *testing.B) {
	const logins = 1000
	binary := script.Binary(b)
	for _, engine := range []string{"sqlite", "postgres"} {
		b.Run(engine, func(b *testing.B) {
			for b.Loop() {
				s := newServer(b, binary, engine)
				s.start()
				b.ReportMetric(s.megabytes(), "MB-at-start")
				party := s.party()
				began := time.Now()
				for range logins {
					if _, err := party.SignIn(b.Context(), person.New("", nil), alice); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(time.Since(began).Microseconds())/logins, "µs/login")
				b.ReportMetric(s.megabytes(), "MB-after-1000-logins")
				s.process.Kill()
			}
		})
	}
}

// What a login, a single sign-on and a userinfo request send to PostgreSQL, by
// its own account (log_statement=all). -v lists the statements.
func BenchmarkStatements(b *testing.B) {
	cluster, err := pgcluster.Start(pgcluster.Options{Settings: map[string]string{
		"log_statement": "all", "log_line_prefix": "", "log_min_messages": "log", "log_checkpoints": "off",
	}})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := cluster.Close(); err != nil {
			b.Error(err)
		}
	})
	s := &server{b: b, binary: script.Binary(b), dir: b.TempDir()}
	s.configure(fmt.Sprintf("{type: postgres, config: {dsn: %q}}", cluster.DSN()))
	s.start()
	log := statementLog{filepath.Join(cluster.Folder(), "log")}
	party := s.party()
	laptop := person.New("", nil)
	var tokens script.Tokens
	signIn := func(who script.Account) func() error {
		return func() (err error) {
			tokens, err = party.SignIn(b.Context(), laptop, who)
			return err
		}
	}
	userInfo := func() error {
		_, err := party.UserInfo(b.Context(), tokens.Access)
		return err
	}
	again := alice
	again.SSO = true
	for _, step := range []struct {
		name    string
		do      func() error
		prepare func()
	}{
		{"first-login", signIn(alice), func() {}},
		{"single-sign-on", signIn(again), func() {}},
		{"userinfo", userInfo, func() {}},
		{"login", signIn(alice), func() { laptop = person.New("", nil) }},
	} {
		step.prepare()
		sent := log.during(b, step.do)
		b.Run(step.name, func(b *testing.B) { report(b, sent) })
	}
}

// statementLog is the log of a PostgreSQL server that logs every statement.
type statementLog struct{ file string }

// during does something once, and returns what was sent meanwhile.
func (l statementLog) during(b *testing.B, do func() error) []string {
	b.Helper()
	before := l.text(b)
	if err := do(); err != nil {
		b.Fatal(err)
	}
	return statements(strings.TrimPrefix(l.text(b), before))
}

// report lists the statements in the first of the runs that b makes.
func report(b *testing.B, sent []string) {
	writes, within := 0, false
	for i, s := range sent {
		switch {
		case strings.HasPrefix(s, "begin"), s == "commit":
			within = s != "commit"
			if within {
				writes++ // nothing that only reads says begin
			}
		case !within && writing.MatchString(s):
			writes++
		}
		if b.N == 1 {
			b.Logf("%2d  %s", i+1, s)
		}
	}
	b.ReportMetric(float64(len(sent)), "statements/op")
	b.ReportMetric(float64(writes), "write-transactions/op")
	b.ReportMetric(0, "ns/op") // of one run, with logging on, it says nothing
}

func (l statementLog) text(b *testing.B) string {
	b.Helper()
	text, err := os.ReadFile(l.file)
	if err != nil {
		b.Fatal(err)
	}
	return string(text)
}

var (
	statementStart = regexp.MustCompile(`^LOG:  (?:statement|execute [^:]+): (.*)$`)
	writing        = regexp.MustCompile(`\b(INSERT|UPDATE|DELETE)\b`)
	spaces         = regexp.MustCompile(`\s+`)
)

// statements are those in a log, each on one line, without their parameters.
func statements(log string) []string {
	var all []string
	current := -1
	for line := range strings.Lines(log) {
		line = strings.TrimSuffix(line, "\n")
		switch found := statementStart.FindStringSubmatch(line); {
		case found != nil:
			all = append(all, found[1])
			current = len(all) - 1
		case strings.HasPrefix(line, "\t") && current >= 0:
			all[current] += " " + line
		default:
			current = -1 // DETAIL: the parameters
		}
	}
	for i, s := range all {
		all[i] = strings.TrimSpace(spaces.ReplaceAllString(s, " "))
	}
	return all
}
