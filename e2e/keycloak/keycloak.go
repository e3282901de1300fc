// Package keycloak starts a real Keycloak for tests, and changes it as an
// administrator does, over its admin REST API.
//
// It fetches the release with Maven, once, and believes it by a pinned checksum. It
// refuses to skip: without Java and Maven the test fails, and says what to install.
//
// Threat: none of its own. It is for tests: its people have well-known passwords,
// and it speaks plain HTTP to this host only.
package keycloak

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/countersign/countersign/storage/storagetest/freeport"
)

// patience bounds what installing and starting may take: far longer than either
// does.
const patience = 10 * time.Minute

// Server is a running Keycloak.
type Server struct {
	t testing.TB
	// URL is its address; realms are below it.
	URL string

	cmd    *exec.Cmd
	log    string
	exited chan struct{} // closed once the process is gone
}

// Start starts one, which ends with the test. Nothing of it is kept.
func Start(t testing.TB) *Server {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	dir, err := install(ctx)
	if err != nil {
		t.Fatalf("installing Keycloak: %v", err)
	}
	port, err := freeport.Find()
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{t: t, URL: "http://" + net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), log: filepath.Join(t.TempDir(), "log"), exited: make(chan struct{})}
	s.run(dir, port)
	if err := s.awaitReady(ctx); err != nil {
		t.Fatalf("starting Keycloak: %v\n%s", err, s.Log())
	}
	return s
}

// Log is what it wrote.
func (s *Server) Log() string {
	text, _ := os.ReadFile(s.log)
	return string(text)
}

// run starts the process.
func (s *Server) run(dir string, port int) {
	s.t.Helper()
	output, err := os.Create(s.log)
	if err != nil {
		s.t.Fatal(err)
	}
	s.cmd = exec.Command(filepath.Join(dir, "bin", "kc.sh"), "start", "--optimized", "--cache=local", "--http-enabled=true", "--http-host=127.0.0.1",
		"--http-port="+strconv.Itoa(port), "--hostname="+s.URL)
	s.cmd.Env, s.cmd.Stdout, s.cmd.Stderr = environment(), output, output
	// The script takes the server with it when it is told to end, and is told also
	// when this process was killed.
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM, Setpgid: true}
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	go func() {
		_ = s.cmd.Wait()
		close(s.exited)
	}()
	s.t.Cleanup(func() {
		_ = syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL) // it keeps nothing
		<-s.exited
		output.Close()
	})
}

// environment bounds the memory, makes Java start fast rather than run fast, and
// names the administrator.
func environment() []string {
	return append(os.Environ(),
		"JAVA_OPTS=-Xms64m -Xmx512m -XX:MaxMetaspaceSize=256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -XX:+ExitOnOutOfMemoryError -Dfile.encoding=UTF-8",
		"KC_BOOTSTRAP_ADMIN_USERNAME="+admin, "KC_BOOTSTRAP_ADMIN_PASSWORD="+adminPassword)
}

// awaitReady waits until it answers.
func (s *Server) awaitReady(ctx context.Context) error {
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+"/realms/master", nil)
		if err != nil {
			return err
		}
		if resp, err := http.DefaultClient.Do(r); err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-again.C:
		case <-s.exited:
			return fmt.Errorf("it ended: %s", s.cmd.ProcessState)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
