package login

import (
	"context"
	"errors"
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

// cleanError is an error whose text holds what the provider sent.
func cleanError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return errors.New(clean(err.Error()))
}
