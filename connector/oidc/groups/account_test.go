package groups_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"strings"
	"testing"

	"github.com/countersign/countersign/connector"
	"github.com/countersign/countersign/connector/oidc/groups"
)

// newKey is the PEM of a key that nobody knows.
func newKey(t *testing.T) string {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// A service account that Google does not believe, or does not let act for others.
func TestServiceAccountIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorkspace(t)
	notDelegated := w.connect(func(c *groups.GoogleConfig) { c.Admins = map[string]string{"*": "jane@example.com"} })
	// Another key, in the name of the same account.
	var file map[string]string
	if err := json.Unmarshal(w.KeyFile(t), &file); err != nil {
		t.Fatal(err)
	}
	file["private_key"] = newKey(t)
	text, err := json.Marshal(file)
	if err != nil {
		t.Fatal(err)
	}
	account, err := groups.ParseServiceAccount(text)
	if err != nil {
		t.Fatal(err)
	}
	wrongKey := w.connect(func(c *groups.GoogleConfig) { c.ServiceAccount = account })
	for g, want := range map[*groups.Google]string{notDelegated: "unauthorized_client", wrongKey: "invalid_grant"} {
		_, ok, err := g.Groups(t.Context(), claims("jane@example.com"), "")
		if !errors.Is(err, connector.ErrUpstream) || ok || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

func TestParseServiceAccount(t *testing.T) {
	t.Parallel()
	w := newWorkspace(t)
	good := string(w.KeyFile(t))
	for name, text := range map[string]string{
		"no JSON":                        "PRIVATE KEY",
		"another type":                   strings.Replace(good, "service_account", "authorized_user", 1),
		"no key":                         strings.Replace(good, "-----BEGIN PRIVATE KEY-----", "", 1),
		"no PKCS #8":                     strings.Replace(good, `BEGIN PRIVATE KEY-----\n`, `BEGIN PRIVATE KEY-----\nAAAA`, 1),
		"a token_uri that is not secure": strings.Replace(good, w.URL, "http://oauth2.googleapis.com", -1),
		"no token_uri":                   strings.Replace(good, "token_uri", "x", 1),
		"no client_email":                strings.Replace(good, "client_email", "x", 1),
	} {
		if _, err := groups.ParseServiceAccount([]byte(text)); err == nil || strings.Contains(err.Error(), "PRIVATE KEY") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
