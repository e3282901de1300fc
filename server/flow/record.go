package flow

import (
	"log/slog"
	"net/http"
	"net/netip"

	"github.com/countersign/countersign/server/oauth"
	"github.com/countersign/countersign/server/request"
)

// maxUserAgent bounds what is kept of a foreign header.
const maxUserAgent = 256

// userAgent is what the browser calls itself, for the person to recognise their
// device by.
func userAgent(r *http.Request) string {
	return printable(r.UserAgent(), maxUserAgent)
}

// printable keeps the ASCII of a foreign header that every database stores.
func printable(s string, most int) string {
	out := make([]byte, 0, min(len(s), most))
	for i := 0; i < len(s) && len(out) < most; i++ {
		if c := s[i]; c >= 0x20 && c < 0x7f {
			out = append(out, c)
		}
	}
	return string(out)
}

func address(r *http.Request) netip.Addr { return request.ClientAddress(r.Context()) }

func clientAddress(r *http.Request) string {
	a := address(r)
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

// noteLogin puts the result of a login into the request's record. The name that
// was typed is not there: people type passwords into that field.
func noteLogin(r *http.Request, connectorID, result string) {
	request.Note(r.Context(), slog.String("connector", connectorID), slog.String("login", result))
}

// noteRefusal records what a client is told.
func noteRefusal(r *http.Request, e *oauth.Error) {
	request.Note(r.Context(), slog.String("oauth_error", string(e.Code)), slog.String("oauth_error_description", e.Description))
}
