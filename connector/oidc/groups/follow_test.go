package groups

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

// A next page that is followed is one of Graph's own host, whatever it looks like: a
// person's token goes there.
func FuzzFollow(f *testing.F) {
	for _, link := range []string{
		"https://graph.microsoft.com/v1.0/me/transitiveMemberOf?$skiptoken=x", "https://GRAPH.microsoft.com/v1.0/",
		"https://graph.microsoft.com.evil.example/v1.0/", "https://graph.microsoft.com@evil.example/v1.0/",
		"https://evil.example/v1.0/#https://graph.microsoft.com/v1.0/", "https://graph.microsoft.com:444/v1.0/",
		`https://graph.microsoft.com\@evil.example/v1.0/`, "https://graph.microsoft.com%2f@evil.example/v1.0/", "//graph.microsoft.com/v1.0/",
		"https:graph.microsoft.com/v1.0/", "http://graph.microsoft.com/v1.0/", "/v1.0/me", "https://graph.microsoft.com/v1.0/../beta/me",
	} {
		f.Add(link)
	}
	m, err := NewMicrosoft(MicrosoftConfig{URL: "https://graph.microsoft.com", Client: http.DefaultClient, Now: time.Now})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, link string) {
		u, err := m.follow(link)
		if err != nil {
			return
		}
		r, err := http.NewRequest(http.MethodGet, u.String(), nil)
		if err != nil {
			return // it is not asked
		}
		if r.URL.Scheme != "https" || !strings.EqualFold(r.URL.Host, "graph.microsoft.com") || r.URL.User != nil || r.Host != r.URL.Host {
			t.Errorf("%q leads to %s", link, r.URL)
		}
	})
}
