package flow

import (
	"context"
	"errors"
	"log/slog"
	"net/http"

	"github.com/countersign/countersign/connector"
	"github.com/countersign/countersign/server/audit"
	"github.com/countersign/countersign/server/oauth"
	"github.com/countersign/countersign/server/request"
	"github.com/countersign/countersign/server/session"
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

// failureReason is why a login failed, for the audit.
func failureReason(result string, err error) audit.LoginReason {
	switch {
	case result == resultFailure:
		return audit.WrongCredentials
	case result == resultLimited:
		return audit.Throttled
	case result == resultDenied:
		return audit.Denied
	case result == resultBack:
		return audit.TurnedBack
	case errors.Is(err, connector.ErrUpstream):
		return audit.UpstreamFailed
	case errors.Is(err, context.Canceled):
		return audit.Abandoned
	}
	return audit.ServerError
}

// account names what was typed; nothing was, on an upstream's own pages.
func (f *Flow) account(connectorID, username string) string {
	if username == "" {
		return ""
	}
	return f.cfg.Limiter.AccountName(connectorID, username)
}

// auditFailure records a login that came to nothing.
func (f *Flow) auditFailure(r *http.Request, v *visit, who audit.Person, username string, reason audit.LoginReason) {
	f.cfg.Audit.Write(r.Context(), audit.LoginFailed{
		Person: who, Account: f.account(who.ConnectorID, username), ClientID: v.client.ID, Reason: reason,
	})
}

// auditSignIn records the sign-in that has just been stored, and the end of
// another person's session in this browser.
func (f *Flow) auditSignIn(r *http.Request, v *visit, previous *session.Current, username string) {
	s := v.current.Session
	f.cfg.Audit.Write(r.Context(), audit.LoginSucceeded{
		Session: audit.SessionOf(s), Subject: oauth.Subject(s.UserID, s.ConnectorID),
		Account: f.account(s.ConnectorID, username), ClientID: v.client.ID,
	})
	if previous != nil && previous.Session.SID != s.SID {
		f.cfg.Audit.Write(r.Context(), audit.SessionEnded{
			Session: audit.SessionOf(previous.Session), By: audit.ByLogin, ClientID: v.client.ID,
		})
	}
}
