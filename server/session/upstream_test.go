package session_test

import (
	"bytes"
	"crypto/rand"
	"testing"

	"github.com/countersign/countersign/connector"
	"github.com/countersign/countersign/server/seal"
	"github.com/countersign/countersign/server/session"
)

// What an upstream gave is sealed for the session of one browser.
func TestUpstream(t *testing.T) {
	w := newWorld(t, nil)
	login := jane("web")
	login.Upstream = []byte("an id_token")
	_, cookie := w.signIn(t, login, request())
	got := w.current(t, cookie).Session
	if kept := w.browser.Upstream(got); string(kept) != "an id_token" {
		t.Errorf("%q is kept", kept)
	}
	if bytes.Contains(got.UpstreamSealed, login.Upstream) {
		t.Error("it is stored as it is")
	}
	copied, _ := w.signIn(t, jane("web"), request())
	if copied.UpstreamSealed != nil {
		t.Error("another session has something of it")
	}
	copied.UpstreamSealed = got.UpstreamSealed
	if kept := w.browser.Upstream(copied); kept != nil {
		t.Errorf("copied to another session, it opens: %q", kept)
	}
	other := newWorld(t, func(c *session.Config) {
		var err error
		if c.Keyring, err = seal.New([][]byte{bytes.Repeat([]byte("1"), seal.MinSecretBytes)}, rand.Reader); err != nil {
			t.Fatal(err)
		}
	})
	if kept := other.browser.Upstream(got); kept != nil {
		t.Errorf("it opens with other secrets: %q", kept)
	}
}

func TestUpstreamIsBounded(t *testing.T) {
	w := newWorld(t, nil)
	for size, kept := range map[int]bool{0: false, connector.MaxSession: true, connector.MaxSession + 1: false} {
		login := jane("web")
		login.Upstream = make([]byte, size)
		if s, _ := w.signIn(t, login, request()); (w.browser.Upstream(s) != nil) != kept {
			t.Errorf("%d bytes are kept: %v", size, !kept)
		}
	}
}
