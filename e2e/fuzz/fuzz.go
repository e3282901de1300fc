// Package fuzz says how Go's fuzzer is to spend its time.
//
// It refuses to overrule: who gives the flag gets what it says.
//
// Threat: a fuzzer that seems to search, and does not.
package fuzz

import (
	"flag"
	"testing"
)

// Widely makes -fuzz search for new inputs rather than shorten those that it has
// found: it takes each apart byte by byte, for up to a minute in which nothing else
// is tried. A hundred tries are enough. Call it before f.Fuzz.
func Widely(f *testing.F) {
	f.Helper()
	const name = "test.fuzzminimizetime"
	given := false
	flag.Visit(func(set *flag.Flag) { given = given || set.Name == name })
	if given {
		return
	}
	if err := flag.Set(name, "100x"); err != nil {
		f.Fatal(err)
	}
}
