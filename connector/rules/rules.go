// Package rules applies what the operator says of a connector to what the upstream
// says of a person: which claims mean what, who may come in, and how groups are
// called here.
//
// Expressions are CEL (cel.dev), compiled and type-checked when the rules are made.
// They see `claims`, all that the upstream said by its own names, and `user`, what
// the connector made of it: id, name, preferred_username, email, email_verified,
// groups. They refuse to do anything but compute: no I/O, no time, a bounded cost.
//
// Threat: a claim that is missing, or of another type than expected, lets somebody
// in. An expression that fails fails the sign-in.
package rules

import (
	"errors"
	"fmt"
	"slices"

	"github.com/countersign/countersign/connector"
)

// Config are the rules of one connector. The zero value changes nothing.
type Config struct {
	// Name, PreferredUsername, Email (strings) and Groups (a list of strings)
	// replace what the connector found. Empty: as it found it.
	Name, PreferredUsername, Email, Groups string
	// Policy says whether the person may come in: true or "" lets them, false and
	// any other text, which they are shown, do not. Empty: everybody.
	Policy string
	// AllowedGroups lets in only who is in one of them; FilterGroups also drops
	// all other groups. They are the upstream's names, without GroupsPrefix.
	AllowedGroups []string
	FilterGroups  bool
	// GroupsPrefix is put before the name of each group, so that the same name of
	// two upstreams is not one group.
	GroupsPrefix string
}

// Rules are compiled. They are safe for concurrent use.
type Rules struct {
	cfg                                            Config
	name, preferredUsername, email, groups, policy *expression
}

// Error says which expression cannot be compiled.
type Error struct {
	// Rule is name, preferredUsername, email, groups or policy.
	Rule string
	Err  error
}

func (e *Error) Error() string { return fmt.Sprintf("the expression of %s: %v", e.Rule, e.Err) }
func (e *Error) Unwrap() error { return e.Err }

// New compiles the rules. Its error joins an *Error for each expression that is
// wrong.
func New(cfg Config) (*Rules, error) {
	r := &Rules{cfg: cfg}
	var all []error
	for _, e := range []struct {
		rule, source string
		to           **expression
		types        []resultType
	}{
		{"name", cfg.Name, &r.name, []resultType{text}},
		{"preferredUsername", cfg.PreferredUsername, &r.preferredUsername, []resultType{text}},
		{"email", cfg.Email, &r.email, []resultType{text}},
		{"groups", cfg.Groups, &r.groups, []resultType{texts}},
		{"policy", cfg.Policy, &r.policy, []resultType{text, truth}},
	} {
		if e.source == "" {
			continue
		}
		var err error
		if *e.to, err = compile(e.source, e.types); err != nil {
			all = append(all, &Error{Rule: e.rule, Err: err})
		}
	}
	return r, errors.Join(all...)
}

// Accept returns the person as they are known here. Its error is or wraps
// *connector.DeniedError, or connector.ErrUpstream when an expression cannot be
// computed of what the upstream said.
func (r *Rules) Accept(who connector.Identity) (connector.Identity, error) {
	in := input(who)
	for _, text := range []struct {
		of *expression
		to *string
	}{{r.name, &who.Name}, {r.preferredUsername, &who.PreferredUsername}, {r.email, &who.Email}} {
		if text.of == nil {
			continue
		}
		value, err := text.of.text(in)
		if err != nil {
			return who, err
		}
		*text.to = value
	}
	if r.email != nil && who.Email != in.email() {
		// The upstream vouched for another address.
		who.EmailVerified = false
	}
	if r.groups != nil {
		var err error
		if who.Groups, err = r.groups.texts(in); err != nil {
			return who, err
		}
	}
	if err := r.allow(&who); err != nil {
		return who, err
	}
	if r.cfg.GroupsPrefix != "" {
		who.Groups = slices.Clone(who.Groups)
		for i := range who.Groups {
			who.Groups[i] = r.cfg.GroupsPrefix + who.Groups[i]
		}
	}
	return who, nil
}

// notInGroup is what people are shown.
const notInGroup = "You are not in a group that may sign in here."

// allow refuses whom AllowedGroups or Policy do not let in.
func (r *Rules) allow(who *connector.Identity) error {
	if len(r.cfg.AllowedGroups) > 0 {
		mine := slices.DeleteFunc(slices.Clone(who.Groups), func(g string) bool { return !slices.Contains(r.cfg.AllowedGroups, g) })
		if len(mine) == 0 {
			return &connector.DeniedError{Message: notInGroup}
		}
		if r.cfg.FilterGroups {
			who.Groups = mine
		}
	}
	if r.policy == nil {
		return nil
	}
	message, allowed, err := r.policy.verdict(input(*who)) // as mapped
	if err != nil {
		return err
	}
	if !allowed {
		return &connector.DeniedError{Message: message}
	}
	return nil
}
