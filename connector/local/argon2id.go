package local

import (
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/crypto/argon2"
)

// Bounds of argon2id (RFC 9106). The lower ones are the weakest of OWASP's
// recommendations; the upper ones keep one sign-in from taking the host down.
const (
	minArgonMemory = 7 << 10 // KiB
	maxArgonMemory = 1 << 20 // KiB: 1 GiB
	maxArgonPasses = 32
	maxArgonLanes  = 16
	// maxArgonWork bounds memory times passes, in KiB.
	maxArgonWork = 4 << 20
)

// argon2idHash is "$argon2id$v=19$m=KiB,t=passes,p=lanes$salt$hash", salt and
// hash in base64 without padding.
type argon2idHash struct {
	memory, passes, lanes uint32
	salt, hash            []byte
}

func newArgon2id(password string, salt []byte) argon2idHash {
	h := argon2idHash{memory: 19 << 10, passes: 2, lanes: 1, salt: salt, hash: make([]byte, 32)}
	h.hash = h.of(password)
	return h
}

func (h argon2idHash) of(password string) []byte {
	return argon2.IDKey([]byte(password), h.salt, h.passes, h.memory, uint8(h.lanes), uint32(len(h.hash)))
}

func (h argon2idHash) parameters() string {
	return fmt.Sprintf("m=%d,t=%d,p=%d", h.memory, h.passes, h.lanes)
}

// String is the PHC form.
func (h argon2idHash) String() string {
	b64 := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$%s$%s$%s", argon2.Version, h.parameters(), b64.EncodeToString(h.salt), b64.EncodeToString(h.hash))
}

func (h argon2idHash) kind() string { return "argon2id " + h.parameters() }

func (h argon2idHash) matches(password string) bool {
	return subtle.ConstantTimeCompare(h.of(password), h.hash) == 1
}

// parseArgon2id accepts the canonical form only: what it prints again must be
// what it read.
func parseArgon2id(s string) (scheme, error) {
	errForm := errors.New("argon2id hash is malformed")
	if len(s) > 512 {
		return nil, errForm
	}
	fields := strings.Split(s, "$")
	if len(fields) != 6 || fields[2] != "v="+strconv.Itoa(argon2.Version) {
		return nil, errForm
	}
	var h argon2idHash
	for i, field := range strings.Split(fields[3], ",") {
		targets := []*uint32{&h.memory, &h.passes, &h.lanes}
		_, value, ok := strings.Cut(field, "=")
		n, err := strconv.ParseUint(value, 10, 32)
		if !ok || err != nil || i >= len(targets) {
			return nil, errForm
		}
		*targets[i] = uint32(n)
	}
	var errSalt, errHash error
	h.salt, errSalt = base64.RawStdEncoding.DecodeString(fields[4])
	h.hash, errHash = base64.RawStdEncoding.DecodeString(fields[5])
	if errSalt != nil || errHash != nil || h.String() != s {
		return nil, errForm
	}
	return h, h.check()
}

func (h argon2idHash) check() error {
	switch {
	case h.memory < minArgonMemory || h.memory > maxArgonMemory:
		return fmt.Errorf("argon2id memory m=%d is not between %d and %d KiB", h.memory, minArgonMemory, maxArgonMemory)
	case h.passes < 1 || h.passes > maxArgonPasses:
		return fmt.Errorf("argon2id passes t=%d is not between 1 and %d", h.passes, maxArgonPasses)
	case h.lanes < 1 || h.lanes > maxArgonLanes:
		return fmt.Errorf("argon2id lanes p=%d is not between 1 and %d", h.lanes, maxArgonLanes)
	case uint64(h.memory)*uint64(h.passes) > maxArgonWork:
		return fmt.Errorf("argon2id m=%d times t=%d is more than %d KiB: one sign-in would take too long", h.memory, h.passes, maxArgonWork)
	case len(h.salt) < 8 || len(h.salt) > 64:
		return fmt.Errorf("argon2id salt has %d bytes, not 8 to 64", len(h.salt))
	case len(h.hash) < 16 || len(h.hash) > 64:
		return fmt.Errorf("argon2id hash has %d bytes, not 16 to 64", len(h.hash))
	}
	return nil
}
