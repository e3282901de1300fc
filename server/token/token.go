// Package token is the token endpoint, one file per grant type, and what its
// tokens open: the userinfo endpoint.
//
// It refuses to decide: who a client is, whether a code may be redeemed and what
// a token says are server/oauth's answers. It loads, asks, stores, signs and
// writes.
//
// Threat: stolen codes and tokens, replayed, raced, truncated, presented by the
// wrong client or at the wrong endpoint; guessed client secrets; forged tokens
// by the thousand, which must not reach the database.
package token

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/countersign/countersign/server/audit"
	"github.com/countersign/countersign/server/clients"
	"github.com/countersign/countersign/server/oauth"
	"github.com/countersign/countersign/server/recheck"
	"github.com/countersign/countersign/server/request"
	"github.com/countersign/countersign/server/revocation"
	"github.com/countersign/countersign/server/seal"
	"github.com/countersign/countersign/storage"
)

// Config is what the endpoint depends on. All fields but Audit are required.
type Config struct {
	Policy  oauth.Policy
	Clients storage.Clients
	Grants  storage.Grants
	Revoker *revocation.Revoker
	// Codes and AccessTokens make and check the handles of grants.
	Codes         *seal.Tokens
	AccessTokens  *seal.Tokens
	RefreshTokens *seal.Tokens
	// Rechecker asks connectors again about people.
	Rechecker *recheck.Rechecker
	// Connectors are the ids of those that are configured.
	Connectors []string
	// Sign makes a compact JWS with the given algorithm and `typ`.
	Sign func(alg, typ string, claims any) (compact, kid string, err error)
	// Verify checks a JWS of ours with that `typ` and returns its payload.
	Verify func(token string, typ ...string) ([]byte, error)
	// CountToken is told the result of each token request.
	CountToken func(grantType, result string)
	// Audit may be nil.
	Audit  *audit.Log
	Now    func() time.Time
	Random io.Reader
}

// Endpoint serves the token and userinfo endpoints.
type Endpoint struct{ cfg Config }

// New checks the configuration.
func New(cfg Config) (*Endpoint, error) {
	if cfg.Clients == nil || cfg.Grants == nil || cfg.Revoker == nil || cfg.Codes == nil || cfg.AccessTokens == nil ||
		cfg.RefreshTokens == nil || cfg.Rechecker == nil || cfg.Sign == nil ||
		cfg.Verify == nil || cfg.CountToken == nil || cfg.Now == nil || cfg.Random == nil {
		return nil, errors.New("token: every field of Config but Audit is required")
	}
	return &Endpoint{cfg: cfg}, nil
}

// now is the time as every engine keeps it.
func (e *Endpoint) now() time.Time { return e.cfg.Now().UTC().Truncate(time.Microsecond) }

// Response is a successful token response (RFC 6749 section 5.1, OpenID Connect
// Core 1.0 section 3.1.3.3).
type Response struct {
	AccessToken string `json:"access_token"`
	TokenType   string `json:"token_type"`
	ExpiresIn   int64  `json:"expires_in"`
	// RefreshToken comes with offline_access.
	RefreshToken string `json:"refresh_token,omitempty"`
	IDToken      string `json:"id_token"`
	Scope        string `json:"scope"`
}

// Token is the token endpoint: POST only (RFC 6749 section 3.2).
func (e *Endpoint) Token(w http.ResponseWriter, r *http.Request) error {
	grantType := "unknown"
	resp, err := e.token(r, &grantType)
	if err != nil {
		e.cfg.CountToken(grantType, string(oauth.CodeOf(err)))
		return err
	}
	e.cfg.CountToken(grantType, "success")
	return writeJSON(w, resp)
}

func (e *Endpoint) token(r *http.Request, grantType *string) (Response, error) {
	form, err := Form(r)
	if err != nil {
		return Response{}, err
	}
	client, err := e.authenticate(r, form)
	if err != nil {
		return Response{}, err
	}
	if *grantType, err = oauth.TokenGrantType(form); err != nil {
		*grantType = "unknown"
		return Response{}, err
	}
	if *grantType == oauth.GrantRefreshToken {
		return e.refreshToken(r, client, form)
	}
	return e.authorizationCode(r.Context(), client, form)
}

// authenticate finds the client and checks its credentials.
func (e *Endpoint) authenticate(r *http.Request, form url.Values) (storage.Client, error) {
	if len(r.Header.Values("Authorization")) > 1 {
		return storage.Client{}, &oauth.Error{Code: oauth.InvalidRequest, Description: "the Authorization header is given more than once"}
	}
	creds, err := oauth.ParseClientCredentials(r.Header.Get("Authorization"), form)
	if err != nil {
		return storage.Client{}, err
	}
	client, err := clients.Lookup(r.Context(), e.cfg.Clients, creds.ClientID)
	if err != nil {
		return storage.Client{}, err
	}
	if err := oauth.AuthenticateClient(creds, client); err != nil {
		return storage.Client{}, err
	}
	request.Note(r.Context(), slog.String("client_id", client.ID))
	return *client, nil
}

// Form reads the body of a request to an endpoint that takes forms only
// (RFC 6749 section 3.2 and appendix B). The query is never looked at.
func Form(r *http.Request) (url.Values, error) {
	if !isForm(r.Header.Get("Content-Type")) {
		return nil, &oauth.Error{Code: oauth.InvalidRequest, Description: "Content-Type must be application/x-www-form-urlencoded"}
	}
	body := bodies.Get().(*bytes.Buffer)
	defer bodies.Put(body)
	body.Reset()
	_, err := body.ReadFrom(r.Body)
	if err == nil {
		r.PostForm, err = url.ParseQuery(body.String())
	}
	if err != nil {
		return nil, &oauth.Error{Code: oauth.InvalidRequest, Description: "the body is malformed or too large"}
	}
	return r.PostForm, nil
}

const typeForm = "application/x-www-form-urlencoded"

// isForm reports whether a Content-Type is that of a form, whatever its parameters.
func isForm(contentType string) bool {
	if contentType == typeForm {
		return true
	}
	t, _, err := mime.ParseMediaType(contentType)
	return err == nil && t == typeForm
}

// newIDToken is oauth.NewIDToken, or its sister for refreshes.
type newIDToken func(p oauth.Policy, c storage.Client, g storage.Grant, id storage.Identity, alg, accessToken string, now time.Time) oauth.IDToken

// issue signs the tokens of a grant whose state allows it.
func (e *Endpoint) issue(client storage.Client, g storage.Grant, id storage.Identity, claims newIDToken, now time.Time) (Response, error) {
	access, err := e.accessToken(client, g, now)
	if err != nil {
		return Response{}, err
	}
	alg := oauth.SigningAlg(e.cfg.Policy, client)
	idToken, _, err := e.cfg.Sign(alg, oauth.JWTTypeIDToken, claims(e.cfg.Policy, client, g, id, alg, access, now))
	if err != nil {
		return Response{}, fmt.Errorf("signing an id_token: %w", err)
	}
	return Response{
		AccessToken: access,
		TokenType:   "Bearer",
		ExpiresIn:   int64(oauth.AccessTokenUntil(e.cfg.Policy, g, now).Sub(now) / time.Second),
		IDToken:     idToken,
		Scope:       strings.Join(g.Scopes, " "),
	}, nil
}

// bodies keeps the memory of requests and responses.
var bodies = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// Values of headers, shared by all responses.
var (
	typeJSON = []string{"application/json"}
	noStore  = []string{"no-store"}
	noCache  = []string{"no-cache"}
)

// writeJSON answers with what must not be cached (RFC 6749 section 5.1).
func writeJSON(w http.ResponseWriter, v any) error {
	body := bodies.Get().(*bytes.Buffer)
	defer bodies.Put(body)
	body.Reset()
	if err := json.NewEncoder(body).Encode(v); err != nil {
		return fmt.Errorf("encoding the response: %w", err)
	}
	h := w.Header()
	h["Content-Type"], h["Cache-Control"], h["Pragma"] = typeJSON, noStore, noCache
	_, _ = w.Write(bytes.TrimSuffix(body.Bytes(), []byte("\n"))) // a client that went away is nobody's error
	return nil
}

// grantOf loads a live grant; a missing one is gone for good, which is not the
// store's failure.
func (e *Endpoint) grantOf(ctx context.Context, id storage.GrantID, now time.Time, gone error) (storage.Grant, storage.Identity, error) {
	g, identity, err := e.cfg.Grants.Grant(ctx, id, now)
	if errors.Is(err, storage.ErrNotFound) {
		return g, identity, gone
	}
	if err != nil {
		return g, identity, fmt.Errorf("loading the grant: %w", err)
	}
	return g, identity, nil
}
