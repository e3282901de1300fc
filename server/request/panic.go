package request

import (
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
)

// Panic is the error that Failed gets for a handler that panicked.
type Panic struct {
	// Value is what the handler panicked with.
	Value any

	// Stack is where, bounded.
	Stack string
}

// maxStack bounds the stack in the record, in bytes.
const maxStack = 8 << 10

func (p *Panic) Error() string { return fmt.Sprintf("panic: %v", p.Value) }

// rescue makes a 500 of a panic, and reports whether the connection must be cut
// instead: a response that has begun cannot be taken back, and its reader must
// not take it for whole.
func (e *Entry) rescue(value any, rec *record, out *response, r *http.Request) (abort bool) {
	if value == nil {
		return false
	}
	if err, ok := value.(error); ok && errors.Is(err, http.ErrAbortHandler) {
		rec.setAborted(nil)
		return true
	}
	stack := debug.Stack()
	p := &Panic{Value: value, Stack: string(stack[:min(len(stack), maxStack)])}
	rec.setCause(p)
	if out.begun() || !e.answer(out, r, p) {
		rec.setAborted(p)
		return true
	}
	rec.setPanicked(p)
	return false
}

// answer writes the response to a panic. What the handler had prepared is not
// sent: it was made by code that did not know what it was doing. It reports
// whether Failed got through.
func (e *Entry) answer(out *response, r *http.Request, p *Panic) (ok bool) {
	header := out.Header()
	for _, name := range []string{
		"Set-Cookie", "Location", "Content-Type", "Content-Length", "Content-Encoding", "Etag", "Last-Modified",
	} {
		header.Del(name)
	}
	defer func() {
		if recover() != nil {
			ok = false
		}
	}()
	e.config.Failed(out, r, p)
	return true
}

func (r *record) setPanicked(p *Panic) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.panicked = p
}

func (r *record) setAborted(p *Panic) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.panicked, r.aborted = p, true
}
