package flow

import (
	"log/slog"
	"net/http"

	"github.com/countersign/countersign/server/oauth"
	"github.com/countersign/countersign/server/request"
)

// noteLogin puts the result of a login into the request's record. The name that
// was typed is not there: people type passwords into that field.
func noteLogin(r *http.Request, connectorID, result string) {
	request.Note(r.Context(), slog.String("connector", connectorID), slog.String("login", result))
}

// noteRefusal records what a client is told.
func noteRefusal(r *http.Request, e *oauth.Error) {
	request.Note(r.Context(), slog.String("oauth_error", string(e.Code)), slog.String("oauth_error_description", e.Description))
}
