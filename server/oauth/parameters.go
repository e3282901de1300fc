package oauth

import (
	"net/url"
	"strings"

	"github.com/countersign/countersign/storage"
)

// parameters reads request parameters by the rules of RFC 6749 section 3.1: one
// sent without a value counts as omitted, and none may be sent twice.
type parameters url.Values

// get returns the only value, or "".
func (p parameters) get(name string) string {
	if v := p[name]; len(v) == 1 {
		return v[0]
	}
	return ""
}

// repeated reports whether a parameter was sent more than once.
func (p parameters) repeated(name string) bool { return len(p[name]) > 1 }

// check refuses repeated parameters, and values that are not UTF-8 (RFC 6749
// appendix B) or hold a NUL, which no parameter may and no database stores.
// "resource" may repeat (RFC 8707 section 2).
func (p parameters) check() *Error {
	first, fault := "", ""
	for name, values := range p {
		if found := faultOf(name, values); found != "" && (fault == "" || name < first) {
			first, fault = name, found
		}
	}
	if fault == "" {
		return nil
	}
	return refuse(InvalidRequest, "parameter "+printable(first)+" is "+fault)
}

// faultOf is what is wrong with a parameter, "" if nothing is.
func faultOf(name string, values []string) string {
	if len(values) > 1 && name != "resource" {
		return "given more than once"
	}
	for _, v := range values {
		if !storage.IsText(v) {
			return "not valid UTF-8 text"
		}
	}
	return ""
}

// words splits a list that is delimited by spaces, and by nothing else that looks
// like one (RFC 6749 section 3.3).
func words(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ' ' })
}

// printable bounds foreign text and reduces it to what error_description may
// hold (RFC 6749 section 5.2: %x20-21 / %x23-5B / %x5D-7E).
func printable(s string) string {
	const most = 64
	out := make([]byte, 0, most)
	for i := 0; i < len(s) && len(out) < most; i++ {
		c := s[i]
		if c < 0x20 || c > 0x7e || c == '"' || c == '\\' {
			c = '?'
		}
		out = append(out, c)
	}
	return string(out)
}
