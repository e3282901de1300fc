package config

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"github.com/countersign/countersign/server/seal"
)

// decodeSecret reads a master secret: a text whose bytes are the secret, or
// "base64:" followed by base64 of it. It has at least seal.MinSecretBytes bytes.
func decodeSecret(s string) ([]byte, error) {
	secret := []byte(s)
	if encoded, ok := strings.CutPrefix(s, "base64:"); ok {
		var err error
		if secret, err = base64.StdEncoding.DecodeString(encoded); err != nil {
			return nil, errors.New("begins with base64: but what follows is not base64")
		}
	}
	if len(secret) < seal.MinSecretBytes {
		return nil, fmt.Errorf("has %d bytes, a master secret needs at least %d: make one with \"openssl rand -hex 32\"", len(secret), seal.MinSecretBytes)
	}
	return secret, nil
}

func (c *checker) secrets() {
	if c.given("secrets") && len(c.cfg.Secrets) == 0 {
		c.problem("secrets", "is empty: add a secret, or remove the key")
	}
	seen := make(map[string]bool)
	for i, s := range c.cfg.Secrets {
		if seen[string(s)] {
			c.problem(index("secrets", i), "is the same as an earlier one: remove it")
		}
		seen[string(s)] = true
	}
}
