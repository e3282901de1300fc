package request_test

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/countersign/countersign/server/request"
)

func TestPanicBecomesA500(t *testing.T) {
	for name, value := range map[string]any{
		"text": "out of cheese", "error": errors.New("out of cheese"), "nil pointer": nil,
	} {
		t.Run(name, func(t *testing.T) {
			url, log := serve(t, request.Config{}, single(func(w http.ResponseWriter, r *http.Request) error {
				w.Header().Set("Set-Cookie", "session=half-made")
				w.Header().Set("Location", "https://elsewhere.example")
				w.Header().Set("Content-Length", "99999")
				if value == nil {
					var nothing *http.Request
					_ = nothing.Method
				}
				panic(value)
			}))
			resp, body := get(t, url)
			if resp.StatusCode != 500 || strings.Contains(body, "cheese") || !strings.Contains(body, resp.Header.Get("X-Request-Id")) {
				t.Errorf("got %d %q", resp.StatusCode, body)
			}
			if resp.Header.Get("Set-Cookie") != "" || resp.Header.Get("Location") != "" {
				t.Errorf("headers of the failed handler are sent: %v", resp.Header)
			}
			record := log.next(t)
			if record["level"] != "ERROR" || record["status"] != 500.0 || !strings.Contains(record["stack"].(string), "TestPanicBecomesA500") {
				t.Errorf("record is %v", record)
			}
		})
	}
}

// The reader of half a page learns that it is half.
func TestPanicInTheMiddleCutsTheConnection(t *testing.T) {
	url, log := serve(t, request.Config{}, single(func(w http.ResponseWriter, r *http.Request) error {
		io.WriteString(w, strings.Repeat("half a page", 10000))
		panic("now")
	}))
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.ReadAll(resp.Body); err == nil {
		t.Error("the client took half a response for a whole one")
	}
	if record := log.next(t); record["level"] != "ERROR" || record["aborted"] != true || record["cause"] != "panic: now" {
		t.Errorf("record is %v", record)
	}
}

func TestAbortIsNoFault(t *testing.T) {
	url, log := serve(t, request.Config{}, single(func(http.ResponseWriter, *http.Request) error { panic(http.ErrAbortHandler) }))
	if _, err := http.Get(url); err == nil {
		t.Error("an aborted request got an answer")
	}
	if record := log.next(t); record["level"] != "INFO" || record["aborted"] != true || record["status"] != 0.0 {
		t.Errorf("record is %v", record)
	}
}

// The error page itself may panic; the record is still written.
func TestPanicInFailed(t *testing.T) {
	url, log := serve(t, request.Config{
		Failed: func(http.ResponseWriter, *http.Request, error) { panic("the error page too") },
	}, single(func(http.ResponseWriter, *http.Request) error { panic("first") }))
	if _, err := http.Get(url); err == nil {
		t.Error("got an answer")
	}
	if record := log.next(t); record["cause"] != "panic: first" || record["aborted"] != true {
		t.Errorf("record is %v", record)
	}
}

// Flushing and deadlines reach the server through our writer.
func TestResponseController(t *testing.T) {
	url, log := serve(t, request.Config{}, single(func(w http.ResponseWriter, r *http.Request) error {
		w.WriteHeader(http.StatusEarlyHints) // not the status of the record
		io.WriteString(w, "x")
		return http.NewResponseController(w).Flush()
	}))
	get(t, url)
	if record := log.next(t); record["cause"] != nil || record["status"] != 200.0 {
		t.Errorf("record is %v", record)
	}
}
