package request

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Bounds of what strangers choose, in bytes.
const (
	maxMethod    = 16
	maxPath      = 128
	maxAgent     = 256
	maxParameter = 128
	maxCause     = 1024
)

// Bounded makes a stranger's text fit for a line that people read: at most about n
// bytes, valid UTF-8, and nothing that moves a terminal's cursor or hides what
// follows (line breaks, escapes, C1 controls, marks that turn the direction of
// writing). JSON alone lets the latter pass.
func Bounded(s string, n int) string {
	if len(s) <= n && plain(s) {
		return s
	}
	cut := len(s) > n
	if cut {
		for n > 0 && !utf8.RuneStart(s[n]) {
			n--
		}
		s = s[:n]
	}
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return unicode.ReplacementChar
		}
		return r
	}, s)
	if cut {
		s += "…"
	}
	return s
}

// plain reports whether a text is printable ASCII, as nearly all are.
func plain(s string) bool {
	for i := range len(s) {
		if s[i] < 0x20 || s[i] > 0x7e {
			return false
		}
	}
	return true
}

// safePath is the path of a request that no route took, up to where something
// else than a path begins: a query that was escaped by mistake is still a query.
func safePath(path string) string {
	if i := strings.IndexAny(path, "?&;="); i >= 0 {
		path = path[:i]
	}
	return Bounded(path, maxPath)
}
