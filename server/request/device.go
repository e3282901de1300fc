package request

import (
	"context"
	"net/http"
	"strings"
)

// maxUserAgent bounds what is kept of a foreign header.
const maxUserAgent = 256

// UserAgent is what the program that sent a request calls itself, for people to
// recognise their device by: printable ASCII, at most 256 bytes.
func UserAgent(r *http.Request) string { return agent(r.UserAgent()) }

// Agent is UserAgent of the request that ctx belongs to; empty outside of one.
func Agent(ctx context.Context) string { return agent(from(ctx).agent) }

func agent(s string) string {
	if len(s) <= maxUserAgent && strings.IndexFunc(s, unprintable) < 0 {
		return s
	}
	out := make([]byte, 0, min(len(s), maxUserAgent))
	for i := 0; i < len(s) && len(out) < maxUserAgent; i++ {
		if c := s[i]; !unprintable(rune(c)) {
			out = append(out, c)
		}
	}
	return string(out)
}

func unprintable(r rune) bool { return r < 0x20 || r >= 0x7f }

// AddressText is ClientAddress as text; empty when there is none.
func AddressText(ctx context.Context) string {
	if r := from(ctx); r.client.IsValid() {
		return r.address
	}
	return ""
}
