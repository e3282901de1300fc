package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/countersign/countersign/connector"
	"github.com/countersign/countersign/server/oauth"
	"github.com/countersign/countersign/server/request"
	"github.com/countersign/countersign/server/token"
	"github.com/countersign/countersign/server/web"
	"github.com/countersign/countersign/storage"
)

// retryAfterSeconds is the Retry-After of a 503: soon, the database usually
// comes back within seconds.
const retryAfterSeconds = "2"

// errNotReady answers everything until the provider has been loaded.
var errNotReady = fmt.Errorf("%w: still starting", storage.ErrUnavailable)

// audience is who reads the errors of an address.
type audience int

const (
	// forPeople: a page.
	forPeople audience = iota
	// forClients: JSON by RFC 6749 section 5.2.
	forClients
	// forBearers: JSON, with the challenge of RFC 6750 section 3.
	forBearers
)

// failed is the one translation of errors into responses. Protocol errors go
// out in their own words; of everything else only the request id does.
func (s *Server) failed(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() != nil && errors.Is(err, context.Canceled) {
		// Nobody is listening any more. The status is for the record, and for who
		// might listen after all: without it net/http would say 200.
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	f := translate(err, request.ID(r.Context()))
	if f.status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", retryAfterSeconds)
	}
	s.fail(w, r, s.readers[r.URL.Path], f)
}

// fail writes a failure for who reads it.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, who audience, f failure) {
	if who != forPeople {
		f.json(w, who)
		return
	}
	status, page := f.page()
	s.page(w, r, status, page)
}

// failure is an error as the outside sees it.
type failure struct {
	status int
	kind   web.ErrorKind
	err    oauth.Error
	// bare: the challenge has no error (RFC 6750 section 3.1).
	bare bool
}

// translate decides what the outside sees.
func translate(err error, requestID string) failure {
	var tooLarge *http.MaxBytesError
	protocol, isProtocol := errors.AsType[*oauth.Error](err)
	switch {
	case isProtocol:
		return failure{status: statusOf(protocol.Code), kind: kindOf(protocol.Code), err: *protocol}
	case errors.Is(err, token.ErrNoToken):
		return failure{status: http.StatusUnauthorized, kind: web.ErrorBadRequest, bare: true}
	case errors.Is(err, storage.ErrInvalid):
		return failure{http.StatusBadRequest, web.ErrorBadRequest,
			oauth.Error{Code: oauth.InvalidRequest, Description: "the request holds text that cannot be kept"}, false}
	case errors.Is(err, request.ErrForm):
		return failure{http.StatusBadRequest, web.ErrorBadRequest,
			oauth.Error{Code: oauth.InvalidRequest, Description: "the request's parameters are malformed"}, false}
	case errors.As(err, &tooLarge):
		return failure{http.StatusRequestEntityTooLarge, web.ErrorBadRequest,
			oauth.Error{Code: oauth.InvalidRequest, Description: "the request is too large"}, false}
	case errors.Is(err, connector.ErrUpstream):
		return failure{http.StatusServiceUnavailable, web.ErrorUpstream,
			oauth.Error{Code: oauth.TemporarilyUnavailable, Description: "the identity provider does not answer, try again in a moment; request " + requestID}, false}
	case errors.Is(err, storage.ErrUnavailable), errors.Is(err, context.DeadlineExceeded), errors.Is(err, request.ErrCrowded):
		return failure{http.StatusServiceUnavailable, web.ErrorUnavailable,
			oauth.Error{Code: oauth.TemporarilyUnavailable, Description: "try again in a moment; request " + requestID}, false}
	default:
		return failure{http.StatusInternalServerError, web.ErrorInternal,
			oauth.Error{Code: oauth.ServerError, Description: "something went wrong here; request " + requestID}, false}
	}
}

// statusOf: RFC 6749 section 5.2, RFC 6750 section 3.1.
func statusOf(code oauth.Code) int {
	switch code {
	case oauth.InvalidClient, oauth.InvalidToken:
		return http.StatusUnauthorized
	case oauth.InsufficientScope:
		return http.StatusForbidden
	}
	return http.StatusBadRequest
}

func kindOf(code oauth.Code) web.ErrorKind {
	if code == oauth.AccessDenied {
		return web.ErrorDenied
	}
	return web.ErrorBadRequest
}

// page shows the failure to a person. An invalid_client on a page is a malformed
// request, not a failed authentication.
func (f failure) page() (status int, p web.Error) {
	status = f.status
	if status == http.StatusUnauthorized {
		status = http.StatusBadRequest
	}
	p = web.Error{Kind: f.kind}
	if f.kind == web.ErrorBadRequest || f.kind == web.ErrorDenied {
		p.Message = f.err.Description
	}
	return status, p
}

// json answers a program.
func (f failure) json(w http.ResponseWriter, who audience) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	if f.bare {
		h.Set("WWW-Authenticate", `Bearer realm="countersign"`)
		w.WriteHeader(f.status)
		return
	}
	h.Set("Content-Type", "application/json")
	switch {
	case who == forBearers && f.status < http.StatusInternalServerError && f.status != http.StatusMethodNotAllowed:
		h.Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="countersign", error="%s", error_description="%s"`, f.err.Code, f.err.Description))
	case f.status == http.StatusUnauthorized:
		h.Set("WWW-Authenticate", `Basic realm="countersign", charset="UTF-8"`)
	}
	w.WriteHeader(f.status)
	_ = json.NewEncoder(w).Encode(map[string]string{
		"error":             string(f.err.Code),
		"error_description": f.err.Description,
	})
}
