package server_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"

	"github.com/countersign/countersign/e2e/person"
	"github.com/countersign/countersign/server"
)

// plan is a run of the OpenID Foundation's test plan for basic providers, in one
// response mode. Its modules are named as there.
type plan struct {
	*world
	mode string // "" or form_post
}

func (p plan) ask(pairs ...string) string {
	return p.request(append([]string{"response_mode", p.mode}, pairs...)...)
}

// back is the authorization response, in either mode.
func (p plan) back(page *person.Page) url.Values {
	p.t.Helper()
	if p.mode == "" {
		return p.response(page)
	}
	if page.Status != http.StatusOK || len(page.Forms) != 1 || page.Forms[0].Action.String() != callback || page.Forms[0].Method != http.MethodPost {
		p.t.Fatalf("no form to the client at %s (%d):\n%s", page.URL, page.Status, page.Body)
	}
	return page.Forms[0].Fields
}

// tokens goes the whole way and redeems.
func (p plan) tokens(who *person.Person, pairs ...string) answer {
	p.t.Helper()
	back := p.back(p.signIn(who, p.ask(pairs...)))
	if back.Get("code") == "" || back.Get("iss") != p.issuer {
		p.t.Fatalf("%v: %v", pairs, back)
	}
	a := p.redeem(back.Get("code"))
	if a.status != http.StatusOK {
		p.t.Fatalf("%v: redeeming: %d %s", pairs, a.status, a.raw)
	}
	if a.header.Get("Cache-Control") != "no-store" || a.header.Get("Pragma") != "no-cache" || a.str("token_type") != "Bearer" {
		p.t.Errorf("token response: %v %s", a.header, a.raw)
	}
	return a
}

func (p plan) info(token string) answer {
	return p.do(http.MethodGet, "/userinfo", nil, bearer(token)...)
}

// verified checks an id_token with nothing but what is published.
func (p plan) verified(t *testing.T, raw string) *oidc.IDToken {
	t.Helper()
	ctx := oidc.ClientContext(t.Context(), p.http.Client())
	provider, err := oidc.NewProvider(ctx, p.issuer)
	if err != nil {
		t.Fatal(err)
	}
	token, err := provider.Verifier(&oidc.Config{ClientID: "app", Now: p.clock.now}).Verify(ctx, raw)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// module is one module of the plan.
type module struct {
	name string
	run  func(t *testing.T, p plan)
}

// tolerated is a module that sends a parameter and demands that nothing breaks.
func tolerated(name string, pairs ...string) module {
	return module{name, func(t *testing.T, p plan) {
		a := p.tokens(p.browser(), pairs...)
		if sub := p.verified(t, a.str("id_token")).Subject; sub != p.info(a.str("access_token")).str("sub") {
			t.Errorf("sub of the id_token %q is not that of userinfo", sub)
		}
	}}
}

// scoped is a module that demands claims at userinfo.
func scoped(name, scope string, want ...string) module {
	return module{name, func(t *testing.T, p plan) {
		a := p.info(p.tokens(p.browser(), "scope", scope).str("access_token"))
		for _, claim := range append(want, "sub") {
			if a.body[claim] == nil {
				t.Errorf("%s is not in %s", claim, a.raw)
			}
		}
	}}
}

// refusedWith is a module whose request must come back as an error.
func refusedWith(name, code string, pairs ...string) module {
	return module{name, func(t *testing.T, p plan) {
		back := p.back(p.get(p.browser(), p.ask(pairs...)))
		if back.Get("error") != code || back.Get("state") != "the-state" || back.Get("iss") != p.issuer || back.Get("code") != "" {
			t.Errorf("%v, want %s", back, code)
		}
	}}
}

// basicPlan is oidcc-basic-certification-test-plan without refresh-token.
var basicPlan = []module{
	{"oidcc-server", func(t *testing.T, p plan) {
		back := p.back(p.signIn(p.browser(), p.ask()))
		if back.Get("state") != "the-state" {
			t.Errorf("state: %v", back)
		}
		a := p.redeem(back.Get("code"))
		token := p.verified(t, a.str("id_token"))
		now := p.clock.now()
		if token.Nonce != "the-nonce" || token.Subject == "" || len(token.Subject) > 255 || !slices.Equal(token.Audience, []string{"app"}) ||
			now.Sub(token.IssuedAt).Abs() > 5*time.Second || !token.Expiry.After(now) {
			t.Errorf("id_token: %+v", token)
		}
		if a.body["expires_in"].(float64) <= 0 {
			t.Errorf("expires_in: %s", a.raw)
		}
	}},
	{"oidcc-response-type-missing", func(t *testing.T, p plan) {
		back := p.back(p.get(p.browser(), p.ask("response_type", "")))
		if e := back.Get("error"); e != "invalid_request" && e != "unsupported_response_type" {
			t.Errorf("%v", back)
		}
	}},
	{"oidcc-idtoken-signature", func(t *testing.T, p plan) {
		jws, err := jose.ParseSignedCompact(p.tokens(p.browser()).str("id_token"), []jose.SignatureAlgorithm{jose.RS256})
		if err != nil || jws.Signatures[0].Header.KeyID == "" {
			t.Errorf("%v, %+v", err, jws)
		}
	}},
	{"oidcc-userinfo-get", func(t *testing.T, p plan) { checkUserinfo(t, p, http.MethodGet, false) }},
	{"oidcc-userinfo-post-header", func(t *testing.T, p plan) { checkUserinfo(t, p, http.MethodPost, false) }},
	{"oidcc-userinfo-post-body", func(t *testing.T, p plan) { checkUserinfo(t, p, http.MethodPost, true) }},
	{"oidcc-ensure-request-without-nonce-succeeds-for-code-flow", func(t *testing.T, p plan) {
		if token := p.verified(t, p.tokens(p.browser(), "nonce", "").str("id_token")); token.Nonce != "" {
			t.Errorf("nonce %q from nowhere", token.Nonce)
		}
	}},
	scoped("oidcc-scope-profile", "openid profile", "name", "preferred_username"),
	scoped("oidcc-scope-email", "openid email", "email", "email_verified"),
	// address and phone are not advertised: tolerated.
	scoped("oidcc-scope-address", "openid address"),
	scoped("oidcc-scope-phone", "openid phone"),
	scoped("oidcc-scope-all", "openid profile email address phone", "name", "email"),
	{"oidcc-alternate-happy-flow", func(t *testing.T, p plan) {
		a := p.tokens(p.browser(), "scope", "groups  email profile openid")
		p.verified(t, a.str("id_token"))
	}},
	tolerated("oidcc-display-page", "display", "page"),
	tolerated("oidcc-display-popup", "display", "popup"),
	{"oidcc-prompt-login", func(t *testing.T, p plan) {
		who := p.browser()
		first := claims(t, p.tokens(who).str("id_token"))
		p.clock.advance(2 * time.Second)
		if page := p.get(who, p.ask("prompt", "login")); !strings.Contains(page.URL.Path, "/login/") {
			t.Fatalf("not asked, at %s", page.URL)
		}
		second := claims(t, p.tokens(who, "prompt", "login").str("id_token"))
		if second["auth_time"].(float64) <= first["auth_time"].(float64) || second["sub"] != first["sub"] {
			t.Errorf("before %v, after %v", first, second)
		}
	}},
	{"oidcc-prompt-none-not-logged-in", func(t *testing.T, p plan) {
		state := strings.Repeat("0123456789abcdef", 8)
		back := p.back(p.get(p.browser(), p.ask("prompt", "none", "state", state)))
		if back.Get("error") != "login_required" || back.Get("state") != state {
			t.Errorf("%v", back)
		}
	}},
	{"oidcc-prompt-none-logged-in", func(t *testing.T, p plan) {
		who := p.browser()
		checkSilent(t, p, who, claims(t, p.tokens(who).str("id_token")), "prompt", "none")
	}},
	{"oidcc-max-age-1", func(t *testing.T, p plan) {
		who := p.browser()
		first := claims(t, p.tokens(who).str("id_token"))
		p.clock.advance(2 * time.Second)
		second := claims(t, p.tokens(who, "max_age", "1").str("id_token"))
		if p.clock.now().Unix()-int64(second["auth_time"].(float64)) > 5 || second["auth_time"].(float64) <= first["auth_time"].(float64) {
			t.Errorf("auth_time %v, before %v", second["auth_time"], first["auth_time"])
		}
	}},
	{"oidcc-max-age-10000", func(t *testing.T, p plan) {
		who := p.browser()
		checkSilent(t, p, who, claims(t, p.tokens(who).str("id_token")), "max_age", "10000")
	}},
	tolerated("oidcc-ensure-request-with-unknown-parameter-succeeds", "extra", "foobar"),
	{"oidcc-id-token-hint", func(t *testing.T, p plan) {
		who := p.browser()
		raw := p.tokens(who).str("id_token")
		checkSilent(t, p, who, claims(t, raw), "prompt", "none", "id_token_hint", raw)
	}},
	tolerated("oidcc-login-hint", "login_hint", "buffy@example.com"),
	tolerated("oidcc-ui-locales", "ui_locales", "se fr-CA"),
	tolerated("oidcc-claims-locales", "claims_locales", "se"),
	tolerated("oidcc-ensure-request-with-acr-values-succeeds", "acr_values", "1 2"),
	{"oidcc-codereuse", func(t *testing.T, p plan) { checkReuse(t, p, 0) }},
	{"oidcc-codereuse-30seconds", func(t *testing.T, p plan) { checkReuse(t, p, 31*time.Second) }},
	{"oidcc-ensure-registered-redirect-uri", func(t *testing.T, p plan) {
		page := p.get(p.browser(), p.ask("redirect_uri", "https://app.example/callback/unregistered"))
		if page.Status != http.StatusBadRequest || page.Header.Get("X-Client") != "" || len(page.Forms) != 0 {
			t.Errorf("status %d at %s", page.Status, page.URL)
		}
	}},
	{"oidcc-ensure-post-request-succeeds", func(t *testing.T, p plan) {
		u, err := url.Parse(p.ask())
		if err != nil {
			t.Fatal(err)
		}
		form := u.Query()
		u.RawQuery = ""
		who := p.browser()
		page, err := who.Send(t.Context(), http.MethodPost, u.String(), form)
		if err != nil {
			t.Fatal(err)
		}
		page = p.approve(who, p.submit(who, page, "login", alice, "password", alicePassword))
		if a := p.redeem(p.back(page).Get("code")); a.status != http.StatusOK {
			t.Errorf("%d %s", a.status, a.raw)
		}
	}},
	{"oidcc-server-client-secret-post", func(t *testing.T, p plan) {
		code := p.back(p.signIn(p.browser(), p.ask())).Get("code")
		form := url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {callback}, "code_verifier": {verifier}}
		// tokens uses client_secret_post; this is the other one.
		if a := p.post("/token", form, basic("app", "app-secret")...); a.status != http.StatusOK {
			t.Errorf("client_secret_basic: %d %s", a.status, a.raw)
		}
		p.tokens(p.browser())
	}},
	refusedWith("oidcc-request-uri-unsigned-supported-correctly-or-rejected-as-unsupported", "request_uri_not_supported",
		"request_uri", "https://app.example/request"),
	refusedWith("oidcc-unsigned-request-object-supported-correctly-or-rejected-as-unsupported", "request_not_supported",
		"request", unsignedRequest),
	refusedWith("oidcc-ensure-request-object-with-redirect-uri", "request_not_supported", "request", unsignedRequest),
	tolerated("oidcc-claims-essential", "claims", `{"userinfo":{"name":{"essential":true}}}`),
	tolerated("oidcc-ensure-request-with-valid-pkce-succeeds", "code_challenge", challenge, "code_challenge_method", "S256"),
}

// unsignedRequest is {"alg":"none"} {"redirect_uri":"https://evil.example/cb"}.
const unsignedRequest = "eyJhbGciOiJub25lIn0.eyJyZWRpcmVjdF91cmkiOiJodHRwczovL2V2aWwuZXhhbXBsZS9jYiJ9."

func checkUserinfo(t *testing.T, p plan, method string, inBody bool) {
	t.Helper()
	tokens := p.tokens(p.browser())
	access := tokens.str("access_token")
	var a answer
	if inBody {
		a = p.post("/userinfo", url.Values{"access_token": {access}})
	} else {
		a = p.do(method, "/userinfo", nil, bearer(access)...)
	}
	if a.status != http.StatusOK || a.str("sub") != claims(t, tokens.str("id_token"))["sub"] || a.header.Get("Cache-Control") != "no-store" {
		t.Errorf("%d %v %s", a.status, a.header, a.raw)
	}
}

// checkSilent demands an answer without any page, for the same authentication.
func checkSilent(t *testing.T, p plan, who *person.Person, before map[string]any, pairs ...string) {
	t.Helper()
	p.clock.advance(2 * time.Second)
	after := claims(t, p.redeem(p.back(p.get(who, p.ask(pairs...))).Get("code")).str("id_token"))
	if after["sub"] != before["sub"] || after["auth_time"] != before["auth_time"] {
		t.Errorf("before %v, after %v", before, after)
	}
}

func checkReuse(t *testing.T, p plan, later time.Duration) {
	t.Helper()
	code := p.back(p.signIn(p.browser(), p.ask())).Get("code")
	access := p.redeem(code).str("access_token")
	if a := p.info(access); a.status != http.StatusOK {
		t.Fatalf("userinfo: %d %s", a.status, a.raw)
	}
	p.clock.advance(later)
	p.redeem(code).expect(t, "the second time", 400, "invalid_grant")
	if a := p.info(access); a.status != http.StatusUnauthorized || a.str("error") != "invalid_token" {
		t.Errorf("the access token lives: %d %s", a.status, a.raw)
	}
}

// The plans oidcc-basic and oidcc-formpost-basic.
func TestConformance(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		for _, mode := range []string{"", "form_post"} {
			t.Run(mode, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, engine, func(c *server.Config) { c.Policy.SigningAlg = "RS256" })
				for _, m := range basicPlan {
					t.Run(m.name, func(t *testing.T) {
						inner := *w
						inner.t = t
						m.run(t, plan{&inner, mode})
					})
				}
			})
		}
	})
}

// The plan oidcc-config: the discovery document, with an https issuer.
func TestConformanceDiscovery(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "sqlite", https, func(c *server.Config) { c.Policy.SigningAlg = "RS256" })
	a := w.do(http.MethodGet, "/.well-known/openid-configuration", nil)
	if a.status != http.StatusOK || a.header.Get("Content-Type") != "application/json" {
		t.Fatalf("%d %v", a.status, a.header)
	}
	if a.str("issuer") != w.issuer {
		t.Errorf("issuer %q, want %q", a.str("issuer"), w.issuer)
	}
	for name, value := range a.body {
		if s, _ := value.(string); (strings.HasSuffix(name, "_endpoint") || name == "jwks_uri") && !strings.HasPrefix(s, "https://") {
			t.Errorf("%s is %v", name, value)
		}
	}
	for name, want := range map[string]string{
		"id_token_signing_alg_values_supported": "RS256", "subject_types_supported": "public",
		"response_types_supported": "code", "scopes_supported": "openid", "response_modes_supported": "form_post",
		"grant_types_supported": "authorization_code", "code_challenge_methods_supported": "S256",
		"token_endpoint_auth_methods_supported": "client_secret_post",
	} {
		if list, _ := a.body[name].([]any); !slices.Contains(list, any(want)) {
			t.Errorf("%s is %v, want %q in it", name, a.body[name], want)
		}
	}
	// What is not there must not be promised (oidcc-idtoken-unsigned and the
	// request object modules are skipped by these).
	if list, _ := a.body["id_token_signing_alg_values_supported"].([]any); slices.Contains(list, any("none")) {
		t.Errorf("none is offered: %v", list)
	}
	for name, want := range map[string]bool{
		"request_parameter_supported": false, "request_uri_parameter_supported": false, "claims_parameter_supported": false,
		"authorization_response_iss_parameter_supported": true,
	} {
		if a.body[name] != want {
			t.Errorf("%s is %v", name, a.body[name])
		}
	}
	var set map[string][]map[string]any
	keys := w.do(http.MethodGet, "/keys", nil)
	if err := json.Unmarshal([]byte(keys.raw), &set); err != nil || len(set["keys"]) == 0 {
		t.Fatalf("JWKS: %v %s", err, keys.raw)
	}
	for _, key := range set["keys"] {
		for _, private := range []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k"} {
			if key[private] != nil {
				t.Errorf("the JWKS has the private part %s: %v", private, key["kid"])
			}
		}
		for _, public := range []string{"kid", "kty", "alg", "use", "n", "e"} {
			if s, _ := key[public].(string); s == "" {
				t.Errorf("the JWKS lacks %s: %v", public, key)
			}
		}
	}
	// RFC 8414 section 3: the same at its own place, inserted before the path.
	for _, path := range []string{"/.well-known/oauth-authorization-server/dex", "/dex/.well-known/oauth-authorization-server"} {
		resp := w.raw("GET "+path+" HTTP/1.1", "Host: "+w.host())
		var other map[string]any
		if err := json.NewDecoder(resp.Body).Decode(&other); err != nil || other["issuer"] != w.issuer {
			t.Errorf("%s: %v %v", path, err, other["issuer"])
		}
	}
}
