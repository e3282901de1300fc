package request

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
)

// idHeader carries the id of a request to the client, and from a trusted proxy.
const idHeader = "X-Request-Id"

// idBytes make ids that do not meet: 128 bits, 32 hexadecimal digits.
const idBytes = 16

// ID returns the id of the request that ctx belongs to, "" outside of one.
func ID(ctx context.Context) string { return from(ctx).id }

// newID draws an id.
func newID(random io.Reader) (string, error) {
	b := make([]byte, idBytes)
	if _, err := io.ReadFull(random, b); err != nil {
		return "", fmt.Errorf("drawing a request id: %w", err)
	}
	return hex.EncodeToString(b), nil
}

// usableID reports whether a proxy's id may go into log, header and page as it
// is: 8 to 64 letters, digits, dots, underscores and hyphens.
func usableID(id string) bool {
	if len(id) < 8 || len(id) > 64 {
		return false
	}
	for _, c := range []byte(id) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case c == '.', c == '_', c == '-':
		default:
			return false
		}
	}
	return true
}
