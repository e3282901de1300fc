// Package login signs a person in at an OpenID provider from a command line, as
// a native app does (RFC 8252): authorization code with PKCE through the
// person's own browser, answered to a listener on a loopback address.
//
// It refuses listeners that other machines can reach, answers that do not belong
// to the login it began, and every id_token that does not verify from the
// provider's discovery document and keys alone.
//
// Threat: anything on this machine, and any page in the person's browser, can
// call the listener; the network may lie about everything that TLS does not
// protect; texts of the provider end on a terminal. state (RFC 6749 section
// 10.12), PKCE, nonce and iss (RFC 9207) tie the answer to this login, answers
// are bounded, and texts are cleaned before they are shown.
package login

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

// callbackPath is the path of the redirect URI.
const callbackPath = "/callback"

// Options say where and how to sign in.
type Options struct {
	// Issuer is the provider's issuer URL.
	Issuer string
	// ClientID and ClientSecret are the client's; a public client has no secret.
	ClientID     string
	ClientSecret string
	// Scopes to ask for; openid is added.
	Scopes []string
	// Listen is the loopback HOST:PORT for the answer; port 0 is any free one.
	Listen string
	// HTTPClient talks to the provider. Its answers are bounded by Run.
	HTTPClient *http.Client
	// OpenBrowser shows an address to the person; nil: it is only printed.
	OpenBrowser func(address string) error
	// Messages are for the person.
	Messages io.Writer
	// Random is where state, nonce and verifier come from: crypto/rand.Reader.
	Random io.Reader
	// Now is the clock that tokens are checked against.
	Now func() time.Time
}

// Run signs in, and returns the verified id_token. It ends with ctx.
func Run(ctx context.Context, o Options) (*Result, error) {
	ctx = oidc.ClientContext(ctx, bounded(o.HTTPClient))
	provider, err := discover(ctx, o)
	if err != nil {
		return nil, err
	}
	listener, err := listen(ctx, o.Listen)
	if err != nil {
		return nil, err
	}
	defer listener.Close()
	a, err := newAttempt(o, provider, listener)
	if err != nil {
		return nil, err
	}
	return a.run(ctx, listener)
}

// provider is what discovery says.
type provider struct {
	*oidc.Provider
	metadata struct {
		AuthMethods   []string `json:"token_endpoint_auth_methods_supported"`
		IssuerInReply bool     `json:"authorization_response_iss_parameter_supported"`
	}
}

func discover(ctx context.Context, o Options) (*provider, error) {
	if u, err := url.Parse(o.Issuer); err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
		return nil, fmt.Errorf("the issuer %q is no http or https URL", clean(o.Issuer))
	} else if u.Scheme == "http" && !isLoopback(u.Hostname()) {
		fmt.Fprintln(o.Messages, "Warning: the issuer is http: whoever is on the way to it can sign in as you.")
	}
	found, err := oidc.NewProvider(ctx, o.Issuer)
	if err != nil {
		return nil, fmt.Errorf("asking %s for its endpoints: %w", o.Issuer, cleanError(ctx, err))
	}
	p := &provider{Provider: found}
	if err := p.Claims(&p.metadata); err != nil {
		return nil, fmt.Errorf("asking %s for its endpoints: %w", o.Issuer, cleanError(ctx, err))
	}
	return p, nil
}

// listen opens the loopback listener (RFC 8252 section 7.3).
func listen(ctx context.Context, address string) (net.Listener, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil || !isLoopback(host) {
		return nil, fmt.Errorf("cannot listen on %q: the answer has to come to a loopback address, such as 127.0.0.1:0", address)
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listening for the answer: %w", err)
	}
	return l, nil
}

func isLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.Unmap().IsLoopback()
}

// attempt is one login: what was sent, to compare with what comes back.
type attempt struct {
	options  Options
	provider *provider
	oauth    oauth2.Config
	// state, nonce and verifier are 256 random bits each.
	state, nonce, verifier string
}

func newAttempt(o Options, p *provider, l net.Listener) (*attempt, error) {
	a := &attempt{options: o, provider: p}
	for _, s := range []*string{&a.state, &a.nonce, &a.verifier} {
		random := make([]byte, 32)
		if _, err := io.ReadFull(o.Random, random); err != nil {
			return nil, fmt.Errorf("reading randomness: %w", err)
		}
		*s = base64.RawURLEncoding.EncodeToString(random)
	}
	a.oauth = oauth2.Config{
		ClientID:     o.ClientID,
		ClientSecret: o.ClientSecret,
		Endpoint:     p.Endpoint(),
		RedirectURL:  redirectURL(o.Listen, l),
		Scopes:       scopes(o.Scopes),
	}
	a.oauth.Endpoint.AuthStyle = p.authStyle(o.ClientSecret)
	return a, nil
}

// redirectURL is the listener's address under the name that was asked for.
func redirectURL(address string, l net.Listener) string {
	host, _, _ := net.SplitHostPort(address)
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return (&url.URL{Scheme: "http", Host: net.JoinHostPort(host, port), Path: callbackPath}).String()
}

func scopes(asked []string) []string {
	if slices.Contains(asked, oidc.ScopeOpenID) {
		return asked
	}
	return append([]string{oidc.ScopeOpenID}, asked...)
}

// authStyle is how the client authenticates at the token endpoint. It is never
// found out by trying: the code is good for one try.
func (p *provider) authStyle(secret string) oauth2.AuthStyle {
	methods := p.metadata.AuthMethods
	// RFC 8414 section 2: client_secret_basic when nothing is said.
	if secret != "" && (len(methods) == 0 || slices.Contains(methods, "client_secret_basic")) {
		return oauth2.AuthStyleInHeader
	}
	return oauth2.AuthStyleInParams
}

// address is where the person has to go.
func (a *attempt) address() string {
	return a.oauth.AuthCodeURL(a.state, oidc.Nonce(a.nonce), oauth2.S256ChallengeOption(a.verifier))
}

// run serves the listener until the answer has come or ctx ends.
func (a *attempt) run(ctx context.Context, l net.Listener) (*Result, error) {
	c := &callback{attempt: a, ctx: ctx, done: make(chan outcome, 1)}
	server := &http.Server{Handler: c.routes(), ReadHeaderTimeout: 10 * time.Second, MaxHeaderBytes: 64 << 10}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(l) }()
	defer server.Close()
	if err := a.invite(); err != nil {
		return nil, err
	}
	select {
	case out := <-c.done:
		// The page that says so is still on its way to the browser.
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer cancel()
		_ = server.Shutdown(grace) // what is not delivered by then is cut off
		return out.result, out.err
	case err := <-failed:
		return nil, fmt.Errorf("listening for the answer: %w", err)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// invite leads the person to the provider.
func (a *attempt) invite() error {
	address := a.address()
	// The address comes from the discovery document: nothing but a web page is
	// given to the system to open.
	if u, err := url.Parse(address); err != nil || u.Scheme != "https" && u.Scheme != "http" {
		return errors.New("the provider's authorization endpoint is no http or https URL")
	}
	if a.options.OpenBrowser != nil {
		err := a.options.OpenBrowser(address)
		if err == nil {
			fmt.Fprintf(a.options.Messages, "Your browser has been opened. If it shows nothing, go to\n\n  %s\n\n", address)
			return nil
		}
		fmt.Fprintf(a.options.Messages, "No browser could be opened (%v).\n", err)
	}
	fmt.Fprintf(a.options.Messages, "To sign in, go to\n\n  %s\n\n", address)
	return nil
}
