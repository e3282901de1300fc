package oauth

import "errors"

// Code is an error code of RFC 6749 section 4.1.2.1 and 5.2, RFC 6750 section
// 3.1, RFC 9207 or OpenID Connect Core 1.0 section 3.1.2.6.
type Code string

// The error codes in use.
const (
	InvalidRequest           Code = "invalid_request"
	InvalidClient            Code = "invalid_client"
	InvalidGrant             Code = "invalid_grant"
	InvalidScope             Code = "invalid_scope"
	UnauthorizedClient       Code = "unauthorized_client"
	UnsupportedGrantType     Code = "unsupported_grant_type"
	UnsupportedResponseType  Code = "unsupported_response_type"
	AccessDenied             Code = "access_denied"
	ServerError              Code = "server_error"
	TemporarilyUnavailable   Code = "temporarily_unavailable"
	InvalidToken             Code = "invalid_token"
	InsufficientScope        Code = "insufficient_scope"
	LoginRequired            Code = "login_required"
	ConsentRequired          Code = "consent_required"
	RequestNotSupported      Code = "request_not_supported"
	RequestURINotSupported   Code = "request_uri_not_supported"
	RegistrationNotSupported Code = "registration_not_supported"
	UnsupportedTokenType     Code = "unsupported_token_type"
)

// Error is a refusal in the protocol's words. Description is for the client's
// developer: printable ASCII without quote or backslash (RFC 6749 section 5.2),
// and it holds nothing internal and nothing secret.
type Error struct {
	Code        Code
	Description string
}

func (e *Error) Error() string { return string(e.Code) + ": " + e.Description }

func refuse(code Code, description string) *Error {
	return &Error{Code: code, Description: description}
}

// CodeOf returns the code of the *Error in err, or server_error.
func CodeOf(err error) Code {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return ServerError
}

// AuthorizeError is a refused authorization request. Where it is shown is part
// of the rule: until client and redirect_uri are known to be right it is a page,
// never a redirect (RFC 6749 section 4.1.2.1).
type AuthorizeError struct {
	Err *Error
	// Response is where the error goes; nil: it is shown on a page.
	Response *ResponseTarget
}

func (e *AuthorizeError) Error() string { return e.Err.Error() }
func (e *AuthorizeError) Unwrap() error { return e.Err }
