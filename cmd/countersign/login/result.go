package login

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf16"
)

// Result is a verified login.
type Result struct {
	// IDToken is the token as it came.
	IDToken string
	// Claims are its claims, as a JSON object.
	Claims json.RawMessage
}

// Write prints the result: as "token" only the id_token, as "json" the claims,
// as "text" the claims for people.
func (r *Result) Write(w io.Writer, format string) error {
	if format == "token" {
		_, err := fmt.Fprintln(w, r.IDToken)
		return err
	}
	var claims map[string]json.RawMessage
	if err := json.Unmarshal(r.Claims, &claims); err != nil {
		return fmt.Errorf("reading the claims: %w", err)
	}
	if format == "text" {
		return writeText(w, claims)
	}
	out, err := json.MarshalIndent(claims, "", "  ")
	if err != nil {
		return fmt.Errorf("writing the claims: %w", err)
	}
	_, err = fmt.Fprintln(w, escapeInvisible(string(out)))
	return err
}

// escapeInvisible writes what a terminal would act on as \u escapes, which is
// the same JSON.
func escapeInvisible(s string) string {
	var b strings.Builder
	for _, r := range s {
		if r == '\n' || unicode.IsPrint(r) {
			b.WriteRune(r)
			continue
		}
		for _, unit := range utf16.AppendRune(nil, r) {
			fmt.Fprintf(&b, `\u%04x`, unit)
		}
	}
	return b.String()
}
