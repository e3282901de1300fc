package config

import (
	"fmt"
	"slices"
	"strings"
)

// Problem is one thing that is wrong with a configuration file.
type Problem struct {
	// Path is the key, such as staticClients[2].redirectURIs[0]; empty when the
	// file as a whole is meant.
	Path string
	// Line counts from 1; 0 when the problem has no line.
	Line int
	// Message says what is wrong and what to do. It never repeats a secret.
	Message string
}

// Error is everything that is wrong with a configuration file.
type Error struct {
	File string
	// Problems are ordered by line.
	Problems []Problem
}

// Error prints one line for each problem: FILE:LINE: PATH: MESSAGE.
func (e *Error) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.in(e.File)
	}
	return strings.Join(lines, "\n")
}

func (p Problem) in(file string) string {
	s := file
	if p.Line > 0 {
		s += fmt.Sprintf(":%d", p.Line)
	}
	if p.Path != "" {
		s += ": " + p.Path
	}
	return s + ": " + p.Message
}

// maxProblems is where a report stops: nobody reads more, and a hostile file
// must not make a large answer.
const maxProblems = 200

// report collects problems and knows where every key stands.
type report struct {
	problems []Problem
	// lines is the line of every key and list entry that the file has.
	lines map[string]int
	// spelt is what the file calls a key whose value came from elsewhere:
	// staticClients[0].secret may be spelt staticClients[0].secretEnv.
	spelt map[string]string
	// bad are the paths that have a problem already.
	bad map[string]bool
}

func newReport() *report {
	return &report{lines: make(map[string]int), spelt: make(map[string]string), bad: make(map[string]bool)}
}

// add reports a problem, whatever else is known of its path.
func (r *report) add(path string, line int, format string, args ...any) {
	if len(r.problems) < maxProblems {
		r.problems = append(r.problems, Problem{Path: path, Line: line, Message: fmt.Sprintf(format, args...)})
	}
}

// problem reports a problem at a key, unless the key or what it is part of has
// one already: one cause gives one line.
func (r *report) problem(path, format string, args ...any) {
	for p := path; p != ""; p = parent(p) {
		if r.bad[p] {
			return
		}
	}
	shown := path
	if s, ok := r.spelt[path]; ok {
		shown = s
	}
	r.add(shown, r.line(path), format, args...)
	r.bad[path] = true
}

// given reports whether the file has the key, in whatever spelling.
func (r *report) given(path string) bool {
	_, ok := r.lines[path]
	return ok
}

// line is where the key stands, or else the nearest thing that it is part of.
func (r *report) line(path string) int {
	for p := path; p != ""; p = parent(p) {
		if n, ok := r.lines[p]; ok {
			return n
		}
	}
	return 0
}

func (r *report) at(path string, line int) { r.lines[path] = line }

func (r *report) err(file string) *Error {
	slices.SortStableFunc(r.problems, func(a, b Problem) int { return a.Line - b.Line })
	return &Error{File: file, Problems: r.problems}
}

// parent cuts the last key or index off a path; "" has none.
func parent(path string) string {
	return path[:max(strings.LastIndexAny(path, ".["), 0)]
}

// join appends a key to a path.
func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// index appends a position to a path.
func index(path string, i int) string { return fmt.Sprintf("%s[%d]", path, i) }
