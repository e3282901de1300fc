package upstream_test

import (
	"errors"
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
