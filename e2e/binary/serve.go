package binary

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/countersign/countersign/storage/storagetest/freeport"
)

// patience is how long starting and stopping may take: far longer than either does.
const patience = 30 * time.Second

// Server is a running `countersign serve`.
type Server struct {
	// Address is HOST:PORT of the public listener, Telemetry of the operator's.
	Address, Telemetry string
	// Dir is the working folder of the program: empty at first, removed at last.
	Dir string

	cmd    *exec.Cmd
	output *output
	exited chan struct{} // closed once the process is gone
	err    error         // of the exit; read it after exited
}

// Serve runs the program with a configuration in which {address} and {telemetry}
// stand for free addresses on the loopback interface, and {dir} for its working
// folder. It returns when the program is ready, and stops it when the test ends.
func Serve(t testing.TB, configYAML string) *Server {
	t.Helper()
	program := Path(t)
	for range 3 {
		s, err := start(t, program, configYAML)
		if err == nil {
			t.Cleanup(func() { s.stop(t) })
			return s
		}
		// Between being chosen and being bound, somebody else may have taken a port.
		if !strings.Contains(s.Log(), "address already in use") {
			t.Fatalf("starting the program: %v\n%s", err, s.Log())
		}
	}
	t.Fatal("starting the program: the ports were taken three times")
	return nil
}

// Log is what the program has printed, logs and all.
func (s *Server) Log() string { return s.output.String() }

// PID is the id of the process.
func (s *Server) PID() int { return s.cmd.Process.Pid }

// start runs the program and waits until it is ready.
func start(t testing.TB, program, configYAML string) (*Server, error) {
	s := &Server{Address: freeAddress(t), Telemetry: freeAddress(t), Dir: t.TempDir(), output: new(output), exited: make(chan struct{})}
	file := filepath.Join(s.Dir, "config.yaml")
	text := strings.NewReplacer("{address}", s.Address, "{telemetry}", s.Telemetry, "{dir}", s.Dir).Replace(configYAML)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return s, err
	}
	s.cmd = exec.Command(program, "serve", file)
	s.cmd.Dir, s.cmd.Stdout, s.cmd.Stderr = s.Dir, s.output, s.output
	if err := s.cmd.Start(); err != nil {
		return s, err
	}
	go func() {
		s.err = s.cmd.Wait()
		close(s.exited)
	}()
	err := s.awaitReady()
	if err != nil {
		s.cmd.Process.Kill()
		<-s.exited
	}
	return s, err
}

// awaitReady asks the operator's listener until it says yes.
func (s *Server) awaitReady() error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for {
		if s.ready(ctx) {
			return nil
		}
		select {
		case <-again.C:
		case <-s.exited:
			return fmt.Errorf("it ended: %v", s.err)
		case <-ctx.Done():
			return errors.New("it does not become ready")
		}
	}
}

func (s *Server) ready(ctx context.Context) bool {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.Telemetry+"/readyz", nil)
	if err != nil {
		return false
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return false
	}
	resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// stop ends the program as an operator would, and holds what it printed against it.
func (s *Server) stop(t testing.TB) {
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("stopping the program: %v", err)
	}
	select {
	case <-s.exited:
	case <-time.After(patience):
		s.cmd.Process.Kill()
		<-s.exited
		t.Error("the program did not stop on SIGTERM")
	}
	if s.err != nil {
		t.Errorf("the program ended with %v", s.err)
	}
	for line := range strings.Lines(s.Log()) {
		if strings.Contains(line, "level=ERROR") || strings.Contains(line, "DATA RACE") || strings.HasPrefix(line, "panic:") {
			t.Errorf("the program logged: %s", line)
		}
	}
	if t.Failed() {
		t.Logf("the program printed:\n%s", s.Log())
	}
}

// freeAddress is one that nobody listens at.
func freeAddress(t testing.TB) string {
	t.Helper()
	port, err := freeport.Find()
	if err != nil {
		t.Fatal(err)
	}
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
}

// output collects what a process prints while others read it.
type output struct {
	mu   sync.Mutex
	text strings.Builder
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}
