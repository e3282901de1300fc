package local

import "testing"

// counting counts how often a hash was checked, instead of the costly check.
type counting struct {
	scheme
	checks *int
}

func (c counting) matches(string) bool {
	*c.checks++
	return false
}

// Every address costs one check of every kind of hash in the list, the same for
// its owner, for others on the list and for strangers (SECURITY: the time to
// answer must not tell whether the user exists).
func TestEveryAddressCostsTheSame(t *testing.T) {
	const (
		cheap = "$2a$10$abcdefghijklmnopqrstuuabcdefghijklmnopqrstuvwxyzabcde"
		dear  = "$2a$11$abcdefghijklmnopqrstuuabcdefghijklmnopqrstuvwxyzabcde"
	)
	argon := newArgon2id("right", []byte("0123456789abcdef")).String()
	c, err := New([]Password{
		{Email: "cheap@example.com", Hash: cheap, UserID: "1"},
		{Email: "dear@example.com", Hash: dear, UserID: "2"},
		{Email: "argon@example.com", Hash: argon, UserID: "3"},
		{Email: "second@example.com", Hash: argon, UserID: "4"},
	})
	if err != nil {
		t.Fatal(err)
	}
	checks := map[string]*int{}
	count := func(h Hashed) Hashed {
		if checks[h.kind()] == nil {
			checks[h.kind()] = new(int)
		}
		return Hashed{counting{h.scheme, checks[h.kind()]}}
	}
	for i, d := range c.decoys {
		c.decoys[i] = count(d)
	}
	for email, p := range c.people {
		p.hash = count(p.hash)
		c.people[email] = p
	}
	if len(checks) != 3 {
		t.Fatalf("%d kinds of hash", len(checks))
	}
	for _, email := range []string{"cheap@example.com", "dear@example.com", "argon@example.com", "second@example.com", "eve@example.com", ""} {
		for _, password := range []string{"wrong", "right"} {
			for _, n := range checks {
				*n = 0
			}
			_, _ = c.Login(t.Context(), email, password)
			for kind, n := range checks {
				if *n != 1 {
					t.Errorf("%q with %q: %d checks of %s", email, password, *n, kind)
				}
			}
		}
	}
}
