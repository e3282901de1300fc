package chromium_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
)

// cookies of a flow are sent under its own path and nowhere else, so that many
// tabs neither mix nor grow every request; no script sees any cookie.
func cookies(w *world) {
	w.serve()
	b := w.stranger()
	other := b.another(w)
	sent := watchCookies(w.t, b)
	b.open(w.app.address("/login"))
	b.see("#password")
	other.open(w.other.address("/login"))
	other.see("#password")
	flow := ask[string](b, "location.pathname")
	b.noCookieForScripts()
	b.fill(ada, password)
	b.see("button[name=approval]")
	b.noCookieForScripts()
	own := b.cookies(w.issuer + "/" + strings.TrimPrefix(flow, "/dex/"))
	f, s := own["countersign_flow"], own["countersign_session"]
	if len(own) != 2 || f == nil || s == nil {
		w.t.Fatalf("cookies: %v", own)
	}
	if f.Path != flow[:len("/dex/flow/")+22] || !f.HTTPOnly || f.SameSite != network.CookieSameSiteLax || f.Expires <= 0 {
		w.t.Errorf("cookie of the flow: %+v", f)
	}
	if s.Path != "/" || !s.HTTPOnly || s.SameSite != network.CookieSameSiteLax || !s.Session {
		w.t.Errorf("cookie of the session: %+v", s)
	}
	b.approve()
	b.claims()
	b.open(w.issuer + "/")
	b.see("h1")
	for address, names := range sent.all() {
		u, err := url.Parse(address)
		if err != nil {
			w.t.Fatal(err)
		}
		if under := strings.HasPrefix(u.Path, f.Path+"/") || u.Path == f.Path; under != strings.Contains(names, "countersign_flow=") {
			w.t.Errorf("%s was sent the cookies %s", address, names)
		}
		if strings.Count(names, "countersign_flow=") > 1 {
			w.t.Errorf("%s was sent the cookies of two flows", address)
		}
	}
	left := b.cookies(w.issuer + "/" + strings.TrimPrefix(flow, "/dex/"))["countersign_flow"]
	if left != nil && time.Until(time.Unix(int64(left.Expires), 0)) > 10*time.Second {
		w.t.Errorf("the cookie of a finished flow is left: %+v", left)
	}
}

// noCookieForScripts: whatever script sneaks into a page, there is nothing for it.
func (b *tab) noCookieForScripts() {
	b.t.Helper()
	if got := ask[string](b, "document.cookie"); got != "" {
		b.t.Errorf("a script sees %q", got)
	}
	b.expect("DocumentCookie") // Chromium finds that slow
}

// sentCookies are the Cookie headers that a tab sent, by address.
type sentCookies struct {
	mu        sync.Mutex
	addresses map[network.RequestID][]string
	headers   map[network.RequestID][]string
}

func watchCookies(t *testing.T, b *tab) *sentCookies {
	t.Helper()
	s := &sentCookies{addresses: map[network.RequestID][]string{}, headers: map[network.RequestID][]string{}}
	err := chromedp.Listen(b.ctx, func(event any) {
		s.mu.Lock()
		defer s.mu.Unlock()
		switch e := event.(type) { // redirects share an id, and come in order
		case *network.EventRequestWillBeSent:
			s.addresses[e.RequestID] = append(s.addresses[e.RequestID], e.Request.URL)
		case *network.EventRequestWillBeSentExtraInfo:
			cookie, _ := e.Headers["Cookie"].(string)
			s.headers[e.RequestID] = append(s.headers[e.RequestID], cookie)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// all pairs the addresses with what was sent there.
func (s *sentCookies) all() map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	pairs := map[string]string{}
	for id, addresses := range s.addresses {
		for i, header := range s.headers[id] {
			if i < len(addresses) {
				pairs[addresses[i]] = header
			}
		}
	}
	return pairs
}

// https is everything again, as it is in earnest: the prefixes that browsers
// enforce, Secure, and HSTS.
func https(w *world) {
	certificate, key, pool := testCertificate(w.t)
	w.client = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
	w.app = newApp(w.t, w, "app", "the-secret-of-the-app-32-characters", "localhost")
	w.start(fmt.Sprintf(`issuer: https://{address}/dex
web: {https: '{address}', tlsCert: %s, tlsKey: %s, limits: {shutdownDelay: 1ms}}
telemetry: {http: '{telemetry}'}
signer: {type: local, config: {algorithm: ES256}}
staticClients:
`, certificate, key) + w.app.yaml("Demo App") + people)
	b := w.stranger()
	for _, query := range []string{"", "?prompt=login&response_mode=form_post"} {
		b.open(w.app.address("/login" + query))
		b.see("#password")
		flow := b.cookies(ask[string](b, "location.href"))["__Secure-countersign_flow"]
		if flow == nil || !flow.Secure || !flow.HTTPOnly || !strings.HasPrefix(flow.Path, "/dex/flow/") {
			w.t.Errorf("cookie of the flow: %+v", flow)
		}
		b.fill(ada, password)
		if query == "" {
			b.approve()
		}
		b.wants(map[string]any{"email": ada, "iss": w.issuer})
	}
	session := b.cookies(w.issuer + "/")["__Host-countersign_session"]
	if session == nil || !session.Secure || !session.HTTPOnly || session.Path != "/" || session.SameSite != network.CookieSameSiteLax {
		w.t.Errorf("cookie of the session: %+v", session)
	}
	b.open(w.issuer + "/")
	b.see(".who")
	b.click("form .button")
	b.see("//h1[.='You are signed out']")
	b.open(w.app.address("/login?prompt=none"))
	if got := b.text("#error"); got != "login_required" {
		w.t.Errorf("after signing out, the app heard %q", got)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, r := range b.requests {
		if r.status != 0 && strings.HasPrefix(r.address, w.issuer) && r.headers["strict-transport-security"] != "max-age=31536000" {
			w.t.Errorf("%s: Strict-Transport-Security is %q", r.address, r.headers["strict-transport-security"])
		}
	}
}

// testCertificate makes a certificate for the loopback address.
func testCertificate(t *testing.T) (certificate, key string, pool *x509.CertPool) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Countersign test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	certificate, key = filepath.Join(folder, "tls.crt"), filepath.Join(folder, "tls.key")
	for file, block := range map[string]*pem.Block{certificate: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: pkcs8}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool = x509.NewCertPool()
	pool.AddCert(parsed)
	return certificate, key, pool
}
