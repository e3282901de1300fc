package server

import (
	"net/http"

	"github.com/countersign/countersign/server/request"
	"github.com/countersign/countersign/server/web"
)

// home shows who is signed in, and how to sign out.
func (s *Server) home(p *provider, w http.ResponseWriter, r *http.Request) error {
	current, err := p.browsers.Current(r.Context(), r)
	if err != nil {
		return err
	}
	page := web.Home{SignOutAction: s.base() + pathLogout, DiscoveryURL: s.cfg.Policy.Issuer + pathDiscovery}
	if current != nil {
		person := web.PersonOf(current.Identity)
		page.Person = &person
	}
	s.page(w, r, http.StatusOK, page)
	return nil
}

// signOut ends the session of the browser. It is a POST from a page of ours.
func (s *Server) signOut(p *provider, w http.ResponseWriter, r *http.Request) error {
	if err := p.browsers.End(r.Context(), w, r); err != nil {
		return err
	}
	s.page(w, r, http.StatusOK, web.SignedOut{})
	return nil
}

func (s *Server) page(w http.ResponseWriter, r *http.Request, status int, p web.Page) {
	s.site.Page(w, r, status, p, web.PageOptions{RequestID: request.ID(r.Context())})
}
