package local

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Hashed is a password hash that was parsed and is within bounds.
type Hashed struct {
	scheme scheme
}

// scheme is one way to hash, with its parameters and a hash made by it.
type scheme interface {
	// kind names the algorithm and every parameter that the time depends on.
	kind() string
	matches(password string) bool
}

func (h Hashed) kind() string                 { return h.scheme.kind() }
func (h Hashed) matches(password string) bool { return h.scheme.matches(password) }

// ParseHash reads a hash: bcrypt ("$2a$", "$2b$", "$2y$") of cost 10 to 16, the
// same in base64 (as Dex takes it), or argon2id in PHC form
// ("$argon2id$v=19$m=19456,t=2,p=1$salt$hash").
func ParseHash(s string) (Hashed, error) {
	switch {
	case strings.HasPrefix(s, "$argon2id$"):
		return wrap(parseArgon2id(s))
	case strings.HasPrefix(s, "$2"):
		return wrap(parseBcrypt(s))
	case strings.HasPrefix(s, "$argon2"):
		return Hashed{}, errors.New("hash is of another argon2 than argon2id")
	case s == "":
		return Hashed{}, errors.New("hash is empty")
	}
	if decoded, err := base64.StdEncoding.DecodeString(s); err == nil && strings.HasPrefix(string(decoded), "$2") {
		return wrap(parseBcrypt(string(decoded)))
	}
	return Hashed{}, errors.New("hash is neither bcrypt nor argon2id")
}

func wrap(s scheme, err error) (Hashed, error) {
	if err != nil {
		return Hashed{}, err
	}
	return Hashed{s}, nil
}

// Hash hashes a password with argon2id, with the parameters that OWASP's Password
// Storage Cheat Sheet recommends first for a server: 19 MiB, two passes, one
// lane. RFC 9106's 64 MiB over four lanes would cost a small host too much when
// many people sign in at once.
func Hash(password string, random io.Reader) (string, error) {
	if err := checkPassword(password); err != nil {
		return "", err
	}
	salt := make([]byte, 16)
	if _, err := io.ReadFull(random, salt); err != nil {
		return "", fmt.Errorf("reading a salt: %w", err)
	}
	return newArgon2id(password, salt).String(), nil
}
