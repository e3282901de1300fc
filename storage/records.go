package storage

import (
	"encoding/hex"
	"time"
)

// Client is a relying party: an OAuth 2.0 client (RFC 6749 section 2). Clients
// of the configuration file are never written to the database.
type Client struct {
	// ID is the client_id.
	ID string
	// Name and LogoURL are shown on the sign-in and consent pages.
	Name    string
	LogoURL string
	// SecretHashes are SHA-256 hashes of the client secrets that are valid now;
	// two while a secret is being replaced.
	SecretHashes [][32]byte
	// Public clients cannot keep a secret (RFC 6749 section 2.1): they
	// authenticate with none and must use PKCE.
	Public bool
	// RedirectURIs are compared as exact strings (RFC 9700 section 2.1), the
	// port of a loopback address excepted (RFC 8252 section 7.3).
	RedirectURIs []string
	// TrustedPeers are client ids that may request this client as an audience.
	TrustedPeers []string
	// AllowedConnectors limits the connectors a person may use; empty: all.
	AllowedConnectors []string
	// SkipApproval overrides oauth2.skipApprovalScreen for this client when set.
	SkipApproval *bool
	// SSOSharedWith are the clients that may reuse a sign-in made at this one;
	// "*" is all. nil: the server's default.
	SSOSharedWith []string
	// IDTokenLifetime and IDTokenSigningAlg override the server's when set.
	IDTokenLifetime   time.Duration
	IDTokenSigningAlg string
	// AccessTokenFormat is "opaque" or "jwt"; empty: the server's default.
	AccessTokenFormat string
	// RefreshTokens override the server's when set.
	RefreshTokens RefreshTokens
	// EndsWithSession says that logins at this client end with the browser's
	// session they came from.
	EndsWithSession bool
	// PostLogoutRedirectURIs are where people may be sent after signing out,
	// compared as exact strings (OpenID Connect RP-Initiated Logout 1.0 section
	// 2).
	PostLogoutRedirectURIs []string
	// BackchannelLogoutURI is told when a session ends; empty: nobody is told.
	// Unless BackchannelLogoutPrivate is set, it must not lead to a private
	// address.
	BackchannelLogoutURI     string
	BackchannelLogoutPrivate bool
}

// RefreshTokens are a client's own limits of refresh tokens; what is zero or nil
// is the server's.
type RefreshTokens struct {
	ReuseInterval    *time.Duration
	IdleLifetime     time.Duration
	AbsoluteLifetime time.Duration
	DisableRotation  *bool
}

// Identity is what a connector last said of a person.
type Identity struct {
	// ConnectorID and UserID are the key. UserID is the connector's immutable
	// id of the person, never a display name or an e-mail address that may be
	// given to somebody else.
	ConnectorID string
	UserID      string

	Name              string
	PreferredUsername string
	Email             string
	EmailVerified     bool
	Groups            []string

	// CheckedAt is when the connector said so.
	CheckedAt time.Time
	// ExpiresAt is when the row may be deleted: not before the last grant or
	// session that refers to it.
	ExpiresAt time.Time
}

// Session is one signed-in browser.
type Session struct {
	// IDHash is the SHA-256 of the id in the cookie, and the key.
	IDHash [32]byte
	// SID is the public name of the session, the `sid` claim. It survives when
	// the same person authenticates again in the same browser.
	SID         string
	ConnectorID string
	UserID      string
	// AuthTime is when the person last proved who they are (`auth_time`).
	AuthTime time.Time
	// AMR are the authentication methods used (RFC 8176), the `amr` claim.
	AMR []string
	// LoginClientIDs are the clients at which the person authenticated
	// interactively in this session. Single sign-on is shared from these only,
	// so that sharing is never transitive.
	LoginClientIDs []string
	// ClientIDs are the clients that the person was led to in this session.
	ClientIDs []string
	// Remember: "keep me signed in"; the cookie outlives the browser.
	Remember   bool
	UserAgent  string
	IPAddress  string
	CreatedAt  time.Time
	LastUsedAt time.Time
	// ExpiresAt is absolute.
	ExpiresAt time.Time
	// UpstreamSealed is what the connector wants to have when the person signs out
	// in this browser, sealed by the caller; nil: nothing. SessionsOf returns it, too.
	UpstreamSealed []byte
}

// GrantID is a UUID of version 7 (RFC 9562 section 5.7). It is no secret:
// whatever proves possession of a grant carries a MAC over it.
type GrantID [16]byte

// String is the hexadecimal form, for logs.
func (id GrantID) String() string { return hex.EncodeToString(id[:]) }

// Grant is one login of one person at one client on one device, from the
// authorization code to its end.
type Grant struct {
	ID          GrantID
	ClientID    string
	ConnectorID string
	UserID      string
	// SID names the browser session the grant came from.
	SID string
	// Scopes are the scopes granted.
	Scopes []string
	// What the authorization request carried and the token request must match
	// or the id_token must repeat.
	RedirectURI         string
	Nonce               string
	CodeChallenge       string
	CodeChallengeMethod string
	AuthTime            time.Time
	ACR                 string
	AMR                 []string

	CreatedAt time.Time
	// CodeExpiresAt ends the time in which the code can be redeemed.
	CodeExpiresAt  time.Time
	CodeRedeemedAt time.Time
	RevokedAt      time.Time
	RevokedReason  string
	// Generation is that of the newest refresh token: 0 for the one that comes
	// with the code's redemption, one more with each rotation.
	Generation int64
	// RefreshedAt is when the newest refresh token was issued: at the code's
	// redemption, then at each rotation. With RefreshedUserAgent and
	// RefreshedIPAddress it says who has it.
	RefreshedAt        time.Time
	RefreshedUserAgent string
	RefreshedIPAddress string
	// ExpiresAt is absolute: afterwards nothing of this grant is accepted.
	ExpiresAt time.Time

	UserAgent string
	IPAddress string
}

// Rotated is what Grants.RotateGrant returns of a grant: without what only the
// redemption of its code and the page about devices need. Rotations are most of
// what a store does, and every value costs.
func (g Grant) Rotated() Grant {
	g.RedirectURI, g.Nonce, g.CodeChallenge, g.CodeChallengeMethod = "", "", "", ""
	g.CreatedAt, g.CodeExpiresAt, g.UserAgent, g.IPAddress = time.Time{}, time.Time{}, "", ""
	return g
}

// Redemption is the argument of Grants.RedeemCode.
type Redemption struct {
	ID  GrantID
	Now time.Time
	// ExpiresAt is that of the grant from now on.
	ExpiresAt time.Time
	// UserAgent and IPAddress are of who redeems the code, and so has the first
	// refresh token.
	UserAgent string
	IPAddress string
}

// Rotation is the argument of Grants.RotateGrant.
type Rotation struct {
	ID GrantID
	// ClientID is the client that presents the refresh token.
	ClientID string
	// Generation is that of the token presented; Next is what it becomes: one
	// more, or the same where rotation is off.
	Generation int64
	Next       int64
	Now        time.Time
	// UsedAfter is the idle limit: an older RefreshedAt is too old.
	UsedAfter time.Time
	// CheckedAfter are the recheck limits of connectors, each named once. People
	// of others have none.
	CheckedAfter []CheckLimit
	UserAgent    string
	IPAddress    string
}

// CheckLimit says that an identity of a connector has to be asked for again
// unless its CheckedAt is after After.
type CheckLimit struct {
	ConnectorID string
	After       time.Time
}

// Consent is what a person allowed a client to know.
type Consent struct {
	ConnectorID string
	UserID      string
	ClientID    string
	Scopes      []string
	GrantedAt   time.Time
	ExpiresAt   time.Time
}

// LoginFailure counts wrong passwords under one key.
type LoginFailure struct {
	Count     int
	LastAt    time.Time
	ExpiresAt time.Time
}

// SigningKey is one key of the JWKS. Its state follows from the clock and its
// successor: before ActiveFrom it is published and signs nothing; from then on
// it signs, until the key with the next sequence is active; afterwards it only
// verifies, until it is deleted.
type SigningKey struct {
	// KID is the key id, in token headers and the JWKS.
	KID string
	// Algorithm is the JWS algorithm (RFC 7518 section 3.1): RS256, ES256, EdDSA.
	Algorithm string
	// Sequence counts the keys of one algorithm from 1.
	Sequence int64
	// Public is the public key as JWK, JSON.
	Public []byte
	// SealedPrivate is the private key, sealed by server/keys.
	SealedPrivate []byte
	CreatedAt     time.Time
	ActiveFrom    time.Time
}

// SignIn is the argument of Sessions.SignIn.
type SignIn struct {
	Identity Identity
	// SealedSecret is what the connector wants to have when it is asked again,
	// sealed by the caller; nil: nothing.
	SealedSecret []byte
	Session      Session
	// Replaces is the hash of the session id that the browser carried so far;
	// zero when it carried none. It is deleted whatever it is. It may not be
	// Session.IDHash: an id that survives a sign-in is session fixation, and
	// ErrInvalid.
	Replaces [32]byte
	// Grant is inserted too when not nil.
	Grant *Grant
	// ClearFailures are keys of login failures to delete.
	ClearFailures []string
	// Ending says what ends with the session that is replaced.
	Ending Ending
}

// Ending says what ends with a session. The zero value: nothing.
type Ending struct {
	Now time.Time
	// RevokeClientIDs are the clients whose live grants of the session are
	// revoked, for Reason.
	RevokeClientIDs []string
	Reason          string
	// TellClientIDs are the clients that are told, if the person was led to them
	// in this session or they have a grant of it: a LogoutDelivery is inserted for
	// each, due at Now, that expires at TellUntil.
	TellClientIDs []string
	TellUntil     time.Time
}

// LogoutDelivery is a client that has still to be told that a session has ended.
// SID and ClientID are the key.
type LogoutDelivery struct {
	SID         string
	ClientID    string
	ConnectorID string
	UserID      string
	// EndedAt is when the session ended.
	EndedAt time.Time
	// Attempts is how often it was claimed.
	Attempts int64
	// ExpiresAt is when to give up.
	ExpiresAt time.Time
}

// RecheckClaim is the argument of Identities.ClaimRecheck.
type RecheckClaim struct {
	ConnectorID, UserID      string
	CheckedAfter, Now, Until time.Time
}

// Arrival is what an upstream posted through a browser, verified.
type Arrival struct {
	// ID is a hash of what makes the upstream's message unique.
	ID          [32]byte
	ConnectorID string
	// Sealed is what the connector has read, sealed by the caller. It is not
	// empty.
	Sealed []byte
	// TakeUntil is how long it waits for the browser; ExpiresAt, how long the
	// upstream's message could be believed, and so must not arrive again.
	TakeUntil, ExpiresAt time.Time
}

// Authorization is the argument of Grants.Authorize.
type Authorization struct {
	Grant Grant
	// Consent is upserted when not nil: it replaces the scopes, never narrows
	// the expiry.
	Consent *Consent
	// Session is the hash of the session the grant comes from. It must be alive
	// at Grant.CreatedAt.
	Session [32]byte
	// TouchSession also sets the session's LastUsedAt to Grant.CreatedAt (never
	// backwards) and adds Grant.ClientID to its ClientIDs. Callers set it only when
	// the stored values are old, so that most authorizations do not write the
	// session.
	TouchSession bool
}

// Table names a table whose rows expire.
type Table string

// The tables whose rows expire. (Leases expire, too, but there are a handful of
// them, which are taken again and again.)
const (
	TableSessions         Table = "sessions"
	TableGrants           Table = "grants"
	TableConsents         Table = "consents"
	TableLoginFailures    Table = "login_failures"
	TableLogoutDeliveries Table = "logout_deliveries"
	TableArrivals         Table = "arrivals"
	TableIdentities       Table = "identities"
)

// Expiring are all tables whose rows expire, in the order to delete from them:
// people after what refers to them.
func Expiring() []Table {
	return []Table{TableSessions, TableGrants, TableConsents, TableLoginFailures, TableLogoutDeliveries, TableArrivals, TableIdentities}
}

// Expired is the argument of Garbage.DeleteExpired.
type Expired struct {
	Table Table
	// Now: what has a later ExpiresAt is alive.
	Now time.Time
	// From skips what expired before it. It is the UpTo of the batch before, so
	// that nobody walks again over what is deleted and not yet vacuumed; zero:
	// from the beginning.
	From time.Time
	// Limit is the most that is deleted. Fewer deleted rows mean that this was
	// all there is.
	Limit int
	// Ending says what ends with each session, for TableSessions.
	Ending Ending
}

// Deleted is what Garbage.DeleteExpired did.
type Deleted struct {
	Rows int
	// UpTo is the latest ExpiresAt among the deleted; From when there are none.
	UpTo time.Time
}
