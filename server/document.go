package server

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"time"
)

// metadataMaxAge is how long the discovery document may be cached.
const metadataMaxAge = time.Hour

// document is a JSON document that anybody may cache, served from memory.
type document struct {
	body   []byte
	etag   string
	maxAge time.Duration
}

func newDocument(body []byte, maxAge time.Duration) document {
	h := sha256.Sum256(body)
	return document{body: body, etag: `"` + hex.EncodeToString(h[:16]) + `"`, maxAge: maxAge}
}

// serve answers conditional requests too (RFC 9110 section 13).
func (d document) serve(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("ETag", d.etag)
	h.Set("Cache-Control", fmt.Sprintf("public, max-age=%d", int(d.maxAge.Seconds())))
	// The pages of other origins may read what is public anyway.
	h.Set("Cross-Origin-Resource-Policy", "cross-origin")
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(d.body))
}
