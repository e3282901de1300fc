package config

import (
	"fmt"
	"regexp"
	"strings"
)

// variable matches what a dollar sign may begin: $$, ${NAME}, $NAME, or nothing
// valid (the last alternative).
var variable = regexp.MustCompile(`\$(?:\$|\{([A-Za-z_][A-Za-z0-9_]*)\}|([A-Za-z_][A-Za-z0-9_]*)|)`)

// expand replaces $NAME and ${NAME} in a value by the variable, and $$ by a
// dollar sign. What it puts in is not looked at again. An unset or empty
// variable is an error, never an empty text.
func expand(text string, env func(string) (string, bool)) (string, error) {
	var failed error
	expanded := variable.ReplaceAllStringFunc(text, func(match string) string {
		if match == "$$" {
			return "$"
		}
		name := strings.Trim(match, "${}")
		if name == "" {
			failed = orFirst(failed, fmt.Errorf("has a $ that begins no variable: write ${NAME} for a variable, $$ for a dollar sign"))
			return ""
		}
		value, err := lookup(name, env)
		failed = orFirst(failed, err)
		return value
	})
	return expanded, failed
}

// lookup returns the value of a variable that must be there.
func lookup(name string, env func(string) (string, bool)) (string, error) {
	value, ok := env(name)
	switch {
	case !ok:
		return "", fmt.Errorf("the environment variable %q is not set", name)
	case value == "":
		return "", fmt.Errorf("the environment variable %q is empty", name)
	}
	return value, nil
}

func orFirst(first, second error) error {
	if first != nil {
		return first
	}
	return second
}
