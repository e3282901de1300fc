package token

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/countersign/countersign/server/audit"
	"github.com/countersign/countersign/server/oauth"
	"github.com/countersign/countersign/storage"
)

// reasonRevoked is why a grant is revoked that its client gave back.
const reasonRevoked = "revoked_by_client"

// Revoke is the revocation endpoint (RFC 7009). A refresh or an access token ends
// its grant, and with it every token of it; the next use of any, at any replica,
// is refused. What is not a token of ours is 200 (section 2.2). A store that
// fails is 503, never a false 200.
func (e *Endpoint) Revoke(w http.ResponseWriter, r *http.Request) error {
	client, token, err := e.tokenRequest(r)
	if err != nil {
		return err
	}
	id, err := e.grantIDOf(client, token)
	if err != nil {
		return err
	}
	if id == (storage.GrantID{}) {
		return writeNothing(w)
	}
	now := e.now()
	g, _, err := e.cfg.Grants.Grant(r.Context(), id, now)
	if errors.Is(err, storage.ErrNotFound) {
		return writeNothing(w)
	}
	if err != nil {
		return fmt.Errorf("loading the grant: %w", err)
	}
	if err := oauth.CheckRevocation(g, client); err != nil {
		return err
	}
	record := audit.GrantRevoked{Grant: audit.GrantOf(g), By: audit.ByClient, Reason: reasonRevoked}
	if err := e.revoke(r.Context(), id, reasonRevoked, nil, record); err != nil {
		return err
	}
	return writeNothing(w)
}

// tokenRequest reads a request about a token, by a client that authenticates.
func (e *Endpoint) tokenRequest(r *http.Request) (client storage.Client, token string, err error) {
	form, err := Form(r)
	if err != nil {
		return client, "", err
	}
	if client, err = e.authenticate(r, form); err != nil {
		return client, "", err
	}
	token, err = oauth.TokenParameter(form)
	return client, token, err
}

// grantIDOf names the grant of a token that we made, dead or alive; zero when we
// did not make it. A refresh token that says it is another client's is an error.
func (e *Endpoint) grantIDOf(client storage.Client, token string) (id storage.GrantID, err error) {
	if t, err := e.parseRefreshToken(token); err == nil {
		if !t.IssuedTo(client) {
			return id, oauth.ErrForeignToken()
		}
		return t.GrantID, nil
	}
	if t, err := e.parseAccessToken(token); err == nil {
		return t.GrantID, nil
	}
	if _, err := e.cfg.Verify(token, oauth.JWTTypeIDToken); err == nil {
		return id, oauth.ErrUnsupportedTokenType()
	}
	return id, nil
}

// writeNothing answers 200 with an empty body.
func writeNothing(w http.ResponseWriter) error {
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
	return nil
}

// Introspect is the introspection endpoint (RFC 7662): POST, and for clients that
// prove who they are. Everything dead, foreign or unknown is `active: false` and
// nothing else.
func (e *Endpoint) Introspect(w http.ResponseWriter, r *http.Request) error {
	client, token, err := e.tokenRequest(r)
	if err != nil {
		return err
	}
	if client.Public {
		return oauth.ErrPublicIntrospection()
	}
	answer, err := e.introspect(r, client, token)
	if err != nil {
		return err
	}
	return writeJSON(w, answer)
}

func (e *Endpoint) introspect(r *http.Request, client storage.Client, token string) (oauth.Introspection, error) {
	id, err := e.grantIDOf(client, token)
	if err != nil || id == (storage.GrantID{}) {
		return oauth.Introspection{}, nil
	}
	now := e.now()
	g, identity, err := e.cfg.Grants.Grant(r.Context(), id, now)
	if errors.Is(err, storage.ErrNotFound) {
		return oauth.Introspection{}, nil
	}
	if err != nil {
		return oauth.Introspection{}, fmt.Errorf("loading the grant: %w", err)
	}
	if t, err := e.parseRefreshToken(token); err == nil {
		refusal, err := e.notAllowed(r.Context(), client, g)
		if err != nil || refusal != nil {
			return oauth.Introspection{}, err
		}
		return oauth.IntrospectRefreshToken(t, g, identity, client, e.cfg.Policy, now), nil
	}
	t, err := e.parseAccessToken(token)
	if err != nil {
		return oauth.Introspection{}, nil
	}
	return oauth.IntrospectAccessToken(t, g, identity, client, e.cfg.Policy, now), nil
}
