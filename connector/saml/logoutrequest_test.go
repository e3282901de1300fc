package saml_test

import (
	"crypto"
	"encoding/json"
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/beevik/etree"

	"github.com/countersign/countersign/connector"
	"github.com/countersign/countersign/connector/saml"
	"github.com/countersign/countersign/connector/saml/samltest"
)

// wants is what a correct request of the provider's says.
func wants() samltest.Logout {
	return samltest.Logout{ID: "_request", Destination: signOutURL, Now: now, NameID: "jane-1",
		More: ` Format="urn:oasis:names:tc:SAML:2.0:nameid-format:persistent"`, Indexes: []string{"_s"}}
}

// asked lets the connector receive a request by a redirect.
func (w *world) asked(query string) (connector.SignOutRequest, error) {
	values, _ := url.ParseQuery(query)
	return w.conn.ReceiveSignOut(w.Context(), connector.Message{RawQuery: query, Query: values})
}

func (w *world) askedBy(el *etree.Element) (connector.SignOutRequest, error) {
	w.Helper()
	return w.asked(w.idp.Query("SAMLRequest", samltest.Text(el), "their-state"))
}

func TestLogoutRequest(t *testing.T) {
	t.Parallel()
	for name, key := range map[string]func() crypto.Signer{"RSA": rsaKey, "ECDSA": ecKey} {
		idp := samltest.WithKey(t, issuer, key())
		w := &world{T: t, idp: idp, conn: connect(t, withSLO(t), func(c *saml.Config) { c.Certificates = certificates(idp) })}
		request := idp.LogoutRequest(wants())
		byForm := request.Copy()
		idp.Sign(byForm)
		form := connector.Message{Form: url.Values{"SAMLRequest": {samltest.Encode(samltest.Text(byForm))}, "RelayState": {"their-state"}}}
		if !w.conn.Asks(form) || w.conn.Asks(connector.Message{Query: url.Values{"SAMLResponse": {"x"}}}) {
			t.Error("requests and answers are mixed up")
		}
		redirected, err := w.askedBy(request)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		posted, err := w.conn.ReceiveSignOut(t.Context(), form)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for _, r := range []connector.SignOutRequest{redirected, posted} {
			if r.ID != "_request" || r.UserID != "jane-1" || !r.BelievedUntil.After(now) || r.BelievedUntil.After(now.Add(10*time.Minute)) {
				t.Errorf("%s: %+v", name, r)
			}
			w.answers(r)
		}
	}
}

// answers holds both answers to what they must say.
func (w *world) answers(r connector.SignOutRequest) {
	w.Helper()
	for done, want := range map[bool]string{true: "Success", false: "Responder UnknownPrincipal"} {
		away, err := r.Answer(done)
		if err != nil {
			w.Fatal(err)
		}
		u, err := url.Parse(away.URL)
		if err != nil {
			w.Fatal(err)
		}
		answer, err := samltest.Read(u.Query(), "SAMLResponse")
		if err != nil {
			w.Fatal(err)
		}
		var status []string
		for _, code := range answer.FindElements("./Status//StatusCode") {
			status = append(status, strings.TrimPrefix(code.SelectAttrValue("Value", ""), "urn:oasis:names:tc:SAML:2.0:status:"))
		}
		if answer.Tag != "LogoutResponse" || answer.SelectAttrValue("InResponseTo", "") != r.ID || answer.SelectAttrValue("Destination", "") != sloURL ||
			find(answer, "./Issuer").Text() != acs || strings.Join(status, " ") != want || u.Query().Get("Signature") == "" || u.Query().Get("RelayState") != "their-state" {
			w.Errorf("the answer %s\n%s", away.URL, samltest.Text(answer))
		}
	}
}

func TestLogoutRequestRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, withSLO(t))
	refused := func(name string, err error) {
		t.Helper()
		if !errors.Is(err, connector.ErrUpstream) {
			t.Errorf("%s: %v", name, err)
		}
	}
	changes := wrong()
	changes["expired"] = attr("NotOnOrAfter", now.Add(-2*time.Minute).Format(time.RFC3339))
	changes["expiring at no time"] = attr("NotOnOrAfter", "soon")
	changes["without a name"] = drop("./NameID")
	changes["with an empty name"] = func(el *etree.Element) { find(el, "./NameID").SetText("") }
	changes["with two names"] = func(el *etree.Element) { el.AddChild(find(el, "./NameID").Copy()) }
	changes["with more in a name"] = func(el *etree.Element) { find(el, "./NameID").CreateElement("x") }
	changes["with more in an index"] = func(el *etree.Element) { find(el, "./SessionIndex").CreateElement("x") }
	changes["an answer"] = func(el *etree.Element) { el.Tag = "LogoutResponse" }
	changes["a request of another kind"] = func(el *etree.Element) { el.Tag = "ManageNameIDRequest" }
	for name, change := range changes {
		request := w.idp.LogoutRequest(wants())
		change(request)
		_, err := w.askedBy(request)
		refused(name, err)
		if request.SelectAttrValue("ID", "") == "" {
			continue
		}
		w.idp.Sign(request)
		_, err = w.conn.ReceiveSignOut(t.Context(), connector.Message{Form: url.Values{"SAMLRequest": {samltest.Encode(samltest.Text(request))}}})
		refused(name+", by a form", err)
	}
	good := w.idp.LogoutRequest(wants())
	for name, query := range badQueries(w, "SAMLRequest", samltest.Text(good)) {
		_, err := w.asked(query)
		refused(name, err)
	}
	for name, form := range badForms(w, "SAMLRequest", good) {
		_, err := w.conn.ReceiveSignOut(t.Context(), connector.Message{Form: form})
		refused(name+", by a form", err)
	}
	_, err := w.asked(w.idp.Query("SAMLRequest", samltest.Text(good), strings.Repeat("s", 2000)))
	refused("a RelayState without end", err)
	if _, err := w.askedBy(good); err != nil {
		t.Errorf("the right one: %v", err)
	}
	off := newWorld(t)
	unaddressed := wants()
	unaddressed.Destination = ""
	_, err = off.askedBy(off.idp.LogoutRequest(unaddressed))
	refused("off", err)
	old := newWorld(t, withSLO(t), func(c *saml.Config) { c.Now = func() time.Time { return now.Add(20 * 365 * 24 * time.Hour) } })
	late := wants()
	late.Now = now.Add(20 * 365 * 24 * time.Hour)
	_, err = old.askedBy(old.idp.LogoutRequest(late))
	refused("a certificate that has expired", err)
}

// Which sessions a request means.
func TestLogoutRequestMeans(t *testing.T) {
	t.Parallel()
	const persistent = "urn:oasis:names:tc:SAML:2.0:nameid-format:persistent"
	kept := func(pairs ...string) []byte {
		m := map[string]string{"n": "jane-1", "f": persistent, "i": "_s"}
		for i := 0; i+1 < len(pairs); i += 2 {
			m[pairs[i]] = pairs[i+1]
		}
		text, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	name := func(l *samltest.Logout) { l.Indexes = nil }
	for title, c := range map[string]struct {
		change func(*samltest.Logout)
		userID string
		kept   []byte
		want   bool
	}{
		"that session":                           {nil, "jane-1", kept(), true},
		"another session of theirs":              {nil, "jane-1", kept("i", "_t"), false},
		"a session without an index":             {nil, "jane-1", kept("i", ""), false},
		"one of two":                             {func(l *samltest.Logout) { l.Indexes = []string{"_a", "_s"} }, "jane-1", kept(), true},
		"all sessions":                           {name, "jane-1", kept("i", "_t"), true},
		"somebody else":                          {name, "john-1", kept("n", "john-1"), false},
		"the same name in another format":        {name, "jane-1", kept("f", "urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress"), false},
		"the same name of another provider":      {name, "jane-1", kept("q", "https://other.example"), false},
		"the provider's name said":               {name, "jane-1", kept("q", issuer), true},
		"the same name at another of us":         {name, "jane-1", kept("s", "https://other.example"), false},
		"our name said":                          {name, "jane-1", kept("s", acs), true},
		"nothing kept, all sessions":             {name, "jane-1", nil, true},
		"nothing kept, all sessions of another":  {name, "john-1", nil, false},
		"nothing kept, one session":              {nil, "jane-1", nil, false},
		"something else kept":                    {name, "jane-1", []byte("{"), false},
		"qualified in the request, not in ours":  {func(l *samltest.Logout) { l.More += ` NameQualifier="` + issuer + `" SPNameQualifier="` + acs + `"` }, "jane-1", kept(), true},
		"of another of us, qualified in request": {func(l *samltest.Logout) { l.More += ` SPNameQualifier="https://other.example"` }, "jane-1", kept(), false},
	} {
		w := newWorld(t, withSLO(t))
		l := wants()
		if c.change != nil {
			c.change(&l)
		}
		r, err := w.askedBy(w.idp.LogoutRequest(l))
		if err != nil {
			t.Fatal(err)
		}
		if got := r.Means(c.userID, c.kept); got != c.want {
			t.Errorf("%s: %v", title, got)
		}
	}
}

// Where an attribute is the id, a NameID is nobody's id.
func TestLogoutRequestWithIDAttribute(t *testing.T) {
	t.Parallel()
	w := newWorld(t, withSLO(t), func(c *saml.Config) { c.Attributes.ID = "uid" })
	l := wants()
	l.Indexes = nil
	r, err := w.askedBy(w.idp.LogoutRequest(l))
	if err != nil || r.UserID != "" {
		t.Fatalf("%q is meant, %v", r.UserID, err)
	}
	if r.Means("jane-1", nil) {
		t.Error("a NameID was taken for the id of somebody")
	}
	if !r.Means("j", []byte(`{"n":"jane-1","f":"urn:oasis:names:tc:SAML:2.0:nameid-format:persistent"}`)) {
		t.Error("a session is not known by its NameID")
	}
}
