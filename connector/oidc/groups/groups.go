// Package groups asks Google and Microsoft for the groups of people, where the
// id_tokens of these providers do not say them, or not all.
//
// It refuses to guess: an answer that is missing, refused, cut off or too long is a
// failure, and never means that somebody has no groups.
//
// Threat: an API that answers nonsense, without end or not at all; one that leads our
// tokens to somebody else by the address of its next page; a person whose address is
// that of a company which does not manage the account; and asking so often that
// nobody is answered any more.
package groups

import (
	"fmt"

	"github.com/countersign/countersign/connector"
)

const (
	// maxGroups is how many groups somebody may be in. No part of them is ever taken
	// for all.
	maxGroups = 5000
	// maxPages bounds one list.
	maxPages = 100
	// maxAtOnce bounds how many requests about one person are under way.
	maxAtOnce = 4
)

// Elsewhere reports that an id_token does not say the groups of a person because
// there are too many, but where to ask: as a distributed claim (OpenID Connect Core
// 1.0 section 5.6.2), or as Entra ID's hasgroups. The address that comes with it is
// never used: it is of an API that was switched off.
// https://learn.microsoft.com/entra/identity-platform/access-token-claims-reference
func Elsewhere(claims map[string]any) bool {
	names, _ := claims["_claim_names"].(map[string]any)
	_, distributed := names["groups"]
	return distributed || claims["hasgroups"] == true || claims["hasgroups"] == "true"
}

// tooMany is about a person in more groups than maxGroups, or a list of more pages
// than maxPages.
func tooMany() error {
	return fmt.Errorf("%w: the person is in more than %d groups, or they are on more than %d pages", connector.ErrUpstream, maxGroups, maxPages)
}
