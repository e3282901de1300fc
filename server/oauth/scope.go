package oauth

import (
	"slices"
	"strings"

	"github.com/countersign/countersign/storage"
)

// Scopes (OpenID Connect Core 1.0 sections 5.4 and 11; the last two are Dex's).
const (
	ScopeOpenID        = "openid"
	ScopeProfile       = "profile"
	ScopeEmail         = "email"
	ScopeGroups        = "groups"
	ScopeOfflineAccess = "offline_access"
	ScopeFederatedID   = "federated:id"
	// scopeAudiencePrefix, followed by a client id, asks for that client as an
	// audience of the id_token.
	scopeAudiencePrefix = "audience:server:client_id:"
)

// simpleScopes are those without a parameter, in the order discovery shows.
var simpleScopes = []string{
	ScopeOpenID, ScopeProfile, ScopeEmail, ScopeGroups, ScopeOfflineAccess, ScopeFederatedID,
}

// parseScopes splits a scope parameter (RFC 6749 section 3.3) into the scopes
// known here, each once, in the order given. Unknown ones are ignored (OpenID
// Connect Core 1.0 section 3.1.2.1), which the token response's own scope tells.
func parseScopes(scope string) ([]string, *Error) {
	var known []string
	for _, s := range words(scope) {
		if !validScopeToken(s) {
			return nil, refuse(InvalidScope, "scope holds characters that are not allowed")
		}
		_, isAudience := audienceOf(s)
		if (isAudience || slices.Contains(simpleScopes, s)) && !slices.Contains(known, s) {
			known = append(known, s)
		}
	}
	if !slices.Contains(known, ScopeOpenID) {
		return nil, refuse(InvalidScope, "scope must contain openid")
	}
	if len(Audiences(known)) > maxAudiences {
		return nil, refuse(InvalidScope, "scope asks for too many audiences")
	}
	return known, nil
}

// validScopeToken: RFC 6749 section 3.3, 1*( %x21 / %x23-5B / %x5D-7E ).
func validScopeToken(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < 0x21 || c > 0x7e || c == '"' || c == '\\' {
			return false
		}
	}
	return s != ""
}

// maxAudiences bounds the lookups that one request can cause.
const maxAudiences = 16

func audienceOf(scope string) (clientID string, ok bool) {
	clientID, ok = strings.CutPrefix(scope, scopeAudiencePrefix)
	return clientID, ok && clientID != ""
}

// Audiences returns the client ids that scopes ask for as audiences, in order.
func Audiences(scopes []string) []string {
	var out []string
	for _, s := range scopes {
		if id, ok := audienceOf(s); ok {
			out = append(out, id)
		}
	}
	return out
}

// checkAudiences refuses an audience that does not list the client among its
// trusted peers; a client always trusts itself. peers holds the clients found
// for Audiences.
func checkAudiences(client storage.Client, scopes []string, peers map[string]storage.Client) *Error {
	for _, id := range Audiences(scopes) {
		if id == client.ID {
			continue
		}
		// One answer for "unknown" and "does not trust you": no oracle for the
		// names of clients.
		if peer, ok := peers[id]; !ok || !slices.Contains(peer.TrustedPeers, client.ID) {
			return refuse(InvalidScope, "client "+printable(id)+" is unknown or does not list this client in trustedPeers")
		}
	}
	return nil
}

// subset reports whether all scopes of a are in b.
func subset(a, b []string) bool {
	return !slices.ContainsFunc(a, func(s string) bool { return !slices.Contains(b, s) })
}
