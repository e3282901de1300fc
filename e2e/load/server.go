package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/countersign/countersign/storage/storagetest/freeport"
)

// configuration has everything switched on that costs time: the record of each
// request, metrics, rechecking (of people who were checked a moment ago). The
// password is hashed the cheapest way that is allowed, so that a login measures
// us and not argon2id; codes live long enough to be redeemed in bulk.
const configuration = `
issuer: http://127.0.0.1:%[1]d/dex
storage: {type: postgres, config: {dsn: %[2]q}}
web: {http: "127.0.0.1:%[1]d"}
telemetry: {http: "127.0.0.1:%[3]d", enableProfiling: true}
logger: {level: info, format: json}
secrets: [%[4]q]
expiry: {authCodes: 10m}
oauth2: {skipApprovalScreen: true}
signer: {type: local, config: {algorithm: RS256}}
staticClients:
- {id: rs256, name: RS256, secret: %[5]s, redirectURIs: [%[6]q], idTokenSigningAlg: RS256}
- {id: es256, name: ES256, secret: %[5]s, redirectURIs: [%[6]q], idTokenSigningAlg: ES256}
connectors:
- type: local
  id: staff
  name: Staff
  recheck: 24h
  config:
    passwords:
    - email: alice@example.com
      hash: $argon2id$v=19$m=7168,t=1,p=1$c2FsdCBvZiBzY3JpcHRzIQ$jlzuLkTMA7NywF9ljgSTe2RqPmsNhv1ks43B9ekHgYk
      username: alice
      userID: user-alice
      groups: [staff]
`

const (
	clientSecret = "5eb7c1d1c4d1f0a9b7d6e8f2a3c4b5d65eb7c1d1c4d1f0a9b7d6e8f2a3c4b5d6"
	redirectURI  = "http://127.0.0.1:9/callback"
)

// server is the built program over a database.
type server struct {
	binary, dir        string
	address, telemetry string
	issuer             string
	cmd                *exec.Cmd
}

// newServer writes the configuration. start starts it.
func newServer(binary, dir, dsn string) (*server, error) {
	public, err := freeport.Find()
	if err != nil {
		return nil, err
	}
	inside, err := freeport.Find()
	if err != nil {
		return nil, err
	}
	s := &server{
		binary: binary, dir: dir, address: fmt.Sprintf("127.0.0.1:%d", public), telemetry: fmt.Sprintf("127.0.0.1:%d", inside),
		issuer: fmt.Sprintf("http://127.0.0.1:%d/dex", public),
	}
	text := fmt.Appendf(nil, configuration, public, dsn, inside, masterSecret, clientSecret, redirectURI)
	return s, os.WriteFile(s.config(), text, 0o600)
}

func (s *server) config() string { return filepath.Join(s.dir, "config.yaml") }

// start returns once the program answers the discovery document with 200, and
// says how long that took.
func (s *server) start(ctx context.Context) (time.Duration, error) {
	out, err := os.Create(filepath.Join(s.dir, "out"))
	if err != nil {
		return 0, err
	}
	defer out.Close()
	s.cmd = exec.CommandContext(ctx, s.binary, "serve", s.config())
	s.cmd.Stdout, s.cmd.Stderr = out, out
	began := time.Now()
	if err := s.cmd.Start(); err != nil {
		return 0, err
	}
	for time.Since(began) < patience {
		if s.answers() {
			return time.Since(began), nil
		}
		time.Sleep(time.Millisecond)
	}
	log, _ := os.ReadFile(out.Name())
	return 0, fmt.Errorf("the program does not become ready:\n%s", log)
}

// answers asks for the discovery document on a new connection.
func (s *server) answers() bool {
	w, err := dial(s.address)
	if err != nil {
		return false
	}
	defer w.close()
	status, _, err := w.send(s.get(pathDiscovery))
	return err == nil && status == http.StatusOK
}

// stop ends the program. How it was asked is no matter: the database is real.
func (s *server) stop() {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Kill() // it may have ended
	_ = s.cmd.Wait()
	s.cmd = nil
}

// end asks the program to end, as an operator does, so that what it has leased is
// free for the next one at once.
func (s *server) end() {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	hurry := time.AfterFunc(time.Minute, func() { _ = s.cmd.Process.Kill() })
	defer hurry.Stop()
	_ = s.cmd.Wait()
	s.cmd = nil
}

func (s *server) pid() int { return s.cmd.Process.Pid }

const (
	pathDiscovery = "/.well-known/openid-configuration"
	pathKeys      = "/keys"
	pathToken     = "/token"
)

func (s *server) get(path string) []byte {
	return fmt.Appendf(nil, "GET /dex%s HTTP/1.1\r\nHost: %s\r\nUser-Agent: load\r\n\r\n", path, s.address)
}

// post is a form to the token endpoint, by a client that authenticates.
func (s *server) post(client, form string) []byte {
	basic := base64.StdEncoding.EncodeToString([]byte(client + ":" + clientSecret))
	var b bytes.Buffer
	fmt.Fprintf(&b, "POST /dex%s HTTP/1.1\r\nHost: %s\r\nAuthorization: Basic %s\r\nUser-Agent: %s\r\n"+
		"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n%s",
		pathToken, s.address, basic, userAgent, len(form), form)
	return b.Bytes()
}

const userAgent = "kubectl/v1.34.1 (linux/amd64) kubernetes/93248f9"

// metric is one of the program's own.
func (s *server) metric(name string) (float64, error) {
	w, err := dial(s.telemetry)
	if err != nil {
		return 0, err
	}
	defer w.close()
	_, body, err := w.send(fmt.Appendf(nil, "GET /metrics HTTP/1.1\r\nHost: %s\r\n\r\n", s.telemetry))
	if err != nil {
		return 0, err
	}
	_, rest, found := bytes.Cut(body, []byte("\n"+name+" "))
	if !found {
		return 0, fmt.Errorf("there is no metric %s", name)
	}
	value, _, _ := bytes.Cut(rest, []byte("\n"))
	return strconv.ParseFloat(string(value), 64)
}

// fetch puts a document into a file.
func (s *server) fetch(ctx context.Context, address, file string) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	out, err := os.Create(file)
	if err != nil {
		return err
	}
	defer out.Close()
	_, err = io.Copy(out, resp.Body)
	return err
}
