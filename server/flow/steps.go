package flow

import (
	"net/http"

	"github.com/countersign/countersign/server/oauth"
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
	v, err := f.visit(r)
	if err != nil {
		return f.lost(w, r, err)
	}
	next, err := f.next(r, v)
	if err != nil {
		return f.refuseFlow(w, r, v, err)
	}
	switch next.Step {
	case oauth.StepChooseConnector, oauth.StepLogin, oauth.StepChooseAccount:
		f.connectorsPage(w, r, v)
		return nil
	}
	return f.advance(w, r, v)
}

// AccountPage asks whether to go on as the signed-in person: GET /flow/{flow}/account.
func (f *Flow) AccountPage(w http.ResponseWriter, r *http.Request) error {
	return f.at(w, r, oauth.StepChooseAccount, f.accountPage)
}

// Account takes the answer: POST /flow/{flow}/account.
func (f *Flow) Account(w http.ResponseWriter, r *http.Request) error {
	v, err := f.answer(r)
	if err != nil {
		return f.lost(w, r, err)
	}
	if r.PostForm.Get("account") == "other" {
		return f.otherAccount(w, r, v)
	}
	// The page named a person; another tab may have signed in another one since.
	if v.current != nil && r.PostForm.Get("subject") == subjectOf(v) {
		v.st.AccountSID = v.current.Session.SID
	}
	return f.advance(w, r, v)
}

// otherAccount goes to a login, or to the choice of one.
func (f *Flow) otherAccount(w http.ResponseWriter, r *http.Request, v *visit) error {
	v.current = nil
	return f.advance(w, r, v)
}

// ConsentPage asks what the client may know: GET /flow/{flow}/consent.
func (f *Flow) ConsentPage(w http.ResponseWriter, r *http.Request) error {
	return f.at(w, r, oauth.StepConsent, f.consentPage)
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
		return f.refuseFlow(w, r, v, v.st.Request.Refuse(oauth.AccessDenied, "the person refused"))
	}
	return f.advance(w, r, v)
}

// at shows a page if the flow is at its step, and goes to the right one if not.
func (f *Flow) at(w http.ResponseWriter, r *http.Request, step oauth.Step, show func(http.ResponseWriter, *http.Request, *visit)) error {
	v, err := f.visit(r)
	if err != nil {
		return f.lost(w, r, err)
	}
	next, err := f.next(r, v)
	if err != nil {
		return f.refuseFlow(w, r, v, err)
	}
	if next.Step != step {
		return f.advance(w, r, v)
	}
	show(w, r, v)
	return nil
}

// answer is a visit that posts a form.
func (f *Flow) answer(r *http.Request) (*visit, error) {
	if err := r.ParseForm(); err != nil {
		return nil, errNoFlow
	}
	return f.visit(r)
}
