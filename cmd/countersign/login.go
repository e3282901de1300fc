package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/countersign/countersign/cmd/countersign/login"
)

// loginFlags are the flags of the command login.
type loginFlags struct {
	issuer, clientID      string
	secretEnv, secretFile string
	scopes                []string
	noBrowser             bool
	output                string
	ca                    string
	listen                string
	timeout               time.Duration
}

func loginCommand() *cobra.Command {
	var f loginFlags
	cmd := &cobra.Command{
		Use:   "login --issuer URL --client-id ID",
		Short: "Sign in at a provider, and print the verified id_token's claims",
		Long: `Sign in as a native app does (RFC 8252): the provider's page opens in the
browser, and its answer comes back to a listener on this machine. The id_token is
verified with the keys that the provider publishes, and its claims are printed.

The client has to have the redirect URI http://127.0.0.1/callback. For a public
client, which this is meant for, Countersign accepts it with any port; for other
clients and providers, fix the port with --listen and register
http://127.0.0.1:PORT/callback.`,
		Example: `  countersign login --issuer https://login.example.com --client-id cli
  TOKEN=$(countersign login --issuer https://login.example.com --client-id cli --output token)`,
		Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&f.issuer, "issuer", "", "`URL` of the provider (required)")
	flags.StringVar(&f.clientID, "client-id", "", "client `ID` to sign in at (required)")
	flags.StringVar(&f.secretEnv, "client-secret-env", "", "take the client's secret from this environment `VARIABLE`")
	flags.StringVar(&f.secretFile, "client-secret-file", "", "take the client's secret from this `FILE`")
	flags.StringSliceVar(&f.scopes, "scope", []string{"openid", "profile", "email", "groups"}, "`SCOPE` to ask for; several times, or a list with commas; openid is always asked for")
	flags.BoolVar(&f.noBrowser, "no-browser", false, "print the address instead of opening a browser")
	flags.StringVar(&f.output, "output", "text", "what to print: text, json (the claims) or token (only the id_token)")
	flags.StringVar(&f.ca, "ca", "", "PEM `FILE` with the certificates that may sign the provider's (default: the system's)")
	flags.StringVar(&f.listen, "listen", "127.0.0.1:0", "loopback `HOST:PORT` to listen on; port 0 is any free one")
	flags.DurationVar(&f.timeout, "timeout", 5*time.Minute, "how long to wait for the person")
	return cmd
}

func (f *loginFlags) run(cmd *cobra.Command) error {
	options, err := f.options(cmd)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(cmd.Context(), f.timeout,
		fmt.Errorf("nobody has signed in within %v; if the browser shows an error, it says what to change", f.timeout))
	defer cancel()
	result, err := login.Run(ctx, options)
	if cause := context.Cause(ctx); err != nil && errors.Is(err, context.DeadlineExceeded) && cause != nil {
		return cause
	}
	if err != nil {
		return err
	}
	return result.Write(cmd.OutOrStdout(), f.output)
}

// options checks the flags and reads what they name.
func (f *loginFlags) options(cmd *cobra.Command) (login.Options, error) {
	var o login.Options
	switch {
	case f.issuer == "" || f.clientID == "":
		return o, usagef("--issuer and --client-id are required")
	case f.output != "text" && f.output != "json" && f.output != "token":
		return o, usagef("--output is text, json or token, not %q", f.output)
	case f.secretEnv != "" && f.secretFile != "":
		return o, usagef("give one of --client-secret-env and --client-secret-file")
	case f.timeout <= 0:
		return o, usagef("--timeout has to be more than zero")
	}
	secret, err := f.secret()
	if err != nil {
		return o, err
	}
	client, err := httpClient(f.ca)
	if err != nil {
		return o, err
	}
	o = login.Options{
		Issuer:       f.issuer,
		ClientID:     f.clientID,
		ClientSecret: secret,
		Scopes:       f.scopes,
		Listen:       f.listen,
		HTTPClient:   client,
		Messages:     cmd.ErrOrStderr(),
		Random:       rand.Reader,
		Now:          time.Now,
	}
	if !f.noBrowser {
		o.OpenBrowser = openBrowser
	}
	return o, nil
}

// secret reads the client's secret. It is never a flag: other people on the
// machine can read command lines.
func (f *loginFlags) secret() (string, error) {
	var secret string
	switch {
	case f.secretEnv != "":
		secret = os.Getenv(f.secretEnv)
	case f.secretFile != "":
		data, err := os.ReadFile(f.secretFile)
		if err != nil {
			return "", fmt.Errorf("reading the client's secret: %w", err)
		}
		secret = strings.TrimRight(string(data), "\r\n")
	default:
		return "", nil
	}
	if secret == "" {
		return "", fmt.Errorf("the client's secret is empty: %s", f.secretEnv+f.secretFile)
	}
	return secret, nil
}

// httpClient trusts the system's certificates, or those in the file.
func httpClient(ca string) (*http.Client, error) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	if ca != "" {
		pem, err := os.ReadFile(ca)
		if err != nil {
			return nil, fmt.Errorf("reading certificates: %w", err)
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("reading certificates: %s has none in PEM form", ca)
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	return &http.Client{Transport: transport, Timeout: 30 * time.Second}, nil
}
