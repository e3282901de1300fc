// Package oidcprovider starts oidc-provider under Node.js as an upstream: an OpenID
// provider that is certified by the OpenID Foundation, and that nobody here wrote.
//
// It refuses to skip: what is missing fails the test.
//
// Threat: it listens on loopback only, asks for no password, and ends with the test.
package oidcprovider

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/countersign/countersign/e2e/browser"
	"github.com/countersign/countersign/e2e/npm"
)

// patience is how long it may take to start: far longer than it does.
const patience = time.Minute

// Server is a running oidc-provider. It demands PKCE, and rotates refresh tokens at
// each use: one that comes back ends everything of its grant.
type Server struct {
	t testing.TB
	// Issuer is its address.
	Issuer string
	people string // the file

	mu    sync.Mutex
	known map[string]map[string]any
	lines []string
}

// Start starts one, which ends with the test.
func Start(t testing.TB) *Server {
	t.Helper()
	folder := filepath.Join(browser.Root(t), "e2e", "oidcprovider")
	if err := npm.Install(folder); err != nil {
		t.Fatalf("installing oidc-provider: %v", err)
	}
	s := &Server{t: t, people: filepath.Join(t.TempDir(), "people.json"), known: map[string]map[string]any{}}
	s.write()
	cmd := exec.Command(node(folder), filepath.Join(folder, "op.mjs"), s.people)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = in, in
	if err := cmd.Start(); err != nil {
		t.Fatalf("starting oidc-provider: %v", err)
	}
	in.Close()
	first, ended := make(chan string, 1), make(chan struct{})
	go func() { defer close(ended); s.read(out, first) }()
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it keeps nothing
		_ = cmd.Wait()
		<-ended
		out.Close()
		if t.Failed() {
			t.Logf("oidc-provider said:\n%s", s.Log())
		}
	})
	select {
	case s.Issuer = <-first:
	case <-ended:
		t.Fatalf("oidc-provider ended:\n%s", s.Log())
	case <-time.After(patience):
		t.Fatalf("oidc-provider does not start:\n%s", s.Log())
	}
	return s
}

// node is the Node.js that comes along for this machine, or else the one on PATH:
// distributions have older ones than oidc-provider works with.
func node(folder string) string {
	if own, _ := filepath.Glob(filepath.Join(folder, "node_modules", "node-*", "bin", "node")); len(own) > 0 {
		return own[0]
	}
	return "node"
}

// read keeps what is said. The first address is the issuer.
func (s *Server) read(out io.Reader, first chan<- string) {
	for lines := bufio.NewScanner(out); lines.Scan(); {
		line := lines.Text()
		s.mu.Lock()
		s.lines = append(s.lines, line)
		s.mu.Unlock()
		if strings.HasPrefix(line, "http://127.0.0.1:") {
			first <- line
		}
	}
}

// Log is what it has said: events, one a line, such as "granted refresh_token
// client_secret_basic us".
func (s *Server) Log() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.lines, "\n")
}

// Put adds an account, or gives it other groups. Its address is NAME@example.org.
func (s *Server) Put(name string, groups ...string) {
	s.t.Helper()
	s.Say(name, map[string]any{"groups": groups})
}

// Say adds an account of which it says these claims, or replaces them.
func (s *Server) Say(name string, claims map[string]any) {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.known[name] = claims
	s.write()
}

// Remove removes an account.
func (s *Server) Remove(name string) {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.known, name)
	s.write()
}

// write replaces the file at once, so that it is never half there.
func (s *Server) write() {
	s.t.Helper()
	text, err := json.Marshal(s.known)
	if err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(s.people+".new", text, 0o600); err != nil {
		s.t.Fatal(err)
	}
	if err := os.Rename(s.people+".new", s.people); err != nil {
		s.t.Fatal(err)
	}
}

// Register registers a client, which has to authenticate by method, such as
// client_secret_post (RFC 7591). Its id is name, its secret Secret(name).
func (s *Server) Register(name, method, redirectURI string) {
	s.t.Helper()
	text, err := json.Marshal(map[string]any{
		"client_name": name, "token_endpoint_auth_method": method, "redirect_uris": []string{redirectURI},
		"grant_types": []string{"authorization_code", "refresh_token"}, "scope": "openid offline_access email profile groups",
	})
	if err != nil {
		s.t.Fatal(err)
	}
	resp, err := http.Post(s.Issuer+"/reg", "application/json", bytes.NewReader(text))
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	if answer, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != http.StatusCreated {
		s.t.Fatalf("registering %s: %s, %v\n%s", name, resp.Status, err, answer)
	}
}

// Secret is the secret of a client.
func Secret(name string) string { return name + "-secret" }
