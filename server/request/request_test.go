package request_test

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/countersign/countersign/server/request"
)

// records is a log that hands out one record at a time.
type records struct {
	lines chan string
	mu    sync.Mutex
	all   bytes.Buffer
}

func (r *records) Write(p []byte) (int, error) {
	r.mu.Lock()
	r.all.Write(p)
	r.mu.Unlock()
	r.lines <- string(p)
	return len(p), nil
}

// next waits for a record and returns it.
func (r *records) next(t *testing.T) map[string]any {
	t.Helper()
	select {
	case line := <-r.lines:
		if strings.Count(line, "\n") != 1 {
			t.Errorf("a record of several lines: %q", line)
		}
		var record map[string]any
		if err := json.Unmarshal([]byte(line), &record); err != nil {
			t.Fatal(err)
		}
		return record
	case <-time.After(20 * time.Second):
		t.Fatal("no record")
		return nil
	}
}

// serve runs the handler behind an Entry on a real socket.
func serve(t *testing.T, c request.Config, handler func(*request.Entry) http.Handler) (string, *records) {
	t.Helper()
	log := &records{lines: make(chan string, 100)}
	c.Logger = slog.New(slog.NewJSONHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	c.Random, c.Now = rand.Reader, time.Now
	entry, err := request.New(c)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(entry.Wrap(handler(entry)))
	t.Cleanup(server.Close)
	return server.URL, log
}

// single is a handler of one route, "/".
func single(h request.Handler) func(*request.Entry) http.Handler {
	return func(e *request.Entry) http.Handler {
		mux := http.NewServeMux()
		mux.Handle("/{$}", e.Handle(h))
		return mux
	}
}

func do(t *testing.T, r *http.Request) (*http.Response, string) {
	t.Helper()
	client := &http.Client{Timeout: 20 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

func get(t *testing.T, url string, headers ...string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	return do(t, r)
}

func post(t *testing.T, url string, body io.Reader) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequest(http.MethodPost, url, body)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return do(t, r)
}

// local trusts the test's own end of the connection.
var local = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("10.0.0.0/8")}

func TestConfigurationIsChecked(t *testing.T) {
	_, err := request.New(request.Config{
		MaxBody:        -1,
		TrustedProxies: []netip.Prefix{{}, netip.MustParsePrefix("::ffff:0.0.0.0/90")},
	})
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{"no logger", "no source of randomness", "no clock", "negative body limit", "invalid prefix", "more than mapped IPv4"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not say %q", err, want)
		}
	}
}

func TestOneRecordPerRequest(t *testing.T) {
	url, log := serve(t, request.Config{}, single(func(w http.ResponseWriter, r *http.Request) error {
		request.Note(r.Context(), slog.String("connector_used", "ldap"))
		w.WriteHeader(http.StatusTeapot)
		_, err := io.WriteString(w, "four")
		return err
	}))
	resp, _ := get(t, url+"/?client_id=demo&scope=openid+email", "User-Agent", "curl/8")
	record := log.next(t)
	for key, want := range map[string]any{
		"msg": "request", "level": "INFO", "method": "GET", "route": "/{$}", "status": 418.0, "bytes": 4.0,
		"client": "127.0.0.1", "user_agent": "curl/8", "connector_used": "ldap",
		"request_id": resp.Header.Get("X-Request-Id"),
	} {
		if record[key] != want {
			t.Errorf("%s is %v, want %v", key, record[key], want)
		}
	}
	parameters, _ := record["parameters"].(map[string]any)
	if parameters["client_id"] != "demo" || parameters["scope"] != "openid email" {
		t.Errorf("parameters are %v", parameters)
	}
	if _, ok := record["duration_ms"].(float64); !ok {
		t.Errorf("no duration: %v", record)
	}
	if len(log.lines) != 0 {
		t.Error("more than one record")
	}
}

// The pattern is known to the record although layers in between pass on copies
// of the request.
func TestRouteThroughCopies(t *testing.T) {
	url, log := serve(t, request.Config{}, func(e *request.Entry) http.Handler {
		mux := http.NewServeMux()
		mux.Handle("GET /flow/{id}/callback", e.Handle(func(w http.ResponseWriter, r *http.Request) error { return nil }))
		return mux
	})
	get(t, url+"/flow/abcdef/callback")
	if record := log.next(t); record["route"] != "GET /flow/{id}/callback" || record["path"] != nil || record["status"] != 200.0 {
		t.Errorf("record is %v", record)
	}
	get(t, url+"/nowhere")
	if record := log.next(t); record["route"] != "" || record["path"] != "/nowhere" || record["status"] != 404.0 {
		t.Errorf("record is %v", record)
	}
}

// Whatever a stranger sends, in whatever place, what could be used is not in
// the log.
func TestSecretsStayOutOfTheRecord(t *testing.T) {
	const secret = "S3CRETVALUE"
	var sent url.Values = map[string][]string{}
	for _, name := range []string{
		"code", "token", "access_token", "refresh_token", "id_token_hint", "password", "client_secret", "state",
		"nonce", "code_verifier", "code_challenge", "SAMLResponse", "assertion", "device_code", "user_code",
		"login_hint", "CLIENT_ID", "Scope",
	} {
		sent.Set(name, secret)
	}
	address, log := serve(t, request.Config{}, func(e *request.Entry) http.Handler {
		mux := http.NewServeMux()
		mux.Handle("/token", e.Handle(func(w http.ResponseWriter, r *http.Request) error {
			if err := r.ParseForm(); err != nil {
				return err
			}
			// As net/http fails against an upstream.
			return errors.Join(errors.New("asking the upstream"), &url.Error{
				Op: "Get", URL: "https://u:" + secret + "@up.example/cb?code=" + secret + "#" + secret, Err: io.ErrUnexpectedEOF,
			})
		}))
		return mux
	})
	r, _ := http.NewRequest(http.MethodPost, address+"/token?"+sent.Encode(), strings.NewReader(sent.Encode()+"&grant_type=refresh_token"))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Cookie", "session="+secret)
	r.Header.Set("Authorization", "Bearer "+secret)
	r.Header.Set("Referer", "https://x/?code="+secret)
	r.SetBasicAuth("demo", secret)
	resp, body := do(t, r)
	record := log.next(t)
	if record["parameters"].(map[string]any)["grant_type"] != "refresh_token" {
		t.Errorf("the form's grant_type is not in the record: %v", record)
	}
	if cause, _ := record["cause"].(string); !strings.Contains(cause, "https://up.example/cb") {
		t.Errorf("the cause is %q", cause)
	}
	get(t, address+"/callback%3Fcode="+secret)
	log.next(t)
	get(t, address+"/?scope=openid;code="+secret)
	log.next(t)
	get(t, address+"/?%zz&code="+secret+"&client_id=demo")
	log.next(t)
	if strings.Contains(log.all.String(), secret) {
		t.Errorf("the log holds the secret:\n%s", log.all.String())
	}
	if resp.StatusCode != 500 || strings.Contains(body, "upstream") {
		t.Errorf("the client got %d %q", resp.StatusCode, body)
	}
}

func TestStrangersTextIsBounded(t *testing.T) {
	url, log := serve(t, request.Config{}, single(func(w http.ResponseWriter, r *http.Request) error {
		return errors.New(strings.Repeat("e", 1<<20) + "\n")
	}))
	long := strings.Repeat("ä", 3000)
	get(t, url+"/?client_id="+long+"&scope="+long, "User-Agent", long)
	record := log.next(t)
	line, _ := json.Marshal(record)
	if len(line) > 4000 {
		t.Errorf("a record of %d bytes", len(line))
	}
	get(t, url+"/"+long)
	if path := log.next(t)["path"].(string); len(path) > 140 {
		t.Errorf("a path of %d bytes", len(path))
	}
}

// CR, LF, terminal escapes and direction marks forge nothing.
func TestLinesCannotBeForged(t *testing.T) {
	address, log := serve(t, request.Config{}, single(func(w http.ResponseWriter, r *http.Request) error {
		return errors.New("line one\r\nline two")
	}))
	attack := "x\r\n{\"level\":\"ERROR\"}\x1b[2J\u009b2J\u202e\u2028"
	get(t, address+"/?client_id="+url.QueryEscape(attack), "User-Agent", "a\u009b\u202eb")
	record := log.next(t)
	for _, value := range []string{
		record["parameters"].(map[string]any)["client_id"].(string), record["user_agent"].(string), record["cause"].(string),
	} {
		if strings.ContainsAny(value, "\r\n\x1b\u009b\u202e\u2028") {
			t.Errorf("%q is in the record", value)
		}
	}
	get(t, address+"/"+url.PathEscape(attack))
	if path := log.next(t)["path"].(string); strings.ContainsAny(path, "\r\n\x1b") {
		t.Errorf("%q is in the record", path)
	}
}

func TestProbesAreLoggedAtDebug(t *testing.T) {
	healthy := true
	url, log := serve(t, request.Config{}, func(*request.Entry) http.Handler {
		mux := http.NewServeMux()
		mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
			if !healthy {
				w.WriteHeader(http.StatusServiceUnavailable)
			}
		})
		return mux
	})
	get(t, url+"/readyz")
	if record := log.next(t); record["level"] != "DEBUG" {
		t.Errorf("level is %v", record["level"])
	}
	healthy = false
	get(t, url+"/readyz")
	if record := log.next(t); record["level"] != "INFO" {
		t.Errorf("level of a failing probe is %v", record["level"])
	}
	get(t, url+"/x/readyz") // a stranger's way to be overlooked
	if record := log.next(t); record["level"] != "INFO" {
		t.Errorf("level of a path that only looks like a probe is %v", record["level"])
	}
}

func TestNotesAreBounded(t *testing.T) {
	url, log := serve(t, request.Config{}, single(func(w http.ResponseWriter, r *http.Request) error {
		for range 1000 {
			request.Note(r.Context(), slog.Int("n", 1), slog.Int("m", 2))
		}
		return nil
	}))
	get(t, url)
	log.next(t)
	if n := strings.Count(log.all.String(), `"n":1`); n != 16 {
		t.Errorf("%d notes were kept", n)
	}
	request.Note(t.Context(), slog.Int("outside", 1)) // does nothing
}

func TestOutsideOfARequest(t *testing.T) {
	if request.ID(t.Context()) != "" || request.ClientAddress(t.Context()).IsValid() || request.FromTrustedProxy(t.Context()) {
		t.Error("a context outside of a request says something")
	}
}
