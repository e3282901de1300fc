package ldap

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	goldap "github.com/go-ldap/ldap/v3"
)

// entryDN stands for the name of an entry where an attribute is named, as in Dex.
const entryDN = "DN"

var (
	// attributeName is an attribute description (RFC 4512 section 2.5).
	attributeName = regexp.MustCompile(`^([A-Za-z][A-Za-z0-9-]*|[0-9]+(\.[0-9]+)+)(;[A-Za-z0-9-]+)*$`)
	// matchingRule follows it in an extensible match (RFC 4515 section 3).
	matchingRule = regexp.MustCompile(`^(:dn)?:([A-Za-z][A-Za-z0-9-]*|[0-9]+(\.[0-9]+)+):$`)
)

func attribute(name string) error {
	if !attributeName.MatchString(name) {
		return fmt.Errorf("%.60q is no attribute", name)
	}
	return nil
}

// matching is an attribute that may be followed by a matching rule.
func matching(name string) error {
	attr, rule, ruled := strings.Cut(name, ":")
	if ruled && !matchingRule.MatchString(":"+rule) {
		return fmt.Errorf("%.60q is no matching rule, such as :1.2.840.113556.1.4.1941: would be", ":"+rule)
	}
	return attribute(attr)
}

func checkFilter(filter string) error {
	if !strings.HasPrefix(filter, "(") || !strings.HasSuffix(filter, ")") {
		return errors.New("it has to be in parentheses")
	}
	// Within an AND, as it is used: "(a=1)(b=2)" is no filter.
	if _, err := goldap.CompileFilter("(&" + filter + "(a=b))"); err != nil {
		return err
	}
	_, err := goldap.CompileFilter(filter)
	return err
}

// equal matches entries with one of the values in one of the attributes. The values
// are escaped here, once (RFC 4515 section 3), and nowhere else.
func equal(filter string, attrs []string, values ...string) string {
	var alternatives strings.Builder
	for _, value := range values {
		for _, attr := range attrs {
			alternatives.WriteString("(" + attr + "=" + goldap.EscapeFilter(value) + ")")
		}
	}
	match := alternatives.String()
	if len(attrs)*len(values) > 1 {
		match = "(|" + match + ")"
	}
	if filter == "" {
		return match
	}
	return "(&" + filter + match + ")"
}
