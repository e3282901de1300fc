package local

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/crypto/bcrypt"
)

const (
	// MinBcryptCost and MaxBcryptCost are Dex's bounds: below it is too weak to
	// guard anything, above one sign-in takes many seconds.
	MinBcryptCost = 10
	MaxBcryptCost = 16

	// bcryptCost is what HashBcrypt uses.
	bcryptCost = 12

	// bcryptMaxBytes is all that bcrypt reads of a password.
	bcryptMaxBytes = 72

	bcryptAlphabet = "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
)

// bcryptHash is "$2b$12$" and 53 characters of salt and hash.
type bcryptHash struct {
	text []byte
	cost int
}

func parseBcrypt(s string) (scheme, error) {
	errForm := errors.New("bcrypt hash is malformed")
	if len(s) != 60 || s[3] != '$' || s[6] != '$' || !strings.Contains("aby", s[2:3]) {
		return nil, errForm
	}
	if strings.Trim(s[7:], bcryptAlphabet) != "" {
		return nil, errForm
	}
	cost, err := strconv.ParseUint(s[4:6], 10, 8)
	if err != nil {
		return nil, errForm
	}
	if cost < MinBcryptCost || cost > MaxBcryptCost {
		return nil, fmt.Errorf("bcrypt cost %d is not between %d and %d", cost, MinBcryptCost, MaxBcryptCost)
	}
	return bcryptHash{[]byte(s), int(cost)}, nil
}

func (h bcryptHash) kind() string { return "bcrypt " + strconv.Itoa(h.cost) }

// matches fails closed on passwords that bcrypt would cut: comparing what is
// left would accept everything that begins the same. The work is done anyway, so
// that the length tells nothing of the kind of hash.
func (h bcryptHash) matches(password string) bool {
	whole := len(password) <= bcryptMaxBytes
	return bcrypt.CompareHashAndPassword(h.text, []byte(password)) == nil && whole
}

// HashBcrypt hashes a password of at most 72 bytes with bcrypt, for lists that
// Dex reads too.
func HashBcrypt(password string) (string, error) {
	if err := checkPassword(password); err != nil {
		return "", err
	}
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcryptCost)
	if err != nil {
		return "", fmt.Errorf("hashing: %w", err)
	}
	return string(hash), nil
}
