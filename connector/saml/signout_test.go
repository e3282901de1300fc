package saml_test

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/beevik/etree"

	"github.com/countersign/countersign/connector"
	"github.com/countersign/countersign/connector/saml"
	"github.com/countersign/countersign/connector/saml/samltest"
)

const (
	sloURL     = "https://idp.example/slo"
	signOutURL = "https://we.example/logout/callback/workforce"
	rsaSHA256  = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"
)

// withSLO switches single logout on.
func withSLO(t *testing.T) change {
	return func(c *saml.Config) { c.SLOURL, c.SignOutURL, c.Signing = sloURL, signOutURL, ours(t) }
}

// leave signs in and departs to sign out.
func (w *world) leave() connector.Away {
	w.Helper()
	who, err := w.signIn(samltest.Text(w.signed()))
	if err != nil {
		w.Fatal(err)
	}
	away, err := w.conn.SignOut(w.Context(), connector.SignOut{Session: who.Session, State: "the-state"})
	if err != nil {
		w.Fatal(err)
	}
	w.left = away.Kept
	return away
}

func TestSignOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t, withSLO(t))
	w.answer.Index = "session <1>"
	away := w.leave()
	u, err := url.Parse(away.URL)
	if err != nil || away.Form != nil || len(away.Kept) > connector.MaxKept || !strings.HasPrefix(away.URL, sloURL+"?SAMLRequest=") {
		t.Fatalf("leads to %s, %v", away.URL, err)
	}
	q := u.Query()
	signed, signature, _ := strings.Cut(u.RawQuery, "&Signature=")
	raw, err := base64.StdEncoding.DecodeString(q.Get("Signature"))
	digest := sha256.Sum256([]byte(signed))
	if err != nil || signature == "" || q.Get("SigAlg") != rsaSHA256 || q.Get("RelayState") != "the-state" ||
		rsa.VerifyPKCS1v15(&ourKey().(*rsa.PrivateKey).PublicKey, crypto.SHA256, digest[:], raw) != nil {
		t.Errorf("not signed by us: %s, %v", away.URL, err)
	}
	request, err := samltest.Read(q, "SAMLRequest")
	if err != nil {
		t.Fatal(err)
	}
	name := find(request, "./NameID")
	if request.Tag != "LogoutRequest" || request.SelectAttrValue("Destination", "") != sloURL || find(request, "./Issuer").Text() != acs ||
		name.Text() != "jane-1" || name.SelectAttrValue("Format", "") != w.answer.Person.Format || find(request, "./SessionIndex").Text() != "session <1>" ||
		request.SelectAttrValue("NotOnOrAfter", "") <= request.SelectAttrValue("IssueInstant", "") {
		t.Errorf("the request:\n%s", samltest.Text(request))
	}
	again := w.leave()
	if bytes.Equal(again.Kept, away.Kept) {
		t.Error("two requests have one id")
	}
}

// fromFile describes the provider by metadata.
func fromFile(t *testing.T, metadata string) change {
	t.Helper()
	file := filepath.Join(t.TempDir(), "idp.xml")
	if err := os.WriteFile(file, []byte(metadata), 0o600); err != nil {
		t.Fatal(err)
	}
	return func(c *saml.Config) { c.SSOURL, c.SLOURL, c.MetadataFile = "", "", file }
}

// By POST where metadata offer nothing else; nowhere where they offer nothing.
func TestSignOutByMetadata(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		bindings   []string
		form, none bool
	}{
		"both":      {bindings: []string{"HTTP-POST", "HTTP-Redirect"}},
		"post":      {bindings: []string{"SOAP", "HTTP-POST"}, form: true},
		"soap":      {bindings: []string{"SOAP"}, none: true},
		"no logout": {none: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := &world{T: t, idp: samltest.WithKey(t, issuer, rsaKey())}
			metadata := samltest.WithSLO(w.idp.Metadata(ssoURL, w.idp.Certificate), sloURL, c.bindings...)
			w.conn = connect(t, withSLO(t), fromFile(t, metadata))
			if err := saml.Learn(t.Context(), w.conn); err != nil {
				t.Fatal(err)
			}
			w.depart(connector.Departure{State: "flow"})
			away := w.leave()
			if c.none {
				if away.URL != "" {
					t.Errorf("leads to %s", away.URL)
				}
				return
			}
			if (away.Form != nil) != c.form || !strings.HasPrefix(away.URL, sloURL) {
				t.Fatalf("leads to %s with the form %v", away.URL, away.Form)
			}
			if !c.form {
				return
			}
			request, err := samltest.Read(away.Form, "SAMLRequest")
			if err != nil || request.FindElement("./Signature") == nil || away.Form.Get("RelayState") != "the-state" {
				t.Errorf("the form %v, %v", away.Form, err)
			}
		})
	}
}

// Off, or with nothing kept, nobody is led anywhere.
func TestSignOutLeadsNowhere(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if away := w.leave(); away.URL != "" {
		t.Errorf("off, it leads to %s", away.URL)
	}
	if who, err := w.signIn(samltest.Text(w.signed())); err != nil || who.Session != nil {
		t.Errorf("off, %q is kept of the session, %v", who.Session, err)
	}
	w = newWorld(t, withSLO(t))
	for _, kept := range []string{"", "{", "[]"} {
		if _, err := w.conn.SignOut(t.Context(), connector.SignOut{Session: []byte(kept), State: "s"}); !errors.Is(err, connector.ErrUpstream) {
			t.Errorf("with %q kept: %v", kept, err)
		}
	}
	if _, err := saml.New(config(withSLO(t), func(c *saml.Config) { c.Signing, c.Certificates = nil, certificates(w.idp) })); err == nil {
		t.Error("without a key of ours it is on")
	}
}

// signedOut brings an answer back by a redirect.
func (w *world) signedOut(query string) error {
	return w.conn.SignedOut(w.Context(), connector.Arrival{Kept: w.left, RawQuery: query})
}

// right is what a correct answer says.
func (w *world) right(away connector.Away) samltest.Logout {
	w.Helper()
	u, err := url.Parse(away.URL)
	if err != nil {
		w.Fatal(err)
	}
	request, err := samltest.Read(u.Query(), "SAMLRequest")
	if err != nil {
		w.Fatal(err)
	}
	return samltest.Logout{ID: "_answer", Destination: signOutURL, Now: now, InResponseTo: request.SelectAttrValue("ID", "")}
}

// attr sets an attribute, or removes it.
func attr(name, value string) func(*etree.Element) {
	return func(el *etree.Element) {
		if value == "" {
			el.RemoveAttr(name)
			return
		}
		el.CreateAttr(name, value)
	}
}

func issuerIs(value string) func(*etree.Element) {
	return func(el *etree.Element) { find(el, "./Issuer").SetText(value) }
}

func drop(path string) func(*etree.Element) {
	return func(el *etree.Element) { found := find(el, path); found.Parent().RemoveChild(found) }
}

// wrong are changes that both messages of single logout must not have.
func wrong() map[string]func(*etree.Element) {
	stamp := func(d time.Duration) string { return now.Add(d).Format(time.RFC3339) }
	return map[string]func(*etree.Element){
		"made long ago":           attr("IssueInstant", stamp(-7*time.Minute)),
		"made in the future":      attr("IssueInstant", stamp(2*time.Minute)),
		"never made":              attr("IssueInstant", ""),
		"made at no time":         attr("IssueInstant", "yesterday"),
		"for somebody else":       attr("Destination", "https://other.example/logout"),
		"for nobody":              attr("Destination", ""),
		"of another version":      attr("Version", "1.1"),
		"without an ID":           attr("ID", ""),
		"of another issuer":       issuerIs("https://evil.example"),
		"of an issuer like ours":  issuerIs(issuer + "/"),
		"of nobody":               drop("./Issuer"),
		"of an issuer and nobody": func(el *etree.Element) { el.CreateElement("saml:Issuer") },
	}
}

// badQueries are ways in which a redirect is not what was signed.
func badQueries(w *world, parameter, text string) map[string]string {
	good := w.idp.Query(parameter, text, "the-state")
	unsigned, signature, _ := strings.Cut(good, "&Signature=")
	message, _, _ := strings.Cut(good, "&")
	other := samltest.WithKey(w.T, issuer, otherKey())
	sha1 := strings.Replace(unsigned, url.QueryEscape(rsaSHA256), url.QueryEscape("http://www.w3.org/2000/09/xmldsig#rsa-sha1"), 1)
	bomb := parameter + "=" + url.QueryEscape(samltest.Deflate(text+strings.Repeat(" ", 1<<20))) + "&SigAlg=" + url.QueryEscape(rsaSHA256)
	plain := parameter + "=" + url.QueryEscape(samltest.Encode(text)) + "&SigAlg=" + url.QueryEscape(rsaSHA256)
	nameless := w.idp.SignQuery("&RelayState=the-state&SigAlg="+url.QueryEscape(rsaSHA256), crypto.SHA256)
	both := map[string]string{"SAMLRequest": "SAMLResponse", "SAMLResponse": "SAMLRequest"}[parameter]
	return map[string]string{
		"nothing at all":               "",
		"nothing signed":               message,
		"no signature":                 unsigned,
		"an empty signature":           unsigned + "&Signature=",
		"a signature of nobody's":      unsigned + "&Signature=AAAA",
		"a signature that is none":     unsigned + "&Signature=%zz",
		"signed by another key":        other.Query(parameter, text, "the-state"),
		"signed with SHA-1":            w.idp.SignQuery(sha1, crypto.SHA1),
		"signed by no algorithm":       strings.Replace(good, url.QueryEscape(rsaSHA256), "none", 1),
		"another RelayState":           strings.Replace(good, "the-state", "their-state", 1),
		"no RelayState":                strings.Replace(good, "&RelayState=the-state", "", 1),
		"another message":              strings.Replace(good, message, parameter+"="+url.QueryEscape(samltest.Deflate(strings.Replace(text, "jane-1", "john-1", 1)+" ")), 1),
		"two messages":                 good + "&" + message,
		"another one before":           parameter + "=AAAA&" + good,
		"both kinds":                   good + "&" + both + "=AAAA",
		"the other kind":               strings.Replace(w.idp.Query(both, text, "the-state"), both, parameter, 1),
		"two RelayStates":              good + "&RelayState=their-state",
		"another RelayState before":    "RelayState=their-state&" + good,
		"two algorithms":               good + "&SigAlg=none",
		"an algorithm twice":           "SigAlg=" + url.QueryEscape(rsaSHA256) + "&" + good,
		"two signatures":               good + "&Signature=" + signature,
		"a name that is escaped":       strings.Replace(good, parameter, "%53"+parameter[1:], 1),
		"a message that nobody signed": "%53" + message[1:] + nameless,
		"another encoding":             good + "&SAMLEncoding=none",
		"a deflate bomb":               w.idp.SignQuery(bomb, crypto.SHA256),
		"not deflated":                 w.idp.SignQuery(plain, crypto.SHA256),
		"signed as a document only":    parameter + "=" + url.QueryEscape(samltest.Deflate(text)),
	}
}

// badForms are the same of a form.
func badForms(w *world, parameter string, el *etree.Element) map[string]url.Values {
	signed := el.Copy()
	w.idp.Sign(signed)
	changed := signed.Copy()
	changed.CreateAttr("ID", changed.SelectAttrValue("ID", "")+"x")
	spoken := signed.Copy()
	find(spoken, "./Issuer").SetText(issuer + "x")
	foreign := el.Copy()
	samltest.WithKey(w.T, issuer, otherKey()).Sign(foreign)
	sha1 := el.Copy()
	w.idp.SignWith(sha1, crypto.SHA1)
	wrapped := el.Copy()
	wrapped.CreateAttr("ID", "_evil")
	wrapped.AddChild(signed.Copy())
	moved := el.Copy()
	moved.CreateAttr("ID", "_evil")
	moved.InsertChildAt(1, find(signed, "./Signature").Copy())
	form := func(texts ...string) url.Values {
		values := url.Values{}
		for _, text := range texts {
			values.Add(parameter, samltest.Encode(text))
		}
		return values
	}
	text := samltest.Text
	return map[string]url.Values{
		"not signed": form(text(el)), "changed": form(text(changed)), "changed inside": form(text(spoken)), "signed by another key": form(text(foreign)),
		"signed with SHA-1": form(text(sha1)), "a signed one inside": form(text(wrapped)), "the signature of another": form(text(moved)),
		"two": form(text(signed), text(signed)), "none": {}, "no base64": {parameter: {"<>"}}, "too long": form(strings.Repeat(" ", 64<<10) + text(signed)),
		"a document type": form(`<!DOCTYPE x [<!ENTITY e "x">]>` + text(signed)), "a comment": form(strings.Replace(text(signed), "</saml:Issuer>", "<!-- --></saml:Issuer>", 1)),
	}
}

func TestLogoutResponse(t *testing.T) {
	t.Parallel()
	for name, key := range map[string]func() crypto.Signer{"RSA": rsaKey, "ECDSA": ecKey} {
		w := &world{T: t, idp: samltest.WithKey(t, issuer, key())}
		w.conn = connect(t, withSLO(t), func(c *saml.Config) { c.Certificates = certificates(samltest.WithKey(t, issuer, otherKey()), w.idp) })
		w.depart(connector.Departure{State: "flow"})
		answer := w.idp.LogoutResponse(w.right(w.leave()))
		if err := w.signedOut(w.idp.Query("SAMLResponse", samltest.Text(answer), "the-state")); err != nil {
			t.Errorf("%s, by a redirect: %v", name, err)
		}
		w.idp.Sign(answer)
		content, err := w.conn.ReceiveSignedOut(t.Context(), connector.Message{Form: url.Values{"SAMLResponse": {samltest.Encode(samltest.Text(answer))}}})
		if err == nil {
			err = w.conn.SignedOut(t.Context(), connector.Arrival{Kept: w.left, Received: content})
		}
		if err != nil {
			t.Errorf("%s, by a form: %v", name, err)
		}
	}
}

func TestLogoutResponseRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, withSLO(t))
	right := w.right(w.leave())
	refused := func(name string, err error) {
		t.Helper()
		if !errors.Is(err, connector.ErrUpstream) {
			t.Errorf("%s: %v", name, err)
		}
	}
	changes := wrong()
	changes["to another request"] = attr("InResponseTo", "id-0000000000000000000000000000000000000000")
	changes["to no request"] = attr("InResponseTo", "")
	changes["without a status"] = drop("./Status")
	changes["a request"] = func(el *etree.Element) { el.Tag = "LogoutRequest" }
	changes["a response of signing in"] = func(el *etree.Element) { el.Tag = "Response" }
	for _, status := range []string{"Responder", "Requester", "PartialLogout", "AuthnFailed", "success"} {
		changes["status "+status] = func(el *etree.Element) {
			find(el, "./Status/StatusCode").CreateAttr("Value", "urn:oasis:names:tc:SAML:2.0:status:"+status)
		}
	}
	for name, change := range changes {
		answer := w.idp.LogoutResponse(right)
		change(answer)
		refused(name, w.signedOut(w.idp.Query("SAMLResponse", samltest.Text(answer), "the-state")))
		if answer.SelectAttrValue("ID", "") == "" {
			continue // it cannot be signed
		}
		w.idp.Sign(answer)
		content, err := w.conn.ReceiveSignedOut(t.Context(), connector.Message{Form: url.Values{"SAMLResponse": {samltest.Encode(samltest.Text(answer))}}})
		if err == nil {
			err = w.conn.SignedOut(t.Context(), connector.Arrival{Kept: w.left, Received: content})
		}
		refused(name+", by a form", err)
	}
	good := w.idp.LogoutResponse(right)
	for name, query := range badQueries(w, "SAMLResponse", samltest.Text(good)) {
		refused(name, w.signedOut(query))
	}
	for name, form := range badForms(w, "SAMLResponse", good) {
		_, err := w.conn.ReceiveSignedOut(t.Context(), connector.Message{Form: form})
		refused(name+", by a form", err)
	}
	query := w.idp.Query("SAMLResponse", samltest.Text(good), "the-state")
	if err := w.signedOut(query); err != nil {
		t.Fatalf("the right one: %v", err)
	}
	off := newWorld(t)
	unaddressed := right
	unaddressed.Destination = ""
	refused("off", off.conn.SignedOut(t.Context(), connector.Arrival{Kept: w.left, RawQuery: off.idp.Query("SAMLResponse", samltest.Text(off.idp.LogoutResponse(unaddressed)), "")}))
	w.left = nil
	refused("without a departure", w.signedOut(query))
	w.leave()
	refused("at the next departure", w.signedOut(query))
}

func TestMetadataOfSLO(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, without, err := w.conn.Metadata()
	if err != nil || bytes.Contains(without, []byte("SingleLogoutService")) {
		t.Errorf("off: %v\n%s", err, without)
	}
	_, with, err := newWorld(t, withSLO(t)).conn.Metadata()
	if err != nil || bytes.Count(with, []byte(`Location="`+signOutURL+`"`)) != 2 {
		t.Errorf("on: %v\n%s", err, with)
	}
}
