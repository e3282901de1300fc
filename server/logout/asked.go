package logout

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/countersign/countersign/connector"
	"github.com/countersign/countersign/server/audit"
	"github.com/countersign/countersign/server/oauth"
	"github.com/countersign/countersign/server/revocation"
	"github.com/countersign/countersign/storage"
)

// Store is what an upstream's own requests need.
type Store interface {
	// KeepArrival notes a request, so that it is not taken twice.
	KeepArrival(ctx context.Context, a storage.Arrival, now time.Time) error
	SessionsOf(ctx context.Context, in storage.Holding) ([]storage.Session, error)
}

// maxSessions is how many of a person's browsers are looked at for a request.
const maxSessions = 500

// reasonUpstream is why what ends with the session is revoked.
const reasonUpstream = "signed_out_upstream"

// maxBelieved bounds for how long an upstream's request can be believed, and so how
// long its id is kept.
const maxBelieved = time.Hour

// asked ends the sessions that an upstream wants to end, and leads the browser back
// to it with the answer. They are found by the person; where the request says who
// they are in another way, in the browser that brings it. That one sends its cookie
// only when the upstream has led it here as a page, and not in a frame.
func (e *Endpoint) asked(w http.ResponseWriter, r *http.Request, connectorID string, from connector.SignOutReceiver, m connector.Message) error {
	refused := &oauth.Error{Code: oauth.InvalidRequest, Description: "this sign-out is not one of the identity provider's, or has been used before"}
	ctx, cancel := context.WithTimeout(r.Context(), e.cfg.Upstreams[connectorID].Timeout)
	defer cancel()
	req, err := from.ReceiveSignOut(ctx, m)
	if err == nil {
		err = e.once(r.Context(), connectorID, req)
	}
	if errors.Is(err, connector.ErrUpstream) || errors.Is(err, storage.ErrConflict) {
		e.failed(r, connectorID, err)
		return refused
	}
	if err != nil {
		return fmt.Errorf("receiving a sign-out of connector %s: %w", connectorID, err)
	}
	done, err := e.endMeant(w, r, connectorID, req)
	if err != nil {
		return err
	}
	noteUpstream(r, "asked")
	to, err := req.Answer(done)
	if err != nil {
		return fmt.Errorf("answering a sign-out of connector %s: %w", connectorID, err)
	}
	if to.URL == "" { // whether this browser is still signed in, as somebody else, is said there
		e.redirect(w, e.cfg.Path)
		return nil
	}
	e.send(w, r, visit{}, e.cfg.Upstreams[connectorID], to)
	return nil
}

// once notes a request; storage.ErrConflict: it was here before.
func (e *Endpoint) once(ctx context.Context, connectorID string, req connector.SignOutRequest) error {
	now := e.cfg.Now().UTC().Truncate(time.Microsecond)
	until := req.BelievedUntil.UTC().Truncate(time.Microsecond).Add(time.Microsecond)
	if req.ID == "" || until.After(now.Add(maxBelieved)) {
		return fmt.Errorf("%w: its request has no id, or can be believed until %s", connector.ErrUpstream, until)
	}
	a := storage.Arrival{
		ID: sha256.Sum256([]byte("sign-out\x00" + connectorID + "\x00" + req.ID)), ConnectorID: connectorID,
		TakeUntil: now, ExpiresAt: until,
	}
	var err error
	if a.Sealed, err = e.answers.Seal([]byte(req.ID), a.ID[:]); err != nil {
		return fmt.Errorf("sealing a sign-out: %w", err)
	}
	if err := e.cfg.Store.KeepArrival(ctx, a, now); err != nil {
		return fmt.Errorf("keeping a sign-out: %w", err)
	}
	return nil
}

// endMeant ends the sessions that are meant. It reports whether all are over that
// could be: false when the person is not known, and this browser does not have one.
func (e *Endpoint) endMeant(w http.ResponseWriter, r *http.Request, connectorID string, req connector.SignOutRequest) (done bool, err error) {
	current, err := e.cfg.Browsers.Current(r.Context(), r)
	if err != nil {
		return false, err
	}
	if current != nil && e.meant(current.Session, connectorID, req) {
		ended, err := e.cfg.Browsers.End(r.Context(), w, r)
		if err != nil {
			return false, err
		}
		if done = true; ended {
			e.cfg.Audit.Write(r.Context(), audit.SessionEnded{Session: audit.SessionOf(current.Session), By: audit.ByConnector})
		}
	}
	if req.UserID == "" || !storage.IsText(req.UserID) {
		return done, nil
	}
	return true, e.endOthers(r.Context(), connectorID, req)
}

func (e *Endpoint) meant(s storage.Session, connectorID string, req connector.SignOutRequest) bool {
	return s.ConnectorID == connectorID && req.Means(s.UserID, e.cfg.Browsers.Upstream(s))
}

// endOthers ends the sessions in other browsers.
func (e *Endpoint) endOthers(ctx context.Context, connectorID string, req connector.SignOutRequest) error {
	who := revocation.Person{ConnectorID: connectorID, UserID: req.UserID}
	found, err := e.cfg.Store.SessionsOf(ctx, storage.Holding{
		ConnectorID: connectorID, UserID: req.UserID, Now: e.cfg.Now(), UsedAfter: e.cfg.Browsers.UsedAfter(), Limit: maxSessions,
	})
	if err != nil {
		return fmt.Errorf("reading a person's sessions: %w", err)
	}
	for _, s := range found {
		if !e.meant(s, connectorID, req) {
			continue
		}
		if _, err := e.cfg.Revoker.SessionOf(ctx, who, s.SID, revocation.Cause{By: audit.ByConnector, Reason: reasonUpstream}); err != nil {
			return err
		}
	}
	return nil
}
