package config

import (
	"strings"

	"github.com/countersign/countersign/connector/local"
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
		emails.add(at+".email", local.Canonical(people[i].Email))
		ids.add(at+".userID", people[i].UserID)
	}
}

func (c *checker) person(path string, p *Password) {
	if c.required(path+".email", p.Email, "it is what the person types to sign in") && !isEmail(p.Email) {
		c.problem(path+".email", "%q is no e-mail address", clip(p.Email))
	}
	c.required(path+".userID", p.UserID, "give an id that never changes, such as the output of uuidgen")
	if c.required(path+".hash", p.Hash, "make one with \"countersign hash-password\"") {
		if _, err := local.ParseHash(p.Hash); err != nil {
			c.problem(path+".hash", "cannot be used: the %v; make one with \"countersign hash-password\"", err)
		}
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
