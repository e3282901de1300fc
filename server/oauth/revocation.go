package oauth

import (
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/countersign/countersign/storage"
)

// TokenParameter reads the token of a revocation or introspection request
// (RFC 7009 section 2.1, RFC 7662 section 2.1). token_type_hint is not needed:
// our tokens say what they are.
func TokenParameter(form url.Values) (string, error) {
	p := parameters(form)
	if err := p.check(); err != nil {
		return "", err
	}
	token := p.get("token")
	if token == "" {
		return "", refuse(InvalidRequest, "token is missing")
	}
	return token, nil
}

// CheckRevocation decides whether a client may revoke a grant by one of its
// tokens: it must have been issued to that client (RFC 7009 section 2.1).
func CheckRevocation(g storage.Grant, client storage.Client) error {
	if g.ClientID != client.ID {
		return ErrForeignToken()
	}
	return nil
}

// ErrForeignToken answers a client that wants to revoke another one's token
// (RFC 7009 section 2.1).
func ErrForeignToken() error { return refuse(InvalidGrant, "the token was issued to another client") }

// ErrUnsupportedTokenType answers an id_token at the revocation endpoint: it
// cannot be called back (RFC 7009 section 2.2.1).
func ErrUnsupportedTokenType() error {
	return refuse(UnsupportedTokenType, "an id_token cannot be revoked; revoke the access or refresh token it came with")
}

// ErrPublicIntrospection refuses a caller that has proved nothing (RFC 7662
// section 2.1: the endpoint must require authorization).
func ErrPublicIntrospection() error {
	return refuse(InvalidClient, "introspection is for clients that authenticate with a secret")
}

// Introspection is the answer to an introspection request (RFC 7662 section
// 2.2). The zero value is the answer for everything that is dead, foreign or
// nonsense: `active` alone.
type Introspection struct {
	Active    bool     `json:"active"`
	Scope     string   `json:"scope,omitempty"`
	ClientID  string   `json:"client_id,omitempty"`
	Username  string   `json:"username,omitempty"`
	TokenType string   `json:"token_type,omitempty"`
	Expiry    int64    `json:"exp,omitempty"`
	IssuedAt  int64    `json:"iat,omitempty"`
	Subject   string   `json:"sub,omitempty"`
	Audience  Audience `json:"aud,omitempty"`
	Issuer    string   `json:"iss,omitempty"`
}

// IntrospectAccessToken describes an access token, whose MAC or signature was
// right, to a client. Another client's is not active: no oracle (section 4).
func IntrospectAccessToken(t AccessToken, g storage.Grant, id storage.Identity, client storage.Client, p Policy, now time.Time) Introspection {
	if g.ClientID != client.ID || CheckAccessToken(t, now) != nil || CheckAccessGrant(g, now) != nil {
		return Introspection{}
	}
	scopes := slices.DeleteFunc(slices.Clone(g.Scopes), func(s string) bool {
		_, isAudience := audienceOf(s)
		return isAudience || !slices.Contains(t.Scopes, s)
	})
	i := introspect(g, id, p, scopes)
	i.TokenType, i.Expiry, i.Audience = "Bearer", t.ExpiresAt.Unix(), Audience{p.Issuer}
	return i
}

// IntrospectRefreshToken describes a refresh token to the client that has it: it
// is active when redeeming it now would succeed, whatever the person's connector
// might say; CheckRefreshed comes first.
func IntrospectRefreshToken(t RefreshToken, g storage.Grant, id storage.Identity, client storage.Client, p Policy, now time.Time) Introspection {
	if verdict, _ := Refresh(g, client, t, p, now); verdict != RefreshRecheck && verdict != RefreshRepeat {
		return Introspection{}
	}
	i := introspect(g, id, p, g.Scopes)
	i.TokenType, i.IssuedAt = "refresh_token", g.RefreshedAt.Unix()
	policy := RefreshPolicyOf(p, client)
	absolute := earliest(g.ExpiresAt, g.CodeRedeemedAt.Add(policy.AbsoluteLifetime))
	i.Expiry = earliest(absolute, g.RefreshedAt.Add(policy.IdleLifetime)).Unix()
	return i
}

// introspect is what both kinds have in common. The user name is the person's own
// to release: it needs the scope that releases it elsewhere.
func introspect(g storage.Grant, id storage.Identity, p Policy, scopes []string) Introspection {
	return Introspection{
		Active: true, Scope: strings.Join(scopes, " "), ClientID: g.ClientID,
		Username: personClaims(scopes, id).PreferredUsername,
		Subject:  Subject(g.UserID, g.ConnectorID), Issuer: p.Issuer,
	}
}

func earliest(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
