package local_test

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/countersign/countersign/connector"
	"github.com/countersign/countersign/connector/local"
)

// Whoever is on the list is as the list says now, whatever was said before; only
// the user id counts.
func TestRefresh(t *testing.T) {
	cheap := argonOf("p", 7<<10, 1)
	c := open(t,
		local.Password{Email: "ada@example.com", Hash: cheap, UserID: "1", Username: "ada", Name: "Ada L.", PreferredUsername: "al", EmailVerified: true, Groups: []string{"dev", "ops"}},
		local.Password{Email: "bob@example.com", Hash: cheap, UserID: "2"},
	)
	ada := connector.Identity{UserID: "1", Name: "Ada L.", PreferredUsername: "al", Email: "ada@example.com", EmailVerified: true, Groups: []string{"dev", "ops"}, AMR: []string{"pwd"}}
	for name, tc := range map[string]struct {
		before, want connector.Identity
		err          error
	}{
		"as before":               {ada, ada, nil},
		"everything else changed": {connector.Identity{UserID: "1", Name: "ada", Email: "old@example.com", Groups: []string{"admins"}}, ada, nil},
		"only the id is known":    {connector.Identity{UserID: "1"}, ada, nil},
		// An address may have been given to somebody else.
		"another's address":  {connector.Identity{UserID: "1", Email: "bob@example.com"}, ada, nil},
		"off the list":       {connector.Identity{UserID: "3", Email: "ada@example.com"}, connector.Identity{}, connector.ErrGone},
		"no id":              {connector.Identity{Email: "ada@example.com"}, connector.Identity{}, connector.ErrGone},
		"the address as id":  {connector.Identity{UserID: "ada@example.com"}, connector.Identity{}, connector.ErrGone},
		"ids are not folded": {connector.Identity{UserID: " 1"}, connector.Identity{}, connector.ErrGone},
	} {
		got, err := c.Refresh(t.Context(), tc.before)
		if diff := cmp.Diff(tc.want, got); diff != "" || !errors.Is(err, tc.err) || (err == nil) != (tc.err == nil) {
			t.Errorf("%s: %v, want %v (-want +got):\n%s", name, err, tc.err, diff)
		}
	}
}

// The list is another one after a restart: groups follow, whoever was taken off is
// gone, and an address that went to somebody else makes nobody anybody.
func TestRefreshAfterChange(t *testing.T) {
	cheap := argonOf("p", 7<<10, 1)
	before := open(t, local.Password{Email: "ada@example.com", Hash: cheap, UserID: "1", Groups: []string{"dev", "admins"}})
	ada, err := before.Login(t.Context(), "ada@example.com", "p")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := before.Refresh(t.Context(), ada); err != nil || cmp.Diff(ada, got) != "" {
		t.Errorf("unchanged: %+v, %v", got, err)
	}
	smaller := open(t, local.Password{Email: "ada@example.com", Hash: cheap, UserID: "1", Groups: []string{"dev"}})
	if got, err := smaller.Refresh(t.Context(), ada); err != nil || cmp.Diff([]string{"dev"}, got.Groups) != "" {
		t.Errorf("groups: %+v, %v", got, err)
	}
	another := open(t, local.Password{Email: "ada@example.com", Hash: cheap, UserID: "2"})
	if _, err := another.Refresh(t.Context(), ada); !errors.Is(err, connector.ErrGone) {
		t.Errorf("another person with her address: %v", err)
	}
	if _, err := open(t).Refresh(t.Context(), ada); !errors.Is(err, connector.ErrGone) {
		t.Errorf("an empty list: %v", err)
	}
}

// A caller who is gone gets an answer or an error, never a verdict on the person.
func TestRefreshHonoursContext(t *testing.T) {
	c := open(t, local.Password{Email: "a@example.com", Hash: argonOf("p", 7<<10, 1), UserID: "1", Groups: []string{"dev"}})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Refresh(ctx, connector.Identity{UserID: "1"}); errors.Is(err, connector.ErrGone) {
		t.Error(err)
	}
	// What the caller does to the answer is not in the next.
	for range 2 {
		id, err := c.Refresh(t.Context(), connector.Identity{UserID: "1"})
		if err != nil || id.Groups[0] != "dev" || id.AMR[0] != "pwd" {
			t.Fatalf("%+v, %v", id, err)
		}
		id.Groups[0], id.AMR[0] = "admins", "hwk"
	}
}
