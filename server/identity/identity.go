// Package identity turns what connectors say of people into records, and back.
//
// It refuses to judge what they say. What a connector wants to have when it is
// asked again is sealed for one person at one connector.
//
// Threat: whoever reads the database must not get at people's accounts upstream,
// and a secret that was copied from one row to another must not open there.
package identity

import (
	"fmt"
	"time"

	"github.com/countersign/countersign/connector"
	"github.com/countersign/countersign/server/seal"
	"github.com/countersign/countersign/storage"
)

// MaxSecret is the most that a connector may want to have, in bytes.
const MaxSecret = 32 << 10

// Of is the record of what a connector said of a person at a time. The row may go
// when until has passed.
func Of(connectorID string, who connector.Identity, at, until time.Time) storage.Identity {
	return storage.Identity{
		ConnectorID:       connectorID,
		UserID:            who.UserID,
		Name:              who.Name,
		PreferredUsername: who.PreferredUsername,
		Email:             who.Email,
		EmailVerified:     who.EmailVerified,
		Groups:            who.Groups,
		CheckedAt:         at,
		ExpiresAt:         until,
	}
}

// Known is what is known of the person of a record, for the connector.
func Known(i storage.Identity, secret []byte) connector.Identity {
	return connector.Identity{
		UserID:            i.UserID,
		Name:              i.Name,
		PreferredUsername: i.PreferredUsername,
		Email:             i.Email,
		EmailVerified:     i.EmailVerified,
		Groups:            i.Groups,
		Secret:            secret,
	}
}

// Secrets seals what connectors want to have when they are asked again.
type Secrets struct{ box *seal.Box }

// NewSecrets derives the keys.
func NewSecrets(k *seal.Keyring) *Secrets { return &Secrets{box: k.Box("upstream")} }

// Seal returns what can be stored; nil for nothing. The error is or wraps
// connector.ErrUpstream when there is too much of it.
func (s *Secrets) Seal(connectorID string, who connector.Identity) ([]byte, error) {
	if len(who.Secret) == 0 {
		return nil, nil
	}
	if len(who.Secret) > MaxSecret {
		return nil, fmt.Errorf("%w: what it wants to have kept of a person has %d bytes, more than %d",
			connector.ErrUpstream, len(who.Secret), MaxSecret)
	}
	sealed, err := s.box.Seal(who.Secret, person(connectorID, who.UserID))
	if err != nil {
		return nil, fmt.Errorf("sealing what an upstream gave: %w", err)
	}
	return sealed, nil
}

// Open returns what was sealed for that person, or seal.ErrInvalid.
func (s *Secrets) Open(connectorID, userID string, sealed []byte) ([]byte, error) {
	if len(sealed) == 0 {
		return nil, nil
	}
	return s.box.Open(sealed, person(connectorID, userID))
}

// person cannot be the same for two people: no id has a NUL (see storage.IsText).
func person(connectorID, userID string) []byte { return []byte(connectorID + "\x00" + userID) }
