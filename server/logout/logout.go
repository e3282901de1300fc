// Package logout is the end session endpoint: OpenID Connect RP-Initiated Logout
// 1.0, and signing out on our own pages; and at the upstream that a session came
// from, after our own has ended and the clients are told.
//
// It refuses to decide: what a request may lead to is server/oauth's answer. It
// refuses to end a session because some site says so: unless an id_token_hint
// shows that the client was part of this very session, the person is asked.
//
// Threat: sites that sign people out to annoy them or to sign them in as somebody
// else, that use the way back as an open redirector, and forged, altered or
// foreign id_token_hints. Upstreams that fail, hang or never send the browser back,
// and whoever forges or replays what they say.
package logout

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"github.com/countersign/countersign/server/audit"
	"github.com/countersign/countersign/server/clients"
	"github.com/countersign/countersign/server/oauth"
	"github.com/countersign/countersign/server/request"
	"github.com/countersign/countersign/server/revocation"
	"github.com/countersign/countersign/server/seal"
	"github.com/countersign/countersign/server/session"
	"github.com/countersign/countersign/server/web"
	"github.com/countersign/countersign/storage"
)

// Config is what the endpoint depends on. All fields but Upstreams and Audit are
// required.
type Config struct {
	Policy oauth.Policy
	// Path is where the endpoint is: that of its own forms.
	Path string
	// Lifetime is how long a request may wait for the person's answer.
	Lifetime time.Duration
	Clients  storage.Clients
	Browsers *session.Browsers
	Store    Store
	Revoker  *revocation.Revoker
	Keyring  *seal.Keyring
	Site     *web.Site
	// Guard tells our own forms from those of other sites.
	Guard *http.CrossOriginProtection
	// VerifyIDToken checks the signature of an id_token of ours, expired or not,
	// and returns its payload.
	VerifyIDToken func(token string) ([]byte, error)
	// Upstreams are the connectors where people are signed out, too, by their ids. It
	// may be empty.
	Upstreams map[string]Upstream
	// Secure is set when the issuer is https.
	Secure bool
	// Audit may be nil.
	Audit  *audit.Log
	Now    func() time.Time
	Random io.Reader
}

// Endpoint signs people out.
type Endpoint struct {
	cfg                      Config
	box, departures, answers *seal.Box
}

// New checks the configuration.
func New(cfg Config) (*Endpoint, error) {
	if cfg.Path == "" || cfg.Lifetime <= 0 || cfg.Clients == nil || cfg.Browsers == nil || cfg.Store == nil || cfg.Revoker == nil || cfg.Keyring == nil ||
		cfg.Site == nil || cfg.Guard == nil || cfg.VerifyIDToken == nil || cfg.Now == nil || cfg.Random == nil {
		return nil, errors.New("logout: every field of Config but Upstreams and Audit is required")
	}
	return &Endpoint{
		cfg: cfg, box: cfg.Keyring.Box("logout"), departures: cfg.Keyring.Box("logout-upstream"),
		answers: cfg.Keyring.Box("logout-answer"),
	}, nil
}

// paramRequest is the parameter with a request that was checked and sealed.
const paramRequest = "request"

// Get is the request of a browser that was led here: GET /logout.
func (e *Endpoint) Get(w http.ResponseWriter, r *http.Request) error {
	form, err := request.ParseQuery(r)
	if err != nil {
		return err
	}
	req, client, err := e.read(r, form)
	if errors.Is(err, errExpired) { // a tab that was left open, or restored: no client's mistake
		req, client, err = oauth.LogoutRequest{}, nil, nil
	}
	if err != nil {
		return err
	}
	current, err := e.cfg.Browsers.Current(r.Context(), r)
	if err != nil {
		return err
	}
	return e.advance(w, r, visit{req: req, client: client, current: current})
}

// Post takes the answer of our own pages, and requests that a client's site
// posts: POST /logout.
//
// The browser does not send its session (a Lax cookie) with what another site
// posts, so a request goes on with a GET, which it is sent with. What it says
// travels sealed: the id_token stays out of addresses. Whoever reads that address
// could ask for the same with one of their own.
func (e *Endpoint) Post(w http.ResponseWriter, r *http.Request) error {
	if err := request.ParseForm(r); err != nil {
		return err
	}
	ours := e.cfg.Guard.Check(r) == nil
	if ours && (r.PostForm.Has(paramRequest) || !oauth.IsLogoutRequest(r.PostForm)) {
		return e.answer(w, r)
	}
	req, _, err := e.read(r, r.PostForm)
	if err != nil {
		return err
	}
	sealed, err := e.seal(req)
	if err != nil {
		return err
	}
	e.redirect(w, e.cfg.Path+"?"+url.Values{paramRequest: {sealed}}.Encode())
	return nil
}

// answer ends the session that the page was about. A page that was open for too
// long, or since before the secrets changed, still does, and leads nowhere.
func (e *Endpoint) answer(w http.ResponseWriter, r *http.Request) error {
	v := visit{confirmedSID: r.PostForm.Get("session")}
	var err error
	if v.current, err = e.cfg.Browsers.Current(r.Context(), r); err != nil {
		return err
	}
	if !r.PostForm.Has(paramRequest) { // the home page
		if v.current != nil {
			v.confirmedSID = v.current.Session.SID
		}
		return e.advance(w, r, v)
	}
	v.req, v.client, err = e.unseal(r, r.PostForm.Get(paramRequest))
	if err != nil && oauth.CodeOf(err) == oauth.ServerError {
		return err
	}
	return e.advance(w, r, v)
}

// visit is one request of a browser.
type visit struct {
	req     oauth.LogoutRequest
	client  *storage.Client
	current *session.Current
	// confirmedSID is the session that the person has just confirmed for.
	confirmedSID string
}

// advance does what the core decides. Our own session ends first, and its clients
// are told: no upstream can keep that from happening.
func (e *Endpoint) advance(w http.ResponseWriter, r *http.Request, v visit) error {
	var s *storage.Session
	if v.current != nil {
		s = &v.current.Session
	}
	step := oauth.NextLogout(v.req, s, v.confirmedSID)
	e.note(r, v, step)
	if step == oauth.LogoutConfirm {
		return e.confirm(w, r, v)
	}
	if e.cfg.Browsers.Presented(r) != ([32]byte{}) { // also of a session that has expired
		ended, err := e.cfg.Browsers.End(r.Context(), w, r)
		if err != nil {
			return err
		}
		if ended && v.current != nil { // else it had expired, or another tab was faster
			e.record(r, v)
			left, remains, err := e.leave(w, r, v)
			if err != nil || left {
				return err
			}
			return e.done(w, r, v, remains)
		}
	}
	return e.done(w, r, v, "")
}

// done leads to where the request wants, or says that the person is signed out.
// Where they may not be at an upstream, remains, they are told before.
func (e *Endpoint) done(w http.ResponseWriter, r *http.Request, v visit, remains string) error {
	options := web.PageOptions{RequestID: request.ID(r.Context()), Locales: v.req.UILocales}
	location := v.req.Location()
	if location != "" && remains == "" {
		e.cfg.Site.Lead(w, r, clientOf(v), location, options)
		return nil
	}
	e.cfg.Site.Page(w, r, http.StatusOK, web.SignedOut{Client: clientOf(v), ReturnURL: location, Upstream: remains}, options)
	return nil
}

// confirm asks the person.
func (e *Endpoint) confirm(w http.ResponseWriter, r *http.Request, v visit) error {
	sealed, err := e.seal(v.req)
	if err != nil {
		return err
	}
	options := web.PageOptions{RequestID: request.ID(r.Context()), Locales: v.req.UILocales}
	if v.req.RedirectURI != "" {
		options.FormAction = []string{v.req.RedirectURI}
	}
	e.cfg.Site.Page(w, r, http.StatusOK, web.SignOut{
		Client: clientOf(v), Person: web.PersonOf(v.current.Identity), Action: e.cfg.Path,
		Session: v.current.Session.SID, Request: sealed,
	}, options)
	return nil
}

// read checks a request from outside, or one that was sealed here before.
func (e *Endpoint) read(r *http.Request, form url.Values) (req oauth.LogoutRequest, client *storage.Client, err error) {
	if sealed := form.Get(paramRequest); sealed != "" {
		return e.unseal(r, sealed)
	}
	var l oauth.LogoutLookups
	if hint := form.Get(oauth.ParamIDTokenHint); hint != "" {
		if payload, err := e.cfg.VerifyIDToken(hint); err == nil {
			l.Hint = oauth.ParseLogoutHint(e.cfg.Policy, payload)
		}
	}
	if l.Client, err = clients.Lookup(r.Context(), e.cfg.Clients, oauth.LogoutClientID(form, l.Hint)); err != nil {
		return req, nil, err
	}
	req, err = oauth.ParseLogout(form, l)
	return req, l.Client, err
}

// waiting is a request that waits for a browser to come back with it.
type waiting struct {
	Request oauth.LogoutRequest `json:"q"`
	Since   int64               `json:"b"` // seconds since 1970
}

func (e *Endpoint) waiting(req oauth.LogoutRequest) waiting {
	return waiting{Request: req, Since: e.cfg.Now().Unix()}
}

func (e *Endpoint) seal(req oauth.LogoutRequest) (string, error) {
	plain, err := json.Marshal(e.waiting(req))
	if err != nil {
		return "", fmt.Errorf("encoding a logout request: %w", err)
	}
	sealed, err := e.box.Seal(plain, nil)
	if err != nil {
		return "", fmt.Errorf("sealing a logout request: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(sealed), nil
}

// errExpired: the request was checked here, too long ago, or its address is not
// registered any more.
var errExpired = &oauth.Error{Code: oauth.InvalidRequest, Description: "this sign-out has expired: start it again"}

// unseal opens a request that was checked before, and looks again whether its
// address is registered.
func (e *Endpoint) unseal(r *http.Request, value string) (req oauth.LogoutRequest, client *storage.Client, err error) {
	forged := &oauth.Error{Code: oauth.InvalidRequest, Description: "this sign-out was not begun here, or before the secrets changed: start it again"}
	sealed, err := base64.RawURLEncoding.DecodeString(value)
	if err != nil {
		return req, nil, forged
	}
	plain, err := e.box.Open(sealed, nil)
	if err != nil {
		return req, nil, forged
	}
	var found waiting
	if json.Unmarshal(plain, &found) != nil {
		return req, nil, forged
	}
	if e.cfg.Now().Sub(time.Unix(found.Since, 0)) > e.cfg.Lifetime {
		return req, nil, errExpired
	}
	client, ok, err := e.registered(r, found.Request)
	if err != nil {
		return req, nil, err
	}
	if !ok {
		return req, nil, errExpired
	}
	return found.Request, client, nil
}

// registered looks again for the client of a request that was checked before, and
// whether its address is still registered.
func (e *Endpoint) registered(r *http.Request, req oauth.LogoutRequest) (client *storage.Client, ok bool, err error) {
	if client, err = clients.Lookup(r.Context(), e.cfg.Clients, req.ClientID); err != nil {
		return nil, false, err
	}
	uri := req.RedirectURI
	return client, uri == "" || client != nil && oauth.MatchPostLogoutRedirectURI(*client, uri), nil
}

// redirect goes on with a GET here.
func (e *Endpoint) redirect(w http.ResponseWriter, location string) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Location", location)
	w.WriteHeader(http.StatusSeeOther)
}

// note puts what was decided into the request's record.
func (e *Endpoint) note(r *http.Request, v visit, step oauth.LogoutStep) {
	said := map[oauth.LogoutStep]string{
		oauth.LogoutDone: "nobody", oauth.LogoutConfirm: "asked", oauth.LogoutEnd: "ended",
	}
	request.Note(r.Context(), slog.String("logout", said[step]))
	if v.client != nil {
		request.Note(r.Context(), slog.String("client", v.client.ID))
	}
}

// record tells the audit that a session has ended.
func (e *Endpoint) record(r *http.Request, v visit) {
	by := audit.ByClient
	if v.confirmedSID == v.current.Session.SID {
		by = audit.ByPerson
	}
	e.cfg.Audit.Write(r.Context(), audit.SessionEnded{Session: audit.SessionOf(v.current.Session), By: by, ClientID: v.req.ClientID})
}

func clientOf(v visit) web.Client {
	if v.client == nil {
		return web.Client{}
	}
	return web.Client{ID: v.client.ID, Name: v.client.Name, LogoURL: v.client.LogoURL}
}
