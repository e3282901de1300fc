package oauth

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"

	"github.com/countersign/countersign/storage"
)

// Code challenge methods (RFC 7636 section 4.2).
const (
	MethodS256  = "S256"
	MethodPlain = "plain"
)

// checkChallenge decides on code_challenge and code_challenge_method of an
// authorization request, and returns the method in force.
func checkChallenge(challenge, method string, client storage.Client, p Policy) (string, *Error) {
	if challenge == "" {
		switch {
		case method != "":
			return "", refuse(InvalidRequest, "code_challenge_method without code_challenge")
		case client.Public:
			// OAuth 2.1 section 7.5.1, RFC 9700 section 2.1.1.
			return "", refuse(InvalidRequest, "code_challenge is required: public clients must use PKCE")
		case p.PKCERequired:
			return "", refuse(InvalidRequest, "code_challenge is required: this server demands PKCE")
		}
		return "", nil
	}
	if method == "" {
		method = MethodPlain // RFC 7636 section 4.3: the default
	}
	switch {
	case method == MethodS256:
		// 4.2: BASE64URL-ENCODE of 32 octets, without padding. The decoder skips
		// line breaks, the length does not.
		d, err := base64.RawURLEncoding.Strict().DecodeString(challenge)
		if err != nil || len(d) != sha256.Size || len(challenge) != base64.RawURLEncoding.EncodedLen(sha256.Size) {
			return "", refuse(InvalidRequest, "code_challenge is not the base64url form of a SHA-256 hash")
		}
	case method == MethodPlain && p.PKCEPlain:
		if !validVerifier(challenge) {
			return "", refuse(InvalidRequest, "code_challenge must have 43 to 128 unreserved characters")
		}
	case method == MethodPlain:
		return "", refuse(InvalidRequest, "code_challenge_method must be S256, plain is not allowed here")
	default:
		return "", refuse(InvalidRequest, "code_challenge_method must be S256")
	}
	return method, nil
}

// checkVerifier decides on the code_verifier of a token request (RFC 7636
// section 4.6). A verifier for a request that had no challenge is refused too:
// somebody removed the challenge on its way, or injects a code (RFC 9700
// sections 2.1.1 and 4.5.3).
func checkVerifier(challenge, method, verifier string) *Error {
	switch {
	case challenge == "" && verifier == "":
		return nil
	case challenge == "":
		return refuse(InvalidGrant, "code_verifier given, but the authorization request had no code_challenge")
	case verifier == "":
		return refuse(InvalidGrant, "code_verifier is missing")
	case !validVerifier(verifier):
		return refuse(InvalidGrant, "code_verifier must have 43 to 128 unreserved characters")
	}
	var computed string
	switch method {
	case MethodS256:
		h := sha256.Sum256([]byte(verifier))
		computed = base64.RawURLEncoding.EncodeToString(h[:])
	case MethodPlain:
		computed = verifier
	}
	if subtle.ConstantTimeCompare([]byte(computed), []byte(challenge)) != 1 {
		return refuse(InvalidGrant, "code_verifier does not match the code_challenge")
	}
	return nil
}

// validVerifier: RFC 7636 section 4.1, code-verifier = 43*128unreserved.
func validVerifier(s string) bool {
	if len(s) < 43 || len(s) > 128 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		switch {
		case 'A' <= c && c <= 'Z', 'a' <= c && c <= 'z', '0' <= c && c <= '9':
		case c == '-', c == '.', c == '_', c == '~':
		default:
			return false
		}
	}
	return true
}
