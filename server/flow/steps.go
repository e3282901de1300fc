package flow

import (
	"net/http"
	"slices"

	"github.com/countersign/countersign/server/audit"
	"github.com/countersign/countersign/server/oauth"
	"github.com/countersign/countersign/server/request"
)

// Resume goes on where the flow is: GET /flow/{flow}.
func (f *Flow) Resume(w http.ResponseWriter, r *http.Request) error {
	v, err := f.visit(r)
	if err != nil {
		return f.lost(w, r, err)
	}
	return f.advance(w, r, v)
}

// ConnectorsPage lets the person choose an upstream: GET /flow/{flow}/connectors.
func (f *Flow) ConnectorsPage(w http.ResponseWriter, r *http.Request) error {
	return f.at(w, r, f.connectorsPage, toLogin...)
}

// AccountPage asks whether to go on as the signed-in person: GET /flow/{flow}/account.
func (f *Flow) AccountPage(w http.ResponseWriter, r *http.Request) error {
	return f.at(w, r, f.accountPage, oauth.StepChooseAccount)
}

// Account takes the answer: POST /flow/{flow}/account.
func (f *Flow) Account(w http.ResponseWriter, r *http.Request) error {
	v, err := f.answer(r)
	if err != nil {
		return f.lost(w, r, err)
	}
	if r.PostForm.Get("account") == "other" { // to a login, or to the choice of one
		v.current, v.st.Another = nil, true
		return f.advance(w, r, v)
	}
	// The page named a person; another tab may have signed in another one since.
	if v.current != nil && r.PostForm.Get("subject") == subjectOf(v) {
		v.st.AccountSID = v.current.Session.SID
	}
	return f.advance(w, r, v)
}

// ConsentPage asks what the client may know: GET /flow/{flow}/consent.
func (f *Flow) ConsentPage(w http.ResponseWriter, r *http.Request) error {
	return f.at(w, r, f.consentPage, oauth.StepConsent)
}

// Consent takes the answer: POST /flow/{flow}/consent.
func (f *Flow) Consent(w http.ResponseWriter, r *http.Request) error {
	v, err := f.answer(r)
	if err != nil {
		return f.lost(w, r, err)
	}
	// An answer counts only for the person whose name was on the page.
	if v.current == nil || r.PostForm.Get("subject") != subjectOf(v) {
		return f.advance(w, r, v)
	}
	switch r.PostForm.Get("approval") {
	case "approve":
		v.approvedSID = v.current.Session.SID
	case "deny":
		f.cfg.Audit.Write(r.Context(), audit.ConsentRefused{
			Session: audit.SessionOf(v.current.Session), ClientID: v.client.ID, Scopes: v.st.Request.Scopes,
		})
		return f.refuseFlow(w, r, v, v.st.Request.Refuse(oauth.AccessDenied, "the person refused"))
	}
	return f.advance(w, r, v)
}

// toLogin are the steps on which a person may authenticate: also somebody who is
// signed in may do so as another person.
var toLogin = []oauth.Step{oauth.StepChooseConnector, oauth.StepLogin, oauth.StepChooseAccount}

// at shows a page if the flow is at one of its steps, and goes to the right one
// if not.
func (f *Flow) at(w http.ResponseWriter, r *http.Request, show func(http.ResponseWriter, *http.Request, *visit), steps ...oauth.Step) error {
	v, err := f.visit(r)
	if err != nil {
		return f.lost(w, r, err)
	}
	return f.showAt(w, r, v, func() { show(w, r, v) }, steps...)
}

// showAt is at for a visit that is known already.
func (f *Flow) showAt(w http.ResponseWriter, r *http.Request, v *visit, show func(), steps ...oauth.Step) error {
	return f.doAt(w, r, v, func() error { show(); return nil }, steps...)
}

// doAt is showAt for what can fail.
func (f *Flow) doAt(w http.ResponseWriter, r *http.Request, v *visit, do func() error, steps ...oauth.Step) error {
	next, err := f.next(r, v)
	if err != nil {
		return f.refuseFlow(w, r, v, err)
	}
	if !slices.Contains(steps, next.Step) { // another tab was faster
		return f.follow(w, r, v, next)
	}
	return do()
}

// answer is a visit that posts a form.
func (f *Flow) answer(r *http.Request) (*visit, error) {
	if err := request.ParseForm(r); err != nil {
		return nil, err
	}
	return f.visit(r)
}
