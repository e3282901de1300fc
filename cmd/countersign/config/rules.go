package config

import (
	"errors"

	"github.com/countersign/countersign/connector/rules"
)

// Claims are CEL expressions that replace what a connector finds.
type Claims struct {
	Name              string `mapstructure:"name" config:"literal"`
	PreferredUsername string `mapstructure:"preferredUsername" config:"literal"`
	Email             string `mapstructure:"email" config:"literal"`
	Groups            string `mapstructure:"groups" config:"literal"`
}

// NewRules compiles what the operator says of a connector's people.
func (conn Connector) NewRules() (*rules.Rules, error) {
	return rules.New(rules.Config{
		Name: conn.Claims.Name, PreferredUsername: conn.Claims.PreferredUsername,
		Email: conn.Claims.Email, Groups: conn.Claims.Groups, Policy: conn.Policy,
		AllowedGroups: conn.AllowedGroups, FilterGroups: conn.FilterGroups, GroupsPrefix: conn.GroupsPrefix,
	})
}

// rules checks what the operator says of a connector's people.
func (c *checker) rules(path string, conn *Connector) {
	for i, group := range conn.AllowedGroups {
		c.required(index(path+".allowedGroups", i), group, "name a group, or remove it")
	}
	if conn.FilterGroups && len(conn.AllowedGroups) == 0 {
		c.problem(path+".filterGroups", "does nothing without allowedGroups: add them, or remove it")
	}
	if !printable(conn.GroupsPrefix) {
		c.problem(path+".groupsPrefix", "has letters that cannot be shown: remove them")
	}
	_, err := conn.NewRules()
	for _, wrong := range wrongRules(err) {
		at := path + ".claims." + wrong.Rule
		if wrong.Rule == "policy" {
			at = path + ".policy"
		}
		c.problem(at, "is no expression that can be used: %v", wrong.Err)
	}
}

// wrongRules are the errors that rules.New has joined.
func wrongRules(err error) (wrong []*rules.Error) {
	all, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return nil
	}
	for _, err := range all.Unwrap() {
		if e, ok := errors.AsType[*rules.Error](err); ok {
			wrong = append(wrong, e)
		}
	}
	return wrong
}
