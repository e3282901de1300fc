package server

import (
	"net/http"

	"github.com/countersign/countersign/server/flow"
	"github.com/countersign/countersign/server/oauth"
	"github.com/countersign/countersign/server/request"
	"github.com/countersign/countersign/server/web"
)

// home shows who is signed in, and how to sign out.
func (s *Server) home(p *provider, w http.ResponseWriter, r *http.Request) error {
	current, err := p.browsers.Current(r.Context(), r)
	if err != nil {
		return err
	}
	page := web.Home{SignOutAction: s.base() + oauth.PathEndSession, DiscoveryURL: s.cfg.Policy.Issuer + pathDiscovery,
		AccountURL: s.base() + flow.PathAccount}
	if current != nil {
		person := web.PersonOf(current.Identity)
		page.Person = &person
	}
	s.page(w, r, http.StatusOK, page)
	return nil
}

func (s *Server) page(w http.ResponseWriter, r *http.Request, status int, p web.Page) {
	s.site.Page(w, r, status, p, web.PageOptions{RequestID: request.ID(r.Context())})
}
