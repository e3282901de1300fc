package throttle

import (
	"encoding/base64"
	"encoding/binary"
	"net/netip"
	"strings"
	"time"
	"unicode"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"

	"github.com/countersign/countersign/server/seal"
)

// The keys of counts are MACs: people type passwords into the field of the user
// name, so nothing of what was typed may be readable in the database, nor be
// found there by hashing guesses. When the first master secret changes, counts
// start again.
const (
	accountPrefix = "account:"
	addressPrefix = "address:"
)

// accountKey names the count of an account. Length comes before the connector
// id, so that no two pairs run into one. An upstream that knows a person by
// several names (uid and mail, say) gives guesses for each.
func accountKey(mac *seal.MAC, connectorID, username string) string {
	b := []byte(accountPrefix)
	b = binary.BigEndian.AppendUint32(b, uint32(len(connectorID)))
	b = append(b, connectorID...)
	b = append(b, canonical(username)...)
	return accountPrefix + encode(mac.Sum(b))
}

// accountNameBytes is how much of a MAC names an account in records: 72 bits, so
// that no two of a billion accounts meet.
const accountNameBytes = 12

// AccountName is what records call the account that somebody tried to sign in to:
// the same for all spellings of it, and empty for what can be nobody's. It tells
// its reader nothing of what was typed, nor whether a guess at that is right.
func (l *Limiter) AccountName(connectorID, username string) string {
	if len(username) > maxUsernameBytes {
		return ""
	}
	return accountKey(l.names, connectorID, username)[len(accountPrefix):][:accountNameBytes]
}

// addressKey names the count of an address in the clock hour of now, for
// DefaultPolicy's reason. It reports false when there is no address.
func addressKey(mac *seal.MAC, addr netip.Addr, now time.Time) (string, bool) {
	prefix, ok := network(addr)
	if !ok {
		return "", false
	}
	b := []byte(addressPrefix)
	b = binary.BigEndian.AppendUint64(b, uint64(now.Unix()/int64(time.Hour/time.Second)))
	b = append(b, prefix.String()...)
	return addressPrefix + encode(mac.Sum(b)), true
}

func encode(sum [seal.MACBytes]byte) string { return base64.RawURLEncoding.EncodeToString(sum[:]) }

// network is an IPv4 address, or the /64 of an IPv6 address: inside it (RFC 4291
// section 2.5.1) every device picks as many addresses as it likes.
func network(addr netip.Addr) (netip.Prefix, bool) {
	addr = addr.Unmap().WithZone("")
	bits := 64
	if addr.Is4() {
		bits = 32
	}
	prefix, err := addr.Prefix(bits)
	return prefix, err == nil && addr.IsValid()
}

// canonical maps spellings of one account to one. Upstreams compare user names
// loosely, each in its own way: without case, without width, without accents
// (Active Directory), with spaces and invisible characters dropped (RFC 4518).
// A spelling that the upstream takes for the same account and this for another
// would be a fresh set of guesses (CVE-2026-47203), so this is looser: the
// Unicode Standard's compatibility caseless match (3.13, D146)
// without marks, spaces, controls and other invisible characters. Two people who
// differ only in those share a count, which costs them a delay at worst.
func canonical(username string) string {
	s := norm.NFD.String(strings.ToValidUTF8(username, "\uFFFD"))
	for range 2 {
		s = norm.NFKD.String(cases.Fold().String(s))
	}
	return strings.Map(func(r rune) rune {
		if unicode.In(r, unicode.M, unicode.Z, unicode.C, unicode.Other_Default_Ignorable_Code_Point, unicode.White_Space) {
			return -1
		}
		return r
	}, s)
}
