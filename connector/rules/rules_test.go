package rules_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/countersign/countersign/connector"
	"github.com/countersign/countersign/connector/rules"
)

// jane is what an upstream said, as a connector gives it on.
func jane(t *testing.T) connector.Identity {
	t.Helper()
	who := connector.Identity{
		UserID: "42", Name: "Jane", PreferredUsername: "jane", Email: "jane@corp.example", EmailVerified: true,
		Groups: []string{"dev", "ops"},
	}
	if err := json.Unmarshal([]byte(`{"sub": "42", "roles": ["admin", "user"], "mixed": ["a", 1], "level": 3, "org": {"unit": "x"},
		"mail": "j@other.example", "suspended": false, "none": null, "single": "alone"}`), &who.Claims); err != nil {
		t.Fatal(err)
	}
	return who
}

func TestAccept(t *testing.T) {
	as := func(change func(*connector.Identity)) connector.Identity {
		who := jane(t)
		change(&who)
		return who
	}
	for name, c := range map[string]struct {
		cfg  rules.Config
		want connector.Identity
	}{
		"nothing": {want: jane(t)},
		"groups of a claim": {rules.Config{Groups: `claims.roles`},
			as(func(i *connector.Identity) { i.Groups = []string{"admin", "user"} })},
		"groups computed": {rules.Config{Groups: `claims.roles.filter(r, r != "user").map(r, "role-" + r) + user.groups`},
			as(func(i *connector.Identity) { i.Groups = []string{"role-admin", "dev", "ops"} })},
		"groups of a text": {rules.Config{Groups: `[claims.single]`},
			as(func(i *connector.Identity) { i.Groups = []string{"alone"} })},
		"no groups": {rules.Config{Groups: `has(claims.absent) ? claims.absent : []`},
			as(func(i *connector.Identity) { i.Groups = []string{} })},
		"names": {rules.Config{Name: `user.name + " (" + claims.org.unit + ")"`, PreferredUsername: `user.email.split("@")[0].upperAscii()`},
			as(func(i *connector.Identity) { i.Name, i.PreferredUsername = "Jane (x)", "JANE" })},
		"another address is not vouched for": {rules.Config{Email: `claims.mail`},
			as(func(i *connector.Identity) { i.Email, i.EmailVerified = "j@other.example", false })},
		"the same address still is": {rules.Config{Email: `user.email`}, jane(t)},
		"prefix":                    {rules.Config{GroupsPrefix: "corp:"}, as(func(i *connector.Identity) { i.Groups = []string{"corp:dev", "corp:ops"} })},
		"in an allowed group":       {rules.Config{AllowedGroups: []string{"ops", "other"}}, jane(t)},
		"only allowed groups are kept, then prefixed": {rules.Config{AllowedGroups: []string{"ops", "other"}, FilterGroups: true, GroupsPrefix: "p/"},
			as(func(i *connector.Identity) { i.Groups = []string{"p/ops"} })},
		"filtering without allowed groups": {rules.Config{FilterGroups: true}, jane(t)},
		"policy is true":                   {rules.Config{Policy: `user.email.endsWith("@corp.example") && claims.level > 2`}, jane(t)},
		"policy is empty":                  {rules.Config{Policy: `claims.suspended ? "You are suspended." : ""`}, jane(t)},
		"policy sees mapped groups": {rules.Config{Groups: `claims.roles`, Policy: `"admin" in user.groups`},
			as(func(i *connector.Identity) { i.Groups = []string{"admin", "user"} })},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := rules.New(c.cfg)
			if err != nil {
				t.Fatal(err)
			}
			before := jane(t)
			got, err := r.Accept(before)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("got (+), want (-):\n%s", diff)
			}
			if diff := cmp.Diff(jane(t), before); diff != "" {
				t.Errorf("what the connector said was changed:\n%s", diff)
			}
		})
	}
}

func TestDenied(t *testing.T) {
	for name, c := range map[string]struct {
		cfg  rules.Config
		want string
	}{
		"in no allowed group":                {rules.Config{AllowedGroups: []string{"Dev", "dev ", "p/dev"}}, "You are not in a group that may sign in here."},
		"the prefix is not the upstream's":   {rules.Config{AllowedGroups: []string{"p/dev"}, GroupsPrefix: "p/"}, "You are not in a group that may sign in here."},
		"false":                              {rules.Config{Policy: `claims.level > 3`}, "You may not sign in here."},
		"a message":                          {rules.Config{Policy: `claims.level < 9 ? "Level " + string(claims.level) + " is too low." : ""`}, "Level 3 is too low."},
		"an allowed group and a policy's no": {rules.Config{AllowedGroups: []string{"dev"}, Policy: `false`}, "You may not sign in here."},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := rules.New(c.cfg)
			if err != nil {
				t.Fatal(err)
			}
			_, err = r.Accept(jane(t))
			denied, ok := errors.AsType[*connector.DeniedError](err)
			if !ok || denied.Message != c.want {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

// Whatever cannot be computed lets nobody in.
func TestFailsClosed(t *testing.T) {
	for name, c := range map[string]struct {
		cfg   rules.Config
		claim string
	}{
		"missing claim in a policy":  {rules.Config{Policy: `claims.absent == "x"`}, ""},
		"missing claim, negated":     {rules.Config{Policy: `claims.absent != "x"`}, ""},
		"policy gives a number":      {rules.Config{Policy: `claims.level`}, ""},
		"policy gives null":          {rules.Config{Policy: `claims.none`}, ""},
		"groups is a text":           {rules.Config{Groups: `claims.single`}, ""},
		"groups holds a number":      {rules.Config{Groups: `claims.mixed`}, ""},
		"groups is a map":            {rules.Config{Groups: `claims.org`}, ""},
		"groups of a missing claim":  {rules.Config{Groups: `claims.absent`}, ""},
		"email is a list":            {rules.Config{Email: `claims.roles`}, ""},
		"name is a number":           {rules.Config{Name: `claims.level`}, ""},
		"more work than is allowed":  {rules.Config{Policy: `claims.big.exists(a, claims.big.exists(b, a + b == "no"))`}, "big"},
		"more groups than there are": {rules.Config{Groups: `claims.huge`}, "huge"},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := rules.New(c.cfg)
			if err != nil {
				t.Fatal(err)
			}
			who := jane(t)
			if c.claim != "" {
				many := make([]any, 20_000)
				for i := range many {
					many[i] = "x"
				}
				who.Claims[c.claim] = many
			}
			if _, err := r.Accept(who); !errors.Is(err, connector.ErrUpstream) {
				t.Errorf("got %v, want an upstream's failure", err)
			}
		})
	}
}

func TestNew(t *testing.T) {
	for source, want := range map[string]string{
		`claims.`:                         "Syntax error",
		`unknown`:                         "undeclared reference",
		`claims.level > 2 ? 1 : 2`:        "should give",
		`"text" + 1`:                      "no matching overload",
		`["a"]`:                           "should give",
		strings.Repeat("(", 300) + "true": "recursion",
	} {
		if _, err := rules.New(rules.Config{Policy: source}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %v, want %q", source, err, want)
		}
	}
	_, err := rules.New(rules.Config{Groups: `1`, Email: `true`})
	rule, ok := errors.AsType[*rules.Error](err)
	if !ok || rule.Rule != "email" || !strings.Contains(err.Error(), "the expression of groups") {
		t.Errorf("not all that is wrong is said: %v", err)
	}
}

// No claims at all are no reason to panic.
func TestEmpty(t *testing.T) {
	r, err := rules.New(rules.Config{Groups: `has(claims.groups) ? claims.groups : user.groups`, Policy: `size(user.groups) == 0`})
	if err != nil {
		t.Fatal(err)
	}
	if who, err := r.Accept(connector.Identity{UserID: "1"}); err != nil || len(who.Groups) != 0 {
		t.Errorf("%+v, %v", who, err)
	}
}
