package script

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
)

// witness carries requests, and remembers what in them must stay secret.
type witness struct {
	next http.RoundTripper

	mu   sync.Mutex
	seen map[string]string // kind by value
}

func newWitness(next http.RoundTripper) *witness {
	return &witness{next: next, seen: map[string]string{}}
}

// secretParameters are those of requests, redirects and token responses that
// nobody else may read.
var secretParameters = []string{
	"code", "state", "nonce", "code_verifier", "client_secret", "password", "access_token", "id_token",
}

// RoundTrip implements http.RoundTripper.
func (w *witness) RoundTrip(r *http.Request) (*http.Response, error) {
	w.addParameters(r.URL.Query())
	if r.GetBody != nil {
		if body, err := r.GetBody(); err == nil {
			text, _ := io.ReadAll(io.LimitReader(body, 64<<10))
			if form, err := url.ParseQuery(string(text)); err == nil {
				w.addParameters(form)
			}
		}
	}
	if _, secret, ok := r.BasicAuth(); ok {
		w.add("client_secret", secret)
	}
	resp, err := w.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	for _, c := range resp.Cookies() {
		w.add("cookie", c.Value)
	}
	if u, err := url.Parse(resp.Header.Get("Location")); err == nil {
		w.addParameters(u.Query())
	}
	return resp, w.addTokens(resp)
}

// addTokens reads a token response.
func (w *witness) addTokens(resp *http.Response) error {
	if resp.Header.Get("Content-Type") != "application/json" {
		return nil
	}
	body, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err != nil {
		return err
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	var object map[string]any
	if json.Unmarshal(body, &object) == nil {
		for _, name := range []string{"access_token", "id_token"} {
			if value, ok := object[name].(string); ok {
				w.add(name, value)
			}
		}
	}
	return nil
}

func (w *witness) addParameters(v url.Values) {
	for _, name := range secretParameters {
		for _, value := range v[name] {
			w.add(name, value)
		}
	}
}

func (w *witness) add(kind, value string) {
	if len(value) < 6 { // too short to be told from other text
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen[value] = kind
}

// leaks looks for everything secret in a file: as it is, and as it stands in an
// address. Its error says that nothing is there.
func (w *world) leaks(args []string) error {
	if len(args) != 1 {
		return usageError{}
	}
	text, err := os.ReadFile(w.path(args[0]))
	if err != nil {
		w.ts.Fatalf("%v", err)
	}
	kinds := map[string]int{}
	w.witness.mu.Lock()
	defer w.witness.mu.Unlock()
	for value, kind := range w.witness.seen {
		kinds[kind]++
		for _, form := range []string{value, url.QueryEscape(value), value[:len(value)/2+1]} {
			if bytes.Contains(text, []byte(form)) {
				fmt.Fprintf(w.ts.Stdout(), "%s: %s\n", kind, form)
				return nil
			}
		}
	}
	// A proof about nothing is none.
	for _, kind := range append(slices.Clone(secretParameters), "cookie") {
		if kinds[kind] == 0 {
			w.ts.Fatalf("no %s went over the wire, only %v", kind, slices.Sorted(maps.Keys(kinds)))
		}
	}
	return fmt.Errorf("%s holds none of %s", args[0], strings.Join(slices.Sorted(maps.Keys(kinds)), ", "))
}
