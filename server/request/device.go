package request

import (
	"context"
	"net/http"
)

// maxUserAgent bounds what is kept of a foreign header.
const maxUserAgent = 256

// UserAgent is what the program that sent a request calls itself, for people to
// recognise their device by: printable ASCII, at most 256 bytes.
func UserAgent(r *http.Request) string {
	s := r.UserAgent()
	out := make([]byte, 0, min(len(s), maxUserAgent))
	for i := 0; i < len(s) && len(out) < maxUserAgent; i++ {
		if c := s[i]; c >= 0x20 && c < 0x7f {
			out = append(out, c)
		}
	}
	return string(out)
}

// AddressText is ClientAddress as text; empty when there is none.
func AddressText(ctx context.Context) string {
	a := ClientAddress(ctx)
	if !a.IsValid() {
		return ""
	}
	return a.String()
}
