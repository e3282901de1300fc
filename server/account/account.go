// Package account is the page on which people see where they are signed in, here
// and in apps, and end any of it: the lost laptop.
//
// Seeing it, and ending things, needs a live session and no fresh sign-in: whoever
// has the session can sign in to apps with it, and must be able to end it all at
// once. It refuses to name anybody's but the person's own: the page is bound to
// them, and whatever id a form holds, what it ends is theirs or nothing.
//
// Threat: forms of other sites and of other people's pages, ids that were guessed
// or altered, a page that was left open, and names, addresses and user agents that
// anybody chose.
package account

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/countersign/countersign/server/audit"
	"github.com/countersign/countersign/server/oauth"
	"github.com/countersign/countersign/server/request"
	"github.com/countersign/countersign/server/revocation"
	"github.com/countersign/countersign/server/seal"
	"github.com/countersign/countersign/server/session"
	"github.com/countersign/countersign/server/web"
	"github.com/countersign/countersign/storage"
)

// Why things end here.
var (
	ended        = revocation.Cause{By: audit.ByPerson, Reason: "revoked_by_person"}
	sessionEnded = revocation.Cause{By: audit.ByPerson, Reason: "session_ended_by_person"}
)

// confirmed is how long a confirmation is shown for, on a page that is reloaded.
const confirmed = time.Minute

// patience is how long it may take to end what a person has, whether or not they
// wait for it.
const patience = time.Minute

// Store is what the page reads.
type Store interface {
	SessionsOf(ctx context.Context, in storage.Holding) ([]storage.Session, error)
	GrantsOf(ctx context.Context, in storage.Holding) ([]storage.Grant, error)
}

// Config is what the page depends on. All fields are required.
type Config struct {
	Policy oauth.Policy
	// Path is where the page is.
	Path     string
	Store    Store
	Clients  storage.Clients
	Browsers *session.Browsers
	Revoker  *revocation.Revoker
	Keyring  *seal.Keyring
	// Leave leads who has ended their own session to where nobody needs to be signed
	// in, without the cookie.
	Leave func(w http.ResponseWriter, r *http.Request, ended *session.Current) error
	// SignIn leads whoever is not signed in here, by way of a sign-in.
	SignIn func(w http.ResponseWriter, r *http.Request) error
	Site   *web.Site
	Now    func() time.Time
}

// Account serves the page.
type Account struct {
	cfg Config
	box *seal.Box
}

// New checks the configuration.
func New(cfg Config) (*Account, error) {
	if cfg.Path == "" || cfg.Leave == nil || cfg.Store == nil || cfg.Clients == nil || cfg.Browsers == nil ||
		cfg.Revoker == nil || cfg.Keyring == nil || cfg.SignIn == nil || cfg.Site == nil || cfg.Now == nil {
		return nil, errors.New("account: every field of Config is required")
	}
	return &Account{cfg: cfg, box: cfg.Keyring.Box("account")}, nil
}

// Get shows the page: GET /account.
func (a *Account) Get(w http.ResponseWriter, r *http.Request) error {
	current, err := a.cfg.Browsers.Current(r.Context(), r)
	if err != nil {
		return err
	}
	if current == nil {
		return a.cfg.SignIn(w, r)
	}
	query := r.URL.Query()
	page := web.Account{
		Person: web.PersonOf(current.Identity), Action: a.cfg.Path, Subject: subjectOf(current),
		Done: a.confirmation(current, query.Get("done")),
	}
	if err := a.browsers(r.Context(), current, &page); err != nil {
		return err
	}
	if err := a.apps(r.Context(), current, grantID(query.Get("before")), &page); err != nil {
		return err
	}
	a.cfg.Site.Page(w, r, http.StatusOK, page, web.PageOptions{RequestID: request.ID(r.Context())})
	return nil
}

// Post ends what the person asks for: POST /account. Whoever is not signed in, or
// not as the person of the page any more, ends nothing.
func (a *Account) Post(w http.ResponseWriter, r *http.Request) error {
	if err := request.ParseForm(r); err != nil {
		return err
	}
	current, err := a.cfg.Browsers.Current(r.Context(), r)
	if err != nil {
		return err
	}
	if current == nil || r.PostForm.Get("subject") != subjectOf(current) {
		seeOther(w, a.cfg.Path)
		return nil
	}
	// Who hangs up does not end the ending: half of it would be the worst.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), patience)
	defer cancel()
	return a.end(w, r.WithContext(ctx), current)
}

// end does one of what the page offers.
func (a *Account) end(w http.ResponseWriter, r *http.Request, current *session.Current) error {
	ctx, form := r.Context(), r.PostForm
	who := revocation.Person{ConnectorID: current.Session.ConnectorID, UserID: current.Session.UserID}
	var err error
	done := web.DoneNothing
	switch {
	case form.Get("end") == "all":
		if _, err = a.cfg.Revoker.Person(ctx, who, ended); err == nil {
			return a.cfg.Leave(w, r, current)
		}
	case form.Get("end") == "apps":
		done = web.DoneApps
		_, err = a.cfg.Revoker.GrantsOf(ctx, who, ended)
	case form.Get("session") != "":
		done = web.DoneBrowser
		_, err = a.cfg.Revoker.SessionOf(ctx, who, form.Get("session"), sessionEnded)
		if err == nil && form.Get("session") == current.Session.SID {
			return a.cfg.Leave(w, r, current)
		}
	case form.Get("grant") != "":
		done = web.DoneApp
		_, err = a.cfg.Revoker.GrantOf(ctx, who, grantID(form.Get("grant")), ended)
	}
	if err != nil {
		return err
	}
	address, err := a.confirm(current, done)
	if err != nil {
		return err
	}
	seeOther(w, address)
	return nil
}

// confirm is the page's address with what was ended, sealed for this session: no
// link makes the page claim what did not happen.
func (a *Account) confirm(current *session.Current, done web.AccountDone) (string, error) {
	if done == web.DoneNothing {
		return a.cfg.Path, nil
	}
	plain := string(done) + " " + strconv.FormatInt(a.cfg.Now().Unix(), 10)
	sealed, err := a.box.Seal([]byte(plain), []byte(current.Session.SID))
	if err != nil {
		return "", err
	}
	return a.cfg.Path + "?" + url.Values{"done": {base64.RawURLEncoding.EncodeToString(sealed)}}.Encode(), nil
}

// confirmation is the inverse of confirm, for a moment.
func (a *Account) confirmation(current *session.Current, value string) web.AccountDone {
	sealed, err := base64.RawURLEncoding.DecodeString(value)
	if err != nil {
		return web.DoneNothing
	}
	plain, err := a.box.Open(sealed, []byte(current.Session.SID))
	if err != nil {
		return web.DoneNothing
	}
	done, at, _ := strings.Cut(string(plain), " ")
	seconds, err := strconv.ParseInt(at, 10, 64)
	if err != nil || a.cfg.Now().Sub(time.Unix(seconds, 0)) > confirmed {
		return web.DoneNothing
	}
	return web.AccountDone(done)
}

// subjectOf names the person in a form.
func subjectOf(current *session.Current) string {
	return oauth.Subject(current.Session.UserID, current.Session.ConnectorID)
}

// grantID reads an id; zero when it is none.
func grantID(text string) (id storage.GrantID) {
	raw, err := hex.DecodeString(text)
	if err != nil || len(raw) != len(id) {
		return id
	}
	return storage.GrantID(raw)
}

func seeOther(w http.ResponseWriter, location string) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Location", location)
	w.WriteHeader(http.StatusSeeOther)
}
