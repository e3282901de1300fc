package flow

import (
	"errors"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/countersign/countersign/connector"
	"github.com/countersign/countersign/server/oauth"
	"github.com/countersign/countersign/server/request"
	"github.com/countersign/countersign/server/throttle"
	"github.com/countersign/countersign/server/web"
)

// page shows a page of a flow. leadsTo is the redirect_uri that its forms may
// lead to in the end.
func (f *Flow) page(w http.ResponseWriter, r *http.Request, status int, p web.Page, locales []string, leadsTo ...string) {
	f.cfg.Site.Page(w, r, status, p, web.PageOptions{
		FormAction: leadsTo,
		RequestID:  request.ID(r.Context()),
		Locales:    locales,
	})
}

// stepPage shows a page whose form leads on to the client, or to a page of ours.
func (f *Flow) stepPage(w http.ResponseWriter, r *http.Request, v *visit, status int, p web.Page) {
	if v.st.Own {
		f.page(w, r, status, p, nil)
		return
	}
	f.page(w, r, status, p, v.st.Request.UILocales, v.st.Request.RedirectURI)
}

// lost answers a visit to a flow that this browser does not carry: the back
// button, a second submit, a reload, a link from another browser; or a browser that
// takes no cookies, which the record tells from the others.
func (f *Flow) lost(w http.ResponseWriter, r *http.Request, err error) error {
	if !errors.Is(err, errNoFlow) {
		return err
	}
	request.Cause(r.Context(), err)
	f.page(w, r, http.StatusBadRequest, web.Finished{}, nil)
	return nil
}

func (f *Flow) connectorsPage(w http.ResponseWriter, r *http.Request, v *visit) {
	p := web.ChooseConnector{Client: clientOf(v)}
	for _, choice := range oauth.Choices(f.connectors, v.client) {
		c := f.connector(choice.ID)
		p.Connectors = append(p.Connectors, web.ConnectorLink{Name: c.Name, Type: c.Type, URL: f.loginPath(v.id, c.ID), Down: c.Ready() != nil})
	}
	f.stepPage(w, r, v, http.StatusOK, p)
}

func (f *Flow) passwordPage(w http.ResponseWriter, r *http.Request, v *visit, c *Connector, status int, a attempt) {
	p := web.Password{
		Client:          clientOf(v),
		Connector:       c.Name,
		Prompt:          c.Password.Prompt(),
		Username:        a.username,
		Action:          f.loginPath(v.id, c.ID),
		Error:           loginError(a.err),
		OfferRemember:   true,
		RememberChecked: a.remember,
		BackURL:         f.choiceURL(v),
	}
	f.stepPage(w, r, v, status, p)
}

// failedPage says why an upstream's own pages did not help.
func (f *Flow) failedPage(w http.ResponseWriter, r *http.Request, v *visit, c *Connector, status int, a attempt) {
	p := web.SignInFailed{
		Client:    clientOf(v),
		Connector: c.Name,
		Error:     loginError(a.err),
		RetryURL:  f.loginPath(v.id, c.ID),
		BackURL:   f.choiceURL(v),
	}
	f.stepPage(w, r, v, status, p)
}

// choiceURL leads to the choice of connectors, if there is one.
func (f *Flow) choiceURL(v *visit) string {
	if v.st.Request.ConnectorID == "" && len(oauth.Choices(f.connectors, v.client)) > 1 {
		return f.path(v.id, "connectors")
	}
	return ""
}

// loginError says on the page why a sign-in did not work.
func loginError(err error) web.LoginError {
	if wait, ok := errors.AsType[*throttle.WaitError](err); ok {
		return web.LoginError{Kind: web.LoginTooMany, Wait: wait.RetryAfter}
	}
	if denied, ok := errors.AsType[*connector.DeniedError](err); ok {
		return web.LoginError{Kind: web.LoginDenied, Message: denied.Message}
	}
	switch {
	case errors.Is(err, connector.ErrTurnedBack):
		return web.LoginError{Kind: web.LoginTurnedBack}
	case errors.Is(err, connector.ErrInvalidCredentials):
		return web.LoginError{Kind: web.LoginInvalid}
	case errors.Is(err, connector.ErrUpstream):
		return web.LoginError{Kind: web.LoginUpstreamFailed}
	}
	return web.LoginError{}
}

func (f *Flow) accountPage(w http.ResponseWriter, r *http.Request, v *visit) {
	f.stepPage(w, r, v, http.StatusOK, web.ChooseAccount{
		Client:  clientOf(v),
		Person:  personOf(v),
		Action:  f.path(v.id, "account"),
		Subject: subjectOf(v),
	})
}

func (f *Flow) consentPage(w http.ResponseWriter, r *http.Request, v *visit) {
	f.stepPage(w, r, v, http.StatusOK, web.Consent{
		Client:  clientOf(v),
		Person:  personOf(v),
		Scopes:  v.st.Request.Scopes,
		Action:  f.path(v.id, "consent"),
		Subject: subjectOf(v),
	})
}

func (f *Flow) loginPath(id, connectorID string) string {
	return f.path(id, "login/"+url.PathEscape(connectorID))
}

func clientOf(v *visit) web.Client {
	return web.Client{ID: v.client.ID, Name: v.client.Name, LogoURL: v.client.LogoURL}
}

// subjectOf names the signed-in person in a form. It is the person, not their
// session: two tabs that sign in at the same moment make two sessions of one
// person, and what they answer on either page counts.
func subjectOf(v *visit) string {
	return oauth.Subject(v.current.Session.UserID, v.current.Session.ConnectorID)
}

func personOf(v *visit) web.Person { return web.PersonOf(v.current.Identity) }

// retryAfter is a Retry-After in seconds, rounded up (RFC 9110 section 10.2.3).
func retryAfter(d time.Duration) string {
	return strconv.Itoa(int(math.Ceil(d.Seconds())))
}
