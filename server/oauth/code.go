package oauth

import (
	"net/url"
	"time"

	"github.com/countersign/countersign/storage"
)

// Grant types of the token endpoint.
const GrantAuthorizationCode = "authorization_code"

// CodeRequest is a token request with an authorization code (RFC 6749 section
// 4.1.3, RFC 7636 section 4.5), by a client that has authenticated.
type CodeRequest struct {
	Code         string
	RedirectURI  string
	CodeVerifier string
}

// TokenGrantType reads the grant_type of a token request, after checking that
// no parameter is repeated (RFC 6749 section 3.2).
func TokenGrantType(form url.Values) (string, error) {
	p := parameters(form)
	if err := p.check(); err != nil {
		return "", err
	}
	switch t := p.get("grant_type"); t {
	case "":
		return "", refuse(InvalidRequest, "grant_type is missing")
	case GrantAuthorizationCode, GrantRefreshToken:
		return t, nil
	default:
		return "", refuse(UnsupportedGrantType, "grant_type "+printable(t)+" is not supported")
	}
}

// ParseCodeRequest reads the parameters of an authorization_code request.
func ParseCodeRequest(form url.Values) (CodeRequest, error) {
	p := parameters(form)
	r := CodeRequest{
		Code:         p.get("code"),
		RedirectURI:  p.get("redirect_uri"),
		CodeVerifier: p.get("code_verifier"),
	}
	switch {
	case r.Code == "":
		return r, refuse(InvalidRequest, "code is missing")
	case r.RedirectURI == "":
		// RFC 6749 section 4.1.3: required, since every authorization request
		// here has one.
		return r, refuse(InvalidRequest, "redirect_uri is missing")
	}
	return r, nil
}

// ErrInvalidCode is the one answer to a code that was never ours, is too old, or
// belongs to somebody else: an outsider learns nothing from it.
func ErrInvalidCode() error {
	return refuse(InvalidGrant, "code is invalid, expired, or was issued to another client")
}

// RedeemCode decides whether a client may redeem the code of a grant at now. A
// second valid request for it, however late, is reported as reused: the caller
// must revoke the grant, and with it everything issued from it (RFC 6749 section
// 4.1.2). Who has the code and cannot prove the rest (another client, a wrong
// redirect_uri, no verifier) could not have redeemed it the first time either: it
// is refused and leaves the grant untouched, so that a code from a log or a
// browser's history does not let a stranger sign a person out.
func RedeemCode(g storage.Grant, client storage.Client, r CodeRequest, now time.Time) (reused bool, err error) {
	switch {
	case g.ClientID != client.ID:
		return false, ErrInvalidCode()
	case g.CodeRedeemedAt.IsZero() && (!g.RevokedAt.IsZero() || !now.Before(g.CodeExpiresAt)):
		return false, ErrInvalidCode()
	case g.RedirectURI != r.RedirectURI:
		return false, refuse(InvalidGrant, "redirect_uri is not the one of the authorization request")
	}
	if err := checkVerifier(g.CodeChallenge, g.CodeChallengeMethod, r.CodeVerifier); err != nil {
		return false, err
	}
	if !g.CodeRedeemedAt.IsZero() {
		return true, ErrCodeReused()
	}
	return false, nil
}

// ErrCodeReused answers a second redemption.
func ErrCodeReused() error {
	return refuse(InvalidGrant, "code was redeemed before; what was issued from it is revoked")
}
