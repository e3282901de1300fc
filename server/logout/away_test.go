package logout

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/countersign/countersign/server/seal"
)

// What was posted counts for the departure that it was posted for.
func TestArrival(t *testing.T) {
	keyring, err := seal.New([][]byte{bytes.Repeat([]byte("0"), seal.MinSecretBytes)}, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	e := &Endpoint{answers: keyring.Box("logout-answer")}
	sealed, err := e.answers.Seal([]byte("content"), answerContext("school", "id"))
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest(http.MethodGet, "/?answer="+base64.RawURLEncoding.EncodeToString(sealed), nil)
	if got := e.arrival(r, "id", away{ConnectorID: "school"}).Received; string(got) != "content" {
		t.Errorf("received %q", got)
	}
	if got := e.arrival(r, "other", away{ConnectorID: "school"}).Received; got != nil {
		t.Errorf("at another departure: %q", got)
	}
	if got := e.arrival(r, "id", away{ConnectorID: "work"}).Received; got != nil {
		t.Errorf("of another connector: %q", got)
	}
}

// The cookie of a departure is for its way back alone, and for no script.
func TestAwayCookie(t *testing.T) {
	for secure, name := range map[bool]string{false: "countersign_logout", true: "__Secure-countersign_logout"} {
		e := &Endpoint{cfg: Config{Path: "/dex/logout", Secure: secure}}
		c := e.cookie("id", "value", 60)
		if c.Name != name || c.Path != "/dex/logout/away/id" || !c.HttpOnly || c.Secure != secure || c.SameSite != http.SameSiteLaxMode || c.MaxAge != 60 || c.Domain != "" {
			t.Errorf("%+v", c)
		}
		if err := c.Valid(); err != nil {
			t.Error(err)
		}
	}
}
