package main

import (
	"crypto/rand"
	"encoding/binary"

	"github.com/countersign/countersign/server/oauth"
	"github.com/countersign/countersign/server/seal"
	"github.com/countersign/countersign/storage"
)

// masterSecret is what the measured server derives its keys from, so that the
// generator can make the refresh tokens of grants that it put into the table.
const masterSecret = "the master secret of a throwaway server that is measured"

func newRefreshTokens() (*seal.Tokens, error) {
	keyring, err := seal.New([][]byte{[]byte(masterSecret)}, rand.Reader)
	if err != nil {
		return nil, err
	}
	return keyring.Tokens("refresh", "csr_", oauth.RefreshTokenBytes), nil
}

// grantID is the id of the seeded grant of a number: a UUID of version 7, one
// after the other as the product's are.
func grantID(number int) (id storage.GrantID) {
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], uint64(number))
	copy(id[:], "\x01\x90\x00\x00\x00\x00\x70\x00\x80\x00")
	copy(id[10:], n[2:])
	return id
}

// chain is the refresh tokens of a grant, as far as they have come.
type chain struct {
	id         storage.GrantID
	generation int64
}

// token is the refresh token of a generation.
func (b *bench) token(client string, c chain) string {
	return b.tokens.Make(oauth.NewestRefreshToken(storage.Grant{ID: c.id, ClientID: client, Generation: c.generation}).Encode())
}
