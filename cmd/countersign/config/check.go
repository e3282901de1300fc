package config

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"unicode"
)

// checker looks at what the keys say together, after each of them was found to
// fit on its own.
type checker struct {
	*report
	cfg     *Config
	outside Outside
}

func (c *checker) all() {
	c.issuer()
	c.storage()
	c.web()
	c.telemetry()
	c.expiry()
	c.oauth2()
	c.connectors()
	c.staticPasswords()
	c.staticClients()
	c.frontend()
	c.signer()
	c.logger()
	c.audit()
	c.sessions()
	c.secrets()
}

func (c *checker) warn(path, format string, args ...any) {
	c.cfg.Warnings = append(c.cfg.Warnings, path+": "+fmt.Sprintf(format, args...))
}

// required reports a key that must be there and not be empty.
func (c *checker) required(path, value, advice string) bool {
	if value != "" {
		return true
	}
	if c.given(path) {
		c.problem(path, "is empty: %s", advice)
	} else {
		c.problem(path, "is missing: %s", advice)
	}
	return false
}

// notEmpty reports a key that is there without saying anything.
func (c *checker) notEmpty(path, value string) {
	if value == "" && c.given(path) {
		c.problem(path, "is empty: fill it in, or remove the key")
	}
}

// oneOf reports a value that is not in the list.
func (c *checker) oneOf(path, value string, valid ...string) {
	for _, v := range valid {
		if value == v {
			return
		}
	}
	if value != "" || c.given(path) {
		c.problem(path, "%q is not valid here%s", clip(value), didYouMean(value, valid))
	}
}

// readable reports a file that cannot be read, and returns its content.
func (c *checker) readable(path, file string) ([]byte, bool) {
	if file == "" {
		c.notEmpty(path, file)
		return nil, false
	}
	data, err := c.outside.ReadFile(file)
	if err != nil {
		c.problem(path, "the file %q cannot be read: %v", file, err)
	}
	return data, err == nil
}

// address reports what is no address to listen on.
func (c *checker) address(path, addr string) {
	if addr == "" {
		c.notEmpty(path, addr)
		return
	}
	_, port, err := net.SplitHostPort(addr)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		c.problem(path, "%q is no address to listen on: write HOST:PORT, such as 127.0.0.1:5556, [::]:5556 or :5556", clip(addr))
	}
}

// unique reports a name that another entry has too. fold says which are equal.
type unique struct {
	c    *checker
	seen map[string]string
}

func (c *checker) unique() unique { return unique{c: c, seen: make(map[string]string)} }

func (u unique) add(path, value string) {
	if value == "" {
		return
	}
	if first, taken := u.seen[value]; taken {
		u.c.problem(path, "%q is used already by %s: it must be unique", clip(value), first)
		return
	}
	u.seen[value] = path
}

// printable reports whether a text has letters, digits, marks and single spaces
// only: nothing that could break a line of a log or a page.
func printable(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) < 0
}

// clip shortens what is repeated in a message.
func clip(s string) string {
	if r := []rune(s); len(r) > 80 {
		return string(r[:80]) + "…"
	}
	return s
}
