package ldap

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	goldap "github.com/go-ldap/ldap/v3"
)

const (
	// maxValue is the longest value that is taken, in bytes. Longer ones are no
	// names, ids or addresses.
	maxValue = 2048
	// maxValues is how many values of an attribute are shown to rules.
	maxValues = 2000
)

// values are those of an attribute as the directory gave them. Names of attributes
// have no case (RFC 4512 section 2.5).
func values(e *goldap.Entry, attr string) []string {
	if attr == "" {
		return nil
	}
	if found := e.GetEqualFoldAttributeValues(attr); len(found) > 0 {
		return found
	}
	if attr == entryDN {
		return []string{e.DN}
	}
	return nil
}

// part is an attribute of which the directory has given a part only, "" if there is
// none: Active Directory gives 1,500 values, under another name, and none under the
// one that was asked for ([MS-ADTS] section 3.1.1.3.1.3.3).
func part(e *goldap.Entry) string {
	for _, a := range e.Attributes {
		for option := range strings.SplitSeq(strings.ToLower(a.Name), ";") {
			if strings.HasPrefix(option, "range=") {
				return a.Name
			}
		}
	}
	return ""
}

// text is the first value as a text, "" when there is none.
func text(e *goldap.Entry, attr string) (string, error) {
	all := values(e, attr)
	if len(all) == 0 {
		return "", nil
	}
	return readable(attr, all[0])
}

// readable is a value as a text.
func readable(attr, raw string) (string, error) {
	if len(raw) > maxValue {
		return "", fmt.Errorf("attribute %s has a value of %d bytes", attr, len(raw))
	}
	switch strings.ToLower(attr) {
	case "objectguid":
		return guidText(raw)
	case "objectsid":
		return sidText(raw)
	}
	if !utf8.ValidString(raw) {
		return "", fmt.Errorf("attribute %s is binary", attr)
	}
	return raw, nil
}

// raw is what readable has made a text of.
func raw(attr, text string) (string, error) {
	switch strings.ToLower(attr) {
	case "objectguid":
		return guidBytes(text)
	case "objectsid":
		return sidBytes(text)
	}
	return text, nil
}

// guidOrder is where each byte of a GUID's text comes from: the first three groups
// are little-endian ([MS-DTYP] section 2.3.4.2).
var guidOrder = [16]int{3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15}

func guidText(raw string) (string, error) {
	if len(raw) != 16 {
		return "", fmt.Errorf("a GUID has 16 bytes, not %d", len(raw))
	}
	var b [16]byte
	for to, from := range guidOrder {
		b[to] = raw[from]
	}
	h := hex.EncodeToString(b[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:], nil
}

func guidBytes(text string) (string, error) {
	b, err := hex.DecodeString(strings.ReplaceAll(text, "-", ""))
	if err != nil || len(b) != 16 {
		return "", fmt.Errorf("%.60q is no GUID", text)
	}
	var raw [16]byte
	for to, from := range guidOrder {
		raw[from] = b[to]
	}
	return string(raw[:]), nil
}

var errSID = errors.New("it is no security identifier")

// sidText is [MS-DTYP] section 2.4.2.1 of section 2.4.2.2.
func sidText(raw string) (string, error) {
	b := []byte(raw)
	if len(b) < 8 || len(b) != 8+4*int(b[1]) || b[0] != 1 {
		return "", errSID
	}
	authority := binary.BigEndian.Uint64(append([]byte{0, 0}, b[2:8]...))
	s := "S-1-" + strconv.FormatUint(authority, 10)
	for b = b[8:]; len(b) > 0; b = b[4:] {
		s += "-" + strconv.FormatUint(uint64(binary.LittleEndian.Uint32(b)), 10)
	}
	return s, nil
}

func sidBytes(text string) (string, error) {
	parts := strings.Split(text, "-")
	if len(parts) < 3 || len(parts) > 3+255 || parts[0] != "S" || parts[1] != "1" {
		return "", errSID
	}
	authority, err := strconv.ParseUint(parts[2], 10, 48)
	if err != nil {
		return "", errSID
	}
	b := binary.BigEndian.AppendUint64(nil, authority)
	b[0], b[1] = 1, byte(len(parts)-3)
	for _, part := range parts[3:] {
		n, err := strconv.ParseUint(part, 10, 32)
		if err != nil {
			return "", errSID
		}
		b = binary.LittleEndian.AppendUint32(b, uint32(n))
	}
	return string(b), nil
}

// claims are the attributes for the operator's rules: each a list of texts, called
// as the configuration calls it, and dn. What is no text is left out.
func (c *Connector) claims(e *goldap.Entry) map[string]any {
	all := map[string]any{"dn": e.DN}
	for _, attr := range c.attributes {
		var list []any
		for _, v := range values(e, attr) {
			if t, err := readable(attr, v); err == nil && len(list) < maxValues {
				list = append(list, t)
			}
		}
		if list != nil {
			all[attr] = list
		}
	}
	return all
}
