package oauth

import (
	"net/url"
	"slices"
	"time"

	"github.com/countersign/countersign/storage"
)

// AuthorizeRequest is a valid authorization request (OpenID Connect Core 1.0
// section 3.1.2.1): its client is known, its redirect_uri matched. It is what a
// flow carries sealed, so the field names are short on the wire.
type AuthorizeRequest struct {
	ClientID            string         `json:"c"`
	RedirectURI         string         `json:"r"`
	ResponseMode        string         `json:"m"`
	State               string         `json:"s,omitempty"`
	Scopes              []string       `json:"p"`
	Nonce               string         `json:"n,omitempty"`
	CodeChallenge       string         `json:"h,omitempty"`
	CodeChallengeMethod string         `json:"t,omitempty"`
	Prompt              []string       `json:"o,omitempty"`
	MaxAge              *time.Duration `json:"a,omitempty"`
	LoginHint           string         `json:"l,omitempty"`
	UILocales           []string       `json:"u,omitempty"`
	// ConnectorID is the connector the client asked for (Dex's connector_id).
	ConnectorID string `json:"i,omitempty"`
	// HintSubject is the subject of a verified id_token_hint.
	HintSubject string `json:"j,omitempty"`
}

// Target is where the response goes.
func (r AuthorizeRequest) Target() ResponseTarget {
	return ResponseTarget{RedirectURI: r.RedirectURI, Mode: r.ResponseMode, State: r.State}
}

// HasPrompt reports whether prompt holds the value.
func (r AuthorizeRequest) HasPrompt(value string) bool { return slices.Contains(r.Prompt, value) }

// Refuse makes an error that goes back to the client.
func (r AuthorizeRequest) Refuse(code Code, description string) *AuthorizeError {
	t := r.Target()
	return &AuthorizeError{Err: refuse(code, description), Response: &t}
}

// Names of authorization request parameters that shells need before or beside
// the core's own reading.
const (
	ParamClientID    = "client_id"
	ParamIDTokenHint = "id_token_hint"
	ParamScope       = "scope"
)

// Lookups is what the shell loads for an authorization request.
type Lookups struct {
	// Client is the client named by client_id; nil when there is none.
	Client *storage.Client
	// Peers are the clients named by Audiences of the scope parameter.
	Peers map[string]storage.Client
	// HintSubject is the `sub` of the id_token_hint, when its signature and
	// issuer are right (its expiry does not matter, OpenID Connect Core 1.0
	// section 3.1.2.1); "" when there is no hint or it is not right.
	HintSubject string
}

// ClientIDOf returns the client_id to look up, or "" when it is missing,
// repeated, or nothing that a database could hold.
func ClientIDOf(form url.Values) string {
	id := parameters(form).get(ParamClientID)
	if !storage.IsText(id) {
		return ""
	}
	return id
}

// AudiencesOf returns the client ids to look up as Peers: none when the scope
// will be refused anyway.
func AudiencesOf(form url.Values) []string {
	scopes, err := parseScopes(parameters(form).get(ParamScope))
	if err != nil {
		return nil
	}
	return Audiences(scopes)
}

// Authorize checks an authorization request. The error is always an
// *AuthorizeError.
func Authorize(form url.Values, l Lookups, p Policy) (AuthorizeRequest, error) {
	target, err := checkTarget(form, l.Client)
	if err != nil {
		return AuthorizeRequest{}, &AuthorizeError{Err: err}
	}
	r, err := checkAuthorize(parameters(form), *l.Client, l, p)
	if err != nil {
		return AuthorizeRequest{}, &AuthorizeError{Err: err, Response: &target}
	}
	r.RedirectURI, r.ResponseMode, r.State = target.RedirectURI, target.Mode, target.State
	return r, nil
}

// checkTarget decides whether there is anybody to answer to: RFC 6749 section
// 4.1.2.1, first paragraph. Its errors are shown on a page.
func checkTarget(form url.Values, client *storage.Client) (ResponseTarget, *Error) {
	p := parameters(form)
	uri := p.get("redirect_uri")
	switch {
	case p.repeated(ParamClientID):
		return ResponseTarget{}, refuse(InvalidRequest, "client_id is given more than once")
	case p.get(ParamClientID) == "":
		return ResponseTarget{}, refuse(InvalidRequest, "client_id is missing")
	case client == nil:
		return ResponseTarget{}, refuse(InvalidClient, "client_id is unknown: no such client is registered here")
	case p.repeated("redirect_uri"):
		return ResponseTarget{}, refuse(InvalidRequest, "redirect_uri is given more than once")
	case uri == "":
		return ResponseTarget{}, refuse(InvalidRequest, "redirect_uri is missing")
	case !storage.IsText(uri) || !MatchRedirectURI(*client, uri):
		return ResponseTarget{}, refuse(InvalidRequest, "redirect_uri is not registered for this client: register it exactly as it is sent")
	}
	t := ResponseTarget{RedirectURI: uri, Mode: ModeQuery}
	if p.get("response_mode") == ModeFormPost && canPost(uri) {
		t.Mode = ModeFormPost
	}
	if state := p.get("state"); storage.IsText(state) {
		t.State = state
	}
	return t, nil
}

// checkAuthorize is the checklist of OpenID Connect Core 1.0 section 3.1.2.2.
func checkAuthorize(form parameters, client storage.Client, l Lookups, p Policy) (r AuthorizeRequest, err *Error) {
	if err = form.check(); err != nil {
		return r, err
	}
	// OpenID Connect Core 1.0 sections 6 and 7.2.1: not supported, said so.
	switch {
	case form.get("request") != "":
		return r, refuse(RequestNotSupported, "request objects are not supported")
	case form.get("request_uri") != "":
		return r, refuse(RequestURINotSupported, "request_uri is not supported")
	case form.get("registration") != "":
		return r, refuse(RegistrationNotSupported, "registration is not supported")
	}
	switch form.get("response_type") {
	case "code":
	case "":
		return r, refuse(InvalidRequest, "response_type is missing")
	default:
		// RFC 9700 section 2.1.2: no tokens in the front channel.
		return r, refuse(UnsupportedResponseType, "response_type must be code")
	}
	switch form.get("response_mode") {
	case "", ModeQuery, ModeFormPost:
	default:
		return r, refuse(InvalidRequest, "response_mode must be query or form_post")
	}
	if form.get("response_mode") == ModeFormPost && !canPost(form.get("redirect_uri")) {
		return r, refuse(InvalidRequest, "response_mode form_post needs a redirect_uri that is http or https")
	}
	if r.Scopes, err = parseScopes(form.get(ParamScope)); err != nil {
		return r, err
	}
	if err = checkAudiences(client, r.Scopes, l.Peers); err != nil {
		return r, err
	}
	r.CodeChallenge = form.get("code_challenge")
	if r.CodeChallengeMethod, err = checkChallenge(r.CodeChallenge, form.get("code_challenge_method"), client, p); err != nil {
		return r, err
	}
	if r.Prompt, err = parsePrompt(form.get("prompt")); err != nil {
		return r, err
	}
	if r.MaxAge, err = parseMaxAge(form.get("max_age")); err != nil {
		return r, err
	}
	if form.get(ParamIDTokenHint) != "" && l.HintSubject == "" {
		return r, unknownHint(r.Prompt)
	}
	if len(form.get("nonce")) > maxNonce {
		return r, refuse(InvalidRequest, "nonce is too long: a random value of 32 characters is enough")
	}
	r.ClientID = client.ID
	r.HintSubject = l.HintSubject
	r.Nonce = form.get("nonce")
	r.LoginHint = bounded(form.get("login_hint"), 256)
	r.UILocales = words(bounded(form.get("ui_locales"), 128))
	r.ConnectorID = form.get("connector_id")
	// display, claims, claims_locales, acr_values and anything unknown are
	// tolerated and change nothing (OpenID Connect Core 1.0 section 3.1.2.1).
	return r, nil
}

// maxNonce bounds what is stored and signed of a request.
const maxNonce = 1024

// unknownHint answers an id_token_hint that cannot be verified. Going on without
// it could answer for somebody else than the client means. A client that renews
// silently (prompt=none) with a token so old that its key is gone must learn that
// a sign-in is due, not that it is broken: "otherwise … an error, such as
// login_required" (OpenID Connect Core 1.0 section 3.1.2.1).
func unknownHint(prompt []string) *Error {
	if slices.Contains(prompt, PromptNone) {
		return refuse(LoginRequired, "id_token_hint is not an id_token of this issuer, or too old to be verified")
	}
	return refuse(InvalidRequest, "id_token_hint is not an id_token of this issuer, or too old to be verified: leave it out")
}

// bounded drops a hint that is too long to be one.
func bounded(s string, most int) string {
	if len(s) > most {
		return ""
	}
	return s
}
