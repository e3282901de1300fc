package oauth

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"net/url"
	"strings"

	"github.com/countersign/countersign/storage"
)

// Client authentication methods (OpenID Connect Core 1.0 section 9).
const (
	AuthBasic = "client_secret_basic"
	AuthPost  = "client_secret_post"
	AuthNone  = "none"
)

// AuthMethods are the methods of the token endpoint, for discovery.
var AuthMethods = []string{AuthBasic, AuthPost, AuthNone}

// ClientCredentials are what a client presents at the token endpoint.
type ClientCredentials struct {
	ClientID string
	Secret   string
	// Method is how they were presented; AuthNone when there is no secret.
	Method string
}

// ParseClientCredentials reads the Authorization header's value ("" when there
// is none) and the form of a token request. RFC 6749 section 2.3.1: user and
// password of the Basic scheme are form-urlencoded before they are joined. One
// request must not use two methods (section 2.3).
func ParseClientCredentials(authorization string, form url.Values) (ClientCredentials, error) {
	p := parameters(form)
	if p.repeated(ParamClientID) || p.repeated("client_secret") {
		return ClientCredentials{}, refuse(InvalidRequest, "client credentials are given more than once")
	}
	if authorization != "" {
		return parseBasic(authorization, p)
	}
	c := ClientCredentials{ClientID: p.get(ParamClientID), Secret: p.get("client_secret"), Method: AuthPost}
	switch {
	case c.ClientID == "":
		return c, refuse(InvalidClient, "client authentication is missing: send client_id, and the secret if the client has one")
	case !storage.IsText(c.ClientID):
		return c, refuse(InvalidClient, "client_id is not valid UTF-8 text")
	}
	if c.Secret == "" {
		c.Method = AuthNone
	}
	return c, nil
}

func parseBasic(authorization string, form parameters) (ClientCredentials, error) {
	scheme, encoded, _ := strings.Cut(authorization, " ")
	if !strings.EqualFold(scheme, "Basic") || len(encoded) > 4096 {
		return ClientCredentials{}, errMalformedBasic()
	}
	raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(encoded))
	if err != nil {
		return ClientCredentials{}, errMalformedBasic()
	}
	user, password, found := strings.Cut(string(raw), ":")
	if !found {
		return ClientCredentials{}, errMalformedBasic()
	}
	c := ClientCredentials{Method: AuthBasic}
	if c.ClientID, err = url.QueryUnescape(user); err != nil || c.ClientID == "" || !storage.IsText(c.ClientID) {
		return ClientCredentials{}, errMalformedBasic()
	}
	if c.Secret, err = url.QueryUnescape(password); err != nil {
		return ClientCredentials{}, errMalformedBasic()
	}
	switch {
	case form.get("client_secret") != "":
		return ClientCredentials{}, refuse(InvalidRequest, "client credentials are given in the header and in the body")
	case form.get(ParamClientID) != "" && form.get(ParamClientID) != c.ClientID:
		return ClientCredentials{}, refuse(InvalidRequest, "client_id differs between the header and the body")
	}
	if c.Secret == "" {
		// A public client whose library always sends the header.
		c.Method = AuthNone
	}
	return c, nil
}

func errMalformedBasic() *Error {
	return refuse(InvalidClient, "the Authorization header must be Basic with form-urlencoded client_id and client_secret")
}

func errWrongCredentials() *Error {
	return refuse(InvalidClient, "client is unknown or its credentials are wrong")
}

// AuthenticateClient decides whether the credentials are the client's (RFC 6749
// section 3.2.1). client is nil when the id is unknown: the answer and the work
// are the same as for a wrong secret.
func AuthenticateClient(c ClientCredentials, client *storage.Client) error {
	hash := sha256.Sum256([]byte(c.Secret))
	if client == nil {
		var nobody [32]byte
		subtle.ConstantTimeCompare(hash[:], nobody[:])
		return errWrongCredentials()
	}
	if c.Method == AuthNone || c.Secret == "" {
		// No secret proves nothing, even where the hash of an empty one slipped
		// into the registration.
		if client.Public {
			return nil
		}
		return errWrongCredentials()
	}
	match := 0
	for _, want := range client.SecretHashes {
		match |= subtle.ConstantTimeCompare(hash[:], want[:])
	}
	if match != 1 {
		return errWrongCredentials()
	}
	return nil
}
