package audit

import (
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/countersign/countersign/server/jsonline"
	"github.com/countersign/countersign/server/request"
	"github.com/countersign/countersign/storage"
)

// maxText bounds a value, in bytes: more than any key of the storage has.
const maxText = 1024

// fields is the line of a record in the making.
type fields struct{ line []byte }

// pool keeps their memory: a record is written with each refresh.
var pool = sync.Pool{New: func() any { return new(fields) }}

// newFields begins a record.
func newFields(at time.Time, event string) *fields {
	f := pool.Get().(*fields)
	f.line = jsonline.AppendTime(append(f.line[:0], `{"time":`...), at)
	f.text("event", event)
	return f
}

// end is the whole line.
func (f *fields) end() []byte {
	f.line = append(f.line, '}', '\n')
	return f.line
}

func (f *fields) release() { pool.Put(f) }

// text adds a value, bounded and printable, unless it is empty.
func (f *fields) text(key, value string) {
	if value != "" {
		f.line = jsonline.AppendText(jsonline.AppendKey(f.line, key), request.Bounded(value, maxText))
	}
}

func (f *fields) list(key string, values []string) {
	if len(values) > 0 {
		f.text(key, strings.Join(values, " "))
	}
}

func (f *fields) number(key string, n int64) {
	f.line = strconv.AppendInt(jsonline.AppendKey(f.line, key), n, 10)
}

func (f *fields) time(key string, t time.Time) {
	if !t.IsZero() {
		f.line = jsonline.AppendTime(jsonline.AppendKey(f.line, key), t.UTC())
	}
}

func (f *fields) grantID(id storage.GrantID) {
	if id != (storage.GrantID{}) {
		f.text("grant_id", id.String())
	}
}
