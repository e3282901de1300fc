// Package script runs txtar scripts against the built program: real processes,
// real sockets, real signals, a real PostgreSQL.
//
// Its commands, beside those of testscript, are in the table below; the scripts
// in ../testdata/script read as documentation of the program.
//
// It refuses to look inside: what a script can see is what an operator or a
// relying party can see. And it refuses to sleep: scripts await conditions, with
// a deadline.
package script

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/countersign/countersign/e2e/person"
	"github.com/countersign/countersign/storage/storagetest/pgcluster"
	"github.com/countersign/countersign/storage/storagetest/tcpproxy"
)

// patience bounds every wait of a script: generous, since it only matters when
// something is wrong.
const patience = time.Minute

// Run runs every script of a folder as a subtest, with the program on PATH.
func Run(t *testing.T, dir string) {
	bin := filepath.Dir(Binary(t))
	commands := make(map[string]func(*testscript.TestScript, bool, []string), len(table))
	for _, c := range table {
		commands[c.name] = c.run
	}
	testscript.Run(t, testscript.Params{
		Dir:                dir,
		Cmds:               commands,
		Setup:              func(env *testscript.Env) error { return setup(env, bin) },
		RequireUniqueNames: true,
	})
}

// command is one command of ours.
type command struct {
	name  string
	usage string
	do    func(w *world, args []string) error
	// negates: "!" is allowed, and means that do has to fail.
	negates bool
}

// table is every command there is.
var table = []command{
	// Processes.
	{"freeport", "NAME…: set the variables to ports nobody listens on", (*world).freePorts, false},
	{"fill", "FILE…: put variables where ${NAME} stands in the files", (*world).fill, false},
	{"start", "[-env K=V]… NAME PROGRAM ARG…: run in the background, into NAME.out and NAME.err", (*world).start, false},
	{"serve", "[-env K=V]… [-name NAME] CONFIG: fill and serve a configuration, and wait until it is ready", (*world).serve, false},
	{"signal", "TERM|INT|KILL|HUP NAME", (*world).signal, false},
	{"ended", "NAME CODE|SIGNAL: wait for the end of a process, and take its output for stdout and stderr", (*world).ended, false},
	{"await", "log NAME PATTERN [COUNT] | status STATUS URL | closed URL", (*world).await, false},
	{"samerequest", "LOG: the page and header of the last http are of a request that is in the log", (*world).sameRequest, false},
	{"jsonlines", "FILE: each line is a JSON object that names nothing twice", (*world).jsonLines, false},

	// The program's HTTP face; the body is stdout, the headers are stderr.
	{"http", "[-X METHOD] [-H HEADER]… [-bearer FILE] [-as BROWSER] [-d BODY] [-repeat N] STATUS URL", (*world).http, false},
	{"request", "begin NAME URL BODY | end NAME STATUS: a POST whose last byte is held back", (*world).request, false},

	// People and relying parties.
	{"signin", "[-as BROWSER] [-refuse] [-sso] NAME EMAIL PASSWORD: go where the login NAME says", (*world).signIn, false},
	{"tokens", "[-as BROWSER] [-sso] [-secret S] NAME ISSUER CLIENT EMAIL PASSWORD: into NAME.id and NAME.access", (*world).tokens, false},
	{"authorize", "NAME ISSUER CLIENT EMAIL PASSWORD: sign in up to the code, and keep it", (*world).authorize, false},
	{"redeem", "NAME STATUS: ask for the tokens of a code that was kept", (*world).redeem, false},
	{"verify", "ISSUER CLIENT FILE: check an id_token from discovery and keys alone", (*world).verify, true},
	{"crowd", "start N ISSUER CLIENT EMAIL PASSWORD | await N | stop: people who sign in all the time", (*world).crowd, false},
	{"leaks", "FILE: it holds something of what must stay secret, of everything that went over the wire", (*world).leaks, true},

	// What is around the program.
	{"certificate", "NAME SERIAL: NAME.crt and NAME.key for localhost, of the authority in ca.crt", (*world).certificate, false},
	{"tls", "[-max 1.1|1.2|1.3] HOST:PORT: shake hands; stdout is version and serial", (*world).tls, true},
	{"postgres", "schema | start | stop fast|immediate | restart: DSN is of an empty database, or of a server of one's own", (*world).postgres, false},
	{"proxy", "start | swallow | forward | sever: between PROXY_DSN and the server of one's own", (*world).proxied, false},
}

func (c command) run(ts *testscript.TestScript, neg bool, args []string) {
	if neg && !c.negates {
		ts.Fatalf("%s does not take !", c.name)
	}
	w := ts.Value(worldKey{}).(*world)
	w.ts = ts
	err := c.do(w, args)
	var misuse usageError
	switch {
	case errors.As(err, &misuse):
		ts.Fatalf("usage: %s %s", c.name, c.usage)
	case neg && err == nil:
		ts.Fatalf("unexpected success")
	case neg:
		fmt.Fprintln(ts.Stderr(), err)
	default:
		ts.Check(err)
	}
}

// world is what one script has made.
type world struct {
	t   testing.TB
	ts  *testscript.TestScript // during a command
	dir string
	bin string

	client    *http.Client
	witness   *witness
	authority *authority // nil until there is a certificate
	processes map[string]*Process
	people    map[string]*person.Person
	held      map[string]*heldRequest
	codes     map[string]keptCode
	crowded   *crowd
	cluster   *pgcluster.Cluster
	proxy     *tcpproxy.Proxy
}

type worldKey struct{}

func setup(env *testscript.Env, bin string) error {
	t, ok := env.T().(testing.TB)
	if !ok {
		return fmt.Errorf("%T is no testing.TB", env.T())
	}
	w := &world{
		t: t, dir: env.WorkDir, bin: bin,
		processes: map[string]*Process{},
		people:    map[string]*person.Person{},
		held:      map[string]*heldRequest{},
		codes:     map[string]keptCode{},
	}
	w.witness = newWitness(&http.Transport{TLSClientConfig: w.clientTLS()})
	jar, err := cookiejar.New(nil)
	if err != nil {
		return err
	}
	w.client = &http.Client{
		Transport: w.witness, Jar: jar, Timeout: answerWithin,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	env.Values[worldKey{}] = w
	env.Setenv("PATH", bin+string(os.PathListSeparator)+env.Getenv("PATH"))
	env.Setenv("HOME", env.WorkDir)
	env.Setenv("CRLF", "\r\n") // which a script cannot write
	env.Defer(w.cleanUp)
	return nil
}

func (w *world) cleanUp() {
	if w.crowded != nil {
		w.crowded.stop()
	}
	for _, p := range w.processes {
		p.Kill()
	}
	if w.cluster != nil {
		if err := w.cluster.Close(); err != nil {
			w.t.Error(err)
		}
	}
}

// path is a file of the script.
func (w *world) path(name string) string { return w.ts.MkAbs(name) }

// poll asks until the answer is nil. What it was last is the error.
func poll(ask func() error) error {
	deadline := time.Now().Add(patience)
	for {
		err := ask()
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("after %s: %w", patience, err)
		}
		<-time.After(10 * time.Millisecond)
	}
}

// usageError is a command line of a script that cannot be meant.
type usageError struct{}

func (usageError) Error() string { return "wrong use" }

// options takes the options that begin a command line off it. Those of flags
// stand alone, all others have a value.
func options(args []string, flags ...string) (set map[string][]string, rest []string) {
	set = map[string][]string{}
	for len(args) > 0 && strings.HasPrefix(args[0], "-") {
		name := args[0]
		args = args[1:]
		value := ""
		if !slices.Contains(flags, name) && len(args) > 0 {
			value, args = args[0], args[1:]
		}
		set[name] = append(set[name], value)
	}
	return set, args
}

// one is the value of an option, or what it is without.
func one(set map[string][]string, name, without string) string {
	if v := set[name]; len(v) > 0 {
		return v[len(v)-1]
	}
	return without
}
