package identity_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/countersign/countersign/connector"
	"github.com/countersign/countersign/server/identity"
	"github.com/countersign/countersign/server/seal"
	"github.com/countersign/countersign/storage"
	"github.com/countersign/countersign/storage/storagetest"
)

func newSecrets(t *testing.T) *identity.Secrets {
	t.Helper()
	k, err := seal.New([][]byte{[]byte(rand.Text() + rand.Text())}, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return identity.NewSecrets(k)
}

// Every field of a record comes from the connector and goes back to it.
func TestThereAndBack(t *testing.T) {
	var i storage.Identity
	storagetest.Fill(&i)
	who := identity.Known(i, []byte("secret"))
	if string(who.Secret) != "secret" {
		t.Errorf("the secret is %q", who.Secret)
	}
	if diff := cmp.Diff(i, identity.Of(i.ConnectorID, who, i.CheckedAt, i.ExpiresAt)); diff != "" {
		t.Error(diff)
	}
}

func TestSecrets(t *testing.T) {
	s := newSecrets(t)
	who := connector.Identity{UserID: "jane", Secret: []byte("upstream refresh token")}
	sealed, err := s.Seal("github", who)
	if err != nil || bytes.Contains(sealed, who.Secret) {
		t.Fatalf("sealed: %q, %v", sealed, err)
	}
	if got, err := s.Open("github", "jane", sealed); err != nil || !bytes.Equal(got, who.Secret) {
		t.Errorf("opened: %q, %v", got, err)
	}
	for name, open := range map[string]func() ([]byte, error){
		"another person":    func() ([]byte, error) { return s.Open("github", "joe", sealed) },
		"another connector": func() ([]byte, error) { return s.Open("gitlab", "jane", sealed) },
		"moved border":      func() ([]byte, error) { return s.Open("githubj", "ane", sealed) },
		"truncated":         func() ([]byte, error) { return s.Open("github", "jane", sealed[:len(sealed)-1]) },
		"other secrets":     func() ([]byte, error) { return newSecrets(t).Open("github", "jane", sealed) },
	} {
		if got, err := open(); !errors.Is(err, seal.ErrInvalid) {
			t.Errorf("%s opens it: %q, %v", name, got, err)
		}
	}
}

func TestNothingAndTooMuch(t *testing.T) {
	s := newSecrets(t)
	if sealed, err := s.Seal("c", connector.Identity{UserID: "jane"}); sealed != nil || err != nil {
		t.Errorf("nothing is sealed: %q, %v", sealed, err)
	}
	if secret, err := s.Open("c", "jane", nil); secret != nil || err != nil {
		t.Errorf("nothing is opened: %q, %v", secret, err)
	}
	who := connector.Identity{UserID: "jane", Secret: make([]byte, identity.MaxSecret)}
	if _, err := s.Seal("c", who); err != nil {
		t.Errorf("as much as may be: %v", err)
	}
	who.Secret = append(who.Secret, 0)
	if _, err := s.Seal("c", who); !errors.Is(err, connector.ErrUpstream) {
		t.Errorf("too much: %v", err)
	}
}
