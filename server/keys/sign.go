package keys

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"

	"github.com/countersign/countersign/storage"
)

// signer makes JWS with one key, in the compact serialization (RFC 7515 section
// 7.1).
//
// It puts them together itself: go-jose, which verifies them, encodes the same
// header anew for each, which was a quarter of all that a refresh allocates.
type signer struct {
	private        crypto.Signer
	algorithm, kid string
	// headers are the encoded headers, each with its dot, by `typ`. The types come
	// from our own code, so there are a handful.
	headers sync.Map
}

func newSigner(private crypto.Signer, row storage.SigningKey) *signer {
	return &signer{private: private, algorithm: row.Algorithm, kid: row.KID}
}

// draft is memory for a token that is being put together. It is used again: its
// garbage was a tenth of a refresh's.
type draft struct {
	claims bytes.Buffer
	token  []byte
}

var drafts = sync.Pool{New: func() any { return new(draft) }}

// sign returns the token of claims, as encoding/json writes them.
func (s *signer) sign(typ string, claims any) (string, error) {
	header, err := s.header(typ)
	if err != nil {
		return "", err
	}
	d := drafts.Get().(*draft)
	defer drafts.Put(d)
	d.claims.Reset()
	if err := json.NewEncoder(&d.claims).Encode(claims); err != nil {
		return "", fmt.Errorf("encoding claims: %w", err)
	}
	payload := bytes.TrimSuffix(d.claims.Bytes(), []byte("\n")) // Encode ends with one
	d.token = base64.RawURLEncoding.AppendEncode(append(d.token[:0], header...), payload)
	signature, err := families[s.algorithm].sign(s.private, d.token)
	if err != nil {
		return "", fmt.Errorf("signing: %w", err)
	}
	d.token = base64.RawURLEncoding.AppendEncode(append(d.token, '.'), signature)
	return string(d.token), nil
}

// header is the JOSE header (RFC 7515 section 4): exactly what parseHeader takes.
func (s *signer) header(typ string) ([]byte, error) {
	if made, ok := s.headers.Load(typ); ok {
		return made.([]byte), nil
	}
	raw, err := json.Marshal(struct {
		Algorithm string `json:"alg"`
		KID       string `json:"kid"`
		Type      string `json:"typ"`
	}{s.algorithm, s.kid, typ})
	if err != nil {
		return nil, fmt.Errorf("encoding a header: %w", err)
	}
	made, _ := s.headers.LoadOrStore(typ, append(base64.RawURLEncoding.AppendEncode(nil, raw), '.'))
	return made.([]byte), nil
}

// signRS256 is RFC 7518 section 3.3.
func signRS256(private crypto.Signer, input []byte) ([]byte, error) {
	digest := sha256.Sum256(input)
	return private.Sign(rand.Reader, digest[:], crypto.SHA256)
}

// signES256 is RFC 7518 section 3.4: R and S of 32 bytes each, big-endian, one
// after the other, and not the ASN.1 that certificates have. Nothing is drawn by
// lot (no random reader): ECDSA as in RFC 6979, as RFC 8725 section 3.2 wants it,
// and a sixth faster.
func signES256(private crypto.Signer, input []byte) ([]byte, error) {
	digest := sha256.Sum256(input)
	der, err := private.Sign(nil, digest[:], crypto.SHA256)
	if err != nil {
		return nil, err
	}
	var pair cryptobyte.String
	var r, s []byte
	in := cryptobyte.String(der)
	if !in.ReadASN1(&pair, asn1.SEQUENCE) || !pair.ReadASN1Integer(&r) || !pair.ReadASN1Integer(&s) ||
		max(len(r), len(s)) > 32 {
		return nil, errors.New("not an ECDSA signature of P-256")
	}
	signature := make([]byte, 64)
	copy(signature[32-len(r):], r)
	copy(signature[64-len(s):], s)
	return signature, nil
}

// signEdDSA is RFC 8037 section 3.1. Ed25519 hashes by itself.
func signEdDSA(private crypto.Signer, input []byte) ([]byte, error) {
	return private.Sign(nil, input, crypto.Hash(0))
}
