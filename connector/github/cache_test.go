package github

import (
	"bytes"
	"crypto/rand"
	"io"
	"net/http"
	"testing"
	"time"
)

func numbered(n int) (k key) {
	k[0], k[1] = byte(n), byte(n>>8)
	return k
}

// The least recently used answers go first, and no more memory is taken than may be.
func TestCacheIsBounded(t *testing.T) {
	t.Parallel()
	body := make([]byte, 1000)
	if _, err := rand.Read(body); err != nil {
		t.Fatal(err)
	}
	one := newEntry(http.Header{"Etag": {"x"}}, body).cost()
	c := cache{max: 10 * one}
	for n := range 100 {
		c.put(numbered(n), newEntry(http.Header{"Etag": {"x"}}, body))
		if c.get(numbered(0)) == nil {
			t.Fatalf("the one that is used went after %d", n)
		}
		if c.size > c.max || len(c.of) > 10 || c.order.Len() != len(c.of) {
			t.Fatalf("%d bytes, %d entries", c.size, len(c.of))
		}
	}
	if c.get(numbered(50)) != nil || c.get(numbered(99)) == nil {
		t.Error("not the least recently used one went")
	}
	c.put(numbered(99), newEntry(http.Header{"Etag": {"y"}}, nil))
	if e := c.get(numbered(99)); e == nil || e.etag != "y" || c.size > c.max {
		t.Errorf("replaced: %+v", e)
	}
	// One that is larger than all goes at once.
	large := make([]byte, 20*len(body))
	if _, err := rand.Read(large); err != nil {
		t.Fatal(err)
	}
	c.put(numbered(7), newEntry(http.Header{"Etag": {"x"}}, large))
	if c.get(numbered(7)) != nil || c.size != 0 || len(c.of) != 0 {
		t.Errorf("too large: %d bytes, %d entries", c.size, len(c.of))
	}
}

// What is known is the answer that was given.
func TestCacheKeepsAnswers(t *testing.T) {
	t.Parallel()
	for _, body := range [][]byte{nil, []byte("[]"), bytes.Repeat([]byte("team "), 200_000)} {
		e := newEntry(http.Header{"Etag": {"x"}, "Link": {"<next>"}, "Content-Type": {"application/json"}}, body)
		resp, err := e.answer(&http.Response{StatusCode: 304, Header: http.Header{"Link": {"<other>"}}})
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(resp.Body)
		if err != nil || !bytes.Equal(got, body) || resp.StatusCode != 200 || resp.Header.Get("Link") != "<next>" || resp.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%d bytes of %d, %v, %+v", len(got), len(body), err, resp)
		}
	}
}

func TestLimitsAreBounded(t *testing.T) {
	t.Parallel()
	var l limits
	now := time.Unix(1_800_000_000, 0)
	for n := range maxLimits + 10 {
		l.set(numbered(n), now.Add(time.Minute), now)
	}
	if len(l.of) != maxLimits || l.until(numbered(0), now).IsZero() {
		t.Errorf("%d limits", len(l.of))
	}
	now = now.Add(time.Minute)
	if !l.until(numbered(0), now).IsZero() {
		t.Error("a limit does not end")
	}
	l.set(numbered(0), now.Add(time.Minute), now)
	l.set(numbered(1), now.Add(time.Minute), now)
	if len(l.of) > 2 && len(l.of) >= maxLimits {
		t.Errorf("limits that have ended stay: %d", len(l.of))
	}
}
