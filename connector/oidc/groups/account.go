package groups

import (
	"context"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/countersign/countersign/connector"
)

// ServiceAccount is an account of our program at Google that may act for an
// administrator (domain-wide delegation).
type ServiceAccount struct {
	email    string
	keyID    string
	key      *rsa.PrivateKey
	tokenURL string
}

// ParseServiceAccount reads the JSON file of a service account's key, as Google's
// console gives it: type "service_account", client_email, private_key (PKCS #8 in
// PEM), private_key_id and token_uri. The latter must be https, but on loopback.
func ParseServiceAccount(text []byte) (*ServiceAccount, error) {
	var f struct {
		Type     string `json:"type"`
		Email    string `json:"client_email"`
		Key      string `json:"private_key"`
		KeyID    string `json:"private_key_id"`
		TokenURL string `json:"token_uri"`
	}
	if err := json.Unmarshal(text, &f); err != nil {
		return nil, errors.New("it is no JSON") // the error might quote the key
	}
	if f.Type != "service_account" || f.Email == "" {
		return nil, fmt.Errorf("it is of type %.100q, not the key of a service account", f.Type)
	}
	block, _ := pem.Decode([]byte(f.Key))
	if block == nil {
		return nil, errors.New("its private_key is no PEM")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, errors.New("its private_key is no PKCS #8")
	}
	account := &ServiceAccount{email: f.Email, keyID: f.KeyID, tokenURL: f.TokenURL}
	var ok bool
	if account.key, ok = key.(*rsa.PrivateKey); !ok {
		return nil, errors.New("its private_key is no RSA key")
	}
	if u, err := url.Parse(f.TokenURL); err != nil || !secure(u) {
		return nil, fmt.Errorf("its token_uri is %.100q, no https address", f.TokenURL)
	}
	return account, nil
}

// secure reports an address that tokens may be sent to.
func secure(u *url.URL) bool {
	ip := net.ParseIP(u.Hostname())
	return u.Host != "" && u.User == nil && (u.Scheme == "https" || u.Scheme == "http" && ip != nil && ip.IsLoopback())
}

const (
	// scope is all that the service account is delegated.
	scope = "https://www.googleapis.com/auth/admin.directory.group.readonly"
	// assertionLifetime is how long an assertion is good for. Google allows an hour.
	assertionLifetime = 10 * time.Minute
	// skew is how far our clock may be ahead.
	skew = 10 * time.Second
)

// assertion is a JWT that says whom we act for (RFC 7523 section 3).
func (s *ServiceAccount) assertion(admin string, now time.Time) (string, error) {
	options := (&jose.SignerOptions{}).WithType("JWT").WithHeader("kid", s.keyID)
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: s.key}, options)
	if err != nil {
		return "", err
	}
	return jwt.Signed(signer).Claims(map[string]any{
		"iss": s.email, "sub": admin, "aud": s.tokenURL, "scope": scope,
		"iat": now.Add(-skew).Unix(), "exp": now.Add(assertionLifetime).Unix(),
	}).Serialize()
}

// early is how long before its end a token is not used any more.
const early = time.Minute

// delegate is the service account in the name of one administrator.
type delegate struct {
	*ServiceAccount
	api   *api
	admin string
	// slot is taken while a token is asked for, so that many who need it ask once.
	slot  chan struct{}
	token string
	until time.Time
}

// access returns a token, which is not the one that was refused.
func (d *delegate) access(ctx context.Context, refused string) (string, error) {
	select {
	case d.slot <- struct{}{}:
		defer func() { <-d.slot }()
	case <-ctx.Done():
		return "", fmt.Errorf("%w: waiting for a token of the service account: %w", connector.ErrUpstream, ctx.Err())
	}
	now := d.api.now()
	if d.token != "" && d.token != refused && now.Before(d.until) {
		return d.token, nil
	}
	assertion, err := d.assertion(d.admin, now)
	if err != nil {
		return "", fmt.Errorf("signing for the service account: %w", err)
	}
	// RFC 7523 section 2.1.
	form := url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:jwt-bearer"}, "assertion": {assertion}}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, d.tokenURL, strings.NewReader(form.Encode()))
	if err != nil {
		return "", fmt.Errorf("asking for a token of the service account: %w", err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	var answer struct {
		AccessToken string `json:"access_token"`
		ExpiresIn   int64  `json:"expires_in"`
	}
	if err := d.api.do(r, &answer); err != nil {
		return "", fmt.Errorf("asking for a token of the service account: %w", err)
	}
	if answer.AccessToken == "" {
		return "", fmt.Errorf("%w: the service account got no token", connector.ErrUpstream)
	}
	lifetime := time.Duration(min(max(answer.ExpiresIn, 0), 86400)) * time.Second
	d.token, d.until = answer.AccessToken, now.Add(lifetime-early)
	return d.token, nil
}
