package sqlite

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"time"
)

// micros is how a time is stored. The zero time is a number like any other.
func micros(t time.Time) int64 { return t.UnixMicro() }

// fromMicros is the inverse of micros.
func fromMicros(at int64) time.Time { return time.UnixMicro(at).UTC() }

// optionalMicros stores a time whose absence is a state, as NULL.
func optionalMicros(t time.Time) sql.NullInt64 {
	return sql.NullInt64{Int64: micros(t), Valid: !t.IsZero()}
}

// instant scans a time; NULL is the zero time.
type instant struct{ to *time.Time }

// Scan implements sql.Scanner.
func (i instant) Scan(value any) error {
	switch at := value.(type) {
	case nil:
		*i.to = time.Time{}
	case int64:
		*i.to = fromMicros(at)
	default:
		return fmt.Errorf("a time is stored as %T", value)
	}
	return nil
}

// list stores a list of strings as JSON.
func list(values []string) string {
	if len(values) == 0 {
		return "[]"
	}
	text, _ := json.Marshal(values) // strings cannot fail
	return string(text)
}

// stringList scans a list; an empty one is nil.
type stringList struct{ to *[]string }

// Scan implements sql.Scanner.
func (l stringList) Scan(value any) error {
	text, ok := value.(string)
	if !ok {
		return fmt.Errorf("a list is stored as %T", value)
	}
	var values []string
	if err := json.Unmarshal([]byte(text), &values); err != nil {
		return fmt.Errorf("a list is damaged: %w", err)
	}
	if len(values) == 0 {
		values = nil
	}
	*l.to = values
	return nil
}

// exactBytes scans a hash or an id.
type exactBytes struct{ to []byte }

// Scan implements sql.Scanner.
func (b exactBytes) Scan(value any) error {
	stored, ok := value.([]byte)
	if !ok || len(stored) != len(b.to) {
		return fmt.Errorf("an id is stored as %T of another length than %d", value, len(b.to))
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
