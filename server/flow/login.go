package flow

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/countersign/countersign/connector"
	"github.com/countersign/countersign/server/audit"
	"github.com/countersign/countersign/server/identity"
	"github.com/countersign/countersign/server/oauth"
	"github.com/countersign/countersign/server/request"
	"github.com/countersign/countersign/server/session"
	"github.com/countersign/countersign/server/throttle"
	"github.com/countersign/countersign/storage"
)

// LoginPage shows the password page of a connector, or sends the person to the
// upstream's own: GET /flow/{flow}/login/{connector}.
func (f *Flow) LoginPage(w http.ResponseWriter, r *http.Request) error {
	v, c, err := f.loginVisit(r)
	if err != nil {
		return f.lost(w, r, err)
	}
	if c.Redirect != nil {
		return f.doAt(w, r, v, func() error { return f.depart(w, r, v, c) }, toLogin...)
	}
	return f.showAt(w, r, v, func() {
		f.passwordPage(w, r, v, c, http.StatusOK, attempt{
			username: v.st.Request.LoginHint,
			remember: f.cfg.RememberDefault,
		})
	}, toLogin...)
}

// Login checks a password: POST /flow/{flow}/login/{connector}.
func (f *Flow) Login(w http.ResponseWriter, r *http.Request) error {
	v, c, err := f.loginVisit(r)
	if err == nil && c.Password == nil {
		err = errNoFlow
	}
	if err != nil {
		return f.lost(w, r, err)
	}
	if err := request.ParseForm(r); err != nil {
		return err
	}
	a := attempt{username: r.PostForm.Get("login"), remember: r.PostForm.Get("remember") != ""}
	var who connector.Identity
	try := throttle.Attempt{ConnectorID: c.ID, Username: a.username, Addr: request.ClientAddress(r.Context())}
	clear, err := f.cfg.Limiter.Do(r.Context(), try, func(ctx context.Context) (err error) {
		ctx, cancel := context.WithTimeout(ctx, c.timeout())
		defer cancel()
		if who, err = c.Password.Login(ctx, a.username, r.PostForm.Get("password")); err != nil {
			return timedOut(ctx, r, err)
		}
		a.userID = who.UserID
		who, err = c.accept(who)
		return err
	})
	if a.err = err; err != nil {
		return f.loginFailed(w, r, v, c, a)
	}
	return f.signedIn(w, r, v, c, who, a, clear)
}

// loginVisit is a visit to a connector that this flow may use.
func (f *Flow) loginVisit(r *http.Request) (*visit, *Connector, error) {
	v, err := f.visit(r)
	if err != nil {
		return nil, nil, err
	}
	c := f.connector(r.PathValue("connector"))
	if !f.usable(v, c) {
		return nil, nil, fmt.Errorf("%w: it may not use this connector", errNoFlow)
	}
	return v, c, nil
}

// attempt is what a person typed, without the password, and what came of it.
type attempt struct {
	username string
	remember bool
	// userID is who they are, where the connector knows them and they are not let
	// in.
	userID string
	err    error
}

// Results of a login, for the count of logins.
const (
	resultSuccess = "success"
	resultFailure = "failure"
	resultLimited = "limited"
	resultDenied  = "access_denied"
	resultBack    = "turned_back"
	resultError   = "error"
)

// loginFailed shows the password page again, or a page of its own, with what went
// wrong: wrong credentials, too many of them, a policy that says no, a person who
// turned back, an upstream that failed.
// Anything else is for the server's error page.
func (f *Flow) loginFailed(w http.ResponseWriter, r *http.Request, v *visit, c *Connector, a attempt) error {
	result, status := resultError, 0
	wait, limited := errors.AsType[*throttle.WaitError](a.err)
	_, denied := errors.AsType[*connector.DeniedError](a.err)
	switch {
	case errors.Is(a.err, connector.ErrInvalidCredentials):
		result, status = resultFailure, http.StatusUnprocessableEntity
	case limited:
		result, status = resultLimited, http.StatusTooManyRequests
		w.Header().Set("Retry-After", retryAfter(wait.RetryAfter))
	case errors.Is(a.err, connector.ErrTurnedBack):
		result, status = resultBack, http.StatusForbidden
	case denied:
		result, status = resultDenied, http.StatusForbidden
	case errors.Is(a.err, connector.ErrUpstream):
		result, status = resultError, http.StatusBadGateway
	}
	f.cfg.CountLogin(c.ID, result)
	noteLogin(r, c.ID, result)
	f.auditFailure(r, v, audit.Person{ConnectorID: c.ID, UserID: a.userID}, a.username, failureReason(result, a.err))
	if status == 0 {
		return fmt.Errorf("signing in at connector %s: %w", c.ID, a.err)
	}
	if denied || status == http.StatusBadGateway {
		request.Cause(r.Context(), a.err)
	}
	if c.Redirect != nil {
		f.failedPage(w, r, v, c, status, a)
		return nil
	}
	f.passwordPage(w, r, v, c, status, a)
	return nil
}

// signedIn stores that a person has proved who they are, and goes on. When there
// is nothing to ask, the grant is stored in the same transaction.
func (f *Flow) signedIn(w http.ResponseWriter, r *http.Request, v *visit, c *Connector, who connector.Identity, a attempt, clear []string) error {
	if err := oauth.CheckHint(v.st.Request, who.UserID, c.ID); err != nil {
		f.auditFailure(r, v, audit.Person{ConnectorID: c.ID, UserID: who.UserID}, a.username, audit.AnotherPerson)
		return f.refuseFlow(w, r, v, err)
	}
	sealed, err := f.cfg.Secrets.Seal(c.ID, who)
	if err != nil {
		return f.loginFailed(w, r, v, c, attempt{err: err})
	}
	s, cookieID, err := f.cfg.Browsers.Begin(session.Login{
		ConnectorID: c.ID,
		UserID:      who.UserID,
		AMR:         who.AMR,
		ClientID:    v.client.ID,
		Remember:    a.remember,
		UserAgent:   request.UserAgent(r),
		IPAddress:   request.AddressText(r.Context()),
		Upstream:    who.Session,
	}, v.current)
	if err != nil {
		return err
	}
	known := identity.Of(c.ID, who, s.AuthTime, oauth.IdentityUntil(f.cfg.Policy, s))
	if err := cmp.Or(known.Check(), storage.CheckText(who.AMR)); err != nil {
		// The upstream's nonsense is not the person's mistake.
		a.err = fmt.Errorf("%w: its answer cannot be kept: %v", connector.ErrUpstream, err)
		return f.loginFailed(w, r, v, c, a)
	}
	previous := v.current
	v.st.LoginSID, v.st.StaleSID, v.st.Another = s.SID, "", false // the connector has seen them
	v.current = &session.Current{Session: s, Identity: known}
	next, nextErr := f.next(r, v)
	if nextErr != nil && oauth.CodeOf(nextErr) == oauth.ServerError {
		return nextErr
	}
	in := storage.SignIn{
		Identity:      v.current.Identity,
		SealedSecret:  sealed,
		Session:       s,
		Replaces:      f.cfg.Browsers.Presented(r),
		ClearFailures: clear,
		Ending:        f.cfg.Browsers.Ending(),
	}
	issue := nextErr == nil && next.Step == oauth.StepIssue && !v.st.Own
	if issue {
		grant, err := f.grant(r, v.st.Request, s)
		if err != nil {
			return err
		}
		in.Grant = &grant
	}
	replaced, err := f.cfg.Store.SignIn(r.Context(), in)
	if err != nil {
		return fmt.Errorf("storing the sign-in: %w", err)
	}
	if replaced {
		f.cfg.Browsers.Ended()
	} else {
		previous = nil // ended by somebody else, whose record it is
	}
	f.auditSignIn(r, v, previous, a.username)
	f.cfg.CountLogin(c.ID, resultSuccess)
	noteLogin(r, c.ID, resultSuccess)
	f.cfg.Browsers.SetCookie(w, s, cookieID)
	switch {
	case nextErr != nil:
		return f.refuseFlow(w, r, v, nextErr)
	case issue:
		return f.finish(w, r, v, *in.Grant)
	}
	return f.follow(w, r, v, next)
}
