package upstream_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"golang.org/x/oauth2"

	"github.com/countersign/countersign/connector"
	"github.com/countersign/countersign/connector/upstream"
)

func TestCode(t *testing.T) {
	const theirs = "https://idp.example"
	for query, want := range map[string]error{
		"code=c":                                     nil,
		"code=c&state=s&iss=" + theirs:               nil,
		"code=c&iss=https://other.example":           connector.ErrUpstream,
		"code=c&iss=":                                connector.ErrUpstream,
		"code=c&iss=" + theirs + "&iss=" + theirs:    connector.ErrUpstream,
		"code=c&code=d":                              connector.ErrUpstream,
		"error=access_denied":                        connector.ErrTurnedBack,
		"error=access_denied&error=server_error":     connector.ErrUpstream,
		"error=access_denied&iss=https://other.test": connector.ErrUpstream,
		"error=server_error&code=c":                  connector.ErrUpstream,
		"code=":                                      connector.ErrUpstream,
		"":                                           connector.ErrUpstream,
	} {
		q, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		code, err := upstream.Code(q, func(iss string) bool { return iss == "" || iss == theirs })
		if !errors.Is(err, want) || (err == nil) != (code == "c") {
			t.Errorf("%q: %q, %v", query, code, err)
		}
	}
	if _, err := upstream.Code(url.Values{"code": {"c"}}, func(iss string) bool { return iss == theirs }); !errors.Is(err, connector.ErrUpstream) {
		t.Errorf("without the iss that it promised: %v", err)
	}
}

func TestQuiet(t *testing.T) {
	err := upstream.Quiet(&oauth2.RetrieveError{Body: []byte(`{"access_token":"S3CRET"}`), ErrorCode: "invalid_grant"})
	if text := err.Error(); strings.Contains(text, "S3CRET") || !strings.Contains(text, "invalid_grant") {
		t.Error(text)
	}
	if other := errors.New("no route"); upstream.Quiet(other) != other {
		t.Error("another error is another one now")
	}
}

// Only where nothing was asked, or the endpoint has said why it refuses, nothing can
// have been lost.
func TestLost(t *testing.T) {
	t.Parallel()
	served := func(h http.HandlerFunc) string {
		s := httptest.NewServer(h)
		t.Cleanup(s.Close)
		return s.URL
	}
	nobody := httptest.NewServer(nil)
	nobody.Close()
	for name, c := range map[string]struct {
		address string
		lost    bool
	}{
		"nobody there": {nobody.URL, false},
		"a refusal": {served(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusBadRequest)
			_, _ = w.Write([]byte(`{"error":"invalid_grant"}`))
		}), false},
		"a page of a proxy": {served(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(502) }), true},
		"hung up":           {served(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }), true},
		"nonsense":          {served(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("{")) }), true},
	} {
		config := oauth2.Config{ClientID: "us", Endpoint: oauth2.Endpoint{TokenURL: c.address, AuthStyle: oauth2.AuthStyleInHeader}}
		_, err := config.TokenSource(t.Context(), &oauth2.Token{RefreshToken: "r"}).Token()
		if err == nil || upstream.Lost(err) != c.lost {
			t.Errorf("%s: %v", name, err)
		}
	}
	if upstream.Lost(nil) {
		t.Error("what worked was lost")
	}
}
