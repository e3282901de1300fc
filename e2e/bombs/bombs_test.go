// Package bombs_test sends the built program documents that were made to take all
// its memory: as a stranger who posts them, and as a provider that answers so.
//
// Threat: what is small on the way and large in memory, and what never ends.
package bombs_test

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/crewjam/saml/xmlenc"

	"github.com/countersign/countersign/connector/saml/samltest"
	"github.com/countersign/countersign/e2e/binary"
)

const (
	// large is what a bomb is unpacked, in bytes, and bound, what the program may
	// grow by.
	large = 1 << 30
	bound = 64 << 20
	// atOnce is how many post the same bomb.
	atOnce = 4
)

// TestMain removes the program that the tests built.
func TestMain(m *testing.M) {
	code := m.Run()
	binary.Remove()
	os.Exit(code)
}

// bombs are documents, unpacked: some of a gigabyte, others as large as fits where
// they go to.
var bombs = map[string]func(fits int) io.Reader{
	"spaces":     func(int) io.Reader { return around(`<a>`, ` `, large, `</a>`) },
	"nesting":    func(int) io.Reader { return around(``, `<a>`, large, ``) },
	"attribute":  func(int) io.Reader { return around(`<a b="`, `c`, large, `"/>`) },
	"attributes": func(int) io.Reader { return around(`<a`, ` b="c"`, large, `/>`) },
	"elements":   func(int) io.Reader { return around(`<a>`, `<b/>`, large, `</a>`) },
	"a tag":      func(int) io.Reader { return around(`<`, `a`, large, `/>`) },
	"entities": func(int) io.Reader {
		var dtd strings.Builder
		dtd.WriteString(`<!ENTITY l0 "lol">`)
		for i := range 30 { // each is twice the one before
			fmt.Fprintf(&dtd, `<!ENTITY l%d "&l%d;&l%d;">`, i+1, i, i)
		}
		return strings.NewReader(`<!DOCTYPE a [` + dtd.String() + `]><a>&l30;</a>`)
	},
	"an entity that is used often": func(fits int) io.Reader {
		return around(`<!DOCTYPE a [<!ENTITY l "`+strings.Repeat("l", fits/2)+`">]><a>`, `&l;`, fits/2, `</a>`)
	},
	"nesting that fits":        func(fits int) io.Reader { return around(``, `<a>`, fits, ``) },
	"elements that fit":        func(fits int) io.Reader { return around(`<a>`, `<b/>`, fits, `</a>`) },
	"an attribute that fits":   func(fits int) io.Reader { return around(`<a b="`, `c`, fits, `"/>`) },
	"attributes that fit":      func(fits int) io.Reader { return around(`<a`, ` b="c"`, fits, `/>`) },
	"attributes with prefixes": func(fits int) io.Reader { return numbered(`<a`, ` p%d:b="c"`, fits, `/>`) },
	"namespaces":               func(fits int) io.Reader { return numbered(`<a`, ` xmlns:p%d="c"`, fits, `/>`) },
	"names":                    func(fits int) io.Reader { return numbered(`<a>`, `<b%d/>`, fits, `</a>`) },
	"ids":                      func(fits int) io.Reader { return numbered(`<a>`, `<b ID="i%d"/>`, fits, `</a>`) },
	"assertions":               func(fits int) io.Reader { return around(response, `<s:Assertion/>`, fits, `</p:Response>`) },
	"providers":                func(fits int) io.Reader { return around(entity, `<IDPSSODescriptor/>`, fits, `</EntityDescriptor>`) },
	"keys": func(fits int) io.Reader {
		return around(entity+`<IDPSSODescriptor>`, `<KeyDescriptor/>`, fits, `</IDPSSODescriptor></EntityDescriptor>`)
	},
	"descriptors": func(fits int) io.Reader {
		return around(entities, `<EntityDescriptor/>`, fits, `</EntitiesDescriptor>`)
	},
	"descriptors in one another": func(fits int) io.Reader { return around(``, entities, fits, ``) },
}

const (
	response = `<p:Response xmlns:p="urn:oasis:names:tc:SAML:2.0:protocol" xmlns:s="urn:oasis:names:tc:SAML:2.0:assertion">`
	entity   = `<EntityDescriptor xmlns="urn:oasis:names:tc:SAML:2.0:metadata" entityID="urn:bomb">`
	entities = `<EntitiesDescriptor xmlns="urn:oasis:names:tc:SAML:2.0:metadata">`
)

// around is a text that is repeated up to so many bytes, between two others.
func around(before, text string, size int, after string) io.Reader {
	return io.MultiReader(strings.NewReader(before), &repeated{text: strings.Repeat(text, 1+4096/len(text)), left: size / len(text) * len(text)}, strings.NewReader(after))
}

// repeated is a text again and again.
type repeated struct {
	text     string
	at, left int
}

// Read implements io.Reader.
func (r *repeated) Read(p []byte) (n int, err error) {
	for n < len(p) && r.left > 0 {
		c := copy(p[n:], r.text[r.at:min(len(r.text), r.at+r.left)])
		n, r.at, r.left = n+c, (r.at+c)%len(r.text), r.left-c
	}
	if r.left == 0 {
		err = io.EOF
	}
	return n, err
}

// numbered is a text that fits, with a number in each part.
func numbered(before, format string, fits int, after string) io.Reader {
	var b strings.Builder
	b.WriteString(before)
	for i := 0; b.Len() < fits; i++ {
		fmt.Fprintf(&b, format, i)
	}
	return strings.NewReader(b.String() + after)
}

// world is the program.
type world struct {
	t      *testing.T
	server *binary.Server
}

// serve runs the program with these SAML connectors.
func serve(t *testing.T, connectors string) *world {
	t.Helper()
	return &world{t: t, server: binary.Serve(t, `issuer: http://{address}/dex
web: {http: '{address}', limits: {shutdownDelay: 1ms}}
telemetry: {http: '{telemetry}'}
storage: {type: sqlite3, config: {file: '{dir}/countersign.db'}}
signer: {type: local, config: {algorithm: ES256}}
staticClients:
- {id: app, name: App, secret: the-secret-of-the-app-32-characters, redirectURIs: ['http://127.0.0.1:9/callback']}
connectors:
`+connectors)}
}

// says waits until the log has a text: a request is logged after its answer.
func (w *world) says(text string) {
	w.t.Helper()
	for deadline := time.Now().Add(time.Minute); !strings.Contains(w.server.Log(), text); {
		if time.Now().After(deadline) {
			w.t.Fatalf("the log never says %q", text)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// TestPosted: whatever strangers post to the callback.
func TestPosted(t *testing.T) {
	idp := samltest.New(t, "https://idp.example")
	us := samltest.New(t, "us")
	folder := t.TempDir()
	write := func(name string, text []byte) string {
		file := filepath.Join(folder, name)
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	ours := write("us.pem", append(samltest.PEM(us.Certificate), pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(us.Key.(*rsa.PrivateKey))})...))
	w := serve(t, fmt.Sprintf("- {type: saml, id: saml, config: {ssoURL: 'https://idp.example/sso', ca: %s, encryptionKey: %[2]s, encryptionCert: %[2]s, usernameAttr: name, emailAttr: mail}}\n",
		write("idp.pem", samltest.PEM(idp.Certificate)), ours))
	callback := "http://" + w.server.Address + "/dex/callback"
	w.post(callback, "", form(strings.NewReader("<a/>")))
	w.says("receiving at connector saml: upstream failed: its response: ") // it is reached
	all := map[string]func() io.Reader{}
	for name, bomb := range bombs {
		all[name] = func() io.Reader { return bomb(380 << 10) }
	}
	for _, name := range []string{"elements that fit", "nesting that fits", "ids", "attributes that fit"} {
		all[name+", encrypted"] = encrypted(t, us, callback, bombs[name](256<<10))
	}
	before := w.forget()
	for name, bomb := range all {
		for _, how := range waysOf(name) {
			w.forget()
			w.together(func() {
				body, encoding := pack(bomb(), how)
				w.post(callback, encoding, body)
			})
			if used := w.peak() - before; used > bound {
				t.Errorf("%s, %s: it took %d MB", name, how, used>>20)
			}
		}
	}
}

// encrypted is a response around a bomb. Anybody can make one: everybody has our
// certificate.
func encrypted(t *testing.T, us *samltest.IdP, acs string, bomb io.Reader) func() io.Reader {
	t.Helper()
	text, err := io.ReadAll(bomb)
	if err != nil {
		t.Fatal(err)
	}
	e := xmlenc.OAEP()
	e.BlockCipher, e.DigestMethod = xmlenc.AES256CBC, &xmlenc.SHA1
	data, err := e.Encrypt(us.Certificate, text, nil)
	if err != nil {
		t.Fatal(err)
	}
	whole := strings.Replace(response, ">", fmt.Sprintf(` Version="2.0" ID="r" Destination="%s">`, acs), 1) +
		`<p:Status><p:StatusCode Value="urn:oasis:names:tc:SAML:2.0:status:Success"/></p:Status><s:EncryptedAssertion>` + samltest.Text(data) + `</s:EncryptedAssertion></p:Response>`
	return func() io.Reader { return strings.NewReader(whole) }
}

// The ways to send a document.
const (
	plain    = "plain"
	deflated = "deflated" // as in a redirect
	gzipped  = "gzipped"  // all that is sent, with a Content-Encoding
)

// waysOf are those for a bomb: a gigabyte is sent in each.
func waysOf(name string) []string {
	if name == "spaces" || name == "nesting" {
		return []string{plain, deflated, gzipped}
	}
	return []string{plain}
}

// pack makes the body of a post.
func pack(bomb io.Reader, how string) (body io.Reader, encoding string) {
	switch how {
	case deflated:
		bomb = piped(bomb, func(to io.Writer) io.WriteCloser {
			w, _ := flate.NewWriter(to, flate.BestSpeed) // the level is a right one
			return w
		})
	case gzipped:
		return piped(form(bomb), func(to io.Writer) io.WriteCloser { return gzip.NewWriter(to) }), "gzip"
	}
	return form(bomb), ""
}

// form is a document as a form has it.
func form(document io.Reader) io.Reader {
	flow := base64.RawURLEncoding.EncodeToString(make([]byte, 16))
	return io.MultiReader(strings.NewReader("RelayState="+flow+"&SAMLResponse="),
		piped(document, func(to io.Writer) io.WriteCloser { return base64.NewEncoder(base64.StdEncoding, escaped{to}) }))
}

// escaped writes base64 as a form has it.
type escaped struct{ to io.Writer }

// Write implements io.Writer.
func (e escaped) Write(p []byte) (int, error) {
	if _, err := e.to.Write(bytes.ReplaceAll(p, []byte("+"), []byte("%2B"))); err != nil {
		return 0, err
	}
	return len(p), nil
}

// piped is what a writer makes of a text, while it is read.
func piped(text io.Reader, wrap func(io.Writer) io.WriteCloser) io.Reader {
	r, w := io.Pipe()
	go func() {
		through := wrap(w)
		_, err := io.Copy(through, text)
		if err == nil {
			err = through.Close()
		}
		w.CloseWithError(err)
	}()
	return r
}

// together does something several times at once.
func (w *world) together(do func()) {
	var all sync.WaitGroup
	for range atOnce {
		all.Go(do)
	}
	all.Wait()
}

// post posts a form, which is refused: with an answer, or in the middle of it.
func (w *world) post(address, encoding string, body io.Reader) (status int) {
	if closer, ok := body.(io.Closer); ok {
		defer closer.Close()
	}
	r, err := http.NewRequestWithContext(w.t.Context(), http.MethodPost, address, body)
	if err != nil {
		w.t.Error(err)
		return 0
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if encoding != "" {
		r.Header.Set("Content-Encoding", encoding)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0 // it did not read on
	}
	defer resp.Body.Close()
	if resp.StatusCode < 400 || resp.StatusCode == http.StatusInternalServerError {
		w.t.Errorf("it answered %s", resp.Status)
	}
	return resp.StatusCode
}

// TestMetadata: whatever a provider answers when it is asked for its metadata.
func TestMetadata(t *testing.T) {
	for name, bomb := range bombs {
		for _, how := range waysOf(name) {
			if how == deflated {
				continue // nothing that is fetched is inflated twice
			}
			t.Run(name+", "+how, func(t *testing.T) { fetched(t, bomb, how) })
		}
	}
}

// fetched lets a program of its own fetch a bomb.
func fetched(t *testing.T, bomb func(int) io.Reader, how string) {
	asked := make(chan struct{})
	provider := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		<-asked // until memory is measured
		answer(w, bomb(1000<<10), how)
	}))
	t.Cleanup(provider.Close)
	w := serve(t, "- {type: saml, id: saml, config: {metadataURL: '"+provider.URL+"', entityIssuer: us, usernameAttr: name, emailAttr: mail}}\n")
	before := w.forget()
	close(asked)
	w.says("the metadata of an upstream cannot be read")
	if used := w.peak() - before; used > bound {
		t.Errorf("it took %d MB", used>>20)
	}
}

// answer sends metadata.
func answer(w http.ResponseWriter, document io.Reader, how string) {
	w.Header().Set("Content-Type", "application/samlmetadata+xml")
	if how != gzipped {
		_, _ = io.Copy(w, document) // the program hangs up
		return
	}
	w.Header().Set("Content-Encoding", "gzip")
	z := gzip.NewWriter(w)
	if _, err := io.Copy(z, document); err == nil {
		_ = z.Close()
	}
}
