package saml

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/beevik/etree"

	"github.com/countersign/countersign/connector"
)

// maxState bounds what is given back of a provider's RelayState (SAML Bindings
// 3.4.3 allows 80 bytes).
const maxState = 1024

// logoutRequest is a provider's request to end sessions (SAML Core 3.7.1).
type logoutRequest struct {
	id    string
	until time.Time
	who   session
	// indexes are the sessions at the provider that are meant; empty: all.
	indexes []string
}

// Asks implements connector.SignOutReceiver.
func (c *Connector) Asks(m connector.Message) bool {
	return m.Query.Has(samlRequest) || m.Form.Has(samlRequest)
}

// ReceiveSignOut implements connector.SignOutReceiver.
func (c *Connector) ReceiveSignOut(ctx context.Context, m connector.Message) (connector.SignOutRequest, error) {
	r, state, p, err := c.asked(ctx, m)
	if err != nil {
		return connector.SignOutRequest{}, fmt.Errorf("%w: its logout request: %w", connector.ErrUpstream, err)
	}
	request := connector.SignOutRequest{
		ID: r.id, BelievedUntil: r.until,
		Means:  func(userID string, kept []byte) bool { return c.means(p, r, userID, kept) },
		Answer: func(done bool) (connector.Away, error) { return c.answer(p, r.id, state, done) },
	}
	if c.cfg.Attributes.ID == "" {
		request.UserID = r.who.NameID
	}
	return request, nil
}

// asked reads and checks a request.
func (c *Connector) asked(ctx context.Context, m connector.Message) (r logoutRequest, state string, p *provider, err error) {
	if c.cfg.SignOutURL == "" {
		return r, "", nil, errOff
	}
	if p, err = c.known(); err != nil {
		return r, "", nil, err
	}
	root, state, err := c.receive(ctx, p, samlRequest, m)
	if err != nil {
		return r, "", nil, err
	}
	if len(state) > maxState {
		return r, "", nil, fmt.Errorf("its RelayState has %d bytes", len(state))
	}
	if r.until, err = c.checkMessage(root, "LogoutRequest", p); err != nil {
		return r, "", nil, err
	}
	return r, state, p, r.read(root, c.cfg.Now())
}

// read reads what a request says of its own.
func (r *logoutRequest) read(root *etree.Element, now time.Time) error {
	r.id = attribute(root, "ID")
	notOn, err := instant(root, "NotOnOrAfter")
	if err != nil {
		return err
	}
	if until := notOn.Add(skew); !notOn.IsZero() && until.Before(r.until) {
		r.until = until
	}
	if !now.Before(r.until) {
		return fmt.Errorf("it could be used until %s", notOn)
	}
	name, err := child(root, nsAssertion, "NameID")
	if err != nil {
		return err
	}
	if r.who, err = named(name); err != nil {
		return err
	}
	for _, el := range children(root, nsProtocol, "SessionIndex") {
		index, err := text(el)
		if err != nil {
			return err
		}
		r.indexes = append(r.indexes, index)
	}
	return nil
}

// named reads a NameID.
func named(el *etree.Element) (s session, err error) {
	if s.NameID, err = text(el); err != nil {
		return s, err
	}
	if s.NameID == "" {
		return s, errors.New("its NameID is empty")
	}
	s.Format, s.NameQualifier, s.SPNameQualifier = attribute(el, "Format"), attribute(el, "NameQualifier"), attribute(el, "SPNameQualifier")
	return s, nil
}

// means reports whether a request means a session (SAML Core 3.7.3.1). Of one that
// nothing is kept of, only the person is known: all of them are, or none.
func (c *Connector) means(p *provider, r logoutRequest, userID string, kept []byte) bool {
	if len(kept) == 0 {
		return c.cfg.Attributes.ID == "" && userID == r.who.NameID && len(r.indexes) == 0
	}
	var s session
	if json.Unmarshal(kept, &s) != nil || c.whole(p, s) != c.whole(p, r.who) {
		return false
	}
	return len(r.indexes) == 0 || slices.Contains(r.indexes, s.Index)
}

// whole is a session's name with what it says by leaving it out (SAML Core 8.3.7,
// 8.3.1), to be compared (3.3.4).
func (c *Connector) whole(p *provider, s session) session {
	s.Index = ""
	for _, f := range []struct {
		to    *string
		value string
	}{{&s.Format, format("unspecified")}, {&s.NameQualifier, p.issuer}, {&s.SPNameQualifier, c.cfg.EntityID}} {
		if *f.to == "" {
			*f.to = f.value
		}
	}
	return s
}

// answer is the LogoutResponse (SAML Core 3.7.2).
func (c *Connector) answer(p *provider, to, state string, done bool) (connector.Away, error) {
	if p.slo.answerURL == "" {
		return connector.Away{}, nil
	}
	id := make([]byte, idBytes)
	if _, err := io.ReadFull(c.cfg.Random, id); err != nil {
		return connector.Away{}, fmt.Errorf("making the id of an answer: %w", err)
	}
	root := c.message("LogoutResponse", "id-"+hex.EncodeToString(id), p.slo.answerURL)
	root.CreateAttr("InResponseTo", to)
	code := root.CreateElement("samlp:Status").CreateElement("samlp:StatusCode")
	if done {
		code.CreateAttr("Value", statusSuccess)
	} else {
		code.CreateAttr("Value", statusPrefix+"Responder")
		code.CreateElement("samlp:StatusCode").CreateAttr("Value", statusPrefix+"UnknownPrincipal")
	}
	return c.send(message{parameter: samlResponse, binding: p.slo.binding, to: p.slo.answerURL, root: root, state: state})
}
