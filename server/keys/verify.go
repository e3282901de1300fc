package keys

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/go-jose/go-jose/v4"
)

// MaxTokenBytes is the largest token Verify looks at. The id_token of somebody in
// thousands of groups is among those that we make; what requests may hold is
// bounded before.
const MaxTokenBytes = 1 << 20

// ErrInvalidToken is returned for every token that we did not sign, or not as
// the expected type. The wrapped detail is for the log.
var ErrInvalidToken = errors.New("invalid token")

// Verify checks that one of our keys signed the token, and as one of the
// expected types (RFC 8725 section 3.11); it returns the payload. It does not
// look into the payload: exp, iss and aud are the caller's to check.
func (k *Keys) Verify(token string, expectedTyp ...string) ([]byte, error) {
	payload, err := k.verify(token, k.loaded().published, expectedTyp)
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrInvalidToken, err)
	}
	return payload, nil
}

// VerifyHint is Verify for an id_token that only reminds us of somebody
// (id_token_hint): keys that have retired verify it too, for Policy.HintRetention.
// Nothing may be granted for it.
func (k *Keys) VerifyHint(token string, expectedTyp ...string) ([]byte, error) {
	payload, err := k.verify(token, k.loaded().known, expectedTyp)
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrInvalidToken, err)
	}
	return payload, nil
}

func (k *Keys) verify(token string, find func(kid string) (*key, error), expectedTyp []string) ([]byte, error) {
	if len(token) > MaxTokenBytes {
		return nil, errors.New("too long")
	}
	h, err := parseHeader(token)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(expectedTyp, h.typ) {
		return nil, errors.New("typ is not the expected one")
	}
	signer, err := find(h.kid)
	if err != nil {
		return nil, err
	}
	// RFC 8725 sections 2.1 and 3.1: the key decides the algorithm. "none", and
	// HS256 with a public key as the secret, end here.
	if h.alg != signer.row.Algorithm {
		return nil, errors.New("alg is not the key's")
	}
	jws, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.SignatureAlgorithm(signer.row.Algorithm)})
	if err != nil {
		return nil, err
	}
	return jws.Verify(signer.public.Key)
}

// published finds a key of the JWKS.
func (s *snapshot) published(kid string) (*key, error) {
	if k, ok := s.byKID[kid]; ok {
		return k, nil
	}
	return nil, errors.New("kid is unknown")
}

// known finds a key of the JWKS, or one that has retired.
func (s *snapshot) known(kid string) (*key, error) {
	if r, ok := s.retired[kid]; ok {
		return r.open()
	}
	return s.published(kid)
}

// header is the JOSE header of the tokens made here: exactly these three.
type header struct{ alg, kid, typ string }

// parseHeader accepts the compact serialization (RFC 7515 section 7.1) in its
// canonical encoding, with a header of exactly the members that Sign writes.
// Whatever else a header can carry to lead a verifier astray (jwk, jku, x5u,
// x5c, crit, b64, zip; RFC 8725 section 3.10) is never ours.
func parseHeader(token string) (header, error) {
	segments := strings.SplitN(token, ".", 4) // a token of dots is not worth a slice of them
	if len(segments) != 3 {
		return header{}, errors.New("not three segments")
	}
	var raw []byte
	for i, segment := range segments {
		decoded, err := decodeSegment(segment)
		if err != nil {
			return header{}, err
		}
		if i == 0 {
			raw = decoded
		}
	}
	return parseHeaderJSON(raw)
}

// decodeSegment refuses what Go's decoder lets pass: line breaks, and bits after
// the end. One token has one spelling.
func decodeSegment(segment string) ([]byte, error) {
	if segment == "" || strings.ContainsAny(segment, "\r\n") {
		return nil, errors.New("segment is not base64url")
	}
	return base64.RawURLEncoding.Strict().DecodeString(segment)
}

// parseHeaderJSON reads member by member, because encoding/json lets the last of
// duplicate members win and matches names in any case (RFC 7515 section 4).
func parseHeaderJSON(raw []byte) (h header, err error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return header{}, errors.New("header is not an object")
	}
	fields := map[string]*string{"alg": &h.alg, "kid": &h.kid, "typ": &h.typ}
	for dec.More() {
		name, value, err := stringMember(dec)
		if err != nil {
			return header{}, err
		}
		field, ok := fields[name]
		if !ok || value == "" {
			return header{}, errors.New("header has a member that is not ours, is empty or comes twice")
		}
		delete(fields, name)
		*field = value
	}
	if _, err := dec.Token(); err != nil || len(fields) != 0 {
		return header{}, errors.New("header lacks alg, kid or typ")
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return header{}, errors.New("header has something after it")
	}
	return h, nil
}

func stringMember(dec *json.Decoder) (name, value string, err error) {
	for _, s := range []*string{&name, &value} {
		t, err := dec.Token()
		if err != nil {
			return "", "", errors.New("header is not JSON")
		}
		var ok bool
		if *s, ok = t.(string); !ok {
			return "", "", errors.New("header has a member that is no string")
		}
	}
	return name, value, nil
}
