package oauth

import (
	"encoding/hex"
	"time"

	"github.com/countersign/countersign/storage"
)

const (
	// JWTTypeLogoutToken is the `typ` of a logout token (OpenID Connect
	// Back-Channel Logout 1.0 section 2.4), so that it passes for no id_token and
	// no id_token for it.
	JWTTypeLogoutToken = "logout+jwt"

	// LogoutTokenLifetime is the most that section 4 of Back-Channel Logout 1.0
	// recommends.
	LogoutTokenLifetime = 2 * time.Minute

	// logoutEvent names what happened (section 2.4).
	logoutEvent = "http://schemas.openid.net/event/backchannel-logout"
)

// LogoutToken is the claims set of a logout token (OpenID Connect Back-Channel
// Logout 1.0 section 2.4). It never has a nonce.
type LogoutToken struct {
	Issuer   string              `json:"iss"`
	Subject  string              `json:"sub"`
	Audience string              `json:"aud"`
	IssuedAt int64               `json:"iat"`
	Expiry   int64               `json:"exp"`
	JTI      string              `json:"jti"`
	SID      string              `json:"sid"`
	Events   map[string]struct{} `json:"events"`
}

// NewLogoutToken makes the claims for one attempt, at now, to tell a client.
// unique makes the jti: a token is sent once.
func NewLogoutToken(p Policy, d storage.LogoutDelivery, unique [16]byte, now time.Time) LogoutToken {
	return LogoutToken{
		Issuer:   p.Issuer,
		Subject:  Subject(d.UserID, d.ConnectorID),
		Audience: d.ClientID,
		IssuedAt: now.Unix(),
		Expiry:   now.Add(LogoutTokenLifetime).Unix(),
		JTI:      hex.EncodeToString(unique[:]),
		SID:      d.SID,
		Events:   map[string]struct{}{logoutEvent: {}},
	}
}
