package saml

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/beevik/etree"

	"github.com/countersign/countersign/connector"
)

// maxAge is how long after it was made a message of single logout is believed,
// whatever it says itself: it comes straight through a browser.
const maxAge = 5 * time.Minute

// session is what is kept of a sign-in to end it: who the provider has signed in,
// by its own name for them, and in which session of its (SAML Core 2.2.3, 2.7.2).
type session struct {
	NameID          string `json:"n"`
	Format          string `json:"f,omitempty"`
	NameQualifier   string `json:"q,omitempty"`
	SPNameQualifier string `json:"s,omitempty"`
	Index           string `json:"i,omitempty"`
}

// kept is the session of an assertion; nil when nobody is to be signed out.
func (c *Connector) kept(a assertion) ([]byte, error) {
	if c.cfg.SignOutURL == "" || a.NameID == "" {
		return nil, nil
	}
	text, err := json.Marshal(a.session())
	if err != nil {
		return nil, fmt.Errorf("%w: encoding what is kept of its session: %w", connector.ErrUpstream, err)
	}
	return text, nil
}

func (a assertion) session() session {
	return session{NameID: a.NameID, Format: a.NameIDFormat, NameQualifier: a.NameQualifier, SPNameQualifier: a.SPNameQualifier, Index: a.SessionIndex}
}

// SignOut implements connector.SignOuter by a LogoutRequest (SAML Core 3.7.1,
// Profiles 4.4.3.1).
func (c *Connector) SignOut(_ context.Context, s connector.SignOut) (connector.Away, error) {
	if c.cfg.SignOutURL == "" {
		return connector.Away{}, nil
	}
	p, err := c.known()
	if err != nil {
		return connector.Away{}, fmt.Errorf("%w: %w", connector.ErrUpstream, err)
	}
	if p.slo.url == "" {
		return connector.Away{}, nil
	}
	var who session
	if err := json.Unmarshal(s.Session, &who); err != nil {
		return connector.Away{}, fmt.Errorf("%w: nothing is known of the session there: %w", connector.ErrUpstream, err)
	}
	id := make([]byte, idBytes)
	if _, err := io.ReadFull(c.cfg.Random, id); err != nil {
		return connector.Away{}, fmt.Errorf("making the id of a request: %w", err)
	}
	away, err := c.send(message{
		parameter: samlRequest, binding: p.slo.binding, to: p.slo.url, state: s.State,
		root: c.logoutRequest(p, requestID(id), who),
	})
	if err != nil {
		return connector.Away{}, fmt.Errorf("%w: making the request: %w", connector.ErrUpstream, err)
	}
	away.Kept = id
	return away, nil
}

// logoutRequest is one for a session.
func (c *Connector) logoutRequest(p *provider, id string, who session) *etree.Element {
	root := c.message("LogoutRequest", id, p.slo.url)
	root.CreateAttr("NotOnOrAfter", stamp(c.cfg.Now().Add(maxAge)))
	root.CreateAttr("Reason", "urn:oasis:names:tc:SAML:2.0:logout:user")
	name := root.CreateElement("saml:NameID")
	for _, a := range []struct{ name, value string }{
		{"Format", who.Format}, {"NameQualifier", who.NameQualifier}, {"SPNameQualifier", who.SPNameQualifier},
	} {
		if a.value != "" {
			name.CreateAttr(a.name, a.value)
		}
	}
	name.SetText(who.NameID)
	if who.Index != "" {
		root.CreateElement("samlp:SessionIndex").SetText(who.Index)
	}
	return root
}

// message is the beginning of one of single logout.
func (c *Connector) message(tag, id, to string) *etree.Element {
	root := etree.NewElement("samlp:" + tag)
	root.CreateAttr("xmlns:samlp", nsProtocol)
	root.CreateAttr("xmlns:saml", nsAssertion)
	root.CreateAttr("ID", id)
	root.CreateAttr("Version", "2.0")
	root.CreateAttr("IssueInstant", stamp(c.cfg.Now()))
	root.CreateAttr("Destination", to)
	root.CreateElement("saml:Issuer").SetText(c.cfg.EntityID)
	return root
}

// stamp is a time as SAML has it (Core 1.3.3).
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

// ReceiveSignedOut implements connector.SignOutReceiver. What it returns is the
// request that is answered.
func (c *Connector) ReceiveSignedOut(ctx context.Context, m connector.Message) ([]byte, error) {
	answered, err := c.logoutResponse(ctx, m)
	if err != nil {
		return nil, fmt.Errorf("%w: its logout response: %w", connector.ErrUpstream, err)
	}
	return []byte(answered), nil
}

// SignedOut implements connector.SignOuter. That the answer came with the right
// RelayState proves nothing.
func (c *Connector) SignedOut(ctx context.Context, a connector.Arrival) error {
	if len(a.Kept) != idBytes {
		return fmt.Errorf("%w: there was no such departure", connector.ErrUpstream)
	}
	answered, err := string(a.Received), error(nil)
	if a.Received == nil {
		answered, err = c.logoutResponse(ctx, connector.Message{RawQuery: a.RawQuery})
	}
	if err != nil {
		return fmt.Errorf("%w: its logout response: %w", connector.ErrUpstream, err)
	}
	if subtle.ConstantTimeCompare([]byte(answered), []byte(requestID(a.Kept))) != 1 {
		return fmt.Errorf("%w: its logout response is to another request", connector.ErrUpstream)
	}
	return nil
}

// logoutResponse reads an answer that says that the session has ended (SAML Core
// 3.7.2), and returns which request it is to.
func (c *Connector) logoutResponse(ctx context.Context, m connector.Message) (inResponseTo string, err error) {
	if c.cfg.SignOutURL == "" {
		return "", errOff
	}
	p, err := c.known()
	if err != nil {
		return "", err
	}
	root, _, err := c.receive(ctx, p, samlResponse, m)
	if err != nil {
		return "", err
	}
	if _, err := c.checkMessage(root, "LogoutResponse", p); err != nil {
		return "", err
	}
	return attribute(root, "InResponseTo"), checkStatus(root)
}

// errOff: nobody asked for single logout.
var errOff = errors.New("single logout is off")

// checkMessage checks what all messages of single logout say (SAML Profiles 4.4.4,
// Bindings 3.4.5.2), and returns when this one is too old.
func (c *Connector) checkMessage(root *etree.Element, tag string, p *provider) (until time.Time, err error) {
	if !is(root, nsProtocol, tag) {
		return until, fmt.Errorf("it is a %.50q", root.Tag)
	}
	if version := attribute(root, "Version"); version != "2.0" || attribute(root, "ID") == "" {
		return until, fmt.Errorf("it has the version %.20q and the ID %.50q", version, attribute(root, "ID"))
	}
	if to := attribute(root, "Destination"); to != c.cfg.SignOutURL {
		return until, fmt.Errorf("its Destination is %.200q, not %q", to, c.cfg.SignOutURL)
	}
	issuer, err := child(root, nsAssertion, "Issuer")
	if err != nil {
		return until, err
	}
	if err := checkIssuer(issuer, p.issuer); err != nil {
		return until, err
	}
	issued, err := instant(root, "IssueInstant")
	if err != nil {
		return until, err
	}
	now := c.cfg.Now()
	until = issued.Add(maxAge + skew)
	if issued.IsZero() || issued.After(now.Add(skew)) || !now.Before(until) {
		return until, fmt.Errorf("it was made at %s", issued)
	}
	return until, nil
}
