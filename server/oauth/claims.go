package oauth

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/countersign/countersign/storage"
)

// ACRPassword is the `acr` of a sign-in in which the person proved who they are
// to their connector: level 1 of ISO/IEC 29115 (OpenID Connect Core 1.0 section
// 2; level 0 would be a cookie alone).
const ACRPassword = "1"

// Audience is an `aud`: a string when it is one, an array otherwise (RFC 7519
// section 4.1.3).
type Audience []string

// MarshalJSON implements json.Marshaler.
func (a Audience) MarshalJSON() ([]byte, error) {
	if len(a) == 1 {
		return json.Marshal(a[0])
	}
	return json.Marshal([]string(a))
}

// UnmarshalJSON implements json.Unmarshaler.
func (a *Audience) UnmarshalJSON(raw []byte) error {
	var one string
	if json.Unmarshal(raw, &one) == nil {
		*a = Audience{one}
		return nil
	}
	return json.Unmarshal(raw, (*[]string)(a))
}

// PersonClaims are the claims that scopes release (OpenID Connect Core 1.0
// section 5.4), in the id_token and at the userinfo endpoint alike.
type PersonClaims struct {
	Email             string           `json:"email,omitempty"`
	EmailVerified     *bool            `json:"email_verified,omitempty"`
	Name              string           `json:"name,omitempty"`
	PreferredUsername string           `json:"preferred_username,omitempty"`
	Groups            []string         `json:"groups,omitempty"`
	FederatedClaims   *FederatedClaims `json:"federated_claims,omitempty"`
}

// FederatedClaims tell where the person comes from (scope federated:id).
type FederatedClaims struct {
	ConnectorID string `json:"connector_id"`
	UserID      string `json:"user_id"`
}

// personClaims releases what the scopes allow.
func personClaims(scopes []string, id storage.Identity) (c PersonClaims) {
	if slices.Contains(scopes, ScopeEmail) && id.Email != "" {
		verified := id.EmailVerified
		c.Email, c.EmailVerified = id.Email, &verified
	}
	if slices.Contains(scopes, ScopeProfile) {
		c.Name, c.PreferredUsername = id.Name, id.PreferredUsername
	}
	if slices.Contains(scopes, ScopeGroups) {
		c.Groups = id.Groups
	}
	if slices.Contains(scopes, ScopeFederatedID) {
		c.FederatedClaims = &FederatedClaims{ConnectorID: id.ConnectorID, UserID: id.UserID}
	}
	return c
}

// IDToken is the claims set of an id_token (OpenID Connect Core 1.0 section 2).
type IDToken struct {
	Issuer          string   `json:"iss"`
	Subject         string   `json:"sub"`
	Audience        Audience `json:"aud"`
	AuthorizedParty string   `json:"azp,omitempty"`
	Expiry          int64    `json:"exp"`
	IssuedAt        int64    `json:"iat"`
	AuthTime        int64    `json:"auth_time"`
	Nonce           string   `json:"nonce,omitempty"`
	ACR             string   `json:"acr,omitempty"`
	AMR             []string `json:"amr,omitempty"`
	AccessTokenHash string   `json:"at_hash,omitempty"`
	SID             string   `json:"sid,omitempty"`
	PersonClaims
}

// NewRefreshedIDToken makes the claims of an id_token that a refresh brings: the
// same iss, sub, aud, azp and auth_time, a new iat, and no nonce (OpenID Connect
// Core 1.0 section 12.2).
func NewRefreshedIDToken(p Policy, client storage.Client, g storage.Grant, id storage.Identity, alg, accessToken string, now time.Time) IDToken {
	t := NewIDToken(p, client, g, id, alg, accessToken, now)
	t.Nonce = ""
	return t
}

// NewIDToken makes the claims of an id_token of a grant, signed with alg, issued
// together with accessToken.
func NewIDToken(p Policy, client storage.Client, g storage.Grant, id storage.Identity, alg, accessToken string, now time.Time) IDToken {
	t := IDToken{
		Issuer:          p.Issuer,
		Subject:         Subject(g.UserID, g.ConnectorID),
		Audience:        Audience{g.ClientID},
		Expiry:          now.Add(IDTokenLifetime(p, client)).Unix(),
		IssuedAt:        now.Unix(),
		AuthTime:        g.AuthTime.Unix(),
		Nonce:           g.Nonce,
		ACR:             g.ACR,
		AMR:             g.AMR,
		AccessTokenHash: LeftHalfHash(alg, accessToken),
		SID:             g.SID,
		PersonClaims:    personClaims(g.Scopes, id),
	}
	if others := Audiences(g.Scopes); len(others) > 0 {
		// The client that asks is always an audience (section 2, aud), and the
		// authorized party when it is not the only one (azp).
		if t.Audience = others; !slices.Contains(others, g.ClientID) {
			t.Audience = append(t.Audience, g.ClientID)
		}
		if len(t.Audience) > 1 {
			t.AuthorizedParty = g.ClientID
		}
	}
	return t
}

// IDTokenLifetime is the client's, or the server's.
func IDTokenLifetime(p Policy, client storage.Client) time.Duration {
	if client.IDTokenLifetime > 0 {
		return client.IDTokenLifetime
	}
	return p.IDTokenLifetime
}

// LongestToken is the lifetime of the longest-lived token that is signed for any of
// the clients: the key that signed it must be kept for as long.
func LongestToken(p Policy, clients []storage.Client) time.Duration {
	longest := max(p.IDTokenLifetime, p.AccessTokenLifetime, LogoutTokenLifetime)
	for _, c := range clients {
		longest = max(longest, IDTokenLifetime(p, c))
	}
	return longest
}

// SigningAlg is the algorithm for the client's id_tokens.
func SigningAlg(p Policy, client storage.Client) string {
	if client.IDTokenSigningAlg != "" {
		return client.IDTokenSigningAlg
	}
	return p.SigningAlg
}

// LeftHalfHash is at_hash (OpenID Connect Core 1.0 section 3.1.3.6): base64url
// of the left half of the hash that the JWS algorithm uses: its name ends with
// the size (RFC 7518 section 3.1), and EdDSA with Ed25519 hashes with SHA-512.
func LeftHalfHash(alg, token string) string {
	var sum []byte
	switch {
	case alg == "EdDSA" || strings.HasSuffix(alg, "512"):
		h := sha512.Sum512([]byte(token))
		sum = h[:]
	case strings.HasSuffix(alg, "384"):
		h := sha512.Sum384([]byte(token))
		sum = h[:]
	default:
		h := sha256.Sum256([]byte(token))
		sum = h[:]
	}
	return base64.RawURLEncoding.EncodeToString(sum[:len(sum)/2])
}

// UserInfo is the answer of the userinfo endpoint (OpenID Connect Core 1.0
// section 5.3.2).
type UserInfo struct {
	Subject string `json:"sub"`
	PersonClaims
}

// NewUserInfo makes the answer for an access token with these scopes of a grant.
func NewUserInfo(g storage.Grant, scopes []string, id storage.Identity) UserInfo {
	both := slices.DeleteFunc(slices.Clone(scopes), func(s string) bool { return !slices.Contains(g.Scopes, s) })
	return UserInfo{Subject: Subject(g.UserID, g.ConnectorID), PersonClaims: personClaims(both, id)}
}
