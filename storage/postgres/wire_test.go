package postgres

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// values are a text, a bool, a time and a list, as the server sends them.
func values() [][]byte {
	return [][]byte{
		[]byte("é"), {1}, {0, 2, 0xEF, 0x2A, 0x8B, 0xD3, 0xCD, 0xC1},
		{0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 25, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 1, 'a', 0, 0, 0, 0},
	}
}

type row struct {
	Text string
	Bool bool
	At   time.Time
	List []string
}

func read(v [][]byte) (row, error) {
	w := wire{values: v}
	r := row{w.text(), w.boolean(), w.instant(), w.list()}
	return r, w.end()
}

func TestWire(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		values [][]byte
		want   row
	}{
		"values": {values(), row{"é", true, time.Date(2026, 3, 4, 5, 6, 7, 1e3, time.UTC), []string{"a", ""}}},
		"NULL":   {[][]byte{nil, nil, nil, nil}, row{}},
		"before 2000, false and an empty list": {
			[][]byte{{}, {0}, {0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF}, make([]byte, 12)},
			row{At: time.Date(1999, 12, 31, 23, 59, 59, 999999e3, time.UTC)},
		},
	} {
		got, err := read(c.values)
		if diff := cmp.Diff(c.want, got); diff != "" || err != nil {
			t.Errorf("%s: %v\n%s", name, err, diff)
		}
	}
}

// What is not what was asked for is an error, and never half of an answer that
// passes for one.
func TestWireRefuses(t *testing.T) {
	t.Parallel()
	list := func(change func([]byte)) []byte {
		l := values()[3]
		change(l)
		return l
	}
	for name, bad := range map[string][][]byte{
		"nothing":               nil,
		"a value too few":       values()[:3],
		"a value too many":      append(values(), []byte{1}),
		"a bool of two bytes":   {nil, {0, 1}, nil, nil},
		"a time of four bytes":  {nil, nil, {0, 1, 2, 3}, nil},
		"infinity":              {nil, nil, {0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF}, nil},
		"-infinity":             {nil, nil, {0x80, 0, 0, 0, 0, 0, 0, 0}, nil},
		"two dimensions":        {nil, nil, nil, list(func(l []byte) { l[3] = 2 })},
		"a NULL in a list":      {nil, nil, nil, list(func(l []byte) { copy(l[20:], "\xff\xff\xff\xff") })},
		"a list with no end":    {nil, nil, nil, list(func(l []byte) { l[12] = 0x7F })},
		"a negative length":     {nil, nil, nil, list(func(l []byte) { l[12] = 0xFF })},
		"an element with none":  {nil, nil, nil, list(func(l []byte) { l[20] = 0x7F })},
		"an element cut short":  {nil, nil, nil, values()[3][:24]},
		"a list without a head": {nil, nil, nil, {0, 0, 0, 1}},
	} {
		if got, err := read(bad); err == nil {
			t.Errorf("%s: %+v", name, got)
		}
	}
}
