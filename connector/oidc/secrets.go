package oidc

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
)

// secrets are what binds an answer to the browser that departed: 256 random bits,
// of which nonce and code_verifier are made.
type secrets []byte

const secretBytes = 32

func newSecrets() (secrets, error) {
	s := make(secrets, secretBytes)
	if _, err := rand.Read(s); err != nil {
		return nil, fmt.Errorf("reading randomness: %w", err)
	}
	return s, nil
}

// nonce is OpenID Connect's.
func (s secrets) nonce() string { return s.derive("nonce") }

// verifier is the code_verifier (RFC 7636 section 4.1).
func (s secrets) verifier() string { return s.derive("code_verifier") }

func (s secrets) derive(label string) string {
	h := hmac.New(sha256.New, s)
	h.Write([]byte(label))
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}
