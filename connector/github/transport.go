package github

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// transport asks again only what may have changed, and not before GitHub says that it
// may. It knows each token for itself, by its hash.
type transport struct {
	next     http.RoundTripper
	tokenURL string
	now      func() time.Time
	limits   limits
	cache    cache
}

func newTransport(next http.RoundTripper, tokenURL string, now func() time.Time) *transport {
	if next == nil {
		next = http.DefaultTransport
	}
	return &transport{next: next, tokenURL: tokenURL, now: now, cache: cache{max: maxCache}}
}

// key is a hash: of a token, or of a token with an address.
type key [sha256.Size]byte

// limitedError: GitHub does not want to be asked before until.
type limitedError struct{ until time.Time }

func (e *limitedError) Error() string {
	return fmt.Sprintf("GitHub's rate limit is reached until %s", e.until.UTC().Format(time.RFC3339))
}

// RoundTrip implements http.RoundTripper.
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	who := key(sha256.Sum256([]byte(r.Header.Get("Authorization"))))
	if until := t.limits.until(who, t.now()); !until.IsZero() {
		if r.Body != nil {
			r.Body.Close()
		}
		return nil, &limitedError{until}
	}
	r = r.Clone(r.Context())
	if r.URL.String() == t.tokenURL { // which answers in a form otherwise
		r.Header.Set("Accept", "application/json")
	}
	what := key(sha256.Sum256(fmt.Appendf(who[:], "%s %s", r.Method, r.URL)))
	known := t.cache.get(what)
	if known != nil {
		r.Header.Set("If-None-Match", known.etag)
	}
	resp, err := t.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if err := t.limit(who, resp); err != nil {
		resp.Body.Close()
		return nil, err
	}
	return t.remember(what, known, resp)
}

// remember answers 304 with what is known, and knows what is new. Only answers with an
// ETag are: those to a GET.
func (t *transport) remember(what key, known *entry, resp *http.Response) (*http.Response, error) {
	switch {
	case resp.StatusCode == http.StatusNotModified && known != nil:
		resp.Body.Close()
		return known.answer(resp)
	case resp.StatusCode == http.StatusOK && resp.Request.Method == http.MethodGet && resp.Header.Get("ETag") != "":
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			return nil, err
		}
		resp.Body = io.NopCloser(bytes.NewReader(body))
		t.cache.put(what, newEntry(resp.Header, body))
	}
	return resp, nil
}

// maxMessage is how much is read of an answer that may be a rate limit.
const maxMessage = 64 << 10

// limit notes how long the token must not be used, and returns a *limitedError for an
// answer that is one.
func (t *transport) limit(who key, resp *http.Response) error {
	refused := resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode == http.StatusForbidden
	wait, known := patience(resp.Header, t.now())
	if refused && !known {
		message, err := io.ReadAll(io.LimitReader(resp.Body, maxMessage))
		if err != nil {
			return err
		}
		resp.Body = struct {
			io.Reader
			io.Closer
		}{bytes.NewReader(message), resp.Body}
		if resp.StatusCode == http.StatusTooManyRequests || strings.Contains(strings.ToLower(string(message)), "rate limit") {
			wait, known = leastPatience, true
		}
	}
	// Elsewhere, Retry-After is about the server, not the token.
	if !known || !refused && resp.Header.Get("X-RateLimit-Remaining") != "0" {
		return nil
	}
	until := t.now().Add(wait)
	t.limits.set(who, until, t.now())
	if refused {
		return &limitedError{until}
	}
	return nil
}

const (
	// leastPatience is for a limit without a time.
	leastPatience = time.Minute
	// mostPatience is what GitHub's limits take at most.
	mostPatience = time.Hour
)

// patience reads how long nothing is to be asked.
func patience(h http.Header, now time.Time) (time.Duration, bool) {
	wait := time.Duration(-1)
	if seconds, err := strconv.Atoi(h.Get("Retry-After")); err == nil && seconds >= 0 {
		wait = time.Duration(min(seconds, int(mostPatience/time.Second))) * time.Second
	} else if h.Get("X-RateLimit-Remaining") == "0" {
		if at, err := strconv.ParseInt(h.Get("X-RateLimit-Reset"), 10, 64); err == nil {
			wait = time.Unix(at, 0).Sub(now)
			if wait < 0 { // their clock and ours differ
				wait = time.Second
			}
		}
	}
	return min(max(wait, 0), mostPatience), wait >= 0
}
