package server

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/countersign/countersign/server/account"
	"github.com/countersign/countersign/server/backchannel"
	"github.com/countersign/countersign/server/flow"
	"github.com/countersign/countersign/server/garbage"
	"github.com/countersign/countersign/server/identity"
	"github.com/countersign/countersign/server/keys"
	"github.com/countersign/countersign/server/logout"
	"github.com/countersign/countersign/server/oauth"
	"github.com/countersign/countersign/server/recheck"
	"github.com/countersign/countersign/server/revocation"
	"github.com/countersign/countersign/server/seal"
	"github.com/countersign/countersign/server/session"
	"github.com/countersign/countersign/server/throttle"
	"github.com/countersign/countersign/server/token"
)

// codeBytes is the payload of an authorization code: the grant's id.
const codeBytes = 16

// provider is everything that needs the store and the keys.
type provider struct {
	keys      *keys.Keys
	garbage   *garbage.Collector
	flow      *flow.Flow
	account   *account.Account
	logout    *logout.Endpoint
	telling   *backchannel.Deliverer
	token     *token.Endpoint
	browsers  *session.Browsers
	revoker   *revocation.Revoker
	rechecker *recheck.Rechecker
	metadata  document
}

// newProvider composes the rooms.
func (s *Server) newProvider(ctx context.Context, keyring *seal.Keyring) (*provider, error) {
	p := new(provider)
	var err error
	p.keys, err = keys.New(keys.Config{
		Store: s.cfg.Store, Keyring: keyring, Algorithms: s.signingAlgs(),
		RotationPeriod: s.cfg.KeyRotation, MaxTokenLifetime: oauth.LongestToken(s.cfg.Policy, s.cfg.Clients),
		Now: s.cfg.Now, Random: s.cfg.Random, Logger: s.cfg.Logger, Audit: s.cfg.Audit,
	})
	if err != nil {
		return nil, fmt.Errorf("preparing signing keys: %w", err)
	}
	if err := p.keys.Load(ctx); err != nil {
		return nil, err
	}
	p.telling, err = backchannel.New(backchannel.Config{
		Policy: s.cfg.Policy, Store: s.cfg.Store, Clients: s.clients, Sign: p.keys.Sign,
		Count: s.cfg.Metrics.LogoutDelivery, Audit: s.cfg.Audit, Now: s.cfg.Now, Random: s.cfg.Random, Logger: s.cfg.Logger,
	})
	if err != nil {
		return nil, err
	}
	bound, told := s.sessionClients()
	p.browsers, err = session.New(session.Config{
		Store: s.cfg.Store, CookieName: s.cfg.Sessions.CookieName, Secure: s.secure(),
		AbsoluteLifetime: s.cfg.Sessions.AbsoluteLifetime, IdleTimeout: s.cfg.Sessions.IdleTimeout,
		RememberLifetime: s.cfg.Sessions.RememberLifetime,
		BoundClientIDs:   bound, ToldClientIDs: told, Ended: p.telling.Wake,
		Keyring: keyring, Now: s.cfg.Now, Random: s.cfg.Random,
	})
	if err != nil {
		return nil, err
	}
	p.garbage, err = garbage.New(garbage.Config{
		Store: s.cfg.Store, Interval: s.cfg.GarbageInterval, Count: s.cfg.Metrics.Garbage,
		Ending: p.browsers.Ending, Ended: p.browsers.Ended, IdleTimeout: s.cfg.Sessions.IdleTimeout,
		Now: s.cfg.Now, Random: s.cfg.Random, Logger: s.cfg.Logger,
	})
	if err != nil {
		return nil, fmt.Errorf("preparing garbage collection: %w", err)
	}
	p.revoker, err = revocation.New(revocation.Config{
		Store: s.cfg.Store, Ending: p.browsers.Ending, Ended: p.browsers.Ended, Audit: s.cfg.Audit, Now: s.cfg.Now,
	})
	if err != nil {
		return nil, err
	}
	codes := keyring.Tokens("code", "csc_", codeBytes)
	secrets := identity.NewSecrets(keyring)
	p.rechecker, err = recheck.New(recheck.Config{
		Store: s.cfg.Store, Revoker: p.revoker, Secrets: secrets, Sources: s.sources(), Audit: s.cfg.Audit, Now: s.cfg.Now,
		Logger: s.cfg.Logger,
	})
	if err != nil {
		return nil, err
	}
	if p.flow, err = s.newFlow(p, keyring, codes); err != nil {
		return nil, err
	}
	if p.logout, err = s.newLogout(p, keyring); err != nil {
		return nil, err
	}
	if p.account, err = s.newAccount(p, keyring); err != nil {
		return nil, err
	}
	p.token, err = token.New(token.Config{
		Policy: s.cfg.Policy, Clients: s.clients, Grants: s.cfg.Store, Revoker: p.revoker,
		Codes: codes, AccessTokens: keyring.Tokens("access", "csa_", oauth.AccessTokenBytes),
		RefreshTokens: keyring.Tokens("refresh", "csr_", oauth.RefreshTokenBytes),
		Rechecker:     p.rechecker, Connectors: s.connectorIDs(),
		Sign: p.keys.Sign, Verify: p.keys.Verify, CountToken: s.cfg.Metrics.Token,
		Audit: s.cfg.Audit,
		Now:   s.cfg.Now, Random: s.cfg.Random,
	})
	if err != nil {
		return nil, err
	}
	metadata := s.cfg.Policy
	metadata.SigningAlgs = s.signingAlgs()
	body, err := json.Marshal(oauth.NewMetadata(metadata, s.site.Locales()))
	if err != nil {
		return nil, fmt.Errorf("encoding the discovery document: %w", err)
	}
	p.metadata = newDocument(body, metadataMaxAge)
	return p, nil
}

// sources are the connectors that can be asked again about people.
func (s *Server) sources() map[string]recheck.Source {
	sources := make(map[string]recheck.Source)
	for _, c := range s.cfg.Connectors {
		if r := c.Refresher(); r != nil || c.KnownWhileSigningIn {
			sources[c.ID] = recheck.Source{Refresher: r, Recheck: c.Recheck, Timeout: c.Timeout, Accept: c.Accept}
		}
	}
	return sources
}

func (s *Server) connectorIDs() []string {
	ids := make([]string, len(s.cfg.Connectors))
	for i, c := range s.cfg.Connectors {
		ids[i] = c.ID
	}
	return ids
}

func (s *Server) newFlow(p *provider, keyring *seal.Keyring, codes *seal.Tokens) (*flow.Flow, error) {
	limiter, err := throttle.New(throttle.Config{Store: s.cfg.Store, Keyring: keyring, Now: s.cfg.Now})
	if err != nil {
		return nil, err
	}
	return flow.New(flow.Config{
		Policy: s.cfg.Policy, BasePath: s.base(), Secure: s.secure(), Lifetime: s.cfg.FlowLifetime,
		RememberDefault: s.cfg.Sessions.RememberDefault,
		Clients:         s.clients, Store: s.cfg.Store, Connectors: s.cfg.Connectors,
		Browsers: p.browsers, Limiter: limiter, Keyring: keyring, Codes: codes, Site: s.site,
		Tickets: keyring.Tokens("arrival", "csu_", flow.ArrivalBytes), Secrets: identity.NewSecrets(keyring), Rechecker: p.rechecker,
		VerifyIDToken: p.verifyHint,
		CountLogin:    s.cfg.Metrics.Login,
		Audit:         s.cfg.Audit,
		Now:           s.cfg.Now, Random: s.cfg.Random,
	})
}

// verifyHint checks the signature of an id_token_hint. It may be so old that its
// key has retired.
func (p *provider) verifyHint(t string) ([]byte, error) {
	return p.keys.VerifyHint(t, oauth.JWTTypeIDToken)
}

func (s *Server) newLogout(p *provider, keyring *seal.Keyring) (*logout.Endpoint, error) {
	guard, err := s.ownForms()
	if err != nil {
		return nil, err
	}
	return logout.New(logout.Config{
		Policy: s.cfg.Policy, Path: s.base() + oauth.PathEndSession, Lifetime: s.cfg.FlowLifetime,
		Clients: s.clients, Browsers: p.browsers, Store: s.cfg.Store, Revoker: p.revoker, Keyring: keyring, Site: s.site,
		Guard: guard, VerifyIDToken: p.verifyHint, Audit: s.cfg.Audit, Now: s.cfg.Now,
		Upstreams: s.upstreams(), Secure: s.secure(), Random: s.cfg.Random,
	})
}

// upstreams are the connectors that can end a browser's session there.
func (s *Server) upstreams() map[string]logout.Upstream {
	all := make(map[string]logout.Upstream)
	for _, c := range s.cfg.Connectors {
		if o := c.SignOuter(); o != nil {
			all[c.ID] = logout.Upstream{SignOuter: o, Name: c.Name, Timeout: cmp.Or(c.Timeout, flow.DefaultTimeout)}
		}
	}
	return all
}

func (s *Server) newAccount(p *provider, keyring *seal.Keyring) (*account.Account, error) {
	return account.New(account.Config{
		Policy: s.cfg.Policy, Path: s.base() + flow.PathAccount, Leave: p.logout.Leave,
		Store: s.cfg.Store, Clients: s.clients, Browsers: p.browsers, Revoker: p.revoker, Keyring: keyring,
		SignIn: p.flow.BeginOwn, Site: s.site, Now: s.cfg.Now,
	})
}

// sessionClients are the clients whose logins end with the browser's session, and
// those that are told of its end.
func (s *Server) sessionClients() (bound, told []string) {
	for _, c := range s.cfg.Clients {
		if c.EndsWithSession {
			bound = append(bound, c.ID)
		}
		if c.BackchannelLogoutURI != "" {
			told = append(told, c.ID)
		}
	}
	return bound, told
}

// discovery serves the metadata.
func (p *provider) discovery(w http.ResponseWriter, r *http.Request) error {
	p.metadata.serve(w, r)
	return nil
}

// jwks serves the public keys.
func (p *provider) jwks(w http.ResponseWriter, r *http.Request) error {
	d := p.keys.JWKS()
	document{body: d.Body, etag: d.ETag, maxAge: d.MaxAge}.serve(w, r)
	return nil
}
