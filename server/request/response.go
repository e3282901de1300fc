package request

import "net/http"

// response counts what is written. It leaves flushing, deadlines and the like to
// http.ResponseController, which finds them through Unwrap.
type response struct {
	http.ResponseWriter
	status int // 0: not begun
	bytes  int64
}

// begun reports whether the response is on its way, so that no other can be
// written.
func (w *response) begun() bool { return w.status != 0 }

// WriteHeader notes the first final status; 1xx are announcements.
func (w *response) WriteHeader(status int) {
	if w.status == 0 && status >= 200 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write implies 200, as in net/http.
func (w *response) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	n, err := w.ResponseWriter.Write(p)
	w.bytes += int64(n)
	return n, err
}

// Unwrap is for http.ResponseController.
func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// find returns our writer under the wrappers that others put over it, or nil.
func find(w http.ResponseWriter) *response {
	for {
		switch at := w.(type) {
		case *response:
			return at
		case interface{ Unwrap() http.ResponseWriter }:
			w = at.Unwrap()
		default:
			return nil
		}
	}
}
