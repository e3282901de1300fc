package flow

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/countersign/countersign/connector"
	"github.com/countersign/countersign/server/oauth"
	"github.com/countersign/countersign/server/request"
	"github.com/countersign/countersign/server/web"
)

// DefaultTimeout bounds one question to an upstream.
const DefaultTimeout = 5 * time.Second

// away is a departure to an upstream, as the browser carries it.
type away struct {
	ConnectorID string `json:"c"`
	Kept        []byte `json:"k,omitempty"`
}

// awayRoom is what a departure adds to the cookie at most: an id of 64 bytes and
// what a connector may keep, with their JSON, in base64url.
const awayRoom = (64 + connector.MaxKept*4/3 + 24) * 4 / 3

// depart sends the browser to the upstream of a redirect connector. Where it is
// sent back to finds the flow by its id; only this browser has the rest.
func (f *Flow) depart(w http.ResponseWriter, r *http.Request, v *visit, c *Connector) error {
	ctx, cancel := context.WithTimeout(r.Context(), c.timeout())
	defer cancel()
	to, err := c.Redirect.Depart(ctx, connector.Departure{
		State:     v.id,
		LoginHint: v.st.Request.LoginHint,
		SeenSince: v.st.Request.SeenSince(f.now()),
		Another:   v.st.Another,
	})
	if err == nil && len(to.Kept) > connector.MaxKept {
		err = fmt.Errorf("%w: it wants %d bytes kept, more than %d", connector.ErrUpstream, len(to.Kept), connector.MaxKept)
	}
	if err != nil {
		return f.loginFailed(w, r, v, c, attempt{err: timedOut(ctx, r, err)})
	}
	v.st.Away = &away{ConnectorID: c.ID, Kept: to.Kept}
	if err := f.carry(w, v.id, v.st, f.cfg.Lifetime); err != nil {
		return f.refuse(w, r, v, err)
	}
	if to.Form != nil {
		f.page(w, r, http.StatusOK, web.FormPost{Client: clientOf(v), Action: to.URL, Fields: fields(to.Form)}, v.st.Request.UILocales)
		return nil
	}
	f.seeOther(w, to.URL)
	return nil
}

// leadAway sends a browser that has submitted one of our forms to the address
// where it departs: what a form-action allows ends with that form (see
// web.Continue), and upstreams redirect as they like.
func (f *Flow) leadAway(w http.ResponseWriter, r *http.Request, v *visit, c *Connector) error {
	if err := f.carry(w, v.id, v.st, f.cfg.Lifetime); err != nil {
		return f.refuse(w, r, v, err)
	}
	login := f.cfg.Policy.Issuer + f.loginPath(v.id, c.ID)[len(f.cfg.BasePath):]
	f.cfg.Site.Lead(w, r, clientOf(v), login, web.PageOptions{
		RequestID: request.ID(r.Context()), Locales: v.st.Request.UILocales,
	})
	return nil
}

// timedOut makes an upstream's failure of a question that took too long, unless
// the person has gone.
func timedOut(ctx context.Context, r *http.Request, err error) error {
	if !errors.Is(ctx.Err(), context.DeadlineExceeded) || r.Context().Err() != nil {
		return err
	}
	return fmt.Errorf("%w: no answer in time: %w", connector.ErrUpstream, err)
}

// timeout bounds one question.
func (c *Connector) timeout() time.Duration {
	if c.Timeout > 0 {
		return c.Timeout
	}
	return DefaultTimeout
}

// upstream is what the connector is.
func (c *Connector) upstream() any {
	if c.Redirect != nil {
		return c.Redirect
	}
	return c.Password
}

// Background is the connector's, or nil.
func (c *Connector) Background() connector.Background {
	b, _ := c.upstream().(connector.Background)
	return b
}

// Refresher is the connector's, or nil.
func (c *Connector) Refresher() connector.Refresher {
	r, _ := c.upstream().(connector.Refresher)
	return r
}

// SignOuter is the connector's, or nil.
func (c *Connector) SignOuter() connector.SignOuter {
	o, _ := c.upstream().(connector.SignOuter)
	return o
}

// Ready says why nobody can sign in at the moment, or nil.
func (c *Connector) Ready() error {
	if b := c.Background(); b != nil {
		return b.Ready()
	}
	return nil
}

// accept is who a person is once the operator's rules were applied.
func (c *Connector) accept(who connector.Identity) (connector.Identity, error) {
	if who.UserID == "" {
		// All who have no id would be one person to every client.
		return who, fmt.Errorf("%w: it gave no user id", connector.ErrUpstream)
	}
	if c.Accept == nil {
		return who, nil
	}
	return c.Accept(who)
}

// Metadata serves who we are to the upstream of a connector: GET
// /saml/{connector}/metadata.
func (f *Flow) Metadata(w http.ResponseWriter, r *http.Request) error {
	var described connector.Metadata
	if c := f.connector(r.PathValue("connector")); c != nil {
		described, _ = c.upstream().(connector.Metadata)
	}
	if described == nil {
		f.page(w, r, http.StatusNotFound, web.Error{Kind: web.ErrorNotFound}, nil)
		return nil
	}
	contentType, body, err := described.Metadata()
	if err != nil {
		return fmt.Errorf("describing ourselves: %w", err)
	}
	w.Header().Set("Content-Type", contentType)
	_, err = w.Write(body)
	return err
}

// receivers are the connectors whose upstream may post to an address.
func (f *Flow) receivers(id string) []*Connector {
	var all []*Connector
	for i := range f.cfg.Connectors {
		c := &f.cfg.Connectors[i]
		if _, ok := c.Redirect.(connector.Receiver); ok && (id == "" || id == c.ID) {
			all = append(all, c)
		}
	}
	return slices.Clip(all)
}

// usable reports whether a flow may use a connector now.
func (f *Flow) usable(v *visit, c *Connector) bool {
	return c != nil && oauth.AllowedConnector(v.st.Request, f.connectors, v.client, c.ID)
}
