// Package oauth is the protocol core: the rules of OAuth 2.0 and OpenID Connect
// as pure functions. Values and the time go in, a decision comes out: show an
// error, redirect with an error, ask for a login, ask for consent, issue these
// claims.
//
// It refuses to act: no HTTP, no database, no clock, no randomness, no logger.
// Shells (server/flow, server/token, …) parse, load, ask this package, persist
// and write. Each rule is in the file named after it, cites its section and has
// its rows in a table test.
//
// Threat: every parameter is chosen by a stranger, who may also own a registered
// client or have stolen a code, a token or a cookie. What is not explicitly
// allowed is refused, and what is refused never leads to a redirect that the
// client did not register.
package oauth

import "time"

// Policy is what the operator decided for all clients.
type Policy struct {
	// Issuer is the issuer identifier: a URL without query, fragment or trailing
	// slash (OpenID Connect Discovery 1.0 section 3).
	Issuer string
	// PKCERequired demands PKCE of confidential clients too. Public clients
	// always need it (OAuth 2.1 section 7.5.1, RFC 9700 section 2.1.1).
	PKCERequired bool
	// PKCEPlain allows the "plain" transformation (RFC 7636 section 4.2), for
	// clients that cannot hash.
	PKCEPlain bool
	// SkipApproval grants what was asked without showing the consent page.
	SkipApproval bool
	// AlwaysChooseConnector shows the choice of connectors even when there is only
	// one.
	AlwaysChooseConnector bool
	// SSOSharedWithAll shares a sign-in among all clients that do not say
	// otherwise.
	SSOSharedWithAll bool
	// SigningAlg is the JWS algorithm of id_tokens of clients that name none.
	SigningAlg string
	// SigningAlgs are all algorithms in use, for discovery.
	SigningAlgs []string
	// AccessTokenFormat is FormatOpaque or FormatJWT, for clients that name none.
	AccessTokenFormat string

	// Refresh is for clients that say nothing else.
	Refresh RefreshPolicy

	CodeLifetime        time.Duration
	IDTokenLifetime     time.Duration
	AccessTokenLifetime time.Duration
}

// Formats of access tokens.
const (
	// FormatOpaque is a handle: it means nothing outside this issuer, and dies
	// with its grant.
	FormatOpaque = "opaque"
	// FormatJWT is the JWT profile of RFC 9068.
	FormatJWT = "jwt"
)
