package oauth

import (
	"encoding/json"
	"slices"
	"time"

	"github.com/countersign/countersign/storage"
)

// consentLifetime is how long a consent is remembered after it was given.
const consentLifetime = 365 * 24 * time.Hour

// NewGrant makes the grant that a code stands for: what the request asked for,
// by the person and with the authentication of the session. userAgent and
// ipAddress tell the person later which device it was.
func NewGrant(id storage.GrantID, r AuthorizeRequest, s storage.Session, p Policy, userAgent, ipAddress string, now time.Time) storage.Grant {
	codeExpiresAt := now.Add(p.CodeLifetime)
	return storage.Grant{
		ID:                  id,
		ClientID:            r.ClientID,
		ConnectorID:         s.ConnectorID,
		UserID:              s.UserID,
		SID:                 s.SID,
		Scopes:              r.Scopes,
		RedirectURI:         r.RedirectURI,
		Nonce:               r.Nonce,
		CodeChallenge:       r.CodeChallenge,
		CodeChallengeMethod: r.CodeChallengeMethod,
		AuthTime:            s.AuthTime,
		ACR:                 ACRPassword,
		AMR:                 s.AMR,
		CreatedAt:           now,
		CodeExpiresAt:       codeExpiresAt,
		ExpiresAt:           codeExpiresAt,
		UserAgent:           userAgent,
		IPAddress:           ipAddress,
	}
}

// RedeemedUntil is when a grant ends whose code is redeemed at now: at the
// absolute end of its refresh tokens, or, without them, with its access token.
func RedeemedUntil(p Policy, client storage.Client, g storage.Grant, now time.Time) time.Time {
	if IssuesRefreshToken(g) {
		return now.Add(RefreshPolicyOf(p, client).AbsoluteLifetime)
	}
	return now.Add(p.AccessTokenLifetime)
}

// IdentityUntil is until when an identity is kept for a session: until the last
// code that the session can still make is redeemed. Redeeming it keeps the
// identity for as long as the grant (storage.Grants.RedeemCode).
func IdentityUntil(p Policy, s storage.Session) time.Time {
	return s.ExpiresAt.Add(p.CodeLifetime + p.AccessTokenLifetime)
}

// NewConsent makes the record of a consent to a request, in addition to the
// scopes that were allowed before.
func NewConsent(r AuthorizeRequest, s storage.Session, before []string, now time.Time) storage.Consent {
	scopes := slices.Clone(before)
	for _, scope := range r.Scopes {
		if !slices.Contains(scopes, scope) {
			scopes = append(scopes, scope)
		}
	}
	return storage.Consent{
		ConnectorID: s.ConnectorID,
		UserID:      s.UserID,
		ClientID:    r.ClientID,
		Scopes:      scopes,
		GrantedAt:   now,
		ExpiresAt:   now.Add(consentLifetime),
	}
}

// HintSubject reads the subject of an id_token_hint whose signature was right:
// it must be an id_token of this issuer (OpenID Connect Core 1.0 section
// 3.1.2.1). It returns "" when it is not.
func HintSubject(p Policy, payload []byte) string {
	var claims struct {
		Issuer  string `json:"iss"`
		Subject string `json:"sub"`
	}
	if json.Unmarshal(payload, &claims) != nil || claims.Issuer != p.Issuer {
		return ""
	}
	return claims.Subject
}
