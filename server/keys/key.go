package keys

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/json"

	"github.com/countersign/countersign/server/seal"
	"github.com/countersign/countersign/storage"
)

// sealLabel is the purpose of the box that private keys are sealed with.
const sealLabel = "signing-key"

// rsaBits is the size that RFC 7518 section 3.3 asks for at least.
const rsaBits = 2048

// family is how keys of one JWS algorithm are made, recognised and used.
type family struct {
	generate func(random io.Reader) (crypto.Signer, error)
	is       func(crypto.Signer) bool
	// sign returns the signature of a JWS signing input, as the algorithm has it.
	sign func(private crypto.Signer, input []byte) ([]byte, error)
}

// families are the algorithms that exist here (RFC 7518 section 3.1, RFC 8037).
// All are asymmetric: a relying party must not be able to sign.
var families = map[string]family{
	"RS256": {
		generate: func(random io.Reader) (crypto.Signer, error) { return rsa.GenerateKey(random, rsaBits) },
		is: func(s crypto.Signer) bool {
			k, ok := s.(*rsa.PrivateKey)
			return ok && k.N.BitLen() >= rsaBits
		},
		sign: signRS256,
	},
	"ES256": {
		generate: func(random io.Reader) (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P256(), random) },
		is: func(s crypto.Signer) bool {
			k, ok := s.(*ecdsa.PrivateKey)
			return ok && k.Curve == elliptic.P256()
		},
		sign: signES256,
	},
	"EdDSA": {
		generate: func(random io.Reader) (crypto.Signer, error) {
			_, k, err := ed25519.GenerateKey(random)
			return k, err
		},
		is:   func(s crypto.Signer) bool { _, ok := s.(ed25519.PrivateKey); return ok },
		sign: signEdDSA,
	},
}

// key is one opened row. Its algorithm is fixed: it is checked when the key is
// opened and never taken from a token.
type key struct {
	row    storage.SigningKey
	public jose.JSONWebKey
	*signer
}

// generate makes the row of a planned key.
func generate(a Addition, random io.Reader, box *seal.Box, now time.Time) (storage.SigningKey, error) {
	private, err := families[a.Algorithm].generate(random)
	if err != nil {
		return storage.SigningKey{}, fmt.Errorf("generating a key: %w", err)
	}
	public, err := publicJWK(private, a.Algorithm)
	if err != nil {
		return storage.SigningKey{}, err
	}
	publicJSON, err := json.Marshal(public)
	if err != nil {
		return storage.SigningKey{}, fmt.Errorf("encoding a public key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return storage.SigningKey{}, fmt.Errorf("encoding a private key: %w", err)
	}
	sealed, err := box.Seal(der, sealContext(public.KeyID, a.Algorithm))
	if err != nil {
		return storage.SigningKey{}, fmt.Errorf("sealing a private key: %w", err)
	}
	return storage.SigningKey{
		KID: public.KeyID, Algorithm: a.Algorithm, Sequence: a.Sequence,
		Public: publicJSON, SealedPrivate: sealed,
		CreatedAt: now, ActiveFrom: a.ActiveFrom,
	}, nil
}

// open unseals a row of a known algorithm. The public key is derived from the private one: the stored
// one is for people to read, and whoever can write to the database could put
// their own there.
func open(row storage.SigningKey, box *seal.Box) (*key, error) {
	der, err := box.Open(row.SealedPrivate, sealContext(row.KID, row.Algorithm))
	if err != nil {
		return nil, fmt.Errorf("signing key %q: %w", row.KID, ErrSecrets)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, fmt.Errorf("parsing signing key %q: %w", row.KID, err)
	}
	private, ok := parsed.(crypto.Signer)
	if !ok || !families[row.Algorithm].is(private) {
		return nil, fmt.Errorf("signing key %q is not one for %s", row.KID, row.Algorithm)
	}
	public, err := publicJWK(private, row.Algorithm)
	if err != nil {
		return nil, err
	}
	if public.KeyID != row.KID {
		return nil, fmt.Errorf("signing key %q has the thumbprint %q", row.KID, public.KeyID)
	}
	return &key{row: row, public: public, signer: newSigner(private, row)}, nil
}

// ErrSecrets: a private key was sealed with a master secret that is not
// configured any more. New keys are not made in its place, because everything
// that the old ones signed would stop being valid without a word.
var ErrSecrets = errors.New("cannot be opened with any configured secret: put the secret that was in use before at the end of `secrets:`, and remove it only when the keys it sealed have rotated away; where no secrets were configured, it is in the database's table master_secret, and config.example.yaml says how to write it")

// publicJWK is the public key as the JWKS shows it. Its kid is the thumbprint
// of RFC 7638, so that a kid can never name two keys.
func publicJWK(private crypto.Signer, algorithm string) (jose.JSONWebKey, error) {
	jwk := jose.JSONWebKey{Key: private.Public(), Algorithm: algorithm, Use: "sig"}
	thumbprint, err := jwk.Thumbprint(crypto.SHA256)
	if err != nil {
		return jose.JSONWebKey{}, fmt.Errorf("computing a key's thumbprint: %w", err)
	}
	jwk.KeyID = base64.RawURLEncoding.EncodeToString(thumbprint)
	return jwk, nil
}

// sealContext binds a sealed private key to its row. A kid contains no dot.
func sealContext(kid, algorithm string) []byte { return []byte(kid + "." + algorithm) }
