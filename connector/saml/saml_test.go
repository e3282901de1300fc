package saml_test

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/beevik/etree"
	crewjam "github.com/crewjam/saml"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	dsig "github.com/russellhaering/goxmldsig"

	"github.com/countersign/countersign/connector"
	"github.com/countersign/countersign/connector/saml"
	"github.com/countersign/countersign/connector/saml/samltest"
	"github.com/countersign/countersign/connector/upstream"
)

// What correct providers sign, and how.
func TestSignIn(t *testing.T) {
	t.Parallel()
	want := connector.Identity{UserID: "jane-1", Name: "Jane", Email: "jane@example.com", EmailVerified: true, Groups: []string{"dev", "ops"}, AMR: []string{"pwd"}}
	for name, make := range map[string]func(w *world) string{
		"assertion": func(w *world) string { return samltest.Text(w.signed()) },
		"response": func(w *world) string {
			r := w.idp.Response(w.answer)
			w.idp.Sign(r)
			return samltest.Text(r)
		},
		"both": func(w *world) string {
			r := w.signed()
			w.idp.Sign(r)
			return samltest.Text(r)
		},
		"SHA-512": func(w *world) string {
			r := w.idp.Response(w.answer)
			w.idp.SignWith(samltest.Assertion(r), crypto.SHA512)
			return samltest.Text(r)
		},
		"without KeyInfo": func(w *world) string {
			return removeAll("//KeyInfo")(w, samltest.Text(w.signed()))
		},
		"KeyInfo without a certificate": func(w *world) string {
			return setText("//KeyInfo", "the key you know")(w, samltest.Text(w.signed()))
		},
		"KeyInfo with another certificate first": func(w *world) string {
			return setText("//X509Certificate", "AAAA")(w, samltest.Text(w.signed()))
		},
		"namespaces of the response": func(w *world) string {
			r := w.signed()
			samltest.Assertion(r).RemoveAttr("xmlns:saml")
			return samltest.Text(r)
		},
		"unsigned response without Destination": func(w *world) string {
			r := w.signed()
			r.RemoveAttr("Destination")
			return samltest.Text(r)
		},
		"an XML declaration": func(w *world) string {
			return `<?xml version="1.0" encoding="UTF-8"?>` + "\n" + samltest.Text(w.signed()) + "\n"
		},
		"several confirmations, one of them ours": func(w *world) string {
			return samltest.Text(w.signed(func(r *etree.Element) {
				c := find(r, "//SubjectConfirmation")
				other := c.Copy()
				find(other, "./SubjectConfirmationData").CreateAttr("Recipient", "https://other.example")
				c.Parent().InsertChildAt(1, other)
			}))
		},
		"several audiences": func(w *world) string {
			return samltest.Text(w.signed(func(r *etree.Element) {
				find(r, "//AudienceRestriction").CreateElement("saml:Audience").SetText("https://other.example")
			}))
		},
		"clocks almost a minute apart": func(w *world) string {
			w.answer.Now = now.Add(59 * time.Second)
			return samltest.Text(w.signed())
		},
		"attributes that are elements": func(w *world) string {
			return samltest.Text(w.signed(func(r *etree.Element) {
				a := find(r, "//AttributeStatement").CreateElement("saml:Attribute")
				a.CreateAttr("Name", "targeted")
				a.CreateElement("saml:AttributeValue").CreateElement("saml:NameID").SetText("x")
			}))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			who, err := w.signIn(make(w))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, who, cmpopts.IgnoreFields(connector.Identity{}, "Claims")); diff != "" {
				t.Error(diff)
			}
		})
	}
	t.Run("ECDSA", func(t *testing.T) {
		t.Parallel()
		idp := samltest.WithKey(t, issuer, ecKey())
		w := newWorld(t, func(c *saml.Config) { c.Certificates = certificates(samltest.WithKey(t, issuer, rsaKey()), idp) })
		w.idp = idp
		response := w.signed()
		if _, err := w.signIn(samltest.Text(response)); err != nil {
			t.Error(err)
		}
		find(response, ".//NameID").SetText("admin")
		w.refused(samltest.Text(response), "could not be verified")
	})
	t.Run("thousands of groups", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		for i := range 2000 {
			w.answer.Person.Attributes["groups"] = append(w.answer.Person.Attributes["groups"], fmt.Sprintf("g%d", i))
		}
		response := w.signed()
		for _, v := range response.FindElements("//AttributeValue") {
			for _, a := range []string{"xmlns:xs", "xmlns:xsi", "xsi:type"} {
				v.RemoveAttr(a)
			}
		}
		s := find(response, "./Assertion/Signature")
		s.Parent().RemoveChild(s)
		w.idp.Sign(samltest.Assertion(response))
		who, err := w.signIn(samltest.Text(response))
		if err != nil || len(who.Groups) != 2002 {
			t.Errorf("%d groups, %v", len(who.Groups), err)
		}
	})
}

// What is taken of a person, by configuration.
func TestAttributes(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		attributes saml.Attributes
		person     samltest.Person
		want       connector.Identity
	}{
		"an id among the attributes, whatever the NameID": {
			saml.Attributes{ID: "uid", PreferredUsername: "login"},
			samltest.Person{NameID: "x", Format: string(crewjam.TransientNameIDFormat), Attributes: map[string][]string{"uid": {"7"}, "login": {"jane"}}},
			connector.Identity{UserID: "7", PreferredUsername: "jane"},
		},
		"groups with a delimiter": {
			saml.Attributes{Groups: "g", GroupsDelimiter: ", "},
			samltest.Person{NameID: "x", Attributes: map[string][]string{"g": {"a, b", "c", ", "}}},
			connector.Identity{UserID: "x", Groups: []string{"a", "b", "c"}},
		},
		"no groups": {
			saml.Attributes{Groups: "g"}, samltest.Person{NameID: "x"}, connector.Identity{UserID: "x"},
		},
		"names that need care": {
			saml.Attributes{Name: "n"}, samltest.Person{NameID: "a<b>&\"ü\n", Attributes: map[string][]string{"n": {"Jürgen <x>"}}},
			connector.Identity{UserID: "a<b>&\"ü\n", Name: "Jürgen <x>"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, func(cfg *saml.Config) { cfg.Attributes = c.attributes })
			w.answer.Person = c.person
			who, err := w.signIn(samltest.Text(w.signed()))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, who, cmpopts.IgnoreFields(connector.Identity{}, "Claims", "AMR")); diff != "" {
				t.Error(diff)
			}
			for name, values := range c.person.Attributes {
				if list, _ := who.Claims[name].([]any); len(list) != len(values) {
					t.Errorf("claims %v", who.Claims)
				}
			}
		})
	}
	t.Run("two ids", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, func(cfg *saml.Config) { cfg.Attributes.ID = "groups" })
		w.refused(samltest.Text(w.signed()), "has 2 values")
	})
}

// The request, by both bindings, signed.
func TestDepart(t *testing.T) {
	t.Parallel()
	pair := ours(t)
	t.Run("redirect", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, func(c *saml.Config) {
			c.Binding, c.Signing, c.SSOURL, c.EntityID = saml.Redirect, pair, ssoURL+"?tenant=a%20b", "urn:us"
		})
		away := w.depart(connector.Departure{State: "a b&c"})
		u, err := url.Parse(away.URL)
		if err != nil || away.Form != nil {
			t.Fatal(err, away.Form)
		}
		q := u.Query()
		if !strings.HasPrefix(away.URL, ssoURL+"?tenant=a%20b&SAMLRequest=") || q.Get("RelayState") != "a b&c" {
			t.Errorf("sent to %s", away.URL)
		}
		query, signature, _ := strings.Cut(strings.TrimPrefix(u.RawQuery, "tenant=a%20b&"), "&Signature=")
		signature, _ = url.QueryUnescape(signature)
		raw, err := base64.StdEncoding.DecodeString(signature)
		digest := sha256.Sum256([]byte(query))
		if err != nil || rsa.VerifyPKCS1v15(&pair.Key.PublicKey, crypto.SHA256, digest[:], raw) != nil {
			t.Errorf("the signature does not hold: %s", u.RawQuery)
		}
		r, err := samltest.Request(q)
		if err != nil || r.Issuer.Value != "urn:us" || r.AssertionConsumerServiceURL != acs || r.Destination != ssoURL+"?tenant=a%20b" ||
			r.ProtocolBinding != crewjam.HTTPPostBinding || !r.IssueInstant.Equal(now) || r.ForceAuthn != nil || r.Version != "2.0" {
			t.Errorf("request %+v, %v", r, err)
		}
		if _, err := w.signIn(samltest.Text(w.signed())); err != nil {
			t.Error(err)
		}
	})
	t.Run("post", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, func(c *saml.Config) {
			c.Signing, c.NameIDFormat, c.AuthnContexts = pair, "emailAddress", []string{"urn:a", "urn:b"}
		})
		away := w.depart(connector.Departure{State: "flow", SeenSince: now})
		text, err := base64.StdEncoding.DecodeString(away.Form.Get("SAMLRequest"))
		if err != nil || away.URL != ssoURL || away.Form.Get("RelayState") != "flow" {
			t.Fatalf("%v %v", err, away)
		}
		v := dsig.NewDefaultValidationContext(&dsig.MemoryX509CertificateStore{Roots: []*x509.Certificate{pair.Certificate}})
		signed, err := v.Validate(w.idp.Parse(string(text)))
		if err != nil {
			t.Fatal(err)
		}
		if signed.SelectAttrValue("ForceAuthn", "") != "true" || signed.SelectAttrValue("ID", "") != w.answer.InResponseTo ||
			len(signed.FindElements("./RequestedAuthnContext/AuthnContextClassRef")) != 2 ||
			find(signed, "./NameIDPolicy").SelectAttrValue("Format", "") != string(crewjam.EmailAddressNameIDFormat) {
			t.Errorf("request %s", text)
		}
		w.refused(samltest.Text(w.signed()), "was not asked for") // PasswordProtectedTransport
		if _, err := w.signIn(samltest.Text(w.signed(content("//AuthnContextClassRef", "urn:b")))); err != nil {
			t.Error(err)
		}
	})
	t.Run("another each time", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		first := w.answer.InResponseTo
		away := w.depart(connector.Departure{State: "flow"})
		if first == w.answer.InResponseTo || len(first) < 40 || len(away.Kept) > connector.MaxKept {
			t.Errorf("requests %s and %s", first, w.answer.InResponseTo)
		}
	})
}

// Who had to authenticate anew, and did not, is not signed in.
func TestFresh(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.depart(connector.Departure{State: "flow", SeenSince: now})
	old := now.Add(-2 * time.Minute).Format(time.RFC3339)
	w.refused(samltest.Text(w.signed(set("//AuthnStatement", "AuthnInstant", old))), "anew")
	if _, err := w.signIn(samltest.Text(w.signed())); err != nil {
		t.Error(err)
	}
	// Who wants to be another is asked, and may be the same.
	away := w.depart(connector.Departure{State: "flow", Another: true})
	if request, err := samltest.Request(away.Form); err != nil || request.ForceAuthn == nil || !*request.ForceAuthn {
		t.Errorf("request %+v, %v", request, err)
	}
	if _, err := w.signIn(samltest.Text(w.signed(set("//AuthnStatement", "AuthnInstant", old)))); err != nil {
		t.Error(err)
	}
	// An hour may be good enough, though the provider was asked for more.
	w.depart(connector.Departure{State: "flow", SeenSince: now.Add(-time.Hour)})
	if _, err := w.signIn(samltest.Text(w.signed(set("//AuthnStatement", "AuthnInstant", old)))); err != nil {
		t.Error(err)
	}
}

// Arrivals that are none.
func TestArrive(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	receipt, err := w.post(samltest.Text(w.signed()))
	if err != nil || receipt.ID != "_assertion" || !receipt.BelievedUntil.Equal(now.Add(6*time.Minute)) {
		t.Fatalf("%+v, %v", receipt, err)
	}
	for name, a := range map[string]connector.Arrival{
		"nothing kept":      {Received: receipt.Content},
		"nothing received":  {Kept: w.kept, Query: url.Values{"SAMLResponse": {"x"}}},
		"too little kept":   {Kept: w.kept[:19], Received: receipt.Content},
		"too much kept":     {Kept: append(slices.Clone(w.kept), 1), Received: receipt.Content},
		"another departure": {Kept: make([]byte, 20), Received: receipt.Content},
		"no JSON":           {Kept: w.kept, Received: []byte("{")},
		"empty":             {Kept: w.kept, Received: []byte("{}")},
	} {
		if who, err := w.conn.Arrive(t.Context(), a); !errors.Is(err, connector.ErrUpstream) || who.UserID != "" {
			t.Errorf("%s: %q, %v", name, who.UserID, err)
		}
	}
}

// A provider that says no.
func TestStatus(t *testing.T) {
	t.Parallel()
	const status = "urn:oasis:names:tc:SAML:2.0:status:"
	for second, want := range map[string]error{
		"AuthnFailed": connector.ErrTurnedBack, "RequestDenied": connector.ErrTurnedBack, "NoAuthnContext": connector.ErrUpstream, "": connector.ErrUpstream,
	} {
		w := newWorld(t)
		response := w.idp.Response(w.answer)
		response.RemoveChild(samltest.Assertion(response))
		code := find(response, "//StatusCode")
		code.CreateAttr("Value", status+"Responder")
		if second != "" {
			code.CreateElement("samlp:StatusCode").CreateAttr("Value", status+second)
		}
		if _, err := w.post(samltest.Text(response)); !errors.Is(err, want) || errors.Is(err, connector.ErrTurnedBack) != errors.Is(want, connector.ErrTurnedBack) {
			t.Errorf("%q: %v", second, err)
		}
	}
}

func TestConfig(t *testing.T) {
	t.Parallel()
	weak := config()
	for name, change := range map[string]change{
		"no certificate":          func(*saml.Config) {},
		"no address":              func(c *saml.Config) { c.SSOURL = "" },
		"a script for an address": func(c *saml.Config) { c.SSOURL = "javascript:alert(1)" },
		"data for an address":     func(c *saml.Config) { c.SSOURL = "data:text/html,x" },
		"no ACS":                  func(c *saml.Config) { c.ACSURL = "" },
		"another binding":         func(c *saml.Config) { c.Binding = "artifact" },
		"metadata on the way": func(c *saml.Config) {
			c.SSOURL, c.MetadataURL, c.Client = "", "http://idp.example/metadata", http.DefaultClient
		},
		"metadata and an address":        func(c *saml.Config) { c.MetadataFile = "idp.xml" },
		"metadata from two places":       func(c *saml.Config) { c.SSOURL, c.MetadataURL, c.MetadataFile = "", "https://idp.example", "idp.xml" },
		"metadata without a way to read": func(c *saml.Config) { c.SSOURL, c.MetadataURL = "", "https://idp.example" },
	} {
		cfg := weak
		if name != "no certificate" && !strings.HasPrefix(name, "metadata") {
			cfg.Certificates = certificates(samltest.WithKey(t, issuer, rsaKey()))
		}
		change(&cfg)
		if _, err := saml.New(cfg); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := saml.Certificates([]byte("-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----\n")); err == nil {
		t.Error("no certificate: accepted")
	}
}

// The provider's certificates roll over with its metadata; what is wrong with new
// ones leaves the old in place.
func TestMetadataOfTheProvider(t *testing.T) {
	t.Parallel()
	first, second := samltest.WithKey(t, issuer, rsaKey()), samltest.WithKey(t, issuer, otherKey())
	var body atomic.Pointer[string]
	serve := func(text string) { body.Store(&text) }
	serve("not yet")
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(*body.Load()))
	}))
	t.Cleanup(server.Close)
	client, err := upstream.Client(upstream.TLS{})
	if err != nil {
		t.Fatal(err)
	}
	learn := func(w *world) {
		t.Helper()
		if err := saml.Learn(t.Context(), w.conn); err != nil {
			t.Log(err)
		}
	}
	w := &world{T: t, idp: first}
	w.conn = connect(t, func(c *saml.Config) { c.SSOURL, c.MetadataURL, c.Client = "", server.URL, client })
	if w.conn.Ready() == nil {
		t.Error("ready without metadata")
	}
	if _, err := w.conn.Depart(t.Context(), connector.Departure{}); !errors.Is(err, connector.ErrUpstream) {
		t.Errorf("departing: %v", err)
	}
	if _, err := w.post("<x/>"); !errors.Is(err, connector.ErrUpstream) {
		t.Errorf("receiving: %v", err)
	}
	serve(first.Metadata(ssoURL, first.Certificate))
	learn(w)
	away := w.depart(connector.Departure{State: "flow"})
	if w.conn.Ready() != nil || !strings.HasPrefix(away.URL, ssoURL+"?SAMLRequest=") {
		t.Fatalf("%v, %s", w.conn.Ready(), away.URL)
	}
	by := func(idp *samltest.IdP) error {
		w.idp = idp
		_, err := w.post(samltest.Text(w.signed()))
		return err
	}
	of := func(idp *samltest.IdP) string {
		return strings.TrimPrefix(first.Metadata(ssoURL, idp.Certificate), `<?xml version="1.0"?>`)
	}
	group := func(attributes, body string) string {
		return `<EntitiesDescriptor xmlns="urn:oasis:names:tc:SAML:2.0:metadata" ` + attributes + `>` + body + `</EntitiesDescriptor>`
	}
	const past, future = `validUntil="2001-01-01T00:00:00Z" `, `validUntil="2101-01-01T00:00:00Z" `
	steps := []struct {
		name, body        string
		firstOK, secondOK bool
	}{
		{"first", first.Metadata(ssoURL, first.Certificate), true, false},
		{"both", first.Metadata(ssoURL, first.Certificate, second.Certificate), true, true},
		{"second", first.Metadata(ssoURL, second.Certificate), false, true},
		{"a script for an address", first.Metadata("javascript:alert(1)", first.Certificate), false, true},
		{"no certificate", first.Metadata(ssoURL), false, true},
		{"another provider", strings.ReplaceAll(first.Metadata(ssoURL, first.Certificate), issuer, "https://evil.example"), false, true},
		{"over", strings.Replace(first.Metadata(ssoURL, first.Certificate), "entityID", `validUntil="2001-01-01T00:00:00Z" entityID`, 1), false, true},
		{"10 MB", first.Metadata(ssoURL, first.Certificate) + strings.Repeat(" ", 10<<20), false, true},
		{"a document type", `<!DOCTYPE x [<!ENTITY a "aaaa">]>` + first.Metadata(ssoURL, first.Certificate), false, true},
		{"the group is over", group(past, of(first)), false, true},
		{"the group around is over", group(past, group(future, strings.Replace(of(first), "entityID", future+"entityID", 1))), false, true},
		{"the role is over", strings.Replace(of(first), "<IDPSSODescriptor ", "<IDPSSODescriptor "+past, 1), false, true},
		{"among others", group("", strings.ReplaceAll(of(second), issuer, "https://evil.example")+of(first)), true, false},
		{"with times to keep them", group(`cacheDuration="PT1H" `, strings.NewReplacer("<IDPSSODescriptor ", `<IDPSSODescriptor cacheDuration="P1D" `,
			"entityID", `cacheDuration="PT5M" entityID`).Replace(of(second))), false, true},
		{"far inside", group(future, group(future, group(future, of(first)))), true, false},
	}
	for _, s := range steps {
		serve(s.body)
		learn(w)
		if err := by(first); (err == nil) != s.firstOK {
			t.Errorf("%s: signed by the first: %v", s.name, err)
		}
		if err := by(second); (err == nil) != s.secondOK {
			t.Errorf("%s: signed by the second: %v", s.name, err)
		}
	}
}

// A file is read by Run, and again; without metadata, Run has nothing to do.
func TestRun(t *testing.T) {
	t.Parallel()
	idp := samltest.WithKey(t, issuer, rsaKey())
	file := filepath.Join(t.TempDir(), "idp.xml")
	if err := os.WriteFile(file, []byte(idp.Metadata(ssoURL, idp.Certificate)), 0o600); err != nil {
		t.Fatal(err)
	}
	conn := connect(t, func(c *saml.Config) { c.SSOURL, c.MetadataFile, c.Binding = "", file, saml.Post })
	go conn.Run(t.Context())
	for deadline := time.Now().Add(30 * time.Second); conn.Ready() != nil; {
		if time.Now().After(deadline) {
			t.Fatal(conn.Ready())
		}
		time.Sleep(10 * time.Millisecond)
	}
	if away, err := conn.Depart(t.Context(), connector.Departure{}); err != nil || away.URL != ssoURL || away.Form == nil {
		t.Errorf("%v, %v", away, err)
	}
	connect(t, func(c *saml.Config) { c.Certificates = certificates(idp) }).Run(t.Context())
}

// What providers read of us.
func TestMetadata(t *testing.T) {
	t.Parallel()
	pair := ours(t)
	conn := connect(t, func(c *saml.Config) {
		c.Certificates = certificates(samltest.WithKey(t, issuer, rsaKey()))
		c.Signing, c.Decryption, c.NameIDFormat, c.EntityID = pair, pair, "persistent", "urn:us"
	})
	kind, body, err := conn.Metadata()
	if err != nil || kind != "application/samlmetadata+xml" {
		t.Fatal(kind, err)
	}
	var e crewjam.EntityDescriptor
	if err := xml.Unmarshal(body, &e); err != nil {
		t.Fatal(err)
	}
	if e.EntityID != "urn:us" || len(e.SPSSODescriptors) != 1 {
		t.Fatalf("%s", body)
	}
	d := e.SPSSODescriptors[0]
	if !*d.AuthnRequestsSigned || !*d.WantAssertionsSigned || len(d.KeyDescriptors) != 2 || d.AssertionConsumerServices[0].Location != acs ||
		d.NameIDFormats[0] != crewjam.PersistentNameIDFormat || d.KeyDescriptors[1].Use != "encryption" ||
		d.KeyDescriptors[1].KeyInfo.X509Data.X509Certificates[0].Data != base64.StdEncoding.EncodeToString(pair.Certificate.Raw) {
		t.Errorf("%s", body)
	}
}
