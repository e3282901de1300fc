// Package saml is the connector to SAML 2.0 identity providers: Okta, Entra ID, AD
// FS, Keycloak, Shibboleth, SimpleSAMLphp.
//
// It is a service provider of the Web Browser SSO Profile (SAML Profiles 4.1): the
// request by HTTP-Redirect or HTTP-POST, the response by HTTP-POST. It reads only
// what a trusted key has signed, from the very bytes that were signed. It refuses
// sign-ins that begin at the provider, SHA-1, and everything of XML that SAML does
// not need.
//
// Threat: responses that were forged, wrapped, replayed, or made for somebody else;
// readers of XML that disagree; documents made to exhaust whoever reads them; a
// provider that answers for another one. SAML has no way to ask about people who
// are not there.
package saml

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	crewjam "github.com/crewjam/saml"

	"github.com/countersign/countersign/connector"
)

// The bindings of the request.
const (
	Redirect = "redirect"
	Post     = "post"
)

// Config is what New needs. ACSURL, Now and Logger are required, and either SSOURL
// with Certificates, or MetadataURL, or MetadataFile.
type Config struct {
	// ACSURL is where the provider posts its responses to: our callback.
	ACSURL string
	// EntityID is who we are to the provider. Empty: ACSURL.
	EntityID string

	// SSOURL is where people are sent to.
	SSOURL string
	// Issuer is the provider's entity id. Without it and without metadata, it is
	// whoever has one of the keys.
	Issuer string
	// Certificates have the keys that sign.
	Certificates []*x509.Certificate
	// MetadataURL and MetadataFile say all of this, and are read again and again.
	// The URL is https, or of this host.
	MetadataURL, MetadataFile string

	// Binding is that of requests: Redirect or Post. Empty: Post for SSOURL;
	// Redirect for metadata, if they offer it.
	Binding string
	// SignOutURL is our address for single logout, of this connector alone. It needs
	// Signing. Empty: people are not signed out at the provider, nor by it.
	SignOutURL string
	// SLOURL is where they are signed out, without metadata; empty: nowhere.
	SLOURL string
	// NameIDFormat is asked for; empty: none.
	NameIDFormat string
	// AuthnContexts are classes of authentication, one of which must have been used.
	AuthnContexts []string
	// Signing signs requests. Decryption decrypts assertions. Both may be nil.
	Signing, Decryption *KeyPair
	Attributes          Attributes

	// Client fetches MetadataURL; see package upstream.
	Client *http.Client
	Now    func() time.Time
	// Random may be nil: crypto/rand's.
	Random io.Reader
	Logger *slog.Logger
}

// KeyPair is a key of ours and its certificate, which the provider knows.
type KeyPair struct {
	Key         *rsa.PrivateKey
	Certificate *x509.Certificate
}

// Attributes are the names of the attributes to take.
type Attributes struct {
	// ID is an immutable id of the person, never given to somebody else. Empty: the
	// NameID.
	ID                                     string
	Name, PreferredUsername, Email, Groups string
	// GroupsDelimiter separates groups in one value; empty: each value is one.
	GroupsDelimiter string
}

// Connector is safe for concurrent use.
type Connector struct {
	cfg      Config
	provider atomic.Pointer[provider]
	trouble  atomic.Pointer[string]
	// turn is held while metadata are read because of a signature, which was last at
	// reread.
	turn   chan struct{}
	reread time.Time
	// readers bounds the messages that are read at once.
	readers chan struct{}
}

var (
	_ connector.RedirectConnector = (*Connector)(nil)
	_ connector.Receiver          = (*Connector)(nil)
	_ connector.Background        = (*Connector)(nil)
	_ connector.Metadata          = (*Connector)(nil)
	_ connector.SignOutReceiver   = (*Connector)(nil)
)

// New checks the configuration. It asks nobody; Run does.
func New(cfg Config) (*Connector, error) {
	if cfg.ACSURL == "" || cfg.Now == nil || cfg.Logger == nil {
		return nil, errors.New("saml: ACSURL, Now and Logger are required")
	}
	if cfg.EntityID == "" {
		cfg.EntityID = cfg.ACSURL
	}
	if cfg.Random == nil {
		cfg.Random = rand.Reader
	}
	if b := cfg.Binding; b != "" && b != Redirect && b != Post {
		return nil, fmt.Errorf("saml: there is no binding %q", b)
	}
	if cfg.SignOutURL != "" && cfg.Signing == nil {
		return nil, errors.New("saml: SignOutURL needs Signing: messages of single logout have to be signed")
	}
	c := &Connector{cfg: cfg, turn: make(chan struct{}, 1), readers: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)-1))}
	if c.fromMetadata() {
		c.failed(errors.New("the provider's metadata have not been read yet"))
		return c, cfg.checkMetadata()
	}
	p := &provider{issuer: cfg.Issuer, certificates: cfg.Certificates, ssoURL: cfg.SSOURL, binding: cfg.Binding}
	if p.binding == "" {
		p.binding = Post
	}
	if cfg.SLOURL != "" {
		p.slo = slo{url: cfg.SLOURL, answerURL: cfg.SLOURL, binding: Redirect}
	}
	if err := p.check(); err != nil {
		return nil, fmt.Errorf("saml: %w", err)
	}
	c.provider.Store(p)
	return c, nil
}

// checkMetadata refuses metadata that somebody on the way could have made: they
// say whose signatures are believed.
func (cfg Config) checkMetadata() error {
	if cfg.SSOURL != "" || cfg.SLOURL != "" || len(cfg.Certificates) > 0 || cfg.MetadataURL != "" && cfg.MetadataFile != "" {
		return errors.New("saml: the provider is described by metadata or without, and by one of them")
	}
	if cfg.MetadataURL == "" {
		return nil
	}
	u, err := url.Parse(cfg.MetadataURL)
	if err != nil || cfg.Client == nil {
		return errors.New("saml: MetadataURL is no address, or Client is missing")
	}
	if u.Scheme != "https" && !(u.Scheme == "http" && Loopback(u)) {
		return errors.New("saml: MetadataURL must be https")
	}
	return nil
}

// Loopback reports whether an address is of this host, by its number.
func Loopback(u *url.URL) bool {
	ip := net.ParseIP(u.Hostname())
	return ip != nil && ip.IsLoopback()
}

// Transient reports whether a NameID format is of no use as an id.
func Transient(name string) bool { return format(name) == string(crewjam.TransientNameIDFormat) }

// failed remembers why nobody can sign in.
func (c *Connector) failed(err error) {
	text := err.Error()
	c.trouble.Store(&text)
}

// Ready implements connector.Background.
func (c *Connector) Ready() error {
	_, err := c.known()
	return err
}

// Certificates reads certificates as they are in PEM. It refuses keys that are too
// weak to rest on (RFC 8725 section 3.2 has the same bound for RSA).
func Certificates(text []byte) (all []*x509.Certificate, err error) {
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w", len(all)+1, err)
		}
		if err := strong(c); err != nil {
			return nil, fmt.Errorf("certificate %d: %w", len(all)+1, err)
		}
		all = append(all, c)
	}
	if len(all) == 0 {
		return nil, errors.New("there is no PEM certificate")
	}
	return all, nil
}

// strong refuses RSA keys below 2048 bits.
func strong(c *x509.Certificate) error {
	if key, ok := c.PublicKey.(*rsa.PublicKey); ok && key.N.BitLen() < 2048 {
		return fmt.Errorf("its RSA key has %d bits, fewer than 2048", key.N.BitLen())
	}
	return nil
}

// Receive implements connector.Receiver. HTTP-POST messages are not compressed
// (SAML Bindings 3.5.4): nothing is ever inflated here.
func (c *Connector) Receive(ctx context.Context, form url.Values) (connector.Receipt, error) {
	values := form["SAMLResponse"]
	if len(values) != 1 || len(values[0]) > base64.StdEncoding.EncodedLen(maxDocument) {
		return connector.Receipt{}, fmt.Errorf("%w: it posted %d responses, or one that is too long", connector.ErrUpstream, len(values))
	}
	raw, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(values[0]), ""))
	if err != nil {
		return connector.Receipt{}, fmt.Errorf("%w: its response is not base64: %w", connector.ErrUpstream, err)
	}
	a, err := c.response(ctx, raw)
	if err != nil {
		return connector.Receipt{}, err
	}
	content, err := json.Marshal(a)
	if err != nil {
		return connector.Receipt{}, fmt.Errorf("%w: encoding what was received: %w", connector.ErrUpstream, err)
	}
	return connector.Receipt{ID: a.ID, BelievedUntil: a.believedUntil(), Content: content}, nil
}

// read is for messages that anybody may post, and of which one that is made for it
// takes a third of a second until it is refused. They take turns, so that a crowd of
// them leaves a processor to everybody else.
func (c *Connector) read(ctx context.Context, do func() error) error {
	select {
	case c.readers <- struct{}{}:
		defer func() { <-c.readers }()
		return do()
	case <-ctx.Done():
		return fmt.Errorf("%w: too many messages are being read: %w", connector.ErrUpstream, ctx.Err())
	}
}

// expected is what a response of the provider has to say now.
func (c *Connector) expected(p *provider) expected {
	want := expected{
		acs: c.cfg.ACSURL, entityID: c.cfg.EntityID, issuer: p.issuer, certificates: p.certificates,
		contexts: c.cfg.AuthnContexts, now: c.cfg.Now(),
	}
	if c.cfg.Decryption != nil {
		want.key = c.cfg.Decryption.Key
	}
	return want
}

// formats are the NameID formats that Dex takes by their last word (SAML Core 8.3).
var formats = map[string]string{
	"emailAddress": string(crewjam.EmailAddressNameIDFormat), "unspecified": string(crewjam.UnspecifiedNameIDFormat),
	"persistent": string(crewjam.PersistentNameIDFormat), "transient": string(crewjam.TransientNameIDFormat),
	"X509SubjectName":            "urn:oasis:names:tc:SAML:1.1:nameid-format:X509SubjectName",
	"WindowsDomainQualifiedName": "urn:oasis:names:tc:SAML:1.1:nameid-format:WindowsDomainQualifiedName",
	"encrypted":                  "urn:oasis:names:tc:SAML:2.0:nameid-format:encrypted",
	"entity":                     "urn:oasis:names:tc:SAML:2.0:nameid-format:entity",
	"kerberos":                   "urn:oasis:names:tc:SAML:2.0:nameid-format:kerberos",
}

// format is a NameID format by its last word, or itself.
func format(name string) string {
	if full := formats[name]; full != "" {
		return full
	}
	return name
}
