package login

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync"
)

// callback is the listener's one page.
type callback struct {
	*attempt
	ctx  context.Context // of Run: its end ends the exchange
	once sync.Once
	done chan outcome
}

// outcome is how the login ended.
type outcome struct {
	result *Result
	err    error
}

func (c *callback) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+callbackPath, c.serve)
	return mux
}

// serve takes the provider's answer. The first one that belongs to this login
// decides; others change nothing, so that no page can end it.
func (c *callback) serve(w http.ResponseWriter, r *http.Request) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil || subtle.ConstantTimeCompare([]byte(query.Get("state")), []byte(c.state)) != 1 {
		writePage(w, http.StatusBadRequest, "This is not the answer",
			"The address does not belong to the login that is waiting. Go back to your terminal.")
		return
	}
	first := false
	c.once.Do(func() {
		first = true
		code, err := c.check(query)
		var result *Result
		if err == nil {
			result, err = c.redeem(c.ctx, code)
		}
		if err != nil {
			writePage(w, http.StatusBadRequest, "Signing in failed", clean(err.Error()))
		} else {
			writePage(w, http.StatusOK, "You are signed in", "You can close this window and go back to your terminal.")
		}
		c.done <- outcome{result, err}
	})
	if !first {
		writePage(w, http.StatusConflict, "This login is over", "The answer has been taken already. Go back to your terminal.")
	}
}

// check decides whether an answer with the right state is good, and returns its
// code.
func (c *callback) check(query url.Values) (code string, err error) {
	for name, values := range query {
		if len(values) > 1 { // RFC 6749 section 3.1
			return "", fmt.Errorf("the answer has more than one %s", clean(name))
		}
	}
	if err := c.checkIssuer(query); err != nil {
		return "", err
	}
	if query.Has("error") {
		return "", refusal(query.Get("error"), query.Get("error_description"))
	}
	if code := query.Get("code"); code != "" {
		return code, nil
	}
	return "", errors.New("the answer has neither a code nor an error")
}

// checkIssuer is RFC 9207 section 2.4: iss has to be there when the provider has
// promised it, and to be right whenever it is there. It stands against mix-up,
// also in errors.
func (c *callback) checkIssuer(query url.Values) error {
	switch {
	case !query.Has("iss") && c.provider.metadata.IssuerInReply:
		return errors.New("the answer does not name its issuer, as the provider has promised it would (RFC 9207)")
	case query.Has("iss") && query.Get("iss") != c.options.Issuer:
		return fmt.Errorf("the answer is from another issuer: %q", clean(query.Get("iss")))
	}
	return nil
}

// advice is what the person can do about an error code of RFC 6749 section
// 4.1.2.1 or OpenID Connect Core section 3.1.2.6.
var advice = map[string]string{
	"access_denied":             "access was refused, by you or by a rule of the provider",
	"invalid_scope":             "ask for other scopes with --scope",
	"unauthorized_client":       "this client may not sign in this way: ask the provider's operator",
	"unsupported_response_type": "this client may not sign in this way: ask the provider's operator",
	"temporarily_unavailable":   "try again in a while",
	"server_error":              "the provider failed: try again, then ask its operator",
	"invalid_client":            "the client id or its secret is wrong: see --client-secret-env and --client-secret-file",
	"invalid_grant":             "the code was not accepted: try again",
}

// refusal is an error of the provider, with what can be done about it.
func refusal(code, description string) error {
	text := "the provider says " + clean(code)
	if description != "" {
		text += ": " + clean(description)
	}
	if a := advice[code]; a != "" {
		text += " (" + a + ")"
	}
	return errors.New(text)
}
