package server_test

import (
	"crypto/x509"
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/countersign/countersign/connector/rules"
	"github.com/countersign/countersign/connector/saml"
	"github.com/countersign/countersign/connector/saml/samltest"
	"github.com/countersign/countersign/e2e/person"
	"github.com/countersign/countersign/server"
	"github.com/countersign/countersign/server/flow"
	"github.com/countersign/countersign/server/oauth"
)

// workforce is a provider whose people come from a SAML identity provider.
type workforce struct {
	*world
	idp  *samltest.Page
	site *httptest.Server
	// slo and more are of single logout; see employSLO.
	slo  *samltest.SLO
	more func(ours string, c *saml.Config)
}

// employ starts both, at one clock.
func employ(t *testing.T, engine string, options ...option) *workforce {
	t.Helper()
	f := new(workforce)
	f.start(t, engine, options...)
	return f
}

func (f *workforce) start(t *testing.T, engine string, options ...option) {
	t.Helper()
	clock := new(clock)
	idp := samltest.New(t, "https://idp.example")
	f.idp = &samltest.Page{IdP: idp, Now: clock.now}
	mux := http.NewServeMux()
	mux.Handle("/sso", f.idp)
	if f.slo != nil {
		f.slo.IdP, f.slo.Now = idp, clock.now
		mux.Handle("/slo", f.slo)
	}
	f.site = httptest.NewServer(mux)
	t.Cleanup(f.site.Close)
	f.groups("dev", "ops")
	f.world = newDatabase(t, engine).replica(t, clock, append([]option{f.connect(t)}, options...)...)
}

// groups says what the identity provider says of jane.
func (f *workforce) groups(groups ...string) {
	f.idp.Set(samltest.Person{
		NameID: "jane-1", Format: "urn:oasis:names:tc:SAML:2.0:nameid-format:persistent",
		Attributes: map[string][]string{"name": {"Jane"}, "mail": {"jane@example.com"}, "groups": groups},
	})
}

// connect gives a provider the identity provider as its only connector, and one
// besides that has another.
func (f *workforce) connect(t *testing.T) option {
	t.Helper()
	other := samltest.New(t, "https://other.example")
	return func(c *server.Config) {
		accept, err := rules.New(rules.Config{AllowedGroups: []string{"dev", "ops"}})
		if err != nil {
			t.Fatal(err)
		}
		c.Connectors = nil
		for _, known := range []struct {
			id  string
			idp *samltest.IdP
		}{{"other", other}, {"workforce", f.idp.IdP}} {
			id, idp := known.id, known.idp
			cfg := saml.Config{
				ACSURL: c.Policy.Issuer + "/callback", SSOURL: f.site.URL + "/sso", Issuer: idp.Issuer, Certificates: []*x509.Certificate{idp.Certificate},
				NameIDFormat: "persistent", Attributes: saml.Attributes{Name: "name", Email: "mail", Groups: "groups"},
				Now: f.idp.Now, Logger: c.Logger,
			}
			if f.more != nil && id == "workforce" {
				f.more(c.Policy.Issuer, &cfg)
			}
			conn, err := saml.New(cfg)
			if err != nil {
				t.Fatal(err)
			}
			c.Connectors = append(c.Connectors, flow.Connector{
				Connector: oauth.Connector{ID: id}, Name: id, Type: "saml", Redirect: conn, Accept: accept.Accept,
				Recheck: oauth.Recheck{After: 12 * time.Hour}, KnownWhileSigningIn: true,
			})
		}
	}
}

// atProvider is a browser with the identity provider's answer, not posted yet.
func (f *workforce) atProvider(connectorID string) (*person.Person, *person.Page) {
	f.t.Helper()
	p := f.browser()
	page := f.get(p, f.request("scope", offline, "connector_id", connectorID))
	page = f.submit(p, page) // the request goes by POST
	if !strings.HasPrefix(page.URL.String(), f.site.URL) || len(page.Forms) != 1 {
		f.t.Fatalf("not at the identity provider: %d at %s\n%s", page.Status, page.URL, page.Body)
	}
	return p, page
}

// A person of the identity provider signs in at a client, with their groups; they
// refresh until maxAge, and have to sign in again then.
func TestSAMLUpstream(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		f := employ(t, engine)
		sign := func() answer {
			p, page := f.atProvider("workforce")
			return f.redeem(f.response(f.approve(p, f.submit(p, page))).Get("code"))
		}
		a := sign()
		got := claims(t, a.str("id_token"))
		if got["sub"] != oauth.Subject("jane-1", "workforce") || got["email"] != "jane@example.com" ||
			got["email_verified"] != true || len(groupsOf(got)) != 2 {
			t.Errorf("claims %v", got)
		}
		p, page := f.atProvider("workforce")
		f.response(f.approve(p, f.submit(p, page)))
		silent := func() string {
			return f.response(f.get(p, f.request("scope", offline, "prompt", "none", "connector_id", "workforce"))).Get("error")
		}
		for range 13 {
			f.clock.advance(53 * time.Minute) // a session ends that is idle for an hour
			if refused := silent(); refused != "" {
				t.Fatalf("single sign-on: %s", refused)
			}
			a = f.goOn(a.str("refresh_token"))
		}
		f.clock.advance(32 * time.Minute)
		f.refresh(a.str("refresh_token")).expect(t, "beyond maxAge", 400, "invalid_grant")
		if refused := silent(); refused != "login_required" || !f.signedIn(p) {
			t.Errorf("single sign-on beyond maxAge: %q, signed in %v", refused, f.signedIn(p))
		}
		f.response(f.approve(p, f.submit(p, f.submit(p, f.get(p, f.request("scope", offline, "connector_id", "workforce"))))))
		if refused := silent(); refused != "" {
			t.Errorf("after signing in again: %s", refused)
		}
		f.groups("ops")
		if got := groupsOf(claims(t, sign().str("id_token"))); len(got) != 1 || got[0] != "ops" {
			t.Errorf("after signing in again: %v", got)
		}
	})
}

// The rules refuse, or the provider does.
func TestSAMLRefused(t *testing.T) {
	t.Parallel()
	f := employ(t, "sqlite")
	f.groups("guests")
	p, page := f.atProvider("workforce")
	page = f.submit(p, page)
	if page.Status != http.StatusForbidden || page.Header.Get("X-Client") != "" || f.signedIn(p) {
		t.Errorf("without an allowed group: %d at %s\n%s", page.Status, page.URL, page.Body)
	}
	p, page = f.atProvider("workforce")
	no := strings.Replace(f.posted(page), "status:Success", "status:AuthnFailed", 1)
	page = f.send(p, page, samltest.Encode(no), page.Forms[0].Fields.Get("RelayState"))
	if page.Status != http.StatusForbidden || !strings.Contains(page.Body, "You are not signed in") {
		t.Errorf("turned back: %d at %s\n%s", page.Status, page.URL, page.Body)
	}
}

// posted is the response in the identity provider's form.
func (f *workforce) posted(page *person.Page) string {
	f.t.Helper()
	text, err := base64.StdEncoding.DecodeString(page.Forms[0].Fields.Get("SAMLResponse"))
	if err != nil {
		f.t.Fatal(err)
	}
	return string(text)
}

func (f *workforce) send(p *person.Person, page *person.Page, response, state string) *person.Page {
	f.t.Helper()
	next, err := p.Send(f.t.Context(), http.MethodPost, page.Forms[0].Action.String(), url.Values{"SAMLResponse": {response}, "RelayState": {state}})
	if err != nil {
		f.t.Fatal(err)
	}
	return next
}

// Responses that were made for somebody or something else.
func TestSAMLArrivals(t *testing.T) {
	t.Parallel()
	f := employ(t, "postgres")
	refused := func(t *testing.T, p *person.Person, page *person.Page, status int) {
		t.Helper()
		if page.Header.Get("X-Client") != "" || page.Status != status || f.signedIn(p) {
			t.Errorf("%d at %s, want %d, signed in: %v\n%s", page.Status, page.URL, status, f.signedIn(p), page.Body)
		}
	}
	t.Run("another browser", func(t *testing.T) {
		_, page := f.atProvider("workforce")
		p := f.browser()
		refused(t, p, f.submit(p, page), 400)
		_, page = f.atProvider("workforce")
		thief, own := f.atProvider("workforce") // who has a flow of their own
		refused(t, thief, f.send(thief, page, page.Forms[0].Fields.Get("SAMLResponse"), own.Forms[0].Fields.Get("RelayState")), 502)
	})
	t.Run("unsolicited", func(t *testing.T) {
		p, page := f.atProvider("workforce")
		response := f.idp.Response(samltest.Answer{ACS: f.issuer + "/callback", Audience: f.issuer + "/callback", Assertion: "_unsolicited", Now: f.clock.now(),
			Person: samltest.Person{NameID: "jane-1"}})
		f.idp.Sign(samltest.Assertion(response))
		refused(t, p, f.send(p, page, samltest.Encode(samltest.Text(response)), page.Forms[0].Fields.Get("RelayState")), 400)
	})
	t.Run("another provider answers", func(t *testing.T) {
		p, page := f.atProvider("other") // workforce's page answers what other was asked
		refused(t, p, f.submit(p, page), 502)
	})
	t.Run("a forged RelayState", func(t *testing.T) {
		for _, state := range []string{"", "x", "../../logout", "AAAAAAAAAAAAAAAAAAAAAA", "https://evil.example/"} {
			p, page := f.atProvider("workforce")
			refused(t, p, f.send(p, page, page.Forms[0].Fields.Get("SAMLResponse"), state), 400)
		}
	})
	t.Run("changed on the way", func(t *testing.T) {
		p, page := f.atProvider("workforce")
		changed := strings.Replace(f.posted(page), "jane-1", "admin", 1)
		refused(t, p, f.send(p, page, samltest.Encode(changed), page.Forms[0].Fields.Get("RelayState")), 400)
	})
	t.Run("10 MB", func(t *testing.T) {
		p, page := f.atProvider("workforce")
		refused(t, p, f.send(p, page, strings.Repeat("A", 10<<20), page.Forms[0].Fields.Get("RelayState")), 413)
	})
}

// Why a response is refused is in the log, also when it was not the last connector's.
func TestSAMLRefusalInTheLog(t *testing.T) {
	t.Parallel()
	for _, last := range []string{"workforce", "other"} {
		j := new(journal)
		f := new(workforce)
		f.start(t, "sqlite", logging(j), func(c *server.Config) {
			if last == "other" {
				slices.Reverse(c.Connectors)
			}
		})
		p, page := f.atProvider("workforce")
		f.clock.advance(2 * time.Hour)
		if page := f.submit(p, page); page.Status != 400 || !strings.Contains(j.String(), "the assertion could be used until") {
			t.Errorf("%s is the last: %d, the log has %s", last, page.Status, j)
		}
	}
}

// One assertion signs in once, wherever it is posted.
func TestSAMLReplay(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		f := employ(t, engine)
		second := f.db.replica(t, f.clock, func(c *server.Config) { c.Policy.Issuer = f.issuer }, f.connect(t))
		p, page := f.atProvider("workforce")
		form := page.Forms[0].Fields
		if page = f.approve(p, f.submit(p, page)); page.Header.Get("X-Client") == "" {
			t.Fatalf("%d at %s", page.Status, page.URL)
		}
		for name, w := range map[string]*world{"this replica": f.world, "another replica": second} {
			for _, who := range []*person.Person{p, w.browser()} {
				if w != f.world {
					who.HTTPTransport(w.http.Client().Transport)
				}
				again, err := who.Send(t.Context(), http.MethodPost, f.issuer+"/callback", form)
				if err != nil {
					t.Fatal(err)
				}
				if again.Status != http.StatusBadRequest || again.Header.Get("X-Client") != "" || !strings.HasSuffix(again.URL.Path, "/callback") {
					t.Errorf("%s: %d at %s", name, again.Status, again.URL)
				}
			}
		}
	})
}

// Whoever runs the identity provider reads who we are.
func TestSAMLMetadata(t *testing.T) {
	t.Parallel()
	f := employ(t, "sqlite")
	a := f.do(http.MethodGet, "/saml/workforce/metadata", nil)
	if a.status != http.StatusOK || a.header.Get("Content-Type") != "application/samlmetadata+xml" || !strings.Contains(a.raw, f.issuer+"/callback") {
		t.Errorf("%d %v\n%s", a.status, a.header, a.raw)
	}
	for _, path := range []string{"/saml/nobody/metadata", "/saml//metadata", "/saml/%2e%2e/metadata"} {
		if a := f.do(http.MethodGet, path, nil); a.status != http.StatusNotFound && a.status != http.StatusMovedPermanently {
			t.Errorf("%s: %d", path, a.status)
		}
	}
}
