package storage

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"
)

// MaxKey is how many bytes an id may have. PostgreSQL refuses index entries of
// more than about 2,700 bytes, and a primary key here is up to three ids.
const MaxKey = 512

// IsText reports whether every engine can hold s: UTF-8 without NUL.
func IsText(s string) bool {
	return utf8.ValidString(s) && strings.IndexByte(s, 0) < 0
}

// Describe makes text of a string that only describes, such as a User-Agent
// header, which may carry any byte.
func Describe(s string) string {
	if IsText(s) {
		return s
	}
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}

// Check returns what every engine must refuse about a sign-in as ErrInvalid,
// and makes its descriptions text.
func (in *SignIn) Check() error {
	if in.Replaces == in.Session.IDHash {
		return fmt.Errorf("%w: a sign-in must not keep the session id", ErrInvalid)
	}
	in.Session.UserAgent = Describe(in.Session.UserAgent)
	if err := CheckKeys(in.Identity.ConnectorID, in.Identity.UserID); err != nil {
		return err
	}
	if in.Grant != nil {
		grant := *in.Grant
		if err := grant.check(); err != nil {
			return err
		}
		in.Grant = &grant
	}
	if err := in.Ending.Check(); err != nil {
		return err
	}
	return CheckText(in.Identity, in.Session, in.Grant)
}

// Check returns what every engine must refuse about an ending as ErrInvalid.
func (e Ending) Check() error { return CheckText(e) }

// Check returns what every engine must refuse about an authorization as
// ErrInvalid, and makes its descriptions text.
func (in *Authorization) Check() error {
	if err := in.Grant.check(); err != nil {
		return err
	}
	if c := in.Consent; c != nil {
		if err := CheckKeys(c.ConnectorID, c.UserID, c.ClientID); err != nil {
			return err
		}
	}
	return CheckText(in.Grant, in.Consent)
}

// check looks at the keys of a grant that is to be inserted, and makes its
// descriptions text.
func (g *Grant) check() error {
	g.UserAgent, g.RefreshedUserAgent = Describe(g.UserAgent), Describe(g.RefreshedUserAgent)
	return CheckKeys(g.ClientID, g.ConnectorID, g.UserID)
}

// Check returns what every engine must refuse about a redemption as ErrInvalid,
// and makes its description text.
func (in *Redemption) Check() error {
	in.UserAgent = Describe(in.UserAgent)
	return CheckText(in.IPAddress)
}

// Check returns what every engine must refuse about a rotation as ErrInvalid,
// and makes its description text.
func (in *Rotation) Check() error {
	in.UserAgent = Describe(in.UserAgent)
	if err := CheckKeys(in.ClientID); err != nil {
		return err
	}
	for _, limit := range in.CheckedAfter {
		if err := CheckKeys(limit.ConnectorID); err != nil {
			return err
		}
	}
	return CheckText(in.IPAddress)
}

// Check returns what every engine must refuse about an identity as ErrInvalid.
func (i Identity) Check() error {
	if err := CheckKeys(i.ConnectorID, i.UserID); err != nil {
		return err
	}
	return CheckText(i)
}

// Check returns what every engine must refuse about an arrival as ErrInvalid.
func (a Arrival) Check() error {
	if len(a.Sealed) == 0 {
		return fmt.Errorf("%w: an arrival is empty", ErrInvalid)
	}
	return CheckKeys(a.ConnectorID)
}

// CheckKeys returns ErrInvalid if one of the ids is not text or too long to be
// a key.
func CheckKeys(ids ...string) error {
	for _, id := range ids {
		if !IsText(id) {
			return fmt.Errorf("%w: an id is not text", ErrInvalid)
		}
		if len(id) > MaxKey {
			return fmt.Errorf("%w: an id has %d bytes, more than %d", ErrInvalid, len(id), MaxKey)
		}
	}
	return nil
}

// FailureKey is the form in which engines store the key of a login failure: a
// stranger chooses it, so it has any bytes, any length, and now and then a
// password typed into the wrong field.
func FailureKey(key string) [32]byte { return sha256.Sum256([]byte(key)) }

// FailureKeys returns the stored form of keys and what each stands for, sorted
// and each once, so that two callers lock rows in the same order.
func FailureKeys(keys []string) (hashes [][]byte, names map[[32]byte]string) {
	names = make(map[[32]byte]string, len(keys))
	for _, key := range keys {
		names[FailureKey(key)] = key
	}
	for hash := range names {
		hashes = append(hashes, hash[:])
	}
	slices.SortFunc(hashes, bytes.Compare)
	return hashes, names
}

// CheckText returns ErrInvalid if a string in one of the values, which may be
// strings, records, and pointers and slices of these, is not text. It walks
// the fields by reflection so that a new field cannot be forgotten.
func CheckText(values ...any) error {
	for _, value := range values {
		if err := checkText(reflect.ValueOf(value), ""); err != nil {
			return err
		}
	}
	return nil
}

func checkText(v reflect.Value, path string) error {
	switch v.Kind() {
	case reflect.String:
		if !IsText(v.String()) {
			return fmt.Errorf("%w: %s is not text", ErrInvalid, strings.TrimPrefix(path, "."))
		}
	case reflect.Pointer:
		if !v.IsNil() {
			return checkText(v.Elem(), path)
		}
	case reflect.Struct:
		if v.Type().PkgPath() == "time" {
			return nil
		}
		for i := range v.NumField() {
			if err := checkText(v.Field(i), path+"."+v.Type().Field(i).Name); err != nil {
				return err
			}
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return nil
		}
		for i := range v.Len() {
			if err := checkText(v.Index(i), path); err != nil {
				return err
			}
		}
	}
	return nil
}

// Check returns what every engine must refuse as ErrInvalid.
func (in *Expired) Check() error {
	if !slices.Contains(Expiring(), in.Table) {
		return fmt.Errorf("%w: rows of %q do not expire", ErrInvalid, string(in.Table))
	}
	return cmp.Or(checkLimit(in.Limit), in.Ending.Check())
}
