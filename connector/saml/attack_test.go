package saml_test

import (
	"crypto"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/beevik/etree"

	"github.com/countersign/countersign/connector"
	"github.com/countersign/countersign/connector/saml"
	"github.com/countersign/countersign/connector/saml/samltest"
)

// find is the only element at a path.
func find(el *etree.Element, path string) *etree.Element {
	found := el.FindElements(path)
	if len(found) != 1 {
		panic(path + " does not find one element")
	}
	return found[0]
}

// evil is a copy of an assertion that speaks of somebody else, without a signature.
func evil(assertion *etree.Element, id string) *etree.Element {
	e := assertion.Copy()
	if s := e.FindElement("./Signature"); s != nil {
		e.RemoveChild(s)
	}
	e.CreateAttr("ID", id)
	find(e, ".//NameID").SetText("admin")
	return e
}

// Signature wrapping: the eight ways of Somorovsky et al., "On Breaking SAML", from
// a response whose Response (1, 2) or Assertion (3 to 8) is signed.
func TestSignatureWrapping(t *testing.T) {
	t.Parallel()
	type parts struct{ response, assertion, signature *etree.Element }
	for name, c := range map[string]struct {
		response bool
		wrap     func(parts) *etree.Element
	}{
		"XSW1": {true, func(p parts) *etree.Element { // the signed response inside its own signature
			forged := p.response.Copy()
			forged.CreateAttr("ID", "_evil")
			find(forged, "./Assertion/Subject/NameID").SetText("admin")
			find(forged, "./Assertion").CreateAttr("ID", "_evil-assertion")
			original := p.response.Copy()
			original.RemoveChild(find(original, "./Signature"))
			find(forged, "./Signature").CreateElement("ds:Object").AddChild(original)
			return forged
		}},
		"XSW2": {true, func(p parts) *etree.Element { // beside a detached one
			forged := p.response.Copy()
			forged.CreateAttr("ID", "_evil")
			find(forged, "./Assertion/Subject/NameID").SetText("admin")
			find(forged, "./Assertion").CreateAttr("ID", "_evil-assertion")
			original := p.response.Copy()
			original.RemoveChild(find(original, "./Signature"))
			forged.InsertChildAt(1, original)
			return forged
		}},
		"XSW3": {false, func(p parts) *etree.Element { // a forged assertion before
			p.response.InsertChildAt(p.assertion.Index(), evil(p.assertion, "_evil"))
			return p.response
		}},
		"XSW4": {false, func(p parts) *etree.Element { // the original inside the forged one
			forged := evil(p.assertion, "_evil")
			p.response.RemoveChild(p.assertion)
			forged.AddChild(p.assertion)
			p.response.AddChild(forged)
			return p.response
		}},
		"XSW5": {false, func(p parts) *etree.Element { // the forged one with the signature, the original after it
			forged := p.assertion
			original := p.assertion.Copy()
			original.RemoveChild(find(original, "./Signature"))
			forged.CreateAttr("ID", "_evil")
			find(forged, "./Subject/NameID").SetText("admin")
			p.response.AddChild(original)
			return p.response
		}},
		"XSW6": {false, func(p parts) *etree.Element { // the original inside the signature of the forged one
			forged := p.assertion
			original := p.assertion.Copy()
			original.RemoveChild(find(original, "./Signature"))
			forged.CreateAttr("ID", "_evil")
			find(forged, "./Subject/NameID").SetText("admin")
			p.signature.AddChild(original)
			return p.response
		}},
		"XSW7": {false, func(p parts) *etree.Element { // the forged one in Extensions
			extensions := etree.NewElement("samlp:Extensions")
			extensions.AddChild(evil(p.assertion, p.assertion.SelectAttrValue("ID", "")+"x"))
			p.response.InsertChildAt(1, extensions)
			return p.response
		}},
		"XSW8": {false, func(p parts) *etree.Element { // the original in an Object
			forged := p.assertion
			original := p.assertion.Copy()
			original.RemoveChild(find(original, "./Signature"))
			forged.CreateAttr("ID", "_evil")
			find(forged, "./Subject/NameID").SetText("admin")
			p.signature.CreateElement("ds:Object").AddChild(original)
			return p.response
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			response := w.idp.Response(w.answer)
			if c.response {
				w.idp.Sign(response)
			} else {
				w.idp.Sign(samltest.Assertion(response))
			}
			if _, err := w.signIn(samltest.Text(response)); err != nil {
				t.Fatalf("before: %v", err)
			}
			p := parts{response: response, assertion: samltest.Assertion(response), signature: find(response, ".//Signature")}
			w.refused(samltest.Text(c.wrap(p)), "more than one assertion", "another response", "assertion at a wrong place")
		})
	}
}

// refused expects a document to be refused with one of the reasons.
func (w *world) refused(text string, reasons ...string) {
	w.Helper()
	who, err := w.signIn(text)
	if !errors.Is(err, connector.ErrUpstream) {
		w.Errorf("signed in %q, error %v", who.UserID, err)
		return
	}
	for _, reason := range reasons {
		if strings.Contains(err.Error(), reason) {
			return
		}
	}
	w.Errorf("refused for another reason: %v\nwant %q", err, reasons)
}

// What somebody on the way has changed in a response that was signed.
func TestChangedAfterSigning(t *testing.T) {
	t.Parallel()
	const comment = "<!-- -->"
	for name, c := range map[string]struct {
		change func(w *world, text string) string
		reason string
	}{
		"the person": {replace(">jane-1<", ">admin<"), "could not be verified"},
		"a group":    {replace(">ops<", ">admins<"), "could not be verified"},
		"an unsigned assertion before": {func(w *world, text string) string {
			return insertBefore(text, "<saml:Assertion ", samltest.Text(evil(find(w.idp.Parse(text), "./Assertion"), "_evil")))
		}, "more than one assertion"},
		"an unsigned assertion after": {func(w *world, text string) string {
			return insertBefore(text, "</samlp:Response>", samltest.Text(evil(find(w.idp.Parse(text), "./Assertion"), "_evil")))
		}, "more than one assertion"},
		"an assertion of another namespace": {func(_ *world, text string) string {
			return insertBefore(text, "</samlp:Response>", `<x:Assertion xmlns:x="urn:x"/>`)
		}, "more than one assertion"},
		"an encrypted assertion besides": {func(_ *world, text string) string {
			return insertBefore(text, "</samlp:Response>", `<saml:EncryptedAssertion/>`)
		}, "more than one assertion"},
		"no signature": {func(w *world, text string) string {
			root := w.idp.Parse(text)
			a := samltest.Assertion(root)
			a.RemoveChild(find(a, "./Signature"))
			return samltest.Text(root)
		}, "neither it nor its assertion is signed"},
		"the signature moved to the response": {func(w *world, text string) string {
			root := w.idp.Parse(text)
			s := find(root, "./Assertion/Signature")
			root.InsertChildAt(1, s)
			return samltest.Text(root)
		}, "not for the Response"},
		"the signature moved into the subject": {func(w *world, text string) string {
			root := w.idp.Parse(text)
			find(root, "./Assertion/Subject").AddChild(find(root, "./Assertion/Signature"))
			return samltest.Text(root)
		}, "signature at a wrong place"},
		"the only assertion elsewhere": {func(w *world, text string) string {
			root := w.idp.Parse(text)
			a := samltest.Assertion(root)
			extensions := etree.NewElement("samlp:Extensions")
			extensions.AddChild(a)
			root.InsertChildAt(1, extensions)
			return samltest.Text(root)
		}, "assertion at a wrong place"},
		"the only assertion of another namespace": {func(w *world, text string) string {
			root := w.idp.Parse(text)
			root.RemoveChild(samltest.Assertion(root))
			root.CreateElement("x:Assertion").CreateAttr("xmlns:x", "urn:x")
			return samltest.Text(root)
		}, "assertion at a wrong place"},
		"another response inside": {func(_ *world, text string) string {
			return insertBefore(text, "<samlp:Status>", `<samlp:Extensions><samlp:Response/></samlp:Extensions>`)
		}, "another response"},
		"two signatures": {func(w *world, text string) string {
			root := w.idp.Parse(text)
			samltest.Assertion(root).AddChild(find(root, "./Assertion/Signature").Copy())
			return samltest.Text(root)
		}, "2 elements Signature"},
		"another id":                  {replace(`ID="_assertion"`, `ID="_other"`), "not for the Assertion"},
		"two ids alike":               {replace(`ID="_r_assertion"`, `ID="_assertion"`), "is there twice"},
		"an id with a prefix":         {replace(`ID="_assertion"`, `x:ID="_assertion" xmlns:x="urn:x" ID="_evil"`), "has a prefix"},
		"an attribute twice":          {replace(`Version="2.0" IssueInstant`, `Version="2.0" Version="2.0" IssueInstant`), "is there twice"},
		"a comment in the NameID":     {replace(">jane-1<", ">jane-1"+comment+"<"), "has a comment"},
		"a comment that cuts off":     {replace(">jane-1<", ">"+comment+"jane-1<"), "has a comment"},
		"a comment in an attribute":   {replace(">jane@example.com<", ">jane@example"+comment+".com<"), "has a comment"},
		"a comment in the digest":     {replace("<ds:DigestValue>", "<ds:DigestValue>"+comment), "has a comment"},
		"a document type":             {prefix(`<!DOCTYPE Response>`), "document type"},
		"entities":                    {prefix(`<!DOCTYPE r [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;">]>`), "document type"},
		"an external entity":          {prefix(`<!DOCTYPE r [<!ENTITY a SYSTEM "file:///etc/passwd">]>`), "document type"},
		"an entity that nobody knows": {replace(">jane-1<", ">jane-1&x;<"), "invalid character entity"},
		"a processing instruction":    {replace(">jane-1<", ">jane-1<?x y?><"), "processing instruction"},
		"a stylesheet":                {prefix(`<?xml-stylesheet href="x"?>`), "processing instruction"},
		"another encoding":            {prefix(`<?xml version="1.0" encoding="UTF-7"?>`), "encoding"},
		"two roots":                   {func(_ *world, text string) string { return text + text }, "more than one root"},
		"text behind the root":        {func(_ *world, text string) string { return text + "x" }, "text outside"},
		"not closed":                  {func(_ *world, text string) string { return text[:len(text)-3] }, "EOF"},
		"nothing":                     {func(*world, string) string { return "" }, "no element"},
		"not stable in a round trip":  {replace("<samlp:Status>", `<x::y xmlns:x="urn:x"></x::y><samlp:Status>`), ""},
		"two references": {func(w *world, text string) string {
			root := w.idp.Parse(text)
			r := find(root, ".//Reference")
			r.Parent().AddChild(r.Copy())
			return samltest.Text(root)
		}, "2 elements Reference"},
		"no reference": {func(w *world, text string) string {
			root := w.idp.Parse(text)
			r := find(root, ".//Reference")
			r.Parent().RemoveChild(r)
			return samltest.Text(root)
		}, "no Reference"},
		"a reference to everything": {replace(`URI="#_assertion"`, `URI=""`), "not for the Assertion"},
		"an XPointer":               {replace(`URI="#_assertion"`, `URI="#xpointer(/)"`), "not for the Assertion"},
		"a reference elsewhere":     {replace(`URI="#_assertion"`, `URI="https://evil.example/"`), "not for the Assertion"},
		"an empty digest":           {setText(".//DigestValue", ""), "digest is empty"},
		"a foreign digest":          {setText(".//DigestValue", "MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTI="), "verification error"},
		"a digest hidden in another node": {func(w *world, text string) string {
			root := w.idp.Parse(text)
			d := find(root, ".//DigestValue")
			hidden := d.Copy()
			d.SetText("MTIz")
			find(root, "./Status").CreateElement("samlp:StatusDetail").AddChild(hidden)
			return samltest.Text(root)
		}, "verification error"},
		"two digests": {func(w *world, text string) string {
			root := w.idp.Parse(text)
			d := find(root, ".//DigestValue")
			d.Parent().AddChild(d.Copy())
			return samltest.Text(root)
		}, "2 elements DigestValue"},
		"something more in the signature": {replace("</ds:Signature>", `<ds:Object><x xmlns="urn:x"/></ds:Object></ds:Signature>`), "has a part"},
		"a digest beside SignedInfo":      {replace("</ds:Signature>", `<ds:DigestValue>MTIz</ds:DigestValue></ds:Signature>`), "has a part"},
		"something more in the reference": {replace("</ds:Reference>", `<x xmlns="urn:x"/></ds:Reference>`), "reference has more"},
		"something more in SignedInfo":    {replace("</ds:SignedInfo>", `<x xmlns="urn:x"/></ds:SignedInfo>`), "SignedInfo has more"},
		"two SignedInfo": {func(w *world, text string) string {
			root := w.idp.Parse(text)
			s := find(root, ".//SignedInfo")
			s.Parent().InsertChildAt(0, s.Copy())
			return samltest.Text(root)
		}, "2 elements SignedInfo"},
		"another transform":  {replace(`<ds:Transforms>`, `<ds:Transforms><ds:Transform Algorithm="http://www.w3.org/TR/1999/REC-xslt-19991116"/>`), "transforms"},
		"no transform":       {removeAll(".//Transform"), "transforms"},
		"an HMAC":            {replace("http://www.w3.org/2001/04/xmldsig-more#rsa-sha256", "http://www.w3.org/2000/09/xmldsig#hmac-sha1"), "SignatureMethod"},
		"no signature value": {setText(".//SignatureValue", ""), ""},
		"inclusive canonicalization": {replace(`<ds:CanonicalizationMethod Algorithm="http://www.w3.org/2001/10/xml-exc-c14n#"/>`,
			`<ds:CanonicalizationMethod Algorithm="http://www.w3.org/TR/2001/REC-xml-c14n-20010315"/>`), "CanonicalizationMethod"},
		"another document": {func(*world, string) string { return `<html><body>Sign in</body></html>` }, "it is a"},
		"not XML":          {func(*world, string) string { return "hello" }, "text outside"},
		"the assertion alone": {func(w *world, text string) string {
			return samltest.Text(samltest.Assertion(w.idp.Parse(text)))
		}, "it is a"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			text := samltest.Text(w.signed())
			changed := c.change(w, text)
			if changed == text {
				t.Fatal("nothing was changed")
			}
			w.refused(changed, c.reason)
		})
	}
}

func replace(old, new string) func(*world, string) string {
	return func(_ *world, text string) string { return strings.Replace(text, old, new, 1) }
}

func prefix(p string) func(*world, string) string {
	return func(_ *world, text string) string { return p + text }
}

func insertBefore(text, mark, what string) string { return strings.Replace(text, mark, what+mark, 1) }

func setText(path, value string) func(*world, string) string {
	return func(w *world, text string) string {
		root := w.idp.Parse(text)
		find(root, path).SetText(value)
		return samltest.Text(root)
	}
}

func removeAll(path string) func(*world, string) string {
	return func(w *world, text string) string {
		root := w.idp.Parse(text)
		for _, el := range root.FindElements(path) {
			el.Parent().RemoveChild(el)
		}
		return samltest.Text(root)
	}
}

// What a provider itself has signed, and must not be believed.
func TestConditions(t *testing.T) {
	t.Parallel()
	stamp := func(d time.Duration) string { return now.Add(d).Format(time.RFC3339) }
	const data, conditions = "//SubjectConfirmationData", "./Assertion/Conditions"
	for name, c := range map[string]struct {
		change func(*etree.Element)
		reason string
	}{
		"Destination wrong":                {set(".", "Destination", "https://evil.example/callback"), "Destination"},
		"Destination of another of ours":   {set(".", "Destination", acs+"/other"), "Destination"},
		"response of another issuer":       {content("./Issuer", "https://evil.example"), "Issuer"},
		"assertion of another issuer":      {content("./Assertion/Issuer", "https://evil.example"), "Issuer"},
		"issuer empty":                     {content("./Assertion/Issuer", ""), "Issuer"},
		"no issuer":                        {remove("./Assertion/Issuer"), "no Issuer"},
		"issuer of another format":         {set("./Assertion/Issuer", "Format", "urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress"), "Issuer"},
		"Recipient missing":                {unset(data, "Recipient"), "Recipient"},
		"Recipient wrong":                  {set(data, "Recipient", "https://evil.example/callback"), "Recipient"},
		"Recipient begins alike":           {set(data, "Recipient", acs+".evil.example"), "Recipient"},
		"confirmation without an end":      {unset(data, "NotOnOrAfter"), "no NotOnOrAfter"},
		"confirmation expired":             {set(data, "NotOnOrAfter", stamp(-time.Minute)), "could be used until"},
		"confirmation not yet":             {set(data, "NotBefore", stamp(2*time.Minute)), "can be used from"},
		"confirmation's end no time":       {set(data, "NotOnOrAfter", "tomorrow"), "no time"},
		"InResponseTo missing":             {unset(data, "InResponseTo"), "answers no request"},
		"InResponseTo of another":          {both(set(data, "InResponseTo", "id-0000000000000000000000000000000000000000"), unset(".", "InResponseTo")), "another request"},
		"InResponseTo differ":              {set(data, "InResponseTo", "id-0000000000000000000000000000000000000000"), "different requests"},
		"unsolicited":                      {both(unset(data, "InResponseTo"), unset(".", "InResponseTo")), "answers no request"},
		"holder of key":                    {set("//SubjectConfirmation", "Method", "urn:oasis:names:tc:SAML:2.0:cm:holder-of-key"), "no bearer"},
		"no confirmation":                  {remove("//SubjectConfirmation"), "no bearer"},
		"no subject":                       {remove("./Assertion/Subject"), "no Subject"},
		"two NameIDs":                      {twice("//NameID"), "2 elements NameID"},
		"NameID with something inside":     {func(r *etree.Element) { find(r, "//NameID").CreateElement("saml:x") }, "more in it than text"},
		"NotBefore missing":                {unset(conditions, "NotBefore"), "from when"},
		"NotBefore in the future":          {set(conditions, "NotBefore", stamp(2*time.Minute)), "holds from"},
		"NotOnOrAfter missing":             {unset(conditions, "NotOnOrAfter"), "until when"},
		"NotOnOrAfter in the past":         {set(conditions, "NotOnOrAfter", stamp(-time.Minute)), "held until"},
		"NotOnOrAfter no time":             {set(conditions, "NotOnOrAfter", "0"), "no time"},
		"no conditions":                    {remove(conditions), "no Conditions"},
		"two conditions":                   {twice(conditions), "2 elements Conditions"},
		"a condition that is not known":    {func(r *etree.Element) { find(r, conditions).CreateElement("saml:Condition") }, "not understood"},
		"no audience restriction":          {remove("//AudienceRestriction"), "for whom"},
		"no audience":                      {remove("//Audience"), "is for"},
		"another audience":                 {content("//Audience", "https://other.example"), "is for"},
		"audience begins alike":            {content("//Audience", acs+"/"), "is for"},
		"a second restriction for another": {otherAudience, "is for"},
		"IssueInstant missing":             {unset("./Assertion", "IssueInstant"), "was made at"},
		"IssueInstant in the future":       {set("./Assertion", "IssueInstant", stamp(2*time.Minute)), "was made at"},
		"IssueInstant long ago": {both(set("./Assertion", "IssueInstant", stamp(-2*time.Hour)), set(data, "NotOnOrAfter", stamp(240*time.Hour)),
			set(conditions, "NotOnOrAfter", stamp(240*time.Hour))), "was made at"},
		"session over":             {set("//AuthnStatement", "SessionNotOnOrAfter", stamp(-time.Minute)), "session at the provider"},
		"no AuthnStatement":        {remove("//AuthnStatement"), "0 times"},
		"no AuthnInstant":          {unset("//AuthnStatement", "AuthnInstant"), "when the person"},
		"version of the assertion": {set("./Assertion", "Version", "1.1"), "version"},
		"version of the response":  {set(".", "Version", "1.1"), "version"},
		"no status":                {remove("./Status"), "no Status"},
		"status of a failure":      {set("//StatusCode", "Value", "urn:oasis:names:tc:SAML:2.0:status:Responder"), "status is"},
		"status that begins alike": {set("//StatusCode", "Value", "urn:oasis:names:tc:SAML:2.0:status:SuccessX"), "status is"},
		"no NameID":                {remove("//NameID"), "no NameID"},
		"NameID empty":             {content("//NameID", ""), "no NameID"},
		"NameID transient":         {set("//NameID", "Format", "urn:oasis:names:tc:SAML:2.0:nameid-format:transient"), "transient"},
		"no mail":                  {remove("//Attribute[@Name='mail']"), `"mail" is missing`},
		"assertion within assertion": {func(r *etree.Element) {
			find(r, "./Assertion").CreateElement("saml:Advice").CreateElement("saml:Assertion")
		}, "more than one assertion"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.refused(samltest.Text(w.signed(c.change)), c.reason)
		})
	}
}

func set(path, name, value string) func(*etree.Element) {
	return func(r *etree.Element) { find(r, path).CreateAttr(name, value) }
}

func unset(path, name string) func(*etree.Element) {
	return func(r *etree.Element) { find(r, path).RemoveAttr(name) }
}

func content(path, value string) func(*etree.Element) {
	return func(r *etree.Element) { find(r, path).SetText(value) }
}

func remove(path string) func(*etree.Element) {
	return func(r *etree.Element) { el := find(r, path); el.Parent().RemoveChild(el) }
}

func twice(path string) func(*etree.Element) {
	return func(r *etree.Element) { el := find(r, path); el.Parent().AddChild(el.Copy()) }
}

func both(changes ...func(*etree.Element)) func(*etree.Element) {
	return func(r *etree.Element) {
		for _, change := range changes {
			change(r)
		}
	}
}

func otherAudience(r *etree.Element) {
	second := find(r, "//AudienceRestriction").Copy()
	find(second, "./Audience").SetText("https://other.example")
	find(r, "./Assertion/Conditions").AddChild(second)
}

// Who signs it, and with what.
func TestSigners(t *testing.T) {
	t.Parallel()
	t.Run("another key, its certificate in KeyInfo", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		w.idp = samltest.WithKey(t, issuer, otherKey())
		w.refused(samltest.Text(w.signed()), "signature of the Assertion")
	})
	t.Run("another key, our certificate in KeyInfo", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		trusted := w.idp.Certificate
		w.idp = samltest.WithKey(t, issuer, otherKey())
		w.idp.Certificate = trusted
		w.refused(samltest.Text(w.signed()), "signature of the Assertion")
	})
	t.Run("SHA-1", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		response := w.idp.Response(w.answer)
		w.idp.SignWith(samltest.Assertion(response), crypto.SHA1)
		w.refused(samltest.Text(response), "SignatureMethod")
	})
	t.Run("a digest of SHA-1", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		w.refused(replace("http://www.w3.org/2001/04/xmlenc#sha256", "http://www.w3.org/2000/09/xmldsig#sha1")(w, samltest.Text(w.signed())), "DigestMethod")
	})
	t.Run("a certificate that has expired", func(t *testing.T) {
		t.Parallel()
		later := now.Add(11 * 365 * 24 * time.Hour)
		w := newWorld(t, func(c *saml.Config) { c.Now = func() time.Time { return later } })
		w.answer.Now = later
		w.refused(samltest.Text(w.signed()), "not valid at this time")
	})
	t.Run("another provider that we know", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		other := samltest.WithKey(t, "https://other.example", otherKey())
		second := connect(t, func(c *saml.Config) { c.Issuer, c.Certificates = other.Issuer, certificates(other) })
		w.idp = other
		text := samltest.Text(w.signed())
		w.refused(text, "Issuer")
		w.conn = second
		if _, err := w.post(text); err != nil {
			t.Errorf("its own connector: %v", err)
		}
	})
	t.Run("a signed response around an assertion of a bad signature", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		response := w.signed()
		find(response, ".//NameID").SetText("admin")
		w.idp.Sign(response)
		w.refused(samltest.Text(response), "signature of the Assertion")
	})
	t.Run("a bad signature around a signed assertion", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		response := w.signed()
		w.idp.Sign(response)
		response.CreateAttr("Consent", "x")
		w.refused(samltest.Text(response), "signature of the Response")
	})
	t.Run("a signed response without Destination", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		response := w.idp.Response(w.answer)
		response.RemoveAttr("Destination")
		w.idp.Sign(response)
		w.refused(samltest.Text(response), "Destination")
	})
}

// Encrypted assertions prove nothing by being encrypted.
func TestEncrypted(t *testing.T) {
	t.Parallel()
	encrypting := func(t *testing.T) (*world, *saml.KeyPair) {
		t.Helper()
		pair := ours(t)
		return newWorld(t, func(c *saml.Config) { c.Decryption = pair }), pair
	}
	t.Run("signed inside", func(t *testing.T) {
		t.Parallel()
		w, pair := encrypting(t)
		response := w.signed()
		w.idp.Encrypt(response, pair.Certificate)
		if who, err := w.signIn(samltest.Text(response)); err != nil || who.UserID != "jane-1" {
			t.Errorf("%q, %v", who.UserID, err)
		}
	})
	t.Run("signed outside", func(t *testing.T) {
		t.Parallel()
		w, pair := encrypting(t)
		response := w.idp.Response(w.answer)
		w.idp.Encrypt(response, pair.Certificate)
		w.idp.Sign(response)
		if who, err := w.signIn(samltest.Text(response)); err != nil || who.UserID != "jane-1" {
			t.Errorf("%q, %v", who.UserID, err)
		}
	})
	t.Run("not signed", func(t *testing.T) {
		t.Parallel()
		w, pair := encrypting(t)
		response := w.idp.Response(w.answer)
		w.idp.Encrypt(response, pair.Certificate)
		w.refused(samltest.Text(response), "neither it nor its assertion is signed")
	})
	t.Run("two inside one another", func(t *testing.T) {
		t.Parallel()
		w, pair := encrypting(t)
		response := w.signed(func(r *etree.Element) { find(r, "./Assertion").CreateElement("saml:Advice") })
		find(response, "//Advice").AddChild(evil(samltest.Assertion(response), "_evil"))
		w.idp.Encrypt(response, pair.Certificate)
		w.refused(samltest.Text(response), "more than one assertion")
	})
	t.Run("a document type inside", func(t *testing.T) {
		t.Parallel()
		w, pair := encrypting(t)
		response := w.idp.Response(w.answer)
		samltest.Assertion(response).AddChild(etree.NewComment(" "))
		w.idp.Encrypt(response, pair.Certificate)
		w.idp.Sign(response)
		w.refused(samltest.Text(response), "has a comment")
	})
	t.Run("without a key of ours", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		response := w.signed()
		w.idp.Encrypt(response, ours(t).Certificate)
		w.refused(samltest.Text(response), "encryptionKey")
	})
	t.Run("for somebody else", func(t *testing.T) {
		t.Parallel()
		w, _ := encrypting(t)
		response := w.signed()
		w.idp.Encrypt(response, w.idp.Certificate)
		w.refused(samltest.Text(response), "cannot be decrypted")
	})
	for name, change := range map[string]func(*world, string) string{
		"the first PKCS#1":       replace("http://www.w3.org/2001/04/xmlenc#rsa-oaep-mgf1p", "http://www.w3.org/2001/04/xmlenc#rsa-1_5"),
		"triple DES":             replace("http://www.w3.org/2001/04/xmlenc#aes256-cbc", "http://www.w3.org/2001/04/xmlenc#tripledes-cbc"),
		"a key of another size":  replace("http://www.w3.org/2001/04/xmlenc#aes256-cbc", "http://www.w3.org/2001/04/xmlenc#aes128-cbc"),
		"CBC as GCM":             replace("http://www.w3.org/2001/04/xmlenc#aes256-cbc", "http://www.w3.org/2009/xmlenc11#aes256-gcm"),
		"a short ciphertext":     setText("./EncryptedAssertion/EncryptedData/CipherData/CipherValue", "AAAA"),
		"no ciphertext":          setText("./EncryptedAssertion/EncryptedData/CipherData/CipherValue", ""),
		"half a block":           setText("./EncryptedAssertion/EncryptedData/CipherData/CipherValue", strings.Repeat("AAAA", 15)),
		"random blocks":          setText("./EncryptedAssertion/EncryptedData/CipherData/CipherValue", strings.Repeat("A", 128)),
		"an empty key":           setText("//EncryptedKey/CipherData/CipherValue", ""),
		"no key":                 removeAll("//EncryptedKey"),
		"no method of the key":   removeAll("//EncryptedKey/EncryptionMethod"),
		"no method":              removeAll("//EncryptedData/EncryptionMethod"),
		"no data":                removeAll("//EncryptedData"),
		"no digest method known": replace("http://www.w3.org/2000/09/xmldsig#sha1", "urn:x"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, pair := encrypting(t)
			response := w.signed()
			w.idp.Encrypt(response, pair.Certificate)
			text := samltest.Text(response)
			changed := change(w, text)
			if changed == text {
				t.Fatal("nothing was changed: " + text)
			}
			w.refused(changed, "")
		})
	}
}
