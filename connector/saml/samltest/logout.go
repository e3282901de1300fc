package samltest

import (
	"bytes"
	"compress/flate"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/beevik/etree"
	dsig "github.com/russellhaering/goxmldsig"
)

// Logout is what a message of single logout says.
type Logout struct {
	ID, Destination string
	Now             time.Time
	// Of requests. More are attributes of the NameID, as XML has them.
	NameID, More string
	Indexes      []string
	// Of answers. Status is the last word of it; empty: Success.
	InResponseTo, Status string
}

func (i *IdP) message(tag string, l Logout, attributes, content string) *etree.Element {
	i.t.Helper()
	return i.Parse(fmt.Sprintf(`<samlp:%[1]s xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol" xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion" ID="%[2]s" Version="2.0" IssueInstant="%[3]s" Destination="%[4]s"%[5]s><saml:Issuer>%[6]s</saml:Issuer>%[7]s</samlp:%[1]s>`,
		tag, escape(l.ID), stamp(l.Now), escape(l.Destination), attributes, escape(i.Issuer), content))
}

// LogoutRequest is a request without signatures.
func (i *IdP) LogoutRequest(l Logout) *etree.Element {
	i.t.Helper()
	content := fmt.Sprintf(`<saml:NameID%s>%s</saml:NameID>`, l.More, escape(l.NameID))
	for _, index := range l.Indexes {
		content += fmt.Sprintf(`<samlp:SessionIndex>%s</samlp:SessionIndex>`, escape(index))
	}
	return i.message("LogoutRequest", l, fmt.Sprintf(` NotOnOrAfter="%s"`, stamp(l.Now.Add(5*time.Minute))), content)
}

// LogoutResponse is an answer without signatures.
func (i *IdP) LogoutResponse(l Logout) *etree.Element {
	i.t.Helper()
	if l.Status == "" {
		l.Status = "Success"
	}
	return i.message("LogoutResponse", l, fmt.Sprintf(` InResponseTo="%s"`, escape(l.InResponseTo)),
		fmt.Sprintf(`<samlp:Status><samlp:StatusCode Value="urn:oasis:names:tc:SAML:2.0:status:%s"/></samlp:Status>`, escape(l.Status)))
}

// Deflate is a document as an address has it, before it is escaped.
func Deflate(text string) string {
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, flate.BestCompression)
	if err != nil {
		panic(err)
	}
	if _, err := io.WriteString(w, text); err != nil {
		panic(err)
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return base64.StdEncoding.EncodeToString(b.Bytes())
}

// Query is the query of a document by HTTP-Redirect, signed.
func (i *IdP) Query(parameter, text, state string) string {
	i.t.Helper()
	query := parameter + "=" + url.QueryEscape(Deflate(text))
	if state != "" {
		query += "&RelayState=" + url.QueryEscape(state)
	}
	method := dsig.RSASHA256SignatureMethod
	if _, ok := i.Key.(*ecdsa.PrivateKey); ok {
		method = dsig.ECDSASHA256SignatureMethod
	}
	return i.SignQuery(query+"&SigAlg="+url.QueryEscape(method), crypto.SHA256)
}

// SignQuery puts a signature behind the octets of a query.
func (i *IdP) SignQuery(query string, hash crypto.Hash) string {
	i.t.Helper()
	h := hash.New()
	h.Write([]byte(query))
	signature, err := i.Key.Sign(rand.Reader, h.Sum(nil), hash)
	if err != nil {
		i.t.Fatal(err)
	}
	value := base64.StdEncoding.EncodeToString(signature)
	if key, ok := i.Key.(*ecdsa.PrivateKey); ok {
		value = i.raw(value, (key.Params().BitSize+7)/8)
	}
	return query + "&Signature=" + url.QueryEscape(value)
}

// Read reads a message in an address or a form.
func Read(values url.Values, parameter string) (*etree.Element, error) {
	raw, err := base64.StdEncoding.DecodeString(values.Get(parameter))
	if err != nil {
		return nil, err
	}
	if !bytes.HasPrefix(raw, []byte("<")) {
		if raw, err = io.ReadAll(flate.NewReader(bytes.NewReader(raw))); err != nil {
			return nil, err
		}
	}
	doc := etree.NewDocument()
	if err := doc.ReadFromBytes(raw); err != nil {
		return nil, err
	}
	return doc.Root(), nil
}

// SLO is a provider's address of single logout: it ends the session that it is
// asked to end, and answers at our address as it was asked: by a redirect, or by a
// form.
type SLO struct {
	*IdP
	Now func() time.Time
	// Answer is where to. Status is Logout.Status.
	Answer, Status string

	mu    sync.Mutex
	asked []*etree.Element
}

// Asked are the requests so far.
func (s *SLO) Asked() []*etree.Element {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.asked)
}

// ServeHTTP implements http.Handler.
func (s *SLO) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if r.Form.Has("SAMLResponse") { // to a request of the provider's own
		fmt.Fprint(w, "the end")
		return
	}
	request, err := Read(r.Form, "SAMLRequest")
	if err != nil || request.Tag != "LogoutRequest" {
		http.Error(w, "no logout request", http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	s.asked = append(s.asked, request)
	s.mu.Unlock()
	answer := s.LogoutResponse(Logout{
		ID: "_answer", Destination: s.Answer, Now: s.Now(), InResponseTo: request.SelectAttrValue("ID", ""), Status: s.Status,
	})
	state := r.Form.Get("RelayState")
	if r.Method == http.MethodGet {
		http.Redirect(w, r, s.Answer+"?"+s.Query("SAMLResponse", Text(answer), state), http.StatusFound)
		return
	}
	s.Sign(answer)
	w.Header().Set("Content-Type", "text/html")
	fmt.Fprintf(w, `<!DOCTYPE html><title>provider</title><form method="post" action="%s"><input type="hidden" name="SAMLResponse" value="%s"><input type="hidden" name="RelayState" value="%s"><button>Continue</button></form>`,
		escape(s.Answer), Encode(Text(answer)), escape(state))
}

// WithSLO adds addresses of single logout to metadata, by binding: HTTP-Redirect,
// HTTP-POST.
func WithSLO(metadata, address string, bindings ...string) string {
	var services strings.Builder
	for _, b := range bindings {
		fmt.Fprintf(&services, `<SingleLogoutService Binding="urn:oasis:names:tc:SAML:2.0:bindings:%s" Location="%s"/>`, b, escape(address))
	}
	before, after, _ := strings.Cut(metadata, "<SingleSignOnService")
	return before + services.String() + "<SingleSignOnService" + after
}
