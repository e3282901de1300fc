package saml

import (
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rsa"
	_ "crypto/sha1" //nolint:gosec // RSA-OAEP's default, whose security does not rest on it
	_ "crypto/sha256"
	_ "crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"github.com/beevik/etree"
)

// errDecrypt says no more: which step failed would help somebody who tries
// changed ciphertexts.
var errDecrypt = errors.New("the assertion cannot be decrypted with our key")

// blockCiphers are the key sizes of the accepted algorithms, and whether they
// authenticate (XML Encryption 1.1 section 5.2). Triple DES is not among them.
var blockCiphers = map[string]struct {
	size int
	gcm  bool
}{
	nsXMLEnc11 + "aes128-gcm": {16, true}, nsXMLEnc11 + "aes192-gcm": {24, true}, nsXMLEnc11 + "aes256-gcm": {32, true},
	nsXMLEnc + "aes128-cbc": {16, false}, nsXMLEnc + "aes192-cbc": {24, false}, nsXMLEnc + "aes256-cbc": {32, false},
}

// oaepDigests are those of RSA-OAEP (XML Encryption 1.1 section 5.5.2), and
// oaepMasks those of its mask generation. RSA PKCS#1 v1.5 is refused: whoever may
// ask whether a ciphertext is well-formed can decrypt it (Bleichenbacher).
var (
	oaepDigests = map[string]crypto.Hash{
		"": crypto.SHA1, nsSignature + "sha1": crypto.SHA1, nsXMLEnc + "sha256": crypto.SHA256,
		"http://www.w3.org/2001/04/xmldsig-more#sha384": crypto.SHA384, nsXMLEnc + "sha512": crypto.SHA512,
	}
	oaepMasks = map[string]crypto.Hash{
		"": crypto.SHA1, nsXMLEnc11 + "mgf1sha1": crypto.SHA1, nsXMLEnc11 + "mgf1sha256": crypto.SHA256,
		nsXMLEnc11 + "mgf1sha384": crypto.SHA384, nsXMLEnc11 + "mgf1sha512": crypto.SHA512,
	}
)

// decrypt returns the assertion in an EncryptedAssertion (SAML Core 2.3.4). That it
// can be decrypted says nothing about who made it: everybody has our certificate.
func decrypt(encrypted *etree.Element, key *rsa.PrivateKey) (*etree.Element, error) {
	if key == nil {
		return nil, errors.New("the assertion is encrypted, and there is no encryptionKey")
	}
	data, err := child(encrypted, nsXMLEnc, "EncryptedData")
	if err != nil {
		return nil, err
	}
	wrapped, err := encryptedKey(encrypted, data)
	if err != nil {
		return nil, err
	}
	session, err := unwrap(wrapped, key)
	if err != nil {
		return nil, err
	}
	plain, err := open(data, session)
	if err != nil {
		return nil, err
	}
	return parse(plain)
}

// encryptedKey is inside EncryptedData or beside it.
func encryptedKey(encrypted, data *etree.Element) (*etree.Element, error) {
	all := children(encrypted, nsXMLEnc, "EncryptedKey")
	for _, info := range children(data, nsSignature, "KeyInfo") {
		all = append(all, children(info, nsXMLEnc, "EncryptedKey")...)
	}
	if len(all) != 1 {
		return nil, fmt.Errorf("the assertion is encrypted with %d keys, not one", len(all))
	}
	return all[0], nil
}

// unwrap decrypts the key of the content.
func unwrap(wrapped *etree.Element, key *rsa.PrivateKey) ([]byte, error) {
	method, err := child(wrapped, nsXMLEnc, "EncryptionMethod")
	if err != nil {
		return nil, err
	}
	name := attribute(method, "Algorithm")
	if name != nsXMLEnc+"rsa-oaep-mgf1p" && name != nsXMLEnc11+"rsa-oaep" {
		return nil, fmt.Errorf("the key is encrypted with %.100q, which is not accepted", name)
	}
	var digest, mask string
	for _, part := range method.ChildElements() {
		switch {
		case is(part, nsSignature, "DigestMethod"):
			digest = attribute(part, "Algorithm")
		case is(part, nsXMLEnc11, "MGF") && name == nsXMLEnc11+"rsa-oaep":
			mask = attribute(part, "Algorithm")
		default:
			return nil, fmt.Errorf("the key is encrypted with %.50q, which is not accepted", part.Tag)
		}
	}
	if oaepDigests[digest] == 0 || oaepMasks[mask] == 0 {
		return nil, fmt.Errorf("the key is encrypted with %.100q and %.100q, which are not accepted", digest, mask)
	}
	ciphertext, err := cipherValue(wrapped)
	if err != nil {
		return nil, err
	}
	options := &rsa.OAEPOptions{Hash: oaepDigests[digest], MGFHash: oaepMasks[mask]}
	session, err := key.Decrypt(nil, ciphertext, options)
	if err != nil {
		return nil, errDecrypt
	}
	return session, nil
}

// open decrypts the content.
func open(data *etree.Element, key []byte) ([]byte, error) {
	method, err := child(data, nsXMLEnc, "EncryptionMethod")
	if err != nil {
		return nil, err
	}
	algorithm, ok := blockCiphers[attribute(method, "Algorithm")]
	if !ok {
		return nil, fmt.Errorf("the assertion is encrypted with %.100q, which is not accepted", attribute(method, "Algorithm"))
	}
	ciphertext, err := cipherValue(data)
	if err != nil {
		return nil, err
	}
	if len(key) != algorithm.size {
		return nil, errDecrypt
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, errDecrypt
	}
	if algorithm.gcm {
		return openGCM(block, ciphertext)
	}
	return openCBC(block, ciphertext)
}

func openGCM(block cipher.Block, ciphertext []byte) ([]byte, error) {
	aead, err := cipher.NewGCM(block)
	if err != nil || len(ciphertext) < aead.NonceSize() {
		return nil, errDecrypt
	}
	plain, err := aead.Open(nil, ciphertext[:aead.NonceSize()], ciphertext[aead.NonceSize():], nil)
	if err != nil {
		return nil, errDecrypt
	}
	return plain, nil
}

// openCBC takes the padding of XML Encryption 1.1 section 5.2: its last byte is its
// length, the others are arbitrary.
func openCBC(block cipher.Block, ciphertext []byte) ([]byte, error) {
	if len(ciphertext) < 2*aes.BlockSize || len(ciphertext)%aes.BlockSize != 0 {
		return nil, errDecrypt
	}
	plain := make([]byte, len(ciphertext)-aes.BlockSize)
	cipher.NewCBCDecrypter(block, ciphertext[:aes.BlockSize]).CryptBlocks(plain, ciphertext[aes.BlockSize:])
	padding := int(plain[len(plain)-1])
	if padding < 1 || padding > aes.BlockSize {
		return nil, errDecrypt
	}
	return plain[:len(plain)-padding], nil
}

func cipherValue(el *etree.Element) ([]byte, error) {
	data, err := child(el, nsXMLEnc, "CipherData")
	if err != nil {
		return nil, err
	}
	value, err := child(data, nsXMLEnc, "CipherValue")
	if err != nil {
		return nil, err
	}
	encoded, err := text(value)
	if err != nil {
		return nil, err
	}
	raw, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(encoded), ""))
	if err != nil {
		return nil, errDecrypt
	}
	return raw, nil
}
