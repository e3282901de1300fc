package flow

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"

	"github.com/countersign/countersign/server/audit"
	"github.com/countersign/countersign/server/oauth"
	"github.com/countersign/countersign/server/request"
	"github.com/countersign/countersign/server/web"
	"github.com/countersign/countersign/storage"
)

// issue makes the grant of a signed-in person and answers the client with its
// code.
func (f *Flow) issue(w http.ResponseWriter, r *http.Request, v *visit) error {
	if known, err := f.recheck(r, v); err != nil {
		return f.refuseFlow(w, r, v, err)
	} else if !known {
		return f.advance(w, r, v)
	}
	grant, err := f.grant(r, v.st.Request, v.current.Session)
	if err != nil {
		return err
	}
	in := storage.Authorization{
		Grant:        grant,
		Session:      v.current.Session.IDHash,
		TouchSession: f.cfg.Browsers.NeedsTouch(v.current.Session, grant.ClientID),
	}
	if v.approvedSID != "" {
		in.Consent = f.newConsent(v)
	}
	err = f.cfg.Store.Authorize(r.Context(), in)
	if errors.Is(err, storage.ErrConflict) {
		// Signed out in another tab a moment ago: ask again who it is.
		v.current = nil
		return f.advance(w, r, v)
	}
	if err != nil {
		return fmt.Errorf("storing the grant: %w", err)
	}
	if in.Consent != nil {
		f.cfg.Audit.Write(r.Context(), audit.ConsentGiven{
			Session: audit.SessionOf(v.current.Session), ClientID: grant.ClientID, Scopes: grant.Scopes,
		})
	}
	return f.finish(w, r, v, grant)
}

func (f *Flow) newConsent(v *visit) *storage.Consent {
	var before []string
	if v.consent != nil {
		before = v.consent.Scopes
	}
	c := oauth.NewConsent(v.st.Request, v.current.Session, before, f.now())
	return &c
}

// grant makes the record of a login, not yet stored.
func (f *Flow) grant(r *http.Request, req oauth.AuthorizeRequest, s storage.Session) (storage.Grant, error) {
	now := f.now()
	id, err := storage.NewGrantID(now, f.cfg.Random)
	if err != nil {
		return storage.Grant{}, err
	}
	return oauth.NewGrant(id, req, s, f.cfg.Policy, request.UserAgent(r), request.AddressText(r.Context()), now), nil
}

// finish ends the flow with a code for the client. The grant is stored.
func (f *Flow) finish(w http.ResponseWriter, r *http.Request, v *visit, g storage.Grant) error {
	f.cfg.Audit.Write(r.Context(), audit.CodeIssued{Grant: audit.GrantOf(g), Scopes: g.Scopes})
	f.end(w, r, v)
	t := v.st.Request.Target()
	return f.respond(w, r, v, t, t.Response(f.cfg.Policy.Issuer, f.cfg.Codes.Make(g.ID[:])))
}

// refuseFlow ends a flow with an error.
func (f *Flow) refuseFlow(w http.ResponseWriter, r *http.Request, v *visit, err error) error {
	if _, ok := errors.AsType[*oauth.AuthorizeError](err); ok {
		f.end(w, r, v)
	}
	return f.refuse(w, r, v, err)
}

// refuse sends a refused request back to the client, when there is one to trust;
// anything else is for the server's error page.
func (f *Flow) refuse(w http.ResponseWriter, r *http.Request, v *visit, err error) error {
	e, ok := errors.AsType[*oauth.AuthorizeError](err)
	if !ok || e.Response == nil {
		return err
	}
	if v.st.Own { // nobody waits for an answer
		return e.Err
	}
	noteRefusal(r, e.Err)
	return f.respond(w, r, v, *e.Response, e.Response.ErrorResponse(f.cfg.Policy.Issuer, e.Err))
}

// respond delivers an authorization response in the mode that was asked for.
func (f *Flow) respond(w http.ResponseWriter, r *http.Request, v *visit, t oauth.ResponseTarget, answer url.Values) error {
	if t.Mode == oauth.ModeFormPost {
		f.page(w, r, http.StatusOK, web.FormPost{Client: clientOf(v), Action: t.RedirectURI, Fields: fields(answer)}, v.st.Request.UILocales)
		return nil
	}
	f.cfg.Site.Lead(w, r, clientOf(v), t.Location(answer), web.PageOptions{
		RequestID: request.ID(r.Context()), Locales: v.st.Request.UILocales,
	})
	return nil
}

// fields puts response parameters into a fixed order.
func fields(v url.Values) []web.Field {
	var out []web.Field
	for _, name := range slices.Sorted(maps.Keys(v)) {
		out = append(out, web.Field{Name: name, Value: v.Get(name)})
	}
	return out
}

// seeOther redirects. The address may hold a code: it must not be cached, nor
// told to the next site.
func (f *Flow) seeOther(w http.ResponseWriter, location string) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Location", location)
	w.WriteHeader(http.StatusSeeOther)
}
