package oauth

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
)

// maxSubject is the most a `sub` may have: 255 ASCII characters (OpenID Connect
// Core 1.0 section 2).
const maxSubject = 255

// Subject returns the `sub` of a person at a connector: base64url without
// padding of the protobuf message {1: user id, 2: connector id}, empty fields
// left out. It is unique across connectors and equal to what Dex issues. When it
// would be too long it is base64url(SHA-256 of that message) instead.
func Subject(userID, connectorID string) string {
	message := appendField(nil, 1, userID)
	message = appendField(message, 2, connectorID)
	sub := base64.RawURLEncoding.EncodeToString(message)
	if len(sub) > maxSubject {
		h := sha256.Sum256(message)
		sub = base64.RawURLEncoding.EncodeToString(h[:])
	}
	return sub
}

// appendField appends a protobuf field of wire type 2 (length-delimited).
func appendField(b []byte, number byte, value string) []byte {
	if value == "" {
		return b
	}
	b = append(b, number<<3|2)
	b = binary.AppendUvarint(b, uint64(len(value)))
	return append(b, value...)
}
