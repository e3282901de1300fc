package config

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/bcrypt"
)

// Password is a person with a password.
type Password struct {
	// Email is what the person types to sign in. Required; letter case does not
	// matter.
	Email string `mapstructure:"email"`
	// Hash is of the password: bcrypt of cost 10 to 16 (or base64 of that), or
	// argon2id in PHC form, as "countersign hash-password" prints. Required.
	// Dollar signs in it are never taken for variables.
	Hash string `mapstructure:"hash" config:"literal,env=hashFromEnv,file=hashFile"`
	// Username is the person's login name.
	Username string `mapstructure:"username"`
	// Name is the claim `name`. Default: Username.
	Name string `mapstructure:"name"`
	// PreferredUsername is the claim `preferred_username`.
	PreferredUsername string `mapstructure:"preferredUsername"`
	// EmailVerified is the claim `email_verified`. Default: true; never nil in a
	// checked Config.
	EmailVerified *bool `mapstructure:"emailVerified"`
	// UserID is part of the person's `sub`: never change it, never give it to
	// somebody else. Required.
	UserID string `mapstructure:"userID"`
	// Groups are the claim `groups`.
	Groups []string `mapstructure:"groups"`
}

func (c *checker) staticPasswords() {
	if c.given("staticPasswords") && !c.cfg.EnablePasswordDB && !c.bad["enablePasswordDB"] {
		c.problem("staticPasswords", "is without effect: set enablePasswordDB: true, or remove the list")
	}
	if c.cfg.EnablePasswordDB && len(c.cfg.StaticPasswords) == 0 {
		c.warn("enablePasswordDB", "has no staticPasswords: nobody can sign in with it")
	}
	c.people("staticPasswords", c.cfg.StaticPasswords)
}

// people checks one list. Addresses and ids are unique in it: two people with
// one `sub` would be one person to every client.
func (c *checker) people(path string, people []Password) {
	emails, ids := c.unique(), c.unique()
	for i := range people {
		at := index(path, i)
		c.person(at, &people[i])
		emails.add(at+".email", strings.ToLower(people[i].Email))
		ids.add(at+".userID", people[i].UserID)
	}
}

func (c *checker) person(path string, p *Password) {
	if c.required(path+".email", p.Email, "it is what the person types to sign in") && !isEmail(p.Email) {
		c.problem(path+".email", "%q is no e-mail address", clip(p.Email))
	}
	c.required(path+".userID", p.UserID, "give an id that never changes, such as the output of uuidgen")
	if c.required(path+".hash", p.Hash, "make one with \"countersign hash-password\"") {
		hash, err := checkHash(p.Hash)
		if err != nil {
			c.problem(path+".hash", "%v", err)
		}
		p.Hash = hash
	}
	p.Name = orElse(p.Name, p.Username)
	if p.EmailVerified == nil {
		yes := true
		p.EmailVerified = &yes
	}
	for i, g := range p.Groups {
		if g == "" {
			c.problem(index(path+".groups", i), "is empty: fill it in, or remove it")
		}
	}
}

func isEmail(s string) bool {
	at := strings.LastIndex(s, "@")
	return at > 0 && at < len(s)-1 && printable(s) && !strings.Contains(s, " ")
}

// checkHash returns a password hash in the form in which it is verified. Bounds
// on its cost keep a guess expensive and a sign-in affordable.
func checkHash(hash string) (string, error) {
	if strings.HasPrefix(hash, "$argon2id$") {
		return hash, checkArgon2id(hash)
	}
	if strings.HasPrefix(hash, "$argon2") {
		return "", errors.New("is another argon2 than argon2id: make a new one with \"countersign hash-password\"")
	}
	if !strings.HasPrefix(hash, "$2") {
		// Dex accepts base64 of a bcrypt hash.
		if decoded, err := base64.StdEncoding.DecodeString(hash); err == nil {
			hash = string(decoded)
		}
	}
	cost, err := bcrypt.Cost([]byte(hash))
	switch {
	case err != nil || len(hash) != 60:
		return "", errors.New("is neither a bcrypt hash nor argon2id in PHC form: make one with \"countersign hash-password\"")
	case cost < 10 || cost > 16:
		return "", fmt.Errorf("is bcrypt of cost %d: give one of cost 10 to 16", cost)
	}
	return hash, nil
}

// checkArgon2id checks $argon2id$v=19$m=KIB,t=PASSES,p=LANES$SALT$HASH.
func checkArgon2id(hash string) error {
	malformed := errors.New("begins like argon2id but is not $argon2id$v=19$m=…,t=…,p=…$SALT$HASH: make one with \"countersign hash-password\"")
	parts := strings.Split(hash, "$")
	if len(parts) != 6 || parts[2] != "v=19" {
		return malformed
	}
	var m, t, p uint32
	if n, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &m, &t, &p); n != 3 || err != nil ||
		parts[3] != fmt.Sprintf("m=%d,t=%d,p=%d", m, t, p) {
		return malformed
	}
	salt, err1 := base64.RawStdEncoding.Strict().DecodeString(parts[4])
	sum, err2 := base64.RawStdEncoding.Strict().DecodeString(parts[5])
	switch {
	case err1 != nil || err2 != nil:
		return malformed
	case m < 7<<10 || m > 1<<20 || t < 1 || t > 32 || p < 1 || p > 32:
		return errors.New("is argon2id with parameters out of bounds: m from 7168 to 1048576, t and p from 1 to 32")
	case len(salt) < 8 || len(salt) > 64 || len(sum) < 16 || len(sum) > 64:
		return errors.New("is argon2id with a salt of less than 8 bytes or a hash of less than 16, or more than 64 of either")
	}
	return nil
}
