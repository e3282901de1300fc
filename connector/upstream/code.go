package upstream

import (
	"errors"
	"fmt"
	"net"
	"net/url"

	"golang.org/x/oauth2"

	"github.com/countersign/countersign/connector"
)

// Code reads an authorization response (RFC 6749 section 4.1.2, RFC 9207) and returns
// its code. issued reports whether the upstream that was asked is the issuer that the
// response names, "" if it has no iss; an empty one is nobody's. The error is or wraps
// connector.ErrTurnedBack, when the person or the upstream said no, or
// connector.ErrUpstream.
func Code(q url.Values, issued func(iss string) bool) (string, error) {
	for _, name := range []string{"code", "error", "iss"} {
		if len(q[name]) > 1 {
			return "", fmt.Errorf("%w: %s occurs more than once", connector.ErrUpstream, name)
		}
	}
	// RFC 9207 section 2.4: before anything else of the response is believed.
	if iss := q.Get("iss"); !issued(iss) || iss == "" && q.Has("iss") {
		return "", fmt.Errorf("%w: the answer is of issuer %.100q (RFC 9207)", connector.ErrUpstream, iss)
	}
	switch code := q.Get("error"); code {
	case "":
	case "access_denied":
		return "", connector.ErrTurnedBack
	default:
		return "", fmt.Errorf("%w: it answered %.100q: %.300q", connector.ErrUpstream, code, q.Get("error_description"))
	}
	if q.Get("code") == "" {
		return "", fmt.Errorf("%w: it answered without a code", connector.ErrUpstream)
	}
	return q.Get("code"), nil
}

// Lost reports whether a token endpoint that failed with err may have taken the request:
// then a refresh token that is good for one use may be used up, and its successor is
// lost. An error response (RFC 6749 section 5.2) says that it is not, and where there
// was no connection, nothing was asked.
func Lost(err error) bool {
	if e, ok := errors.AsType[*oauth2.RetrieveError](err); ok {
		return e.ErrorCode == ""
	}
	e, ok := errors.AsType[*net.OpError](err)
	return err != nil && !(ok && e.Op == "dial")
}

// Quiet keeps what a token endpoint answered out of the log: it may be tokens.
func Quiet(err error) error {
	if e, ok := errors.AsType[*oauth2.RetrieveError](err); ok {
		status := 0
		if e.Response != nil {
			status = e.Response.StatusCode
		}
		return fmt.Errorf("status %d, error %.100q, %.300q", status, e.ErrorCode, e.ErrorDescription)
	}
	return err
}
