package flow

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/countersign/countersign/connector"
	"github.com/countersign/countersign/server/audit"
	"github.com/countersign/countersign/server/request"
	"github.com/countersign/countersign/server/web"
	"github.com/countersign/countersign/storage"
)

const (
	// ArrivalBytes is the payload of a ticket: the id of an arrival.
	ArrivalBytes = sha256.Size

	// MaxPosted bounds what an upstream may post, in bytes: an assertion with
	// thousands of groups.
	MaxPosted = 512 << 10

	// arrivalLifetime is how long an arrival waits for the browser's next request.
	arrivalLifetime = time.Minute

	// maxBelieved bounds for how long an upstream's message can be believed, and so
	// how long its id is kept.
	maxBelieved = 24 * time.Hour

	// paramTicket names an arrival in the address where a browser takes it.
	paramTicket = "arrival"

	// paramTurnedBack stands in its place when the upstream posted that the person
	// turned back. It proves as little as OAuth 2.0's error in an address does, and
	// is kept nowhere.
	paramTurnedBack = "turned_back"
)

// Callback is where upstreams send browsers back to: GET /callback and
// /callback/{connector}. The flow's cookie is sent only under the flow's own path,
// so a browser that did not begin this flow ends here.
func (f *Flow) Callback(w http.ResponseWriter, r *http.Request) error {
	query, err := request.ParseQuery(r)
	if err != nil {
		return err
	}
	id, ok := flowID(query)
	if !ok || query.Has(paramTicket) {
		return f.lost(w, r, errNoState)
	}
	at := "callback"
	if named := r.PathValue("connector"); named != "" {
		if f.connector(named) == nil {
			return f.lost(w, r, errNoState)
		}
		at += "/" + url.PathEscape(named)
	}
	f.seeOther(w, f.path(id, at)+"?"+r.URL.RawQuery)
	return nil
}

// errNoState: the upstream has sent somebody whom we did not send there.
var errNoState = fmt.Errorf("%w: the upstream gave back no state of ours", errNoFlow)

// flowID reads the id that the upstream gave back: OAuth 2.0's state, SAML's
// RelayState.
func flowID(values url.Values) (string, bool) {
	all := append(values["state"], values["RelayState"]...)
	if len(all) != 1 {
		return "", false
	}
	id, err := base64.RawURLEncoding.Strict().DecodeString(all[0])
	return all[0], err == nil && len(id) == flowIDBytes
}

// Posted is where an upstream's own page posts its answer: POST /callback and
// /callback/{connector}. The browser sends no cookie with that, so what was posted
// is verified, kept, and taken by the GET that follows, which has the cookie.
func (f *Flow) Posted(w http.ResponseWriter, r *http.Request) error {
	if err := request.ParseForm(r); err != nil {
		return err
	}
	id, ok := flowID(r.PostForm)
	if !ok {
		return f.lost(w, r, errNoState)
	}
	c, receipt, err := f.receive(r)
	if errors.Is(err, connector.ErrTurnedBack) {
		f.seeOther(w, f.path(id, "callback")+"?"+url.Values{paramTurnedBack: {"1"}}.Encode())
		return nil
	}
	if err != nil {
		return f.notReceived(w, r, err)
	}
	ticket, err := f.keep(r.Context(), c, receipt)
	if errors.Is(err, storage.ErrConflict) {
		return f.lost(w, r, fmt.Errorf("%w: the upstream's message was here before", errNoFlow)) // a replay, or a form that was sent twice
	}
	if err != nil {
		return err
	}
	f.seeOther(w, f.path(id, "callback")+"?"+url.Values{paramTicket: {ticket}}.Encode())
	return nil
}

// receive lets the connector that the address names check what was posted. Where
// it names none, it is the first that can make something of it: which one the
// flow departed to is checked when the browser comes with it.
func (f *Flow) receive(r *http.Request) (*Connector, connector.Receipt, error) {
	var err error // of all of them: the log has to say why, whosever it was
	last := ""
	for _, c := range f.receivers(r.PathValue("connector")) {
		ctx, cancel := context.WithTimeout(r.Context(), c.timeout())
		receipt, failed := c.Redirect.(connector.Receiver).Receive(ctx, r.PostForm)
		cancel()
		if failed == nil && (receipt.ID == "" || receipt.BelievedUntil.IsZero()) {
			failed = fmt.Errorf("%w: its message has no id or no end", connector.ErrUpstream)
		}
		if failed == nil {
			return c, receipt, nil
		}
		if !errors.Is(err, connector.ErrTurnedBack) { // what a later one cannot read was not for it
			err, last = errors.Join(err, fmt.Errorf("receiving at connector %s: %w", c.ID, timedOut(ctx, r, failed))), c.ID
		}
	}
	if last == "" {
		return nil, connector.Receipt{}, errNoFlow
	}
	noteLogin(r, last, resultError)
	return nil, connector.Receipt{}, err
}

// keep stores what was received, once, and returns what the browser takes it with.
func (f *Flow) keep(ctx context.Context, c *Connector, receipt connector.Receipt) (ticket string, err error) {
	now := f.now()
	a := storage.Arrival{
		ID:          sha256.Sum256([]byte(c.ID + "\x00" + receipt.ID)),
		ConnectorID: c.ID,
		TakeUntil:   now.Add(arrivalLifetime),
		ExpiresAt:   receipt.BelievedUntil.UTC().Truncate(time.Microsecond).Add(time.Microsecond),
	}
	if a.ExpiresAt.After(now.Add(maxBelieved)) {
		return "", fmt.Errorf("%w: its message could be believed until %s, for more than %s", connector.ErrUpstream, a.ExpiresAt, maxBelieved)
	}
	if a.ExpiresAt.Before(a.TakeUntil) {
		a.ExpiresAt = a.TakeUntil
	}
	if a.Sealed, err = f.arrivals.Seal(receipt.Content, a.ID[:]); err != nil {
		return "", fmt.Errorf("sealing an arrival: %w", err)
	}
	if err := f.cfg.Store.KeepArrival(ctx, a, now); err != nil {
		return "", fmt.Errorf("keeping an arrival: %w", err)
	}
	return f.cfg.Tickets.Make(a.ID[:]), nil
}

// Arrive signs in whom an upstream has sent back: GET /flow/{flow}/callback and
// /flow/{flow}/callback/{connector}.
func (f *Flow) Arrive(w http.ResponseWriter, r *http.Request) error {
	v, err := f.visit(r)
	if err != nil {
		return f.lost(w, r, err)
	}
	left := v.st.Away
	if left == nil { // a reload: they have arrived
		return f.advance(w, r, v)
	}
	c := f.connector(left.ConnectorID)
	if !f.usable(v, c) || c.Redirect == nil {
		return f.lost(w, r, errNoFlow)
	}
	// One departure, one arrival.
	v.st.Away = nil
	who, err := f.arrive(r, c, left.Kept)
	if err != nil {
		if _, denied := errors.AsType[*connector.DeniedError](err); denied {
			v.st.Another = true
		}
		if carried := f.carry(w, v.id, v.st, f.cfg.Lifetime); carried != nil {
			return carried
		}
		return f.loginFailed(w, r, v, c, attempt{userID: who.UserID, err: err})
	}
	return f.signedIn(w, r, v, c, who, attempt{remember: f.cfg.RememberDefault}, nil)
}

// arrive asks the connector who has arrived.
func (f *Flow) arrive(r *http.Request, c *Connector, kept []byte) (who connector.Identity, err error) {
	// RFC 9700 section 4.4.2.2: a connector with an address of its own is answered
	// there. Another one that leads people on to its provider (mix-up) gets no code.
	if at := r.PathValue("connector"); at != "" && at != c.ID {
		return who, fmt.Errorf("%w: the answer came to the address of connector %s", connector.ErrUpstream, at)
	}
	a := connector.Arrival{Kept: kept, Query: r.URL.Query()}
	if ticket := a.Query.Get(paramTicket); ticket != "" {
		if a.Received, err = f.take(r, c, ticket); err != nil {
			return who, err
		}
		a.Query = nil
	}
	if _, posts := c.Redirect.(connector.Receiver); posts && a.Query.Has(paramTurnedBack) {
		return who, connector.ErrTurnedBack
	}
	ctx, cancel := context.WithTimeout(r.Context(), c.timeout())
	defer cancel()
	if who, err = c.Redirect.Arrive(ctx, a); err != nil {
		return who, timedOut(ctx, r, err)
	}
	return c.accept(who)
}

// take returns what was received, once, and only of the connector that the flow
// departed to.
func (f *Flow) take(r *http.Request, c *Connector, ticket string) ([]byte, error) {
	payload, err := f.cfg.Tickets.Parse(ticket)
	if err != nil {
		return nil, fmt.Errorf("%w: its message has a forged ticket", connector.ErrUpstream)
	}
	a, err := f.cfg.Store.TakeArrival(r.Context(), [ArrivalBytes]byte(payload), f.now())
	if errors.Is(err, storage.ErrNotFound) {
		return nil, fmt.Errorf("%w: its message was taken already, or too late", connector.ErrUpstream)
	}
	if err != nil {
		return nil, fmt.Errorf("taking an arrival: %w", err)
	}
	if a.ConnectorID != c.ID {
		return nil, fmt.Errorf("%w: connector %s has answered instead", connector.ErrUpstream, a.ConnectorID)
	}
	content, err := f.arrivals.Open(a.Sealed, a.ID[:])
	if err != nil {
		return nil, fmt.Errorf("%w: its message cannot be opened: %v", connector.ErrUpstream, err)
	}
	return content, nil
}

// notReceived says that what was posted is not accepted. Whose flow it is, if it
// is one, is not known here.
func (f *Flow) notReceived(w http.ResponseWriter, r *http.Request, err error) error {
	_, denied := errors.AsType[*connector.DeniedError](err)
	if !denied && !errors.Is(err, connector.ErrUpstream) && !errors.Is(err, connector.ErrInvalidCredentials) {
		return f.lost(w, r, err)
	}
	request.Cause(r.Context(), err)
	f.cfg.Audit.Write(r.Context(), audit.LoginFailed{
		Person: audit.Person{ConnectorID: r.PathValue("connector")}, Reason: audit.UpstreamFailed,
	})
	f.page(w, r, http.StatusBadRequest, web.Error{Kind: web.ErrorUpstream}, nil)
	return nil
}
