package server_test

import (
	"crypto/rand"
	"crypto/rsa"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/countersign/countersign/connector/local"
	"github.com/countersign/countersign/connector/saml"
	"github.com/countersign/countersign/connector/saml/samltest"
	"github.com/countersign/countersign/e2e/person"
	"github.com/countersign/countersign/server"
	"github.com/countersign/countersign/server/flow"
	"github.com/countersign/countersign/server/oauth"
)

// employSLO is a workforce with single logout. The provider offers one binding.
func employSLO(t *testing.T, engine, binding, status string, changes ...func(*saml.Config)) *workforce {
	t.Helper()
	return employSLOWith(t, engine, binding, status, nil, changes...)
}

func employSLOWith(t *testing.T, engine, binding, status string, more option, changes ...func(*saml.Config)) *workforce {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	f := &workforce{slo: &samltest.SLO{Status: status}}
	f.more = func(issuer string, c *saml.Config) {
		f.slo.Answer = issuer + "/logout/callback/workforce"
		c.SignOutURL, c.Signing = f.slo.Answer, &saml.KeyPair{Key: key, Certificate: samltest.Certify(t, key)}
		metadata := samltest.WithSLO(f.idp.Metadata(f.site.URL+"/sso", f.idp.Certificate), f.site.URL+"/slo", binding)
		c.SSOURL, c.Certificates, c.MetadataFile, c.Binding = "", nil, filepath.Join(t.TempDir(), "idp.xml"), saml.Post
		if err := os.WriteFile(c.MetadataFile, []byte(metadata), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, change := range changes {
			change(c)
		}
	}
	f.start(t, engine, withBye, func(c *server.Config) { // somebody else by the same id
		c.Connectors = append(c.Connectors, flow.Connector{
			Connector: oauth.Connector{ID: "local"}, Name: "local", Type: "local",
			Password: people(t, local.Password{Email: alice, Hash: hash(t, alicePassword), UserID: "jane-1", Username: "alice"}),
			Recheck:  oauth.Recheck{After: time.Hour},
		})
		if more != nil {
			more(c)
		}
	})
	f.readMetadata()
	return f
}

// readMetadata waits until the provider's metadata are read.
func (f *workforce) readMetadata() {
	f.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		p := f.browser()
		page := f.get(p, f.request("connector_id", "workforce"))
		if page.Status == http.StatusOK {
			return
		}
		if time.Now().After(deadline) {
			f.t.Fatalf("the provider is not known: %d at %s", page.Status, page.URL)
		}
	}
}

// signInThere signs whoever the provider speaks of in.
func (f *workforce) signInThere() (p *person.Person, a answer) {
	f.t.Helper()
	p, page := f.atProvider("workforce")
	return p, f.redeem(f.response(f.approve(p, f.submit(p, page))).Get("code"))
}

// Who signs out here is signed out at the identity provider, and arrives where the
// client wanted.
func TestSAMLSignOut(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		f := employSLO(t, engine, "HTTP-Redirect", "")
		f.signInThere()
		p, a := f.signInThere()
		page := f.get(p, f.logout("id_token_hint", a.str("id_token"), "post_logout_redirect_uri", bye, "state", "s"))
		if page.URL.String() != bye+"?state=s" || f.signedIn(p) {
			t.Fatalf("%d at %s after %q\n%s", page.Status, page.URL, page.Hops, page.Body)
		}
		asked := f.slo.Asked()
		if len(asked) != 1 || asked[0].FindElement("./NameID").Text() != "jane-1" || asked[0].FindElement("./SessionIndex").Text() != f.idp.Index(2) {
			t.Errorf("%d requests: %s", len(asked), samltest.Text(asked[0]))
		}
	})
}

// The same by forms. The provider's is posted without our cookies.
func TestSAMLSignOutPosted(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		f := employSLO(t, engine, "HTTP-POST", "")
		p, a := f.signInThere()
		page := f.get(p, f.logout("id_token_hint", a.str("id_token"), "post_logout_redirect_uri", bye, "state", "s"))
		if len(page.Forms) != 1 || page.Forms[0].Action.String() != f.site.URL+"/slo" || f.signedIn(p) {
			t.Fatalf("%d at %s\n%s", page.Status, page.URL, page.Body)
		}
		page = f.submit(p, page)
		post := func(pairs ...string) *url.URL {
			t.Helper()
			without := f.browser()
			without.Leave = f.issuer + "/logout/away/"
			posted := f.submit(without, page, pairs...)
			if !posted.Left {
				t.Fatalf("%d at %s\n%s", posted.Status, posted.URL, posted.Body)
			}
			return posted.URL
		}
		address := post()
		// Without what was sealed there, or with another's, nothing is confirmed.
		kept := p.Cookies(f.issuer + address.Path[len("/dex"):])
		for _, query := range []string{"", "answer=" + strings.Repeat("A", 80), post("SAMLResponse", "AAAA").RawQuery} {
			other := f.browser()
			for _, c := range kept {
				other.SetCookies(f.issuer, []*http.Cookie{{Name: c.Name, Value: c.Value, Path: "/"}})
			}
			changed := *address
			changed.RawQuery = query
			if page := f.get(other, changed.String()); !strings.Contains(page.Body, "You may still be signed in") {
				t.Errorf("with %q: %d at %s", query, page.Status, page.URL)
			}
		}
		if page := f.get(p, address.String()); page.URL.String() != bye+"?state=s" {
			t.Errorf("%d at %s\n%s", page.Status, page.URL, page.Body)
		}
	})
}

// A provider that could not sign somebody out, and an answer that is not its: they
// are told, and can go on.
func TestSAMLSignOutFails(t *testing.T) {
	t.Parallel()
	told := func(t *testing.T, f *workforce, p *person.Person, page *person.Page) {
		t.Helper()
		if leaves(page) || !strings.Contains(page.Body, "You may still be signed in at <bdi>workforce</bdi>") || !slices.Contains(page.Links(), bye+"?state=s") || f.signedIn(p) {
			t.Errorf("%d at %s\n%s", page.Status, page.URL, page.Body)
		}
	}
	t.Run("says the provider", func(t *testing.T) {
		t.Parallel()
		f := employSLO(t, "sqlite", "HTTP-Redirect", "Responder")
		p, a := f.signInThere()
		told(t, f, p, f.get(p, f.logout("id_token_hint", a.str("id_token"), "post_logout_redirect_uri", bye, "state", "s")))
	})
	t.Run("says somebody else", func(t *testing.T) {
		t.Parallel()
		f := employSLO(t, "sqlite", "HTTP-Redirect", "")
		p, a := f.signInThere()
		p.Leave = f.slo.Answer
		page := f.get(p, f.logout("id_token_hint", a.str("id_token"), "post_logout_redirect_uri", bye, "state", "s"))
		p.Leave = ""
		if !page.Left {
			t.Fatalf("%d at %s", page.Status, page.URL)
		}
		told(t, f, p, f.get(p, f.slo.Answer+"?"+url.Values{"RelayState": {page.URL.Query().Get("RelayState")}}.Encode()))
	})
}

// ends is the address with which the provider ends sessions.
func (f *workforce) ends(l samltest.Logout) string {
	l.Destination, l.Now = f.slo.Answer, f.clock.now()
	l.More = ` Format="urn:oasis:names:tc:SAML:2.0:nameid-format:persistent"`
	return f.slo.Answer + "?" + f.idp.Query("SAMLRequest", samltest.Text(f.idp.LogoutRequest(l)), "their-state")
}

// answered reads the answer that led a browser to the provider.
func (f *workforce) answered(page *person.Page) (status string) {
	f.t.Helper()
	answer, err := samltest.Read(page.URL.Query(), "SAMLResponse")
	if err != nil || answer == nil || !strings.HasPrefix(page.URL.String(), f.site.URL+"/slo?") || page.URL.Query().Get("RelayState") != "their-state" {
		f.t.Fatalf("no answer: %d at %s, %v\n%s", page.Status, page.URL, err, page.Body)
	}
	code := answer.FindElements("./Status//StatusCode")
	return strings.TrimPrefix(code[len(code)-1].SelectAttrValue("Value", ""), "urn:oasis:names:tc:SAML:2.0:status:")
}

// The provider ends one session of somebody's, or all, through any browser; others
// stay.
func TestSAMLProviderSignsOut(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		f := employSLO(t, engine, "HTTP-Redirect", "")
		first, _ := f.signInThere()
		second, _ := f.signInThere()
		third, _ := f.signInThere()
		f.idp.Set(samltest.Person{NameID: "john-1", Format: "urn:oasis:names:tc:SAML:2.0:nameid-format:persistent",
			Attributes: map[string][]string{"name": {"John"}, "mail": {"john@example.com"}, "groups": {"dev"}}})
		john, _ := f.signInThere()
		signedIn := func(want ...bool) {
			t.Helper()
			for i, p := range []*person.Person{first, second, third, john} {
				if f.signedIn(p) != want[i] {
					t.Errorf("browser %d is signed in: %v", i, !want[i])
				}
			}
		}
		one := f.ends(samltest.Logout{ID: "_one", NameID: "jane-1", Indexes: []string{f.idp.Index(1)}})
		if status := f.answered(f.get(first, one)); status != "Success" {
			t.Errorf("status %s", status)
		}
		signedIn(false, true, true, true)
		// In a frame, the browser sends no cookie.
		if status := f.answered(f.get(f.browser(), f.ends(samltest.Logout{ID: "_two", NameID: "jane-1", Indexes: []string{f.idp.Index(2)}}))); status != "Success" {
			t.Errorf("status %s", status)
		}
		signedIn(false, false, true, true)
		// Whoever has a request of hers in their browser stays.
		if status := f.answered(f.get(john, f.ends(samltest.Logout{ID: "_all", NameID: "jane-1"}))); status != "Success" {
			t.Errorf("status %s", status)
		}
		signedIn(false, false, false, true)
	})
}

// A request that is posted comes without cookies, and says who is meant as well.
func TestSAMLProviderSignsOutPosted(t *testing.T) {
	t.Parallel()
	f := employSLO(t, "sqlite", "HTTP-POST", "")
	p, _ := f.signInThere()
	post := func(signed bool) *person.Page {
		t.Helper()
		request := f.idp.LogoutRequest(samltest.Logout{ID: "_posted", Destination: f.slo.Answer, Now: f.clock.now(), NameID: "jane-1",
			More: ` Format="urn:oasis:names:tc:SAML:2.0:nameid-format:persistent"`, Indexes: []string{f.idp.Index(1)}})
		if signed {
			f.idp.Sign(request)
		}
		page, err := f.browser().Send(t.Context(), http.MethodPost, f.slo.Answer, url.Values{"SAMLRequest": {samltest.Encode(samltest.Text(request))}})
		if err != nil {
			t.Fatal(err)
		}
		return page
	}
	if page := post(false); page.Status != http.StatusBadRequest || !f.signedIn(p) {
		t.Errorf("not signed: %d at %s, signed in: %v", page.Status, page.URL, f.signedIn(p))
	}
	page := post(true)
	if len(page.Forms) != 1 || page.Forms[0].Action.String() != f.site.URL+"/slo" || page.Forms[0].Fields.Get("SAMLResponse") == "" || f.signedIn(p) {
		t.Errorf("%d at %s, signed in: %v\n%s", page.Status, page.URL, f.signedIn(p), page.Body)
	}
	if page := post(true); page.Status != http.StatusBadRequest {
		t.Errorf("again: %d at %s", page.Status, page.URL)
	}
}

// Where the provider takes no answer, the browser stays here, and learns whether it is
// signed out itself: it may have brought a request that means somebody else.
func TestSAMLProviderSignsOutUnanswered(t *testing.T) {
	t.Parallel()
	f := employSLO(t, "sqlite", "SOAP", "")
	p, _ := f.signInThere()
	namesake := f.browser()
	login := f.get(namesake, f.request("connector_id", "local"))
	f.response(f.approve(namesake, f.submit(namesake, login, "login", alice, "password", alicePassword)))
	page := f.get(namesake, f.ends(samltest.Logout{ID: "_1", NameID: "jane-1"}))
	if !asks(page) || strings.Contains(page.Body, "You are signed out") || f.signedIn(p) || !f.signedIn(namesake) {
		t.Errorf("somebody else: %d at %s\n%s", page.Status, page.URL, page.Body)
	}
	p, _ = f.signInThere()
	if page := f.get(p, f.ends(samltest.Logout{ID: "_2", NameID: "jane-1"})); !strings.Contains(page.Body, "You are signed out") || f.signedIn(p) {
		t.Errorf("whom it means: %d at %s\n%s", page.Status, page.URL, page.Body)
	}
}

// What ends with a session does, the clients are to be told, and the audit says who
// wanted it: in the browser that brings the request, and in another.
func TestSAMLProviderSignsOutAll(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		var log trail
		f := employSLOWith(t, engine, "HTTP-Redirect", "", func(c *server.Config) {
			c.Clients[0].EndsWithSession = true
			c.Clients[0].BackchannelLogoutURI, c.Clients[0].BackchannelLogoutPrivate = "http://127.0.0.1:1/told", true
			auditing(&log)(c)
		})
		p, here := f.signInThere()
		_, there := f.signInThere()
		log.next(t)
		f.answered(f.get(p, f.ends(samltest.Logout{ID: "_all", NameID: "jane-1"})))
		for name, a := range map[string]answer{"here": here, "there": there} {
			f.refresh(a.str("refresh_token")).expect(t, name, 400, "invalid_grant")
		}
		told := 0
		if err := f.side().QueryRow(`SELECT count(*) FROM logout_deliveries`).Scan(&told); err != nil || told != 2 {
			t.Errorf("%d clients are to be told, %v", told, err)
		}
		var ended []string
		for _, r := range log.next(t) {
			if r["user_id"] == "jane-1" && r["by"] == "connector" {
				ended = append(ended, r["event"].(string))
			}
		}
		if !slices.Equal(ended, []string{"session.ended", "sessions.ended"}) {
			t.Errorf("the audit says %q", ended)
		}
	})
}

// Requests that are not the provider's, not for us, or were here before end nothing.
func TestSAMLProviderSignsOutRefused(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		f := employSLO(t, engine, "HTTP-Redirect", "")
		old, _ := f.signInThere()
		used := f.ends(samltest.Logout{ID: "_used", NameID: "jane-1"})
		f.answered(f.get(old, used))
		p, _ := f.signInThere()
		for name, address := range map[string]string{
			"a replay":            used,
			"a replay, re-signed": f.ends(samltest.Logout{ID: "_used", NameID: "jane-1"}),
			"not signed":          strings.Split(f.ends(samltest.Logout{ID: "_1", NameID: "jane-1"}), "&SigAlg")[0],
			"another connector's": strings.Replace(f.ends(samltest.Logout{ID: "_2", NameID: "jane-1"}), "/workforce?", "/other?", 1),
		} {
			for _, who := range []*person.Person{p, f.browser()} {
				if page := f.get(who, address); page.Status != http.StatusBadRequest || len(page.Hops) > 0 || !f.signedIn(p) {
					t.Errorf("%s: %d at %s, signed in: %v", name, page.Status, page.URL, f.signedIn(p))
				}
			}
		}
		namesake := f.browser()
		login := f.get(namesake, f.request("connector_id", "local"))
		f.response(f.approve(namesake, f.submit(namesake, login, "login", alice, "password", alicePassword)))
		f.answered(f.get(namesake, f.ends(samltest.Logout{ID: "_namesake", NameID: "jane-1"})))
		if !f.signedIn(namesake) {
			t.Error("somebody with the same id at another connector was signed out")
		}
		old, _ = f.signInThere()
		late := f.ends(samltest.Logout{ID: "_late", NameID: "jane-1"})
		f.clock.advance(7 * time.Minute)
		if page := f.get(old, late); page.Status != http.StatusBadRequest || !f.signedIn(old) {
			t.Errorf("too late: %d at %s", page.Status, page.URL)
		}
		for _, path := range []string{"/logout/callback/nobody", "/logout/callback"} {
			address := f.issuer + path + f.ends(samltest.Logout{ID: "_3", NameID: "jane-1"})[len(f.slo.Answer):]
			if page := f.get(old, address); !f.signedIn(old) || !asks(page) {
				t.Errorf("%s: %d at %s", path, page.Status, page.URL)
			}
		}
	})
}

// Where an attribute is the id, a NameID finds only the session of the browser that
// brings it, and the provider is told when there was none.
func TestSAMLProviderSignsOutByNameAlone(t *testing.T) {
	t.Parallel()
	f := employSLO(t, "sqlite", "HTTP-Redirect", "", func(c *saml.Config) { c.Attributes.ID = "mail" })
	p, _ := f.signInThere()
	if status := f.answered(f.get(f.browser(), f.ends(samltest.Logout{ID: "_1", NameID: "jane-1"}))); status != "UnknownPrincipal" || !f.signedIn(p) {
		t.Errorf("without a cookie: %s, signed in: %v", status, f.signedIn(p))
	}
	if status := f.answered(f.get(p, f.ends(samltest.Logout{ID: "_2", NameID: "john-1"}))); status != "UnknownPrincipal" || !f.signedIn(p) {
		t.Errorf("somebody else: %s, signed in: %v", status, f.signedIn(p))
	}
	if status := f.answered(f.get(p, f.ends(samltest.Logout{ID: "_3", NameID: "jane-1"}))); status != "Success" || f.signedIn(p) {
		t.Errorf("in their browser: %s, signed in: %v", status, f.signedIn(p))
	}
}
