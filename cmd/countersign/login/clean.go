package login

import (
	"context"
	"errors"
	"regexp"
	"strings"
	"unicode"
)

// clean makes a foreign text fit for a terminal: one line, nothing invisible,
// not too long.
func clean(s string) string {
	s = strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' {
			return ' '
		}
		return visible(r)
	}, s)
	if r := []rune(s); len(r) > 500 {
		return string(r[:500]) + "…"
	}
	return s
}

// visible drops what a terminal would act on or not show.
func visible(r rune) rune {
	if unicode.IsPrint(r) {
		return r
	}
	return -1
}

// cleanError is an error whose text holds what the provider sent. Of a page for
// browsers, as most servers send where there is no provider, nothing can be read on
// a terminal.
func cleanError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	text := err.Error()
	if page := htmlBegins.FindStringIndex(text); page != nil {
		text = strings.TrimSpace(text[:page[0]]) + " a web page, not the answer of a provider"
	}
	return errors.New(clean(text))
}

var htmlBegins = regexp.MustCompile(`(?i)<!doctype html|<html`)
