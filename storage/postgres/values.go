package postgres

import (
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgtype"
)

// instant scans a time; NULL is the zero time.
type instant struct{ to *time.Time }

var _ pgtype.TimestamptzScanner = instant{}

// ScanTimestamptz implements pgtype.TimestamptzScanner.
func (i instant) ScanTimestamptz(v pgtype.Timestamptz) error {
	if v.InfinityModifier != pgtype.Finite {
		return fmt.Errorf("a time is stored as %v", v.InfinityModifier)
	}
	*i.to = time.Time{}
	if v.Valid {
		*i.to = v.Time.UTC()
	}
	return nil
}

// optional stores a time whose absence is a state, as NULL.
func optional(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// list stores a list of strings; nil is empty, not NULL.
func list(values []string) []string {
	if values == nil {
		return []string{}
	}
	return values
}

// stringList scans a list; an empty one is nil.
type stringList struct{ to *[]string }

var _ pgtype.ArraySetter = stringList{}

// SetDimensions implements pgtype.ArraySetter.
func (l stringList) SetDimensions(dimensions []pgtype.ArrayDimension) error {
	*l.to = nil
	switch len(dimensions) {
	case 0:
		return nil
	case 1:
		*l.to = make([]string, dimensions[0].Length)
		return nil
	}
	return fmt.Errorf("a list is stored in %d dimensions", len(dimensions))
}

// ScanIndex implements pgtype.ArraySetter.
func (l stringList) ScanIndex(i int) any { return &(*l.to)[i] }

// ScanIndexType implements pgtype.ArraySetter.
func (l stringList) ScanIndexType() any { return new(string) }

// exactBytes scans a hash.
type exactBytes struct{ to []byte }

var _ pgtype.BytesScanner = exactBytes{}

// ScanBytes implements pgtype.BytesScanner.
func (b exactBytes) ScanBytes(stored []byte) error {
	if len(stored) != len(b.to) {
		return fmt.Errorf("a hash is stored in %d bytes", len(stored))
	}
	copy(b.to, stored)
	return nil
}

// blob stores bytes; nil is empty, not NULL.
func blob(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// full returns a list as the contract wants it: nil when empty.
func full[T any](b []T) []T {
	if len(b) == 0 {
		return nil
	}
	return b
}
