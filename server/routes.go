package server

import (
	"fmt"
	"net/http"
	"path"
	"slices"
	"strings"

	"github.com/countersign/countersign/server/account"
	"github.com/countersign/countersign/server/flow"
	"github.com/countersign/countersign/server/logout"
	"github.com/countersign/countersign/server/oauth"
	"github.com/countersign/countersign/server/request"
	"github.com/countersign/countersign/server/telemetry"
	"github.com/countersign/countersign/server/token"
	"github.com/countersign/countersign/server/web"
)

// Paths under the issuer that are not in the core's metadata.
const (
	pathDiscovery      = "/.well-known/openid-configuration"
	pathServerMetadata = "/.well-known/oauth-authorization-server"
	pathStatic         = "/static/"
	pathHealth         = "/healthz"
	pathReady          = "/readyz"
	stepConnectors     = "/flow/{flow}/connectors"
	stepLogin          = "/flow/{flow}/login/{connector}"
	stepAccount        = "/flow/{flow}/account"
	stepConsent        = "/flow/{flow}/consent"
	stepArrive         = "/flow/{flow}/callback"
	stepSignedOut      = oauth.PathEndSession + "/away/{logout}"
	pathCallback       = "/callback"
	pathSAMLMetadata   = "/saml/{connector}/metadata"
)

// handler answers a request once the provider has been loaded.
type handler func(p *provider, w http.ResponseWriter, r *http.Request) error

// route is one line of the table.
type route struct {
	// methods, space-separated; each makes one pattern of the mux.
	methods string
	path    string
	serve   handler
	// errors is who reads them.
	errors audience
	// access is who may send what.
	access access
}

type access int

const (
	// open: other sites may lead people here, their scripts may not read.
	open access = iota
	// scripts: the scripts of AllowedOrigins may read the answer (CORS).
	scripts
	// ours: what another site posts is refused (login CSRF, clickjacked forms).
	ours
	// upstreams: they may post, and more than others.
	upstreams
)

// routes is every address under the issuer that needs the provider.
func (s *Server) routes() []route {
	return []route{
		{"GET", pathDiscovery, (*provider).discovery, forClients, scripts},
		{"GET", pathServerMetadata, (*provider).discovery, forClients, scripts},
		{"GET", oauth.PathKeys, (*provider).jwks, forClients, scripts},

		// The authorization request may be posted by the client's own site.
		{"GET POST", oauth.PathAuthorization, inFlow((*flow.Flow).Authorize), forPeople, open},
		{"GET POST", oauth.PathAuthorization + "/{connector}", inFlow((*flow.Flow).Authorize), forPeople, open},

		{"GET", "/flow/{flow}", inFlow((*flow.Flow).Resume), forPeople, open},
		{"GET", stepConnectors, inFlow((*flow.Flow).ConnectorsPage), forPeople, open},
		{"GET", stepLogin, inFlow((*flow.Flow).LoginPage), forPeople, open},
		{"POST", stepLogin, inFlow((*flow.Flow).Login), forPeople, ours},
		{"GET", stepAccount, inFlow((*flow.Flow).AccountPage), forPeople, open},
		{"POST", stepAccount, inFlow((*flow.Flow).Account), forPeople, ours},
		{"GET", stepConsent, inFlow((*flow.Flow).ConsentPage), forPeople, open},
		{"POST", stepConsent, inFlow((*flow.Flow).Consent), forPeople, ours},

		// Upstreams send people back here; their own pages may post.
		{"GET", pathCallback, inFlow((*flow.Flow).Callback), forPeople, open},
		{"GET", pathCallback + "/{connector}", inFlow((*flow.Flow).Callback), forPeople, open},
		{"POST", pathCallback, inFlow((*flow.Flow).Posted), forPeople, upstreams},
		{"POST", pathCallback + "/{connector}", inFlow((*flow.Flow).Posted), forPeople, upstreams},
		{"GET", stepArrive, inFlow((*flow.Flow).Arrive), forPeople, open},
		{"GET", stepArrive + "/{connector}", inFlow((*flow.Flow).Arrive), forPeople, open},
		{"GET", pathSAMLMetadata, inFlow((*flow.Flow).Metadata), forPeople, open},

		{"POST", oauth.PathToken, atToken((*token.Endpoint).Token), forClients, scripts},
		{"POST", oauth.PathRevocation, atToken((*token.Endpoint).Revoke), forClients, scripts},
		{"POST", oauth.PathIntrospection, atToken((*token.Endpoint).Introspect), forClients, open},
		{"GET POST", oauth.PathUserinfo, atToken((*token.Endpoint).UserInfo), forBearers, scripts},

		{"GET", "/{$}", s.home, forPeople, open},
		{"GET", flow.PathAccount, atAccount((*account.Account).Get), forPeople, open},
		{"POST", flow.PathAccount, atAccount((*account.Account).Post), forPeople, ours},
		// The logout request may be posted by the client's own site, too: the
		// endpoint itself tells our forms from theirs.
		{"GET", oauth.PathEndSession, atLogout((*logout.Endpoint).Get), forPeople, open},
		{"POST", oauth.PathEndSession, atLogout((*logout.Endpoint).Post), forPeople, open},
		// Upstreams send people back here who have signed out there.
		{"GET", logout.PathCallback, atLogout((*logout.Endpoint).Callback), forPeople, open},
		{"GET", logout.PathCallback + "/{connector}", atLogout((*logout.Endpoint).Callback), forPeople, open},
		{"POST", logout.PathCallback + "/{connector}", atLogout((*logout.Endpoint).Posted), forPeople, upstreams},
		{"GET", stepSignedOut, atLogout((*logout.Endpoint).Back), forPeople, open},
	}
}

func inFlow(h func(*flow.Flow, http.ResponseWriter, *http.Request) error) handler {
	return func(p *provider, w http.ResponseWriter, r *http.Request) error { return h(p.flow, w, r) }
}

func atToken(h func(*token.Endpoint, http.ResponseWriter, *http.Request) error) handler {
	return func(p *provider, w http.ResponseWriter, r *http.Request) error { return h(p.token, w, r) }
}

func atAccount(h func(*account.Account, http.ResponseWriter, *http.Request) error) handler {
	return func(p *provider, w http.ResponseWriter, r *http.Request) error { return h(p.account, w, r) }
}

func atLogout(h func(*logout.Endpoint, http.ResponseWriter, *http.Request) error) handler {
	return func(p *provider, w http.ResponseWriter, r *http.Request) error { return h(p.logout, w, r) }
}

// newHandler builds the mux of the table.
func (s *Server) newHandler() (http.Handler, error) {
	mux := http.NewServeMux()
	addresses := make(map[string]route) // all methods of an address together
	for _, rt := range s.routes() {
		for _, at := range s.addresses(rt.path) {
			if err := s.mount(mux, at, rt); err != nil {
				return nil, err
			}
			together := rt
			together.methods = strings.TrimSpace(addresses[at].methods + " " + rt.methods)
			addresses[at] = together
		}
	}
	s.readers = make(map[string]audience)
	for at, rt := range addresses {
		mux.Handle(at, s.notTaken(rt))
		s.readers[at] = rt.errors
	}
	s.mountPlain(mux)
	return s.entry.Wrap(s.cfg.Metrics.Handler(s.cfg.Tracing.Handler(s.withHeaders(s.postsStay(mux))))), nil
}

// addresses are where a path of the table is: under the issuer, and, for one of
// them, also where RFC 8414 section 3.1 looks for it: the well-known part goes
// between host and path.
func (s *Server) addresses(path string) []string {
	all := []string{s.base() + path}
	if path == pathServerMetadata && s.base() != "" {
		all = append(all, pathServerMetadata+s.base())
	}
	return all
}

// mount serves a line of the table at an address.
func (s *Server) mount(mux *http.ServeMux, at string, rt route) error {
	h, err := s.guard(rt)
	if err != nil {
		return err
	}
	for m := range strings.FieldsSeq(rt.methods) {
		mux.Handle(m+" "+at, h)
	}
	return nil
}

// notTaken answers what none of the methods of an address took: preflights, where
// scripts may come, and refusals.
func (s *Server) notTaken(rt route) http.Handler {
	methods := strings.Fields(rt.methods)
	h := s.methodNotAllowed(methods, rt.errors)
	if rt.access == scripts {
		h = request.CORS(s.cfg.AllowedOrigins, methods...)(h)
	}
	return h
}

// methodNotAllowed says which methods an address takes (RFC 9110 section 15.5.6).
func (s *Server) methodNotAllowed(methods []string, who audience) http.Handler {
	slices.Sort(methods)
	allow := strings.Join(slices.Compact(methods), ", ")
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Allow", allow)
		f := failure{status: http.StatusMethodNotAllowed, kind: web.ErrorBadRequest,
			err: oauth.Error{Code: oauth.InvalidRequest, Description: "this address takes " + allow}}
		s.fail(w, r, who, f)
	})
}

// guard wraps the handler of a route in what its access demands.
func (s *Server) guard(rt route) (http.Handler, error) {
	handle := s.entry.Handle
	if rt.access == upstreams {
		handle = func(h request.Handler) http.Handler { return s.entry.HandleUpTo(flow.MaxPosted, h) }
	}
	h := handle(func(w http.ResponseWriter, r *http.Request) error {
		p := s.provider.Load()
		if p == nil {
			return errNotReady
		}
		return rt.serve(p, w, r)
	})
	switch rt.access {
	case scripts:
		return request.CORS(s.cfg.AllowedOrigins, strings.Fields(rt.methods)...)(h), nil
	case ours:
		guard, err := s.ownForms()
		if err != nil {
			return nil, err
		}
		guard.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			s.page(w, r, http.StatusForbidden, web.Error{Kind: web.ErrorForeignForm})
		}))
		return guard.Handler(h), nil
	}
	return h, nil
}

// ownForms tells the forms of our own pages from those of other sites.
func (s *Server) ownForms() (*http.CrossOriginProtection, error) {
	guard := http.NewCrossOriginProtection()
	if err := guard.AddTrustedOrigin(s.issuer.Scheme + "://" + s.issuer.Host); err != nil {
		return nil, fmt.Errorf("trusting the issuer's own origin: %w", err)
	}
	return guard, nil
}

// mountPlain adds what answers without the provider.
func (s *Server) mountPlain(mux *http.ServeMux) {
	base := s.base()
	mux.Handle("GET "+base+pathStatic, s.site.Static())
	mux.Handle("GET "+base+pathHealth, telemetry.Alive())
	mux.Handle("GET "+base+pathReady, s.cfg.Readiness.PublicHandler())
	if base != "" {
		toIssuer := http.RedirectHandler(base+"/", http.StatusSeeOther)
		mux.Handle("GET "+base, toIssuer)
		mux.Handle(base, s.methodNotAllowed([]string{http.MethodGet}, forPeople))
		mux.Handle("GET /{$}", toIssuer)
	}
	mux.HandleFunc("/", s.notFound)
}

func (s *Server) notFound(w http.ResponseWriter, r *http.Request) {
	s.page(w, r, http.StatusNotFound, web.Error{Kind: web.ErrorNotFound})
}

// clean reports whether the mux takes a path as it is.
func clean(p string) bool {
	c := path.Clean(p)
	return p == c || c != "/" && p == c+"/"
}

// postsStay keeps the mux from answering a path that is not clean ("//", "..")
// with its 307: passwords, codes and client secrets are posted, and a 307 makes
// whoever posted them post them again, elsewhere (RFC 9700 section 4.12).
func (s *Server) postsStay(mux http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		safe := r.Method == http.MethodGet || r.Method == http.MethodHead
		if safe || clean(r.URL.Path) {
			mux.ServeHTTP(w, r)
			return
		}
		s.notFound(w, r)
	})
}

// withHeaders gives every response the headers of one that is no page; pages
// replace them by their own.
func (s *Server) withHeaders(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.readers[r.URL.Path] != forPeople {
			s.site.MachineHeaders(w.Header())
		} else {
			s.site.PlainHeaders(w.Header())
		}
		next.ServeHTTP(w, r)
	})
}
