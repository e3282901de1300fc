package oidc

import (
	"fmt"
	"strconv"

	"github.com/countersign/countersign/connector"
)

// mapped makes an Identity of claims (OpenID Connect Core 1.0 section 5.1).
func (c *Connector) mapped(claims map[string]any) (connector.Identity, error) {
	k := c.cfg.Keys
	who := connector.Identity{
		UserID:            text(claims, k.UserID),
		Name:              text(claims, k.Name),
		PreferredUsername: text(claims, c.key(claims, "preferred_username", k.PreferredUsername)),
		Email:             text(claims, c.key(claims, "email", k.Email)),
		AMR:               texts(claims["amr"]),
		Claims:            claims,
	}
	if who.UserID == "" {
		return who, fmt.Errorf("%w: the claim %s is missing, or neither text nor a whole number below 2^53", connector.ErrUpstream, k.UserID)
	}
	who.EmailVerified = who.Email != "" && (c.cfg.SkipEmailVerified || vouched(claims, who.Email))
	return who, nil
}

// vouched reports whether email_verified is about this address: it is about the
// standard's claim, where that is there.
func vouched(claims map[string]any, address string) bool {
	standard, ok := claims["email"]
	return truth(claims["email_verified"]) && (!ok || standard == address)
}

// key chooses between the standard's claim and the operator's.
func (c *Connector) key(claims map[string]any, standard, own string) string {
	if own == "" {
		return standard
	}
	if _, ok := claims[standard]; ok && !c.cfg.Keys.Force {
		return standard
	}
	return own
}

// maxNumber is above all numbers that are exact in JSON as it is decoded (RFC 8259
// section 6): beyond, two people with different ids would be one.
const maxNumber = 1 << 53

// text reads a claim; some providers have numbers for ids.
func text(claims map[string]any, key string) string {
	switch v := claims[key].(type) {
	case string:
		return v
	case float64:
		if v > -maxNumber && v < maxNumber && v == float64(int64(v)) {
			return strconv.FormatInt(int64(v), 10)
		}
	}
	return ""
}

// truth reads a boolean, which some providers send as text.
func truth(v any) bool { return v == true || v == "true" }

// texts reads a list, or a single text. What is not text is left out; of objects
// (as Zitadel and others send groups), the name is taken.
func texts(v any) (all []string) {
	switch v := v.(type) {
	case string:
		return []string{v}
	case []any:
		for _, entry := range v {
			if object, ok := entry.(map[string]any); ok {
				entry = object["name"]
			}
			if s, ok := entry.(string); ok {
				all = append(all, s)
			}
		}
	}
	return all
}
