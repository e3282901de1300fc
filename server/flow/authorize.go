package flow

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"

	"github.com/countersign/countersign/server/clients"
	"github.com/countersign/countersign/server/oauth"
	"github.com/countersign/countersign/server/request"
	"github.com/countersign/countersign/server/session"
	"github.com/countersign/countersign/storage"
)

// Authorize is the authorization endpoint, GET and POST (OpenID Connect Core 1.0
// section 3.1.2.1).
func (f *Flow) Authorize(w http.ResponseWriter, r *http.Request) error {
	form, err := authorizeForm(r)
	if err != nil {
		return err
	}
	lookups, err := f.lookups(r, form)
	if err != nil {
		return err
	}
	req, err := oauth.Authorize(form, lookups, f.cfg.Policy)
	if err != nil {
		return f.refuse(w, r, &visit{client: storage.Client{ID: oauth.ClientIDOf(form)}}, err)
	}
	id, err := f.newID()
	if err != nil {
		return err
	}
	v := visit{id: id, st: state{Request: req, StartedAt: f.now().Unix()}, client: *lookups.Client}
	if r.Method == http.MethodPost {
		// A foreign site's POST carries no Lax cookie, so the session is not to be
		// seen here: go on with a GET.
		return f.proceed(w, r, &v, "")
	}
	if v.current, err = f.cfg.Browsers.Current(r.Context(), r); err != nil {
		return err
	}
	return f.advance(w, r, &v)
}

// authorizeForm returns the parameters: the query of a GET, the body of a POST.
// /auth/{connector} is Dex's other way to say connector_id.
func authorizeForm(r *http.Request) (url.Values, error) {
	form, err := request.ParseQuery(r)
	if err != nil {
		return nil, err
	}
	if r.Method == http.MethodPost {
		if err := request.ParseForm(r); err != nil {
			return nil, err
		}
		form = r.PostForm
	}
	if id := r.PathValue("connector"); id != "" {
		form["connector_id"] = append(form["connector_id"], id)
	}
	return form, nil
}

// lookups loads what the core needs to judge the request.
func (f *Flow) lookups(r *http.Request, form url.Values) (l oauth.Lookups, err error) {
	if l.Client, err = clients.Lookup(r.Context(), f.cfg.Clients, oauth.ClientIDOf(form)); err != nil {
		return l, err
	}
	if l.Peers, err = clients.Find(r.Context(), f.cfg.Clients, oauth.AudiencesOf(form)); err != nil {
		return l, err
	}
	if hint := form.Get(oauth.ParamIDTokenHint); hint != "" {
		if payload, err := f.cfg.VerifyIDToken(hint); err == nil {
			l.HintSubject = oauth.HintSubject(f.cfg.Policy, payload)
		}
	}
	return l, nil
}

// visit is one request of a browser to its flow.
type visit struct {
	id      string
	st      state
	client  storage.Client
	current *session.Current
	// approvedSID: see oauth.Situation; it lives for one visit only.
	approvedSID string
	// consent is what the person allowed before.
	consent *storage.Consent
}

// visit opens the flow that the request's path names, with its client and the
// browser's session.
func (f *Flow) visit(r *http.Request) (*visit, error) {
	id, st, err := f.open(r)
	if err != nil {
		return nil, err
	}
	v := &visit{id: id, st: st}
	if v.current, err = f.cfg.Browsers.Current(r.Context(), r); err != nil {
		return nil, err
	}
	if st.Own {
		return v, nil
	}
	client, err := clients.Lookup(r.Context(), f.cfg.Clients, st.Request.ClientID)
	if err != nil {
		return nil, err
	}
	if client == nil { // removed since the flow began
		return nil, fmt.Errorf("%w: its client is not configured any more", errNoFlow)
	}
	v.client = *client
	return v, nil
}

// next asks the core what comes next.
func (f *Flow) next(r *http.Request, v *visit) (oauth.NextStep, error) {
	s := oauth.Situation{
		Request:     v.st.Request,
		Client:      v.client,
		Connectors:  f.connectors,
		LoginSID:    v.st.LoginSID,
		AccountSID:  v.st.AccountSID,
		StaleSID:    v.st.StaleSID,
		ApprovedSID: v.approvedSID,
		Own:         v.st.Own,
		Now:         f.now(),
	}
	if v.current != nil {
		s.Session = &v.current.Session
	}
	if v.current != nil && !v.st.Own {
		if err := f.sessionFacts(r, v, &s); err != nil {
			return oauth.NextStep{}, err
		}
	}
	return oauth.Next(s, f.cfg.Policy)
}

// sessionFacts loads what is known of the signed-in person and this client.
func (f *Flow) sessionFacts(r *http.Request, v *visit, s *oauth.Situation) error {
	shared, err := clients.Find(r.Context(), f.cfg.Clients, s.Session.LoginClientIDs)
	if err != nil {
		return err
	}
	for _, c := range shared {
		s.SessionClients = append(s.SessionClients, c)
	}
	if slices.Contains(s.Session.LoginClientIDs, ownID) {
		s.SessionClients = append(s.SessionClients, storage.Client{ID: ownID})
	}
	consent, err := f.cfg.Store.Consent(r.Context(), s.Session.ConnectorID, s.Session.UserID, v.client.ID, s.Now)
	switch {
	case err == nil:
		v.consent = &consent
		s.Consented, s.WasConsented = consent.Scopes, true
	case !errors.Is(err, storage.ErrNotFound):
		return fmt.Errorf("loading the consent: %w", err)
	}
	return nil
}

// advance does the next step: it issues the code, or sends the browser to the
// page of the step.
func (f *Flow) advance(w http.ResponseWriter, r *http.Request, v *visit) error {
	next, err := f.next(r, v)
	if err != nil {
		return f.refuseFlow(w, r, v, err)
	}
	return f.follow(w, r, v, next)
}

// follow does a step that is known already.
func (f *Flow) follow(w http.ResponseWriter, r *http.Request, v *visit, next oauth.NextStep) error {
	switch next.Step {
	case oauth.StepIssue:
		if v.st.Own {
			return f.leadOn(w, r, v)
		}
		return f.issue(w, r, v)
	case oauth.StepChooseConnector:
		return f.proceed(w, r, v, "connectors")
	case oauth.StepLogin:
		if c := f.connector(next.ConnectorID); c != nil && c.Redirect != nil && r.Method == http.MethodPost && v.st.EndedAt == 0 {
			return f.leadAway(w, r, v, c)
		}
		return f.proceed(w, r, v, "login/"+url.PathEscape(next.ConnectorID))
	case oauth.StepChooseAccount:
		return f.proceed(w, r, v, "account")
	default:
		return f.proceed(w, r, v, "consent")
	}
}

// proceed hands the state to the browser and sends it to a page of the flow. 303
// turns a POST into a GET (RFC 9700 section 2.6: never 307).
func (f *Flow) proceed(w http.ResponseWriter, r *http.Request, v *visit, step string) error {
	if v.st.EndedAt != 0 { // it was answered: there is nothing left to ask
		return f.lost(w, r, errNoFlow)
	}
	if err := f.carry(w, v.id, v.st, f.cfg.Lifetime); err != nil {
		return f.refuse(w, r, v, err)
	}
	f.seeOther(w, f.path(v.id, step))
	return nil
}
