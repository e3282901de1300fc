package listen_test

import (
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/countersign/countersign/server/listen"
)

// The end is announced first; what is accepted during the delay is served; what
// is running when the listeners close is finished.
func TestDrainFinishesWhatRuns(t *testing.T) {
	announced, entered, release := make(chan struct{}), make(chan struct{}), make(chan struct{})
	s := start(t, listen.Config{
		HTTP:       "127.0.0.1:0",
		Draining:   func() { close(announced) },
		DrainDelay: 300 * time.Millisecond,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			close(entered)
			<-release
			io.WriteString(w, "finished")
		}),
	})
	s.stop()
	<-announced
	answer := make(chan string, 1)
	go func() {
		resp, err := http.Get("http://" + s.HTTPAddr().String())
		if err != nil {
			answer <- err.Error()
			return
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		answer <- string(body)
	}()
	<-entered
	await(t, "the listener closes", func() bool {
		conn, err := net.Dial("tcp", s.HTTPAddr().String())
		if err == nil {
			conn.Close()
		}
		return err != nil
	})
	select {
	case err := <-s.done:
		t.Fatalf("Run returned %v before the request had finished", err)
	default:
	}
	close(release)
	if got := <-answer; got != "finished" {
		t.Errorf("the request in progress got %q", got)
	}
	if err := s.wait(t); err != nil {
		t.Errorf("Run returned %v", err)
	}
}

func TestDrainIsBounded(t *testing.T) {
	entered, gone := make(chan struct{}), make(chan struct{})
	s := start(t, listen.Config{
		HTTP:         "127.0.0.1:0",
		DrainTimeout: 50 * time.Millisecond,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			close(entered)
			<-r.Context().Done()
			close(gone)
		}),
	})
	conn := dial(t, s.HTTPAddr())
	io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	<-entered
	s.stop()
	if err := s.wait(t); err != nil {
		t.Errorf("Run returned %v", err)
	}
	<-gone // the handler's context ended with its connection
	if s.log.count("were cut off") != 1 {
		t.Errorf("the log does not say that requests were cut off: %s", s.log)
	}
}

// A listener that dies under the server is an error, not a silent half-service.
func TestAFailingListenerEndsRun(t *testing.T) {
	s := start(t, listen.Config{HTTP: "127.0.0.1:0"})
	get(t, "http://"+s.HTTPAddr().String())
	s.Close()
	if err := s.wait(t); err == nil {
		t.Error("Run returned nil although nobody asked it to end")
	}
}
