package logout

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/countersign/countersign/connector"
	"github.com/countersign/countersign/server/oauth"
	"github.com/countersign/countersign/server/request"
	"github.com/countersign/countersign/server/session"
	"github.com/countersign/countersign/server/web"
)

// PathCallback is where upstreams send people back to who have signed out there:
// the post_logout_redirect_uri that is registered at them, under the issuer.
const PathCallback = oauth.PathEndSession + "/callback"

// Upstream is a connector that can end the session which a browser has there.
type Upstream struct {
	connector.SignOuter
	// Name is shown to people.
	Name string
	// Timeout bounds one question to it.
	Timeout time.Duration
}

// Leave takes the cookie from a browser whose session has been ended by other
// means, signs it out upstream, and shows it that it is signed out.
func (e *Endpoint) Leave(w http.ResponseWriter, r *http.Request, ended *session.Current) error {
	if _, err := e.cfg.Browsers.End(r.Context(), w, r); err != nil {
		return err
	}
	v := visit{current: ended}
	left, remains, err := e.leave(w, r, v)
	if err != nil || left {
		return err
	}
	if remains != "" {
		return e.done(w, r, v, remains)
	}
	e.redirect(w, e.cfg.Path)
	return nil
}

// leave sends a browser whose session has ended here to the upstream that it came
// from, where its session ends, too. When it does not, remains is the name of an
// upstream at which they may still be signed in.
//
// Where the request leads to stays in the browser, sealed: the upstream gets an
// address of ours and a random state. A browser that does not come back has lost
// nothing but the way to the client.
func (e *Endpoint) leave(w http.ResponseWriter, r *http.Request, v visit) (left bool, remains string, err error) {
	from := v.current.Session
	up, ok := e.cfg.Upstreams[from.ConnectorID]
	if !ok {
		return false, "", nil
	}
	random := make([]byte, idBytes)
	if _, err := io.ReadFull(e.cfg.Random, random); err != nil {
		return false, "", fmt.Errorf("reading randomness: %w", err)
	}
	id := base64.RawURLEncoding.EncodeToString(random)
	ctx, cancel := context.WithTimeout(r.Context(), up.Timeout)
	defer cancel()
	to, err := up.SignOut(ctx, connector.SignOut{Session: e.cfg.Browsers.Upstream(from), State: id})
	if err == nil && len(to.Kept) > connector.MaxKept {
		err = fmt.Errorf("%w: it wants %d bytes kept, more than %d", connector.ErrUpstream, len(to.Kept), connector.MaxKept)
	}
	if err != nil {
		e.failed(r, from.ConnectorID, err)
		return false, up.Name, nil
	}
	if to.URL == "" {
		return false, "", nil
	}
	if err := e.carry(w, id, away{waiting: e.waiting(v.req), ConnectorID: from.ConnectorID, Kept: to.Kept}); err != nil {
		return false, "", err
	}
	noteUpstream(r, "left")
	e.send(w, r, v, up, to)
	return true, "", nil
}

// send sends the browser to the upstream.
func (e *Endpoint) send(w http.ResponseWriter, r *http.Request, v visit, up Upstream, to connector.Away) {
	options := web.PageOptions{RequestID: request.ID(r.Context()), Locales: v.req.UILocales}
	client := web.Client{Name: up.Name}
	if to.Form == nil {
		e.cfg.Site.Lead(w, r, client, to.URL, options)
		return
	}
	page := web.FormPost{Client: client, Action: to.URL}
	for _, name := range slices.Sorted(maps.Keys(to.Form)) {
		for _, value := range to.Form[name] {
			page.Fields = append(page.Fields, web.Field{Name: name, Value: value})
		}
	}
	e.cfg.Site.Page(w, r, http.StatusOK, page, options)
}

// Callback is where upstreams send browsers back to: GET /logout/callback, and
// /logout/callback/{connector} of those that send requests of their own there. The
// departure's cookie is sent only under its own path, so a browser that did not
// leave ends here.
func (e *Endpoint) Callback(w http.ResponseWriter, r *http.Request) error {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return e.lost(w, r)
	}
	id := r.PathValue("connector")
	m := connector.Message{RawQuery: r.URL.RawQuery, Query: query}
	if from, ok := e.cfg.Upstreams[id].SignOuter.(connector.SignOutReceiver); ok && from.Asks(m) {
		return e.asked(w, r, id, from, m)
	}
	if id, ok := stateOf(query); ok {
		e.redirect(w, e.awayPath(id)+"?"+r.URL.RawQuery)
		return nil
	}
	return e.lost(w, r)
}

// Posted is Callback for upstreams whose own page posts: POST
// /logout/callback/{connector}. The browser sends no cookie with that, so an answer
// is verified, and what it says goes on sealed with a GET, which has the cookie.
func (e *Endpoint) Posted(w http.ResponseWriter, r *http.Request) error {
	if err := request.ParseForm(r); err != nil {
		return err
	}
	connectorID := r.PathValue("connector")
	up := e.cfg.Upstreams[connectorID]
	from, ok := up.SignOuter.(connector.SignOutReceiver)
	if !ok {
		return e.lost(w, r)
	}
	m := connector.Message{Form: r.PostForm}
	if from.Asks(m) {
		return e.asked(w, r, connectorID, from, m)
	}
	id, ok := stateOf(r.PostForm)
	if !ok {
		return e.lost(w, r)
	}
	ctx, cancel := context.WithTimeout(r.Context(), up.Timeout)
	defer cancel()
	content, err := from.ReceiveSignedOut(ctx, m)
	if err != nil { // they are told where it goes on
		e.failed(r, connectorID, err)
		e.redirect(w, e.awayPath(id))
		return nil
	}
	sealed, err := e.answers.Seal(content, answerContext(connectorID, id))
	if err != nil {
		return fmt.Errorf("sealing an answer: %w", err)
	}
	e.redirect(w, e.awayPath(id)+"?"+url.Values{paramAnswer: {base64.RawURLEncoding.EncodeToString(sealed)}}.Encode())
	return nil
}

// paramAnswer has what an upstream posted, in the address where it goes on.
const paramAnswer = "answer"

// answerContext binds it to one departure. No id has a NUL.
func answerContext(connectorID, id string) []byte { return []byte(connectorID + "\x00" + id) }

// arrival is what the browser has brought back.
func (e *Endpoint) arrival(r *http.Request, id string, a away) connector.Arrival {
	back := connector.Arrival{Kept: a.Kept, Query: r.URL.Query(), RawQuery: r.URL.RawQuery}
	sealed, err := base64.RawURLEncoding.DecodeString(back.Query.Get(paramAnswer))
	if err != nil || len(sealed) == 0 {
		return back
	}
	if content, err := e.answers.Open(sealed, answerContext(a.ConnectorID, id)); err == nil {
		return connector.Arrival{Kept: a.Kept, Received: content}
	}
	return back
}

// stateOf reads the id that the upstream gave back: OpenID Connect's state, SAML's
// RelayState.
func stateOf(values url.Values) (string, bool) {
	all := append(values["state"], values["RelayState"]...)
	if len(all) != 1 {
		return "", false
	}
	return all[0], isID(all[0])
}

// Back goes on to where the sign-out was to lead: GET /logout/away/{logout}.
func (e *Endpoint) Back(w http.ResponseWriter, r *http.Request) error {
	id := r.PathValue("logout")
	a, ok := e.open(r, id)
	if !ok {
		return e.lost(w, r)
	}
	client, registered, err := e.registered(r, a.Request)
	if err != nil {
		return err
	}
	if !registered {
		a.Request.RedirectURI = ""
	}
	v := visit{req: a.Request, client: client}
	e.drop(w, id) // one departure, one way back
	remains := ""
	if up, ok := e.cfg.Upstreams[a.ConnectorID]; ok {
		ctx, cancel := context.WithTimeout(r.Context(), up.Timeout)
		defer cancel()
		if err := up.SignedOut(ctx, e.arrival(r, id, a)); err != nil {
			e.failed(r, a.ConnectorID, err)
			remains = up.Name
		} else {
			noteUpstream(r, "back")
		}
	}
	return e.done(w, r, v, remains)
}

// lost answers a way back that is not this browser's, was gone before, or has
// expired: where it led to is not known, or not for this browser. Whether it is
// signed in is said there.
func (e *Endpoint) lost(w http.ResponseWriter, r *http.Request) error {
	noteUpstream(r, "lost")
	e.redirect(w, e.cfg.Path)
	return nil
}

// failed tells the log that an upstream's session may live on.
func (e *Endpoint) failed(r *http.Request, connectorID string, err error) {
	noteUpstream(r, "failed")
	request.Cause(r.Context(), fmt.Errorf("signing out at connector %s: %w", connectorID, err))
}

func noteUpstream(r *http.Request, what string) {
	request.Note(r.Context(), slog.String("logout_upstream", what))
}
