package login

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
)

// writeText prints one claim per line, those that say who first.
func writeText(w io.Writer, claims map[string]json.RawMessage) error {
	order := []string{"name", "preferred_username", "email", "email_verified", "groups", "sub", "iss", "aud"}
	for _, name := range slices.Sorted(maps.Keys(claims)) {
		if !slices.Contains(order, name) {
			order = append(order, name)
		}
	}
	for _, name := range order {
		value, ok := claims[name]
		if !ok {
			continue
		}
		if _, err := fmt.Fprintf(w, "%-18s %s\n", clean(name), text(name, value)); err != nil {
			return err
		}
	}
	return nil
}

// text is a claim's value for people.
func text(name string, value json.RawMessage) string {
	var seconds int64
	var single string
	var list []string
	switch {
	case slices.Contains([]string{"exp", "iat", "nbf", "auth_time", "updated_at"}, name) && json.Unmarshal(value, &seconds) == nil:
		return time.Unix(seconds, 0).UTC().Format(time.RFC3339)
	case json.Unmarshal(value, &single) == nil:
		return clean(single)
	case json.Unmarshal(value, &list) == nil:
		return clean(strings.Join(list, ", "))
	default:
		return clean(string(value))
	}
}
