package saml

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	crewjam "github.com/crewjam/saml"

	"github.com/countersign/countersign/connector"
	"github.com/countersign/countersign/connector/upstream"
)

// methods are classes of authentication as authentication methods (RFC 8176).
var methods = map[string][]string{
	"urn:oasis:names:tc:SAML:2.0:ac:classes:Password":                   {"pwd"},
	"urn:oasis:names:tc:SAML:2.0:ac:classes:PasswordProtectedTransport": {"pwd"},
	"https://refeds.org/profile/mfa":                                    {"mfa"},
	"http://schemas.microsoft.com/claims/multipleauthn":                 {"mfa"},
}

// Arrive implements connector.RedirectConnector.
func (c *Connector) Arrive(_ context.Context, arrival connector.Arrival) (connector.Identity, error) {
	since, ok := upstream.KeptSince(arrival.Kept, idBytes)
	if !ok || arrival.Received == nil {
		return connector.Identity{}, fmt.Errorf("%w: there was no such departure", connector.ErrUpstream)
	}
	var a assertion
	if err := json.Unmarshal(arrival.Received, &a); err != nil {
		return connector.Identity{}, fmt.Errorf("%w: reading what was received: %w", connector.ErrUpstream, err)
	}
	// SAML Profiles 4.1.4.3: it answers the request that this browser left with.
	if subtle.ConstantTimeCompare([]byte(a.InResponseTo), []byte(requestID(arrival.Kept))) != 1 {
		return connector.Identity{}, fmt.Errorf("%w: its response is to another request", connector.ErrUpstream)
	}
	if !since.IsZero() && a.AuthnInstant.Before(since.Add(-skew)) {
		return connector.Identity{}, fmt.Errorf("%w: the person had to authenticate anew, and did not since %s", connector.ErrUpstream, a.AuthnInstant)
	}
	who, err := c.cfg.Attributes.identity(a)
	if err != nil {
		return who, err
	}
	who.Session, err = c.kept(a)
	return who, err
}

// identity makes an Identity of an assertion.
func (k Attributes) identity(a assertion) (who connector.Identity, err error) {
	if who.UserID, err = k.userID(a); err != nil {
		return who, err
	}
	for _, f := range []struct {
		to   *string
		name string
	}{{&who.Name, k.Name}, {&who.PreferredUsername, k.PreferredUsername}, {&who.Email, k.Email}} {
		if f.name == "" {
			continue
		}
		values := a.Attributes[f.name]
		if len(values) == 0 {
			return who, fmt.Errorf("%w: the attribute %q is missing; there are %q", connector.ErrUpstream, f.name, slices.Sorted(maps.Keys(a.Attributes)))
		}
		*f.to = values[0]
	}
	// Who signs for the organisation's people signs for their addresses.
	who.EmailVerified = who.Email != ""
	who.Groups = k.groups(a)
	who.AMR = methods[a.AuthnContext]
	who.Claims = claims(a)
	return who, nil
}

// userID is what never changes about the person.
func (k Attributes) userID(a assertion) (string, error) {
	if k.ID != "" {
		values := a.Attributes[k.ID]
		if len(values) != 1 || values[0] == "" {
			return "", fmt.Errorf("%w: the attribute %q, which is the id, has %d values", connector.ErrUpstream, k.ID, len(values))
		}
		return values[0], nil
	}
	if a.NameIDFormat == string(crewjam.TransientNameIDFormat) {
		return "", fmt.Errorf("%w: its NameID is transient, another one at each sign-in: set idAttr, or nameIDPolicyFormat", connector.ErrUpstream)
	}
	if a.NameID == "" {
		return "", fmt.Errorf("%w: it gave no NameID: set idAttr", connector.ErrUpstream)
	}
	return a.NameID, nil
}

// groups are values, or parts of them.
func (k Attributes) groups(a assertion) (all []string) {
	if k.Groups == "" {
		return nil
	}
	for _, value := range a.Attributes[k.Groups] {
		parts := []string{value}
		if k.GroupsDelimiter != "" {
			parts = strings.Split(value, k.GroupsDelimiter)
		}
		for _, part := range parts {
			if part != "" {
				all = append(all, part)
			}
		}
	}
	return all
}

// claims are the attributes, always as lists, and what else was said.
func claims(a assertion) map[string]any {
	all := make(map[string]any, len(a.Attributes)+3)
	for name, values := range a.Attributes {
		list := make([]any, len(values))
		for i, v := range values {
			list[i] = v
		}
		all[name] = list
	}
	all["NameID"], all["NameIDFormat"], all["AuthnContextClassRef"] = a.NameID, a.NameIDFormat, a.AuthnContext
	return all
}
