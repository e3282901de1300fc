package postgres

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
)

// wire reads the values of a row, one after the other, as PostgreSQL sends them in
// its binary format. It is for the statement that is run most: the driver plans
// anew for every row how to scan each value, which was an eighth of all that a
// refresh allocates.
//
// After the first value that is not what was asked for, err says so and all further
// ones are zero.
type wire struct {
	values [][]byte
	err    error
}

// newWire is for the values of a row of those fields.
func newWire(values [][]byte, fields []pgconn.FieldDescription) *wire {
	w := &wire{values: values}
	for _, field := range fields {
		// Texts are the same in both formats, and the driver asks for the other one.
		if field.Format != pgx.BinaryFormatCode && field.DataTypeOID != pgtype.TextOID {
			w.fail(field.Name + " is not in the binary format")
		}
	}
	return w
}

func (w *wire) fail(problem string) {
	if w.err == nil {
		w.err = errors.New("reading a row: " + problem)
	}
}

// next is the next value, nil for NULL. size is what it must have, negative: any.
func (w *wire) next(size int) []byte {
	if len(w.values) == 0 {
		w.fail("a value is missing")
		return nil
	}
	v := w.values[0]
	w.values = w.values[1:]
	if v != nil && size >= 0 && len(v) != size {
		w.fail(fmt.Sprintf("a value has %d bytes, not %d", len(v), size))
		return nil
	}
	return v
}

// text is a text, "" for NULL.
func (w *wire) text() string { return string(w.next(-1)) }

// boolean is a bool, false for NULL.
func (w *wire) boolean() bool {
	v := w.next(1)
	return v != nil && v[0] != 0
}

// epoch is the zero of PostgreSQL's times, which count microseconds.
var epoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// instant is a timestamptz, the zero time for NULL.
func (w *wire) instant() time.Time {
	v := w.next(8)
	if v == nil {
		return time.Time{}
	}
	micros := int64(binary.BigEndian.Uint64(v))
	if micros == 1<<63-1 || micros == -1<<63 {
		w.fail("a time is infinite")
		return time.Time{}
	}
	return time.Unix(epoch.Unix()+micros/1e6, micros%1e6*1e3).UTC()
}

// list is a text[] of one dimension, nil for NULL and for an empty one.
func (w *wire) list() []string {
	v := w.next(-1)
	if v == nil {
		return nil
	}
	// Dimensions, whether there are NULLs, the type; of each dimension its length and
	// first index; of each element its length and its bytes.
	word := func() (n int32) {
		if len(v) < 4 {
			w.fail("a list is cut short")
			return 0
		}
		n = int32(binary.BigEndian.Uint32(v))
		v = v[4:]
		return n
	}
	dimensions, _, _ := word(), word(), word()
	if dimensions == 0 {
		return nil
	}
	n, _ := word(), word()
	if dimensions != 1 || n < 0 || int(n) > len(v)/4 {
		w.fail("a list is of more than one dimension, or longer than its value")
		return nil
	}
	all := make([]string, n)
	for i := range all {
		size := word()
		if size < 0 || int(size) > len(v) {
			w.fail("an element of a list is NULL, or longer than its value")
			return nil
		}
		all[i], v = string(v[:size]), v[size:]
	}
	return all
}

// end fails if there are more values than were read.
func (w *wire) end() error {
	if len(w.values) > 0 {
		w.fail("there are more values than were asked for")
	}
	return w.err
}
