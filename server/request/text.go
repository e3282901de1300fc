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

// bounded makes a stranger's text fit for the log: at most about n bytes, valid
// UTF-8, and nothing that moves a terminal's cursor or hides what follows (line
// breaks, escapes, C1 controls, marks that turn the direction of writing). The
// log's handler escapes too; this does not rely on which one it is.
func bounded(s string, n int) string {
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

// safePath is the path of a request that no route took, up to where something
// else than a path begins: a query that was escaped by mistake is still a query.
func safePath(path string) string {
	if i := strings.IndexAny(path, "?&;="); i >= 0 {
		path = path[:i]
	}
	return bounded(path, maxPath)
}
