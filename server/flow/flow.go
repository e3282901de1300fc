// Package flow is the browser's way through a sign-in: authorization request,
// connector, consent, code.
//
// It refuses to decide: what happens next is server/oauth's answer, asked anew
// at each visit. And it stores nothing for strangers: until somebody has proved
// who they are, a flow lives in a sealed cookie of the browser that started it,
// under a path of its own, so that many tabs work at once.
//
// Threat: a flow begun in one browser and finished in another (login CSRF), a
// code stolen by whoever knows the flow's address, forged or replayed flow
// state, guessed passwords, a page that is framed or posted to from elsewhere,
// a flood of anonymous requests.
package flow

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/countersign/countersign/connector"
	"github.com/countersign/countersign/server/audit"
	"github.com/countersign/countersign/server/identity"
	"github.com/countersign/countersign/server/oauth"
	"github.com/countersign/countersign/server/recheck"
	"github.com/countersign/countersign/server/seal"
	"github.com/countersign/countersign/server/session"
	"github.com/countersign/countersign/server/throttle"
	"github.com/countersign/countersign/server/web"
	"github.com/countersign/countersign/storage"
)

// Store is what a flow keeps once somebody has proved who they are.
type Store interface {
	SignIn(ctx context.Context, in storage.SignIn) (replaced bool, err error)
	Authorize(ctx context.Context, in storage.Authorization) error
	storage.Arrivals
	Consent(ctx context.Context, connectorID, userID, clientID string, now time.Time) (storage.Consent, error)
}

// Connector is a configured upstream.
type Connector struct {
	oauth.Connector
	// Name is shown to people.
	Name string
	// Type is the kind of upstream: "local", …
	Type string
	// One of Password and Redirect is set.
	Password connector.PasswordConnector
	Redirect connector.RedirectConnector
	// Accept applies the operator's rules to what the connector says; nil: there
	// are none. Its error is or wraps *connector.DeniedError or
	// connector.ErrUpstream.
	Accept func(connector.Identity) (connector.Identity, error)
	// Timeout bounds one question to the upstream. Default: DefaultTimeout.
	Timeout time.Duration
	// Recheck says when people of this connector are asked for again.
	Recheck oauth.Recheck
	// KnownWhileSigningIn: the connector cannot be asked about people who are not
	// there, and what it said of them is good for Recheck.After. Without it, such a
	// connector is believed for as long as a grant lives.
	KnownWhileSigningIn bool
}

// Config is what flows depend on. All fields but Audit are required.
type Config struct {
	Policy oauth.Policy
	// BasePath is the path of the issuer, without a slash at its end.
	BasePath string
	// Secure is set when the issuer is https.
	Secure bool
	// Lifetime is how long a person may take from the request to the last page.
	Lifetime time.Duration
	// RememberDefault is whether "keep me signed in" starts checked.
	RememberDefault bool

	Clients    storage.Clients
	Store      Store
	Connectors []Connector
	Browsers   *session.Browsers
	Limiter    *throttle.Limiter
	Keyring    *seal.Keyring
	// Codes makes authorization codes of grant ids.
	Codes *seal.Tokens
	// Tickets makes what a browser takes its arrival with.
	Tickets *seal.Tokens
	// Secrets seals what connectors want to have when they are asked again, and
	// Rechecker asks them.
	Secrets   *identity.Secrets
	Rechecker *recheck.Rechecker
	Site      *web.Site
	// VerifyIDToken checks the signature of an id_token of ours, expired or not,
	// and returns its payload.
	VerifyIDToken func(token string) ([]byte, error)
	// CountLogin is told the result of each attempt to sign in.
	CountLogin func(connectorID, result string)
	// Audit may be nil.
	Audit  *audit.Log
	Now    func() time.Time
	Random io.Reader
}

// Flow serves the pages of the way.
type Flow struct {
	cfg        Config
	box        *seal.Box
	arrivals   *seal.Box
	connectors []oauth.Connector
}

// New checks the configuration.
func New(cfg Config) (*Flow, error) {
	switch {
	case cfg.Clients == nil, cfg.Store == nil, cfg.Browsers == nil, cfg.Limiter == nil, cfg.Keyring == nil,
		cfg.Codes == nil, cfg.Tickets == nil, cfg.Secrets == nil, cfg.Rechecker == nil, cfg.Site == nil, cfg.VerifyIDToken == nil, cfg.CountLogin == nil, cfg.Now == nil, cfg.Random == nil:
		return nil, errors.New("flow: every field of Config but Audit is required")
	case len(cfg.Connectors) == 0:
		return nil, errors.New("flow: there is no connector, nobody could sign in")
	case cfg.Lifetime <= 0:
		return nil, errors.New("flow: Lifetime must be positive")
	}
	f := &Flow{cfg: cfg, box: cfg.Keyring.Box("flow"), arrivals: cfg.Keyring.Box("arrival")}
	for _, c := range cfg.Connectors {
		if (c.Password == nil) == (c.Redirect == nil) {
			return nil, fmt.Errorf("flow: connector %q needs one way to authenticate people", c.ID)
		}
		f.connectors = append(f.connectors, c.Connector)
	}
	return f, nil
}

// connector returns a configured connector, or nil.
func (f *Flow) connector(id string) *Connector {
	for i := range f.cfg.Connectors {
		if f.cfg.Connectors[i].ID == id {
			return &f.cfg.Connectors[i]
		}
	}
	return nil
}

// now is the time as records keep it.
func (f *Flow) now() time.Time { return f.cfg.Now().UTC().Truncate(time.Microsecond) }
