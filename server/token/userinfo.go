package token

import (
	"errors"
	"net/http"
	"net/url"

	"github.com/countersign/countersign/server/oauth"
)

// ErrNoToken is returned for a userinfo request without a token: it is answered
// with the bare challenge (RFC 6750 section 3.1).
var ErrNoToken = errors.New("token: no access token in the request")

// UserInfo is the userinfo endpoint, GET and POST (OpenID Connect Core 1.0
// section 5.3.1).
func (e *Endpoint) UserInfo(w http.ResponseWriter, r *http.Request) error {
	form, query, err := bearerForms(r)
	if err != nil {
		return err
	}
	bearer, missing, err := oauth.BearerToken(r.Header.Values("Authorization"), form, query)
	switch {
	case err != nil:
		return err
	case missing:
		return ErrNoToken
	}
	t, g, id, err := e.verifyAccessToken(r.Context(), bearer, e.now())
	if err != nil {
		return err
	}
	return writeJSON(w, oauth.NewUserInfo(g, t.Scopes, id))
}

// bearerForms reads the places where a token may be, or must not be: RFC 6750
// section 2.2 allows the body of a POST that is a form.
func bearerForms(r *http.Request) (form, query url.Values, err error) {
	if query, err = url.ParseQuery(r.URL.RawQuery); err != nil {
		return nil, nil, &oauth.Error{Code: oauth.InvalidRequest, Description: "the query is malformed"}
	}
	if r.Method == http.MethodPost && isForm(r.Header.Get("Content-Type")) {
		form, err = Form(r)
	}
	return form, query, err
}
