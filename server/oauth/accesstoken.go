package oauth

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/countersign/countersign/storage"
)

// AccessToken is what an opaque access token says: which grant it belongs to,
// until when it lives, and which of the grant's scopes it has. It carries no
// rights of its own; those are the grant's.
type AccessToken struct {
	GrantID   storage.GrantID
	ExpiresAt time.Time
	// Scopes are those of simpleScopes that the token has; the others open
	// nothing here.
	Scopes []string
}

// AccessTokenBytes is the size of an encoded AccessToken: the grant id, the
// expiry in seconds since 1970, big-endian, and a bit for each of simpleScopes.
const AccessTokenBytes = 16 + 8 + 1

// Encode returns the AccessTokenBytes that a MAC is made over.
func (t AccessToken) Encode() []byte {
	var scopes byte
	for i, s := range simpleScopes {
		if slices.Contains(t.Scopes, s) {
			scopes |= 1 << i
		}
	}
	return append(binary.BigEndian.AppendUint64(slices.Clone(t.GrantID[:]), uint64(t.ExpiresAt.Unix())), scopes)
}

// DecodeAccessToken is the inverse of Encode, for bytes whose MAC was right.
func DecodeAccessToken(b []byte) (AccessToken, error) {
	if len(b) != AccessTokenBytes || b[24]>>len(simpleScopes) != 0 {
		return AccessToken{}, errDeadToken()
	}
	t := AccessToken{
		GrantID:   storage.GrantID(b[:16]),
		ExpiresAt: time.Unix(int64(binary.BigEndian.Uint64(b[16:24])), 0).UTC(),
	}
	for i, s := range simpleScopes {
		if b[24]&(1<<i) != 0 {
			t.Scopes = append(t.Scopes, s)
		}
	}
	return t, nil
}

// AccessTokenFormat is the client's, or the server's.
func AccessTokenFormat(p Policy, client storage.Client) string {
	if client.AccessTokenFormat != "" {
		return client.AccessTokenFormat
	}
	return p.AccessTokenFormat
}

// JWTType is the `typ` of a JWT access token (RFC 9068 section 2.1). It differs
// from an id_token's, so that neither passes for the other (RFC 8725 section
// 3.11).
const (
	JWTTypeAccessToken = "at+jwt"
	JWTTypeIDToken     = "JWT"
)

// JWTAccessToken is the claims set of RFC 9068 section 2.2.
//
// Its audience is the issuer itself (section 3: the default resource is ours,
// the userinfo endpoint), never the client: a relying party that looks only at
// signature and audience, as kube-apiserver does, must not take it for an
// id_token.
type JWTAccessToken struct {
	Issuer   string   `json:"iss"`
	Subject  string   `json:"sub"`
	Audience string   `json:"aud"`
	ClientID string   `json:"client_id"`
	Expiry   int64    `json:"exp"`
	IssuedAt int64    `json:"iat"`
	JTI      string   `json:"jti"`
	Scope    string   `json:"scope"`
	AuthTime int64    `json:"auth_time"`
	ACR      string   `json:"acr,omitempty"`
	AMR      []string `json:"amr,omitempty"`
}

// AccessTokenUntil is when an access token ends that is issued at now: never after
// its grant.
func AccessTokenUntil(p Policy, g storage.Grant, now time.Time) time.Time {
	if until := now.Add(p.AccessTokenLifetime); until.Before(g.ExpiresAt) {
		return until
	}
	return g.ExpiresAt
}

// NewJWTAccessToken makes the claims for a grant and those of its scopes. unique makes the jti unique;
// the jti also names the grant, so that revocation reaches this token.
func NewJWTAccessToken(p Policy, g storage.Grant, scopes []string, unique [16]byte, now time.Time) JWTAccessToken {
	return JWTAccessToken{
		Issuer:   p.Issuer,
		Subject:  Subject(g.UserID, g.ConnectorID),
		Audience: p.Issuer,
		ClientID: g.ClientID,
		Expiry:   AccessTokenUntil(p, g, now).Unix(),
		IssuedAt: now.Unix(),
		JTI:      hex.EncodeToString(g.ID[:]) + "." + hex.EncodeToString(unique[:]),
		Scope:    strings.Join(scopes, " "),
		AuthTime: g.AuthTime.Unix(),
		ACR:      g.ACR,
		AMR:      g.AMR,
	}
}

// ParseJWTAccessToken reads the payload of a token whose signature and typ were
// right, by RFC 9068 section 4. Every claim that section 2.2 requires must be
// there.
func ParseJWTAccessToken(p Policy, payload []byte) (AccessToken, error) {
	var c JWTAccessToken
	if err := json.Unmarshal(payload, &c); err != nil {
		return AccessToken{}, errDeadToken()
	}
	if c.Issuer != p.Issuer || c.Audience != p.Issuer || c.Subject == "" || c.ClientID == "" || c.Expiry == 0 || c.IssuedAt == 0 {
		return AccessToken{}, errDeadToken()
	}
	id, _, found := strings.Cut(c.JTI, ".")
	raw, err := hex.DecodeString(id)
	if !found || err != nil || len(raw) != len(storage.GrantID{}) {
		return AccessToken{}, errDeadToken()
	}
	return AccessToken{GrantID: storage.GrantID(raw), ExpiresAt: time.Unix(c.Expiry, 0).UTC(), Scopes: strings.Fields(c.Scope)}, nil
}

// CheckAccessToken decides whether a token, whose MAC or signature was right, is
// alive at now. It is asked before the grant is loaded.
func CheckAccessToken(t AccessToken, now time.Time) error {
	if !now.Before(t.ExpiresAt) {
		return errDeadToken()
	}
	return nil
}

// CheckAccessGrant decides whether the grant of a live token may still be used
// at now.
func CheckAccessGrant(g storage.Grant, now time.Time) error {
	if !g.RevokedAt.IsZero() || g.CodeRedeemedAt.IsZero() || !now.Before(g.ExpiresAt) {
		return errDeadToken()
	}
	return nil
}

func errDeadToken() error {
	return refuse(InvalidToken, "the access token is expired, revoked or was not issued here")
}

// ErrInvalidToken answers everything that is not a live access token of ours.
func ErrInvalidToken() error { return errDeadToken() }

// BearerToken reads the access token of a request (RFC 6750 section 2): from the
// Authorization header or the form body, never from the query (OAuth 2.1 section
// 5.1), and from one place only. form is the parsed body, nil when there is none;
// query is the parsed query. missing reports a request without any token, which
// is answered without an error code (section 3.1).
func BearerToken(authorization []string, form, query url.Values) (token string, missing bool, err error) {
	switch {
	case query.Has("access_token"):
		return "", false, refuse(InvalidRequest, "an access token must not be sent in the query")
	case len(authorization) > 1:
		return "", false, refuse(InvalidRequest, "the Authorization header is given more than once")
	case len(form["access_token"]) > 1:
		return "", false, refuse(InvalidRequest, "the access token is given more than once")
	case len(authorization) == 1 && form.Has("access_token"):
		return "", false, refuse(InvalidRequest, "the access token is given in the header and in the body")
	case form.Get("access_token") != "":
		return form.Get("access_token"), false, nil
	case len(authorization) == 0:
		return "", true, nil
	}
	scheme, token, _ := strings.Cut(authorization[0], " ")
	if token = strings.TrimSpace(token); !strings.EqualFold(scheme, "Bearer") || token == "" {
		return "", true, nil
	}
	return token, false, nil
}
