package seal

import (
	"encoding/base64"
	"strings"
)

// Tokens makes and checks the tokens of one purpose: a prefix that tells people
// and secret scanners what it is, and base64url of payload and MAC. The payload
// is not secret; the MAC says that we made it, so that forged tokens die without
// a query.
type Tokens struct {
	prefix  string
	payload int
	mac     *MAC
}

// strict refuses bits that do not belong to the bytes. It still skips line
// breaks wherever they are, so whoever decodes with it compares lengths too.
var strict = base64.RawURLEncoding.Strict()

// Tokens derives the token maker of a purpose, for payloads of a fixed size.
func (k *Keyring) Tokens(label, prefix string, payloadBytes int) *Tokens {
	return &Tokens{prefix: prefix, payload: payloadBytes, mac: newMAC(k.derive("token/" + label))}
}

// Make returns the token of a payload. It panics when the payload has another
// size than the maker was made for: a programmer's mistake.
func (t *Tokens) Make(payload []byte) string {
	if len(payload) != t.payload {
		panic("seal: token payload has the wrong size")
	}
	mac := t.mac.Sum(payload)
	raw := append(append(make([]byte, 0, t.payload+MACBytes), payload...), mac[:]...)
	return t.prefix + strict.EncodeToString(raw)
}

// Is reports whether a string begins as these tokens do. It says nothing of who
// made it.
func (t *Tokens) Is(token string) bool { return strings.HasPrefix(token, t.prefix) }

// Parse returns the payload of a token made with one of our secrets, or
// ErrInvalid.
func (t *Tokens) Parse(token string) ([]byte, error) {
	encoded, ok := strings.CutPrefix(token, t.prefix)
	if !ok || len(encoded) != strict.EncodedLen(t.payload+MACBytes) {
		return nil, ErrInvalid
	}
	raw, err := strict.DecodeString(encoded)
	if err != nil || len(raw) != t.payload+MACBytes || !t.mac.Verify(raw[:t.payload], raw[t.payload:]) {
		return nil, ErrInvalid
	}
	return raw[:t.payload:t.payload], nil
}
