package listen_test

import (
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/countersign/countersign/server/listen"
	"github.com/countersign/countersign/server/telemetry"
)

// Readiness fails first, while everything is still accepted and served.
func TestDrainAnnouncesTheEnd(t *testing.T) {
	ready, err := telemetry.NewReadiness(telemetry.ReadinessConfig{Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	announced := make(chan struct{})
	mux := http.NewServeMux()
	mux.Handle("/readyz", ready.PublicHandler())
	mux.Handle("/", telemetry.Alive())
	s := start(t, listen.Config{
		HTTP: "127.0.0.1:0", Handler: mux,
		Draining:   func() { ready.Drain(); close(announced) },
		DrainDelay: time.Hour, // for as long as this test asks
	})
	url := "http://" + s.HTTPAddr().String()
	if status, _ := get(t, url+"/readyz"); status != 200 {
		t.Errorf("readiness is %d", status)
	}
	s.stop()
	<-announced
	if status, body := get(t, url+"/readyz"); status != 503 {
		t.Errorf("readiness is %d %q", status, body)
	}
	if status, _ := get(t, url); status != 200 {
		t.Errorf("a request during the delay got %d", status)
	}
}

// What is running when the listeners close is finished.
func TestDrainFinishesWhatRuns(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	s := start(t, listen.Config{
		HTTP: "127.0.0.1:0", DrainTimeout: time.Hour,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			close(entered)
			<-release
			io.WriteString(w, "finished")
		}),
	})
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
	s.stop()
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
