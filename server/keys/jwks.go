package keys

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/json"
)

// Document is the JWKS (RFC 7517 section 5), ready to be served.
type Document struct {
	// Body is JSON. It must not be changed.
	Body []byte
	// ETag is a strong validator with its quotes (RFC 9110 section 8.8.3). All
	// replicas that hold the same keys have the same.
	ETag string
	// MaxAge is how long it may be cached. Cache-Control has whole seconds: round
	// down.
	MaxAge time.Duration
}

// document renders the public parts of keys, in their order.
func document(keys []*key, maxAge time.Duration) (Document, error) {
	set := jose.JSONWebKeySet{Keys: make([]jose.JSONWebKey, 0, len(keys))}
	for _, k := range keys {
		if !k.public.IsPublic() {
			return Document{}, fmt.Errorf("signing key %q would be published with its private part", k.row.KID)
		}
		set.Keys = append(set.Keys, k.public)
	}
	body, err := json.Marshal(set)
	if err != nil {
		return Document{}, fmt.Errorf("encoding the JWKS: %w", err)
	}
	sum := sha256.Sum256(body)
	return Document{Body: body, ETag: `"` + base64.RawURLEncoding.EncodeToString(sum[:16]) + `"`, MaxAge: maxAge}, nil
}
