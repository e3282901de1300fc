package oauth

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"net/url"
	"slices"
	"time"

	"github.com/countersign/countersign/storage"
)

// GrantRefreshToken is the grant type of RFC 6749 section 6.
const GrantRefreshToken = "refresh_token"

// RefreshPolicy says how refresh tokens live and rotate.
type RefreshPolicy struct {
	// ReuseInterval is how long a token that was rotated may be presented again:
	// the repeat gets the same successor, so that a lost response logs nobody
	// out. 0: not at all.
	ReuseInterval time.Duration
	// IdleLifetime ends a grant that was not refreshed for so long,
	// AbsoluteLifetime ends it however much it is used.
	IdleLifetime     time.Duration
	AbsoluteLifetime time.Duration
	// DisableRotation keeps one token valid, for clients that cannot store a new
	// one.
	DisableRotation bool
}

// RefreshPolicyOf is the server's policy with the client's overrides.
func RefreshPolicyOf(p Policy, client storage.Client) RefreshPolicy {
	r, o := p.Refresh, client.RefreshTokens
	if o.ReuseInterval != nil {
		r.ReuseInterval = *o.ReuseInterval
	}
	if o.DisableRotation != nil {
		r.DisableRotation = *o.DisableRotation
	}
	r.IdleLifetime = cmp.Or(o.IdleLifetime, r.IdleLifetime)
	r.AbsoluteLifetime = cmp.Or(o.AbsoluteLifetime, r.AbsoluteLifetime)
	return r
}

// RefreshToken is what a refresh token says: its grant, which of the tokens of
// that grant it is, and whose. It is not secret; a MAC makes it a token. Since
// nothing in it is random, the successor of a token can be made again, always the
// same.
type RefreshToken struct {
	GrantID    storage.GrantID
	Generation int64
	Client     ClientTag
}

// ClientTag tells the tokens of one client from those of others, so that what
// belongs to somebody else is refused before anybody looks for it. It proves
// nothing: two clients may have the same, and the grant says whose it is.
type ClientTag [4]byte

// clientTag is the beginning of SHA-256 of the client_id.
func clientTag(clientID string) ClientTag {
	sum := sha256.Sum256([]byte(clientID))
	return ClientTag(sum[:])
}

// NewestRefreshToken is the one that a grant is at: always the same.
func NewestRefreshToken(g storage.Grant) RefreshToken {
	return RefreshToken{GrantID: g.ID, Generation: g.Generation, Client: clientTag(g.ClientID)}
}

// IssuedTo reports whether the token is one of the client's, as far as it says.
func (t RefreshToken) IssuedTo(client storage.Client) bool { return t.Client == clientTag(client.ID) }

// RefreshTokenBytes is the size of an encoded RefreshToken: the grant id, the
// generation, big-endian, and the client's tag.
const RefreshTokenBytes = 16 + 8 + len(ClientTag{})

// Encode returns the RefreshTokenBytes that a MAC is made over.
func (t RefreshToken) Encode() []byte {
	b := append(make([]byte, 0, RefreshTokenBytes), t.GrantID[:]...)
	return append(binary.BigEndian.AppendUint64(b, uint64(t.Generation)), t.Client[:]...)
}

// DecodeRefreshToken is the inverse of Encode, for bytes whose MAC was right.
func DecodeRefreshToken(b []byte) (RefreshToken, error) {
	if len(b) != RefreshTokenBytes {
		return RefreshToken{}, ErrInvalidRefreshToken()
	}
	return RefreshToken{GrantID: storage.GrantID(b[:16]), Generation: int64(binary.BigEndian.Uint64(b[16:24])), Client: ClientTag(b[24:])}, nil
}

// IssuesRefreshToken reports whether a grant comes with refresh tokens: the
// person allowed offline_access (OpenID Connect Core 1.0 section 11).
func IssuesRefreshToken(g storage.Grant) bool { return slices.Contains(g.Scopes, ScopeOfflineAccess) }

// KeepsSignedIn reports whether a live grant can still be refreshed at now, as far
// as its own limits go: it is what a person would call a signed-in app. A client
// that is not there any more has the server's limits.
func KeepsSignedIn(g storage.Grant, client storage.Client, p Policy, now time.Time) bool {
	return IssuesRefreshToken(g) && g.RefreshedAt.Add(RefreshPolicyOf(p, client).IdleLifetime).After(now)
}

// RefreshRequest is a token request with a refresh token (RFC 6749 section 6),
// by a client that has authenticated.
type RefreshRequest struct {
	Token string
	// Scope is what is asked for; empty: all that was granted.
	Scope string
}

// ParseRefreshRequest reads the parameters of a refresh_token request.
func ParseRefreshRequest(form url.Values) (RefreshRequest, error) {
	p := parameters(form)
	r := RefreshRequest{Token: p.get("refresh_token"), Scope: p.get(ParamScope)}
	if r.Token == "" {
		return r, refuse(InvalidRequest, "refresh_token is missing")
	}
	return r, nil
}

// ErrInvalidRefreshToken is the one answer to a refresh token that is not to be
// redeemed, whatever the reason: an outsider learns nothing from it.
func ErrInvalidRefreshToken() error {
	return refuse(InvalidGrant, "refresh_token is invalid, expired, revoked, or was issued to another client")
}

// ErrRefreshTokenReused answers a token that was rotated long ago.
func ErrRefreshTokenReused() error {
	return refuse(InvalidGrant, "refresh_token was used before; the grant it belongs to is revoked")
}

// NewRotation is the step that a refresh takes when nothing is in its way. The
// store takes it only if the token is the newest of a live grant of this client,
// not idle for too long, and the identity was checked after the limit of its
// connector.
func NewRotation(t RefreshToken, client storage.Client, p Policy, checkedAfter []storage.CheckLimit, userAgent, ipAddress string, now time.Time) storage.Rotation {
	policy := RefreshPolicyOf(p, client)
	next := t.Generation + 1
	if policy.DisableRotation {
		next = t.Generation
	}
	return storage.Rotation{
		ID: t.GrantID, ClientID: client.ID, Generation: t.Generation, Next: next, Now: now,
		UsedAfter: now.Add(-policy.IdleLifetime), CheckedAfter: checkedAfter,
		UserAgent: userAgent, IPAddress: ipAddress,
	}
}

// NewRepeat is the step that changes nothing of a rotated grant. A repeat takes it
// before it is answered: the commit that it repeats may be one that was given up
// waiting for, and is safe when this one is.
func NewRepeat(g storage.Grant) storage.Rotation {
	return storage.Rotation{
		ID: g.ID, ClientID: g.ClientID, Generation: g.Generation, Next: g.Generation,
		Now: g.RefreshedAt, UsedAfter: g.RefreshedAt.Add(-time.Second),
		UserAgent: g.RefreshedUserAgent, IPAddress: g.RefreshedIPAddress,
	}
}

// RefreshVerdict is why a rotation did not happen, and what to do.
type RefreshVerdict int

const (
	// RefreshRefuse: answer with the error.
	RefreshRefuse RefreshVerdict = iota
	// RefreshRecheck: ask the connector about the person, then rotate.
	RefreshRecheck
	// RefreshRepeat: the token was rotated a moment ago and is presented again;
	// answer with the same successor.
	RefreshRepeat
	// RefreshReuse: the token was rotated, and not a moment ago. Somebody else
	// has it too, so the grant is to be revoked (RFC 9700 section 4.14.2).
	RefreshReuse
)

// Refresh decides about a token that the store did not rotate, from the grant as
// it is now. The error is the answer for RefreshRefuse and RefreshReuse.
//
// Only the client that the token was issued to can cause a revocation.
func Refresh(g storage.Grant, client storage.Client, t RefreshToken, p Policy, now time.Time) (RefreshVerdict, error) {
	policy := RefreshPolicyOf(p, client)
	repeated := policy.repeats(g, t, now)
	switch {
	case g.ClientID != client.ID, g.CodeRedeemedAt.IsZero(), !IssuesRefreshToken(g),
		!g.RevokedAt.IsZero(), !now.Before(g.ExpiresAt):
		return RefreshRefuse, ErrInvalidRefreshToken()
	case t.Generation > g.Generation:
		// We signed it, and do not know it: the database has lost a commit.
		return RefreshRefuse, ErrInvalidRefreshToken()
	case t.Generation < g.Generation && !repeated:
		return RefreshReuse, ErrRefreshTokenReused()
	case !g.RefreshedAt.Add(policy.IdleLifetime).After(now):
		return RefreshRefuse, ErrInvalidRefreshToken()
	case repeated:
		return RefreshRepeat, nil
	}
	return RefreshRecheck, nil
}

// repeats reports whether a token is the one before the newest, and was rotated a
// moment ago. Where rotation is off, RefreshedAt says nothing of when that was:
// it moves on with every use of the newest.
func (r RefreshPolicy) repeats(g storage.Grant, t RefreshToken, now time.Time) bool {
	return r.ReuseInterval > 0 && !r.DisableRotation &&
		t.Generation == g.Generation-1 && now.Before(g.RefreshedAt.Add(r.ReuseInterval))
}

// CheckRefreshed decides whether the configuration lets a grant go on that was
// rotated or repeated at now: it must have been granted refresh tokens and not be
// older than they get by now, its person's connector must still be there and
// allowed for the client, and the audiences it names, whose clients are peers, must
// still trust the client. Otherwise the grant is to be revoked.
func CheckRefreshed(p Policy, g storage.Grant, client storage.Client, peers map[string]storage.Client, connectors []string, now time.Time) error {
	if !IssuesRefreshToken(g) || !allowed(client, g.ConnectorID) || !slices.Contains(connectors, g.ConnectorID) ||
		!now.Before(g.CodeRedeemedAt.Add(RefreshPolicyOf(p, client).AbsoluteLifetime)) ||
		checkAudiences(client, g.Scopes, peers) != nil {
		return ErrInvalidRefreshToken()
	}
	return nil
}

// Narrow returns the scopes of a refresh: what was granted, or less when the
// request says so. It never grows (RFC 6749 section 6).
func Narrow(granted []string, scope string) ([]string, error) {
	if scope == "" {
		return granted, nil
	}
	asked, err := parseScopes(scope)
	if err != nil {
		return nil, err
	}
	if !subset(asked, granted) {
		return nil, refuse(InvalidScope, "scope asks for more than was granted; ask for less, or send the person to sign in again")
	}
	return asked, nil
}

// Recheck says when an identity has to be asked for again at its connector
// (DESIGN: identity is checked again, not assumed).
type Recheck struct {
	// After is how old an answer may be; 0: the connector cannot be asked.
	After time.Duration
	// StaleIfError is how old it may be when the connector cannot answer.
	StaleIfError time.Duration
}

// Due reports whether the answer of checkedAt is too old at now.
func (r Recheck) Due(checkedAt, now time.Time) bool {
	return r.After > 0 && !checkedAt.Add(r.After).After(now)
}

// Bearable reports whether the answer of checkedAt may still be used at now
// although the connector failed.
func (r Recheck) Bearable(checkedAt, now time.Time) bool {
	return checkedAt.Add(r.StaleIfError).After(now)
}
