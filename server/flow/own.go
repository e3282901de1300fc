package flow

import (
	"net/http"
)

// PathAccount is the account page, under the issuer.
const PathAccount = "/account"

// ownID stands among the clients of a session for our own pages: where the person
// authenticated on the way to one. No client has it.
const ownID = ""

// BeginOwn leads a person who is not signed in to the account page, by way of a
// sign-in. No client is part of it: it ends without a code, and stores nothing but
// the session. Only the account page can be its end, so that it leads nobody
// elsewhere.
func (f *Flow) BeginOwn(w http.ResponseWriter, r *http.Request) error {
	id, err := f.newID()
	if err != nil {
		return err
	}
	return f.advance(w, r, &visit{id: id, st: state{Own: true, StartedAt: f.now().Unix()}})
}

// leadOn ends a flow at the account page.
func (f *Flow) leadOn(w http.ResponseWriter, r *http.Request, v *visit) error {
	f.end(w, r, v)
	f.seeOther(w, f.cfg.BasePath+PathAccount)
	return nil
}
