package login_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/countersign/countersign/cmd/countersign/login"
)

// op is a small OpenID provider that signs everybody in at once. Its fields
// change one thing of what it does.
type op struct {
	*httptest.Server
	key    *ecdsa.PrivateKey
	signer jose.Signer

	metadata map[string]any // added to discovery
	reply    url.Values     // replaces parameters of the answer; "" removes
	claims   map[string]any // replaces claims; nil removes
	refuse   string         // error of the token endpoint
	secret   string         // of the client; it has to come as basic auth

	mu      sync.Mutex
	request url.Values // the authorization request
}

func newOP(t *testing.T) *op {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	o := &op{key: key, signer: signerOf(t, key)}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", o.discovery)
	mux.HandleFunc("GET /keys", o.keys)
	mux.HandleFunc("GET /auth", o.auth)
	mux.HandleFunc("POST /token", o.token)
	o.Server = httptest.NewTLSServer(mux)
	t.Cleanup(o.Close)
	return o
}

func signerOf(t *testing.T, key *ecdsa.PrivateKey) jose.Signer {
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: "k"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return signer
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

func (o *op) discovery(w http.ResponseWriter, _ *http.Request) {
	document := map[string]any{
		"issuer": o.URL, "authorization_endpoint": o.URL + "/auth", "token_endpoint": o.URL + "/token", "jwks_uri": o.URL + "/keys",
		"id_token_signing_alg_values_supported": []string{"ES256"}, "authorization_response_iss_parameter_supported": true,
	}
	maps.Copy(document, o.metadata)
	writeJSON(w, http.StatusOK, document)
}

func (o *op) keys(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: o.key.Public(), KeyID: "k", Algorithm: "ES256", Use: "sig"}}})
}

func (o *op) auth(w http.ResponseWriter, r *http.Request) {
	o.mu.Lock()
	o.request = r.URL.Query()
	o.mu.Unlock()
	reply := url.Values{"code": {"the-code"}, "state": {o.request.Get("state")}, "iss": {o.URL}}
	for name, values := range o.reply {
		if reply[name] = values; values[0] == "" {
			delete(reply, name)
		}
	}
	http.Redirect(w, r, o.request.Get("redirect_uri")+"?"+reply.Encode(), http.StatusSeeOther)
}

func (o *op) token(w http.ResponseWriter, r *http.Request) {
	o.mu.Lock()
	defer o.mu.Unlock()
	challenge := sha256.Sum256([]byte(r.PostFormValue("code_verifier")))
	_, secret, _ := r.BasicAuth()
	switch {
	case o.refuse != "":
		writeJSON(w, http.StatusBadRequest, map[string]string{"error": o.refuse, "error_description": "no\x1b[31m way"})
	case secret != o.secret:
		writeJSON(w, http.StatusUnauthorized, map[string]string{"error": "invalid_client"})
	case r.PostFormValue("code") != "the-code", r.PostFormValue("redirect_uri") != o.request.Get("redirect_uri"),
		base64.RawURLEncoding.EncodeToString(challenge[:]) != o.request.Get("code_challenge"):
		writeJSON(w, http.StatusBadRequest, map[string]string{"error": "invalid_grant"})
	default:
		writeJSON(w, http.StatusOK, map[string]any{"access_token": "at", "token_type": "Bearer", "id_token": o.idToken()})
	}
}

func (o *op) idToken() string {
	sum := sha256.Sum256([]byte("at"))
	claims := map[string]any{
		"iss": o.URL, "sub": "1", "aud": "cli", "exp": 2000000000, "iat": 1900000000, "nonce": o.request.Get("nonce"),
		"at_hash": base64.RawURLEncoding.EncodeToString(sum[:16]), "name": "Alice", "groups": []string{"a", "b"},
	}
	for name, value := range o.claims {
		if claims[name] = value; value == nil {
			delete(claims, name)
		}
	}
	payload, _ := json.Marshal(claims)
	signed, err := o.signer.Sign(payload)
	if err != nil {
		return err.Error()
	}
	compact, _ := signed.CompactSerialize()
	return compact
}

// browse is a browser: it follows the address, and keeps the last page.
type browser struct {
	client *http.Client
	pages  chan string
}

func (b *browser) open(address string) error {
	go func() {
		resp, err := b.client.Get(address)
		if err != nil {
			b.pages <- err.Error()
			return
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		b.pages <- resp.Status + " " + string(body)
	}()
	return nil
}

func options(o *op, messages io.Writer) (login.Options, *browser) {
	b := &browser{client: o.Client(), pages: make(chan string, 1)}
	return login.Options{
		Issuer: o.URL, ClientID: "cli", Scopes: []string{"groups"}, Listen: "127.0.0.1:0", HTTPClient: o.Client(),
		OpenBrowser: b.open, Messages: messages, Random: rand.Reader,
		Now: func() time.Time { return time.Unix(1900000100, 0) },
	}, b
}

func TestLogin(t *testing.T) {
	o := newOP(t)
	opts, b := options(o, io.Discard)
	result, err := login.Run(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	if page := <-b.pages; !strings.HasPrefix(page, "200 OK") || !strings.Contains(page, "You are signed in") {
		t.Errorf("the browser shows %q", page)
	}
	request := o.request
	if got := request.Get("scope"); got != "openid groups" {
		t.Errorf("scope is %q", got)
	}
	if request.Get("code_challenge_method") != "S256" || len(request.Get("state")) != 43 || len(request.Get("nonce")) != 43 ||
		request.Get("state") == request.Get("nonce") {
		t.Errorf("the request is %v", request)
	}
	if u, err := url.Parse(request.Get("redirect_uri")); err != nil || u.Hostname() != "127.0.0.1" || u.Port() == "0" || u.Path != "/callback" {
		t.Errorf("redirect_uri is %q", request.Get("redirect_uri"))
	}
	var out bytes.Buffer
	if err := result.Write(&out, "token"); err != nil || out.String() != result.IDToken+"\n" || strings.Count(result.IDToken, ".") != 2 {
		t.Errorf("token output is %q, %v", out.String(), err)
	}
}

func TestConfidentialClient(t *testing.T) {
	o := newOP(t)
	o.secret = "s3cret"
	opts, _ := options(o, io.Discard)
	opts.ClientSecret = "s3cret"
	if _, err := login.Run(t.Context(), opts); err != nil {
		t.Error(err)
	}
	opts.ClientSecret = "other"
	if _, err := login.Run(t.Context(), opts); err == nil || !strings.Contains(err.Error(), "invalid_client") {
		t.Errorf("wrong secret: %v", err)
	}
}

// Each of these providers is attacked, broken or saying no.
func TestRefused(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*op)
		want   string
	}{
		{"person refuses", func(o *op) {
			o.reply = url.Values{"code": {""}, "error": {"access_denied"}, "error_description": {"not \x1b[2Jyou"}}
		}, "access_denied: not [2Jyou (access was refused"},
		{"error of another issuer", func(o *op) {
			o.reply = url.Values{"error": {"access_denied"}, "iss": {"https://evil.example"}}
		}, "another issuer"},
		{"other issuer answers (mix-up)", func(o *op) { o.reply = url.Values{"iss": {"https://evil.example"}} }, "another issuer"},
		{"iss stripped", func(o *op) { o.reply = url.Values{"iss": {""}} }, "does not name its issuer"},
		{"two codes", func(o *op) { o.reply = url.Values{"code": {"the-code", "other"}} }, "more than one code"},
		{"no code", func(o *op) { o.reply = url.Values{"code": {""}} }, "neither a code nor an error"},
		{"other code (injection)", func(o *op) { o.reply = url.Values{"code": {"stolen"}} }, "invalid_grant"},
		{"token endpoint refuses", func(o *op) { o.refuse = "unauthorized_client" }, "unauthorized_client: no[31m way"},
		{"nonce of another login", func(o *op) { o.claims = map[string]any{"nonce": "x"} }, "nonce"},
		{"nonce missing", func(o *op) { o.claims = map[string]any{"nonce": nil} }, "nonce"},
		{"for another client", func(o *op) { o.claims = map[string]any{"aud": "other"} }, "audience"},
		{"made for another party", func(o *op) { o.claims = map[string]any{"aud": []string{"cli", "x"}, "azp": "x"} }, "azp"},
		{"other issuer in the token", func(o *op) { o.claims = map[string]any{"iss": "https://evil.example"} }, "issue"},
		{"expired", func(o *op) { o.claims = map[string]any{"exp": 1900000000} }, "expired"},
		{"no expiry", func(o *op) { o.claims = map[string]any{"exp": nil} }, "expired"},
		{"access token swapped", func(o *op) { o.claims = map[string]any{"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"} }, "access token hash"},
		{"key of somebody else", func(o *op) { o.key, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }, "signature"},
		{"discovery of another issuer", func(o *op) { o.metadata = map[string]any{"issuer": "https://evil.example"} }, "did not match"},
		{"discovery without end", func(o *op) { o.metadata = map[string]any{"x": strings.Repeat("x", 2<<20)} }, "endpoints"},
		{"page that is a program", func(o *op) { o.metadata = map[string]any{"authorization_endpoint": "file:///bin/sh"} }, "no http or https URL"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := newOP(t)
			tt.change(o)
			opts, _ := options(o, io.Discard)
			result, err := login.Run(t.Context(), opts)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, %v, want an error with %q", result, err, tt.want)
			}
		})
	}
}

// iss is optional for a provider that does not promise it.
func TestProviderWithoutIss(t *testing.T) {
	o := newOP(t)
	o.metadata = map[string]any{"authorization_response_iss_parameter_supported": false}
	o.reply = url.Values{"iss": {""}}
	opts, _ := options(o, io.Discard)
	if _, err := login.Run(t.Context(), opts); err != nil {
		t.Error(err)
	}
}

// What does not carry the state changes nothing: the login goes on, and ends
// well. Once it is over, nothing is taken any more.
func TestStrangersAtTheListener(t *testing.T) {
	o := newOP(t)
	opts, b := options(o, io.Discard)
	var statuses []int
	open := opts.OpenBrowser
	opts.OpenBrowser = func(address string) error {
		u, err := url.Parse(address)
		if err != nil {
			return err
		}
		callback := u.Query().Get("redirect_uri")
		for _, request := range []struct{ method, address string }{
			{"GET", callback + "?code=stolen&state=wrong"},
			{"GET", callback + "?error=access_denied"},
			{"GET", callback + "?error=access_denied&state="},
			{"GET", callback + "?%zz"},
			{"POST", callback + "?code=x&state=" + u.Query().Get("state")},
			{"GET", strings.TrimSuffix(callback, "/callback") + "/"},
		} {
			r, err := http.NewRequestWithContext(t.Context(), request.method, request.address, nil)
			if err != nil {
				return err
			}
			resp, err := o.Client().Do(r)
			if err != nil {
				return err
			}
			resp.Body.Close()
			statuses = append(statuses, resp.StatusCode)
		}
		return open(address)
	}
	if _, err := login.Run(t.Context(), opts); err != nil {
		t.Error(err)
	}
	<-b.pages
	for i, want := range []int{400, 400, 400, 400, 405, 404} {
		if statuses[i] != want {
			t.Errorf("stranger %d got %d, want %d", i, statuses[i], want)
		}
	}
}

func TestWhereToListen(t *testing.T) {
	o := newOP(t)
	for _, address := range []string{"0.0.0.0:0", ":0", "192.0.2.1:0", "example.com:80", "127.0.0.1", "[::]:0"} {
		opts, _ := options(o, io.Discard)
		opts.Listen = address
		if _, err := login.Run(t.Context(), opts); err == nil || !strings.Contains(err.Error(), "loopback") {
			t.Errorf("%s: %v", address, err)
		}
	}
	opts, _ := options(o, io.Discard)
	opts.Listen = "localhost:0"
	if _, err := login.Run(t.Context(), opts); err != nil {
		t.Error(err)
	}
	if got := o.request.Get("redirect_uri"); !strings.HasPrefix(got, "http://localhost:") {
		t.Errorf("redirect_uri is %q", got)
	}
}

// Without a browser the address is printed; when the person gives up, so does
// the command.
func TestInterrupted(t *testing.T) {
	o := newOP(t)
	r, w := io.Pipe()
	opts, _ := options(o, w)
	opts.OpenBrowser = nil
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := login.Run(ctx, opts)
		ended <- err
	}()
	text := make([]byte, 4096)
	n, err := r.Read(text)
	if err != nil || !strings.Contains(string(text[:n]), o.URL+"/auth?") {
		t.Errorf("printed %q, %v", text[:n], err)
	}
	cancel()
	if err := <-ended; err != context.Canceled {
		t.Errorf("got %v", err)
	}
}

func TestWrite(t *testing.T) {
	result := &login.Result{Claims: json.RawMessage(`{"sub":"1","exp":1900000000,"name":"A\u001b[31m\u202eb","groups":["x","y"],"big":12345678901234567890,"z\u0007":{"a":1}}`)}
	for format, want := range map[string]string{
		"text": "name               A[31mb\n" +
			"groups             x, y\n" +
			"sub                1\n" +
			"big                12345678901234567890\n" +
			"exp                2030-03-17T17:46:40Z\n" +
			"z                  {\"a\":1}\n",
		"json": "{\n  \"big\": 12345678901234567890,\n  \"exp\": 1900000000,\n  \"groups\": [\n    \"x\",\n    \"y\"\n  ],\n" +
			"  \"name\": \"A\\u001b[31m\\u202eb\",\n  \"sub\": \"1\",\n  \"z\\u0007\": {\n    \"a\": 1\n  }\n}\n",
	} {
		var out bytes.Buffer
		if err := result.Write(&out, format); err != nil {
			t.Fatal(err)
		}
		if out.String() != want {
			t.Errorf("%s:\n%s\nwant\n%s", format, out.String(), want)
		}
		if format == "json" && !json.Valid(out.Bytes()) {
			t.Error("the output is not JSON")
		}
	}
	// A right-to-left override that stands in the JSON itself.
	var out bytes.Buffer
	raw := &login.Result{Claims: json.RawMessage("{\"a\":\"\u202e\u007f\u0090\U000e0001\"}")}
	if err := raw.Write(&out, "json"); err != nil || !json.Valid(out.Bytes()) || out.String() != "{\n  \"a\": \"\\u202e\\u007f\\u0090\\udb40\\udc01\"\n}\n" {
		t.Errorf("got %q, %v", out.String(), err)
	}
}

// Where there is no provider there is often a page, which says nothing to a terminal.
func TestPageInsteadOfAProvider(t *testing.T) {
	for _, tt := range []struct{ name, page string }{
		{"with a doctype", "<!DOCTYPE html>\n<html><title>no such page</title>"},
		{"without", "\n<HTML lang=en><title>no such page</title>"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := newOP(t)
			opts, _ := options(o, io.Discard)
			other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(http.StatusNotFound)
				_, _ = io.WriteString(w, tt.page)
			}))
			t.Cleanup(other.Close)
			opts.Issuer = other.URL
			_, err := login.Run(t.Context(), opts)
			if err == nil || !strings.HasSuffix(err.Error(), ": a web page, not the answer of a provider") || !strings.Contains(err.Error(), "404 Not Found") {
				t.Errorf("it says %v", err)
			}
		})
	}
}
