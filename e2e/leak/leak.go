// Package leak finds tokens in what a program has written down. It refuses to cry
// over the letters that tokens begin with in the middle of random ids, where they
// are now and then.
//
// Threat: a log that lets its reader in, and a test of it that nobody believes.
package leak

import "regexp"

// tokens are codes, access tokens and refresh tokens of ours, by their prefix at the
// beginning of a word or by their length, and JWS, by their header and payload.
var tokens = regexp.MustCompile(`(?:^|[^\w-])cs[acr]_|cs[acr]_[\w-]{30}|eyJ[\w-]{8,}\.[\w-]{8,}`)

// Token returns the beginning of the first token in a text, or "".
func Token(text string) string { return tokens.FindString(text) }
