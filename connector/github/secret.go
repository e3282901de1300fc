package github

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
)

// secret binds an answer to the browser that departed: 256 random bits, which are the
// code_verifier.
type secret []byte

const secretBytes = 32

func newSecret() (secret, error) {
	s := make(secret, secretBytes)
	if _, err := rand.Read(s); err != nil {
		return nil, fmt.Errorf("reading randomness: %w", err)
	}
	return s, nil
}

// verifier is the code_verifier (RFC 7636 section 4.1).
func (s secret) verifier() string { return base64.RawURLEncoding.EncodeToString(s) }
