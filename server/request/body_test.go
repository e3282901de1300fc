package request_test

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/countersign/countersign/server/request"
)

// endless is a body that never ends.
type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'a'
	}
	return len(p), nil
}

func readForm(w http.ResponseWriter, r *http.Request) error { return r.ParseForm() }

func TestBodiesAreBounded(t *testing.T) {
	url, log := serve(t, request.Config{}, func(e *request.Entry) http.Handler {
		mux := http.NewServeMux()
		mux.Handle("/form", e.Handle(readForm))
		mux.Handle("/saml", e.HandleUpTo(512<<10, readForm))
		mux.HandleFunc("/plain", func(w http.ResponseWriter, r *http.Request) {
			if _, err := io.ReadAll(r.Body); err != nil {
				w.WriteHeader(http.StatusRequestEntityTooLarge)
			}
		})
		return mux
	})
	sized := func(n int) io.Reader { return strings.NewReader(strings.Repeat("a", n)) }
	chunked := func(n int64) io.Reader { return struct{ io.Reader }{io.LimitReader(endless{}, n)} }
	for name, test := range map[string]struct {
		path string
		body io.Reader
		want int
	}{
		"form within":        {"/form", sized(64 << 10), 200},
		"form announced":     {"/form", sized(64<<10 + 1), 413},
		"form chunked":       {"/form", chunked(64<<10 + 1), 413},
		"larger form within": {"/saml", chunked(512 << 10), 200},
		"larger form beyond": {"/saml", chunked(512<<10 + 1), 413},
		"anything within":    {"/plain", chunked(1 << 20), 200},
		"anything announced": {"/plain", sized(1<<20 + 1), 413},
		"anything chunked":   {"/plain", chunked(1<<20 + 1), 413},
		"an unknown route":   {"/nowhere", sized(1 << 19), 404},
	} {
		t.Run(name, func(t *testing.T) {
			resp, _ := post(t, url+test.path, test.body)
			if resp.StatusCode != test.want {
				t.Errorf("got %d, want %d", resp.StatusCode, test.want)
			}
			log.next(t)
		})
	}
}

// Strangers who send bodies slowly get so many of them into memory, fewer of large
// ones, and keep out nobody whose body is small, or who has none.
func TestBodiesAreFew(t *testing.T) {
	for name, test := range map[string]struct {
		config request.Config
		// size is that of the bodies, and most more than are taken; others come
		// meanwhile.
		size, most int
		others     func(t *testing.T, url string) *http.Response
	}{
		"large": {request.Config{}, 64<<10 + 1, 45, func(t *testing.T, url string) *http.Response {
			resp, _ := post(t, url, strings.NewReader("a=b"))
			return resp
		}},
		"small": {request.Config{MaxBodies: 3}, 10, 5, func(t *testing.T, url string) *http.Response {
			resp, _ := get(t, url)
			return resp
		}},
	} {
		t.Run(name, func(t *testing.T) {
			url, _ := serve(t, test.config, func(e *request.Entry) http.Handler { return e.HandleUpTo(512<<10, readForm) })
			full := func() *http.Response {
				resp, _ := post(t, url, strings.NewReader(strings.Repeat("a", test.size)))
				return resp
			}
			end := slowBodies(t, url, test.size, test.most, func() bool { return full().StatusCode == 503 })
			if resp := test.others(t, url); resp.StatusCode != 200 {
				t.Errorf("others get %d", resp.StatusCode)
			}
			end()
			if resp := full(); resp.StatusCode != 200 {
				t.Errorf("afterwards it is %d", resp.StatusCode)
			}
		})
	}
}

// slowBodies begins to send bodies of so many bytes, until it is enough, at most so
// many. end sends their ends, and returns when all are answered.
func slowBodies(t *testing.T, url string, size, most int, enough func() bool) (end func()) {
	t.Helper()
	var slow []*io.PipeWriter
	var sending sync.WaitGroup
	end = sync.OnceFunc(func() {
		for _, more := range slow {
			_, _ = io.WriteString(more, strings.Repeat("a", size-1))
		}
		sending.Wait()
	})
	t.Cleanup(end) // before the server's, which waits for them
	for !enough() {
		if len(slow) == most {
			t.Fatalf("%d bodies are taken at once", most)
		}
		body, more := io.Pipe()
		slow = append(slow, more)
		r, err := http.NewRequest(http.MethodPost, url, body)
		if err != nil {
			t.Fatal(err)
		}
		r.ContentLength = int64(size)
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		sending.Go(func() {
			// One that comes while the last place is taken for a moment is refused.
			if resp, err := http.DefaultTransport.RoundTrip(r); err == nil {
				resp.Body.Close()
			}
		})
		_, _ = more.Write([]byte("a"))
	}
	return end
}

// Nothing of an announced gigabyte is waited for.
func TestAnnouncedGigabyte(t *testing.T) {
	url, log := serve(t, request.Config{}, single(func(http.ResponseWriter, *http.Request) error {
		t.Error("served")
		return nil
	}))
	resp := raw(t, url, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1073741824\r\n\r\n")
	if resp.StatusCode != 413 || !resp.Close {
		t.Errorf("got %d, close %v", resp.StatusCode, resp.Close)
	}
	if record := log.next(t); !strings.Contains(record["cause"].(string), "too large") {
		t.Errorf("record is %v", record)
	}
}

func TestFailedMakesTheResponse(t *testing.T) {
	refused := errors.New("refused")
	url, log := serve(t, request.Config{
		Failed: func(w http.ResponseWriter, r *http.Request, err error) {
			if !errors.Is(err, refused) {
				t.Errorf("Failed got %v", err)
			}
			w.WriteHeader(http.StatusForbidden)
			io.WriteString(w, request.ID(r.Context()))
		},
	}, single(func(http.ResponseWriter, *http.Request) error { return refused }))
	resp, body := get(t, url)
	if resp.StatusCode != 403 || body != resp.Header.Get("X-Request-Id") {
		t.Errorf("got %d %q", resp.StatusCode, body)
	}
	if record := log.next(t); record["cause"] != "refused" || record["status"] != 403.0 {
		t.Errorf("record is %v", record)
	}
}

// An error after the response has begun is recorded, and not appended to it.
func TestErrorInTheMiddle(t *testing.T) {
	url, log := serve(t, request.Config{}, single(func(w http.ResponseWriter, r *http.Request) error {
		io.WriteString(w, "half")
		return errors.New("ran out")
	}))
	resp, body := get(t, url)
	if resp.StatusCode != 200 || body != "half" {
		t.Errorf("got %d %q", resp.StatusCode, body)
	}
	if record := log.next(t); record["cause"] != "ran out" {
		t.Errorf("record is %v", record)
	}
}
