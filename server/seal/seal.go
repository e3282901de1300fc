// Package seal turns the operator's master secrets into keys, and uses them to
// seal (encrypt and authenticate) and to authenticate (MAC) what leaves the
// process.
//
// Every use has its own key, derived with HKDF-SHA256 (RFC 5869) and a label, so
// that a value made for one purpose is never valid for another. The first master
// secret makes, all of them check: secrets are replaced by putting a new one in
// front and dropping the old one later. It refuses short secrets.
//
// Threat: cookies, codes and tokens come back from strangers, altered,
// truncated or swapped; sealed rows may be copied between databases or columns.
// Open and Verify fail on all of it, in constant time where a MAC is compared.
package seal

import (
	"bytes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"sync"

	"golang.org/x/crypto/chacha20poly1305"
)

// MinSecretBytes is the least a master secret may have: 256 bits.
const MinSecretBytes = 32

// MACBytes is the size of a MAC: HMAC-SHA256 (RFC 2104), not truncated.
const MACBytes = sha256.Size

// ErrInvalid is returned for everything that was not made by us, for this
// purpose, with one of our secrets. It does not say more on purpose.
var ErrInvalid = errors.New("sealed value is invalid")

// Keyring holds the master secrets. It is safe for concurrent use.
type Keyring struct {
	secrets [][]byte
	random  io.Reader
}

// New makes a keyring of master secrets, the one that makes first, of at least
// MinSecretBytes each. random is where nonces come from: crypto/rand.Reader.
func New(secrets [][]byte, random io.Reader) (*Keyring, error) {
	if len(secrets) == 0 {
		return nil, errors.New("no master secret")
	}
	if random == nil {
		return nil, errors.New("no source of randomness")
	}
	for i, s := range secrets {
		if len(s) < MinSecretBytes {
			return nil, fmt.Errorf("master secret %d has %d bytes, it needs at least %d", i+1, len(s), MinSecretBytes)
		}
	}
	k := &Keyring{random: random}
	for _, s := range secrets {
		k.secrets = append(k.secrets, bytes.Clone(s))
	}
	return k, nil
}

// derive returns one 32-byte key per master secret for the label.
func (k *Keyring) derive(label string) [][]byte {
	keys := make([][]byte, len(k.secrets))
	for i, s := range k.secrets {
		key, err := hkdf.Key(sha256.New, s, nil, "countersign/"+label, 32)
		if err != nil {
			panic("seal: " + err.Error()) // 32 bytes are always within HKDF's limit
		}
		keys[i] = key
	}
	return keys
}

// Box seals values for one purpose with XChaCha20-Poly1305, whose 192-bit
// nonces may be random for any number of values.
type Box struct {
	aeads  []cipher.AEAD
	random io.Reader
}

// Box derives the box of a purpose.
func (k *Keyring) Box(label string) *Box {
	b := &Box{random: k.random}
	for _, key := range k.derive("box/" + label) {
		aead, err := chacha20poly1305.NewX(key)
		if err != nil {
			panic("seal: " + err.Error()) // the key is always 32 bytes
		}
		b.aeads = append(b.aeads, aead)
	}
	return b
}

// Seal returns nonce and ciphertext. context is bound to the value without being
// part of it: Open must get the same.
func (b *Box) Seal(plaintext, context []byte) ([]byte, error) {
	aead := b.aeads[0]
	nonce := make([]byte, aead.NonceSize(), aead.NonceSize()+len(plaintext)+aead.Overhead())
	if _, err := io.ReadFull(b.random, nonce); err != nil {
		return nil, fmt.Errorf("reading a nonce: %w", err)
	}
	return aead.Seal(nonce, nonce, plaintext, context), nil
}

// Open returns the plaintext, or ErrInvalid.
func (b *Box) Open(sealed, context []byte) ([]byte, error) {
	n := b.aeads[0].NonceSize()
	if len(sealed) < n {
		return nil, ErrInvalid
	}
	for _, aead := range b.aeads {
		if plain, err := aead.Open(nil, sealed[:n], sealed[n:], context); err == nil {
			return plain, nil
		}
	}
	return nil, ErrInvalid
}

// MAC authenticates messages for one purpose.
type MAC struct {
	keys []*keyedHash
}

// keyedHash is HMAC-SHA256 with one key. It keeps what is made of the key, which
// is half of the work for messages as short as ours.
type keyedHash struct{ idle sync.Pool }

func newKeyedHash(key []byte) *keyedHash {
	return &keyedHash{sync.Pool{New: func() any { return hmac.New(sha256.New, key) }}}
}

func newMAC(keys [][]byte) *MAC {
	m := new(MAC)
	for _, key := range keys {
		m.keys = append(m.keys, newKeyedHash(key))
	}
	return m
}

// MAC derives the authenticator of a purpose.
func (k *Keyring) MAC(label string) *MAC { return newMAC(k.derive("mac/" + label)) }

// Sum returns the HMAC-SHA256 of the message, made with the first secret.
func (m *MAC) Sum(message []byte) [MACBytes]byte {
	return m.keys[0].sum(message)
}

// Verify reports whether mac was made by one of the secrets. It compares in
// constant time.
func (m *MAC) Verify(message, mac []byte) bool {
	ok := false
	for _, key := range m.keys {
		want := key.sum(message)
		ok = hmac.Equal(want[:], mac) || ok
	}
	return ok
}

func (k *keyedHash) sum(message []byte) (out [MACBytes]byte) {
	h := k.idle.Get().(hash.Hash)
	h.Reset()
	h.Write(message)
	h.Sum(out[:0])
	k.idle.Put(h)
	return out
}
