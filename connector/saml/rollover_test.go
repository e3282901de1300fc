package saml_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/beevik/etree"

	"github.com/countersign/countersign/connector"
	"github.com/countersign/countersign/connector/saml"
	"github.com/countersign/countersign/connector/saml/samltest"
	"github.com/countersign/countersign/connector/upstream"
)

// rolling is a provider whose metadata change, and a connector whose clock does.
type rolling struct {
	*world
	first, second *samltest.IdP
	metadata      atomic.Pointer[string]
	asked, looked atomic.Int64 // for metadata, and at the clock
	ahead         time.Duration
	// hold is what answering with metadata waits for.
	hold func()
}

func newRolling(t *testing.T) *rolling {
	t.Helper()
	r := &rolling{hold: func() {}, first: samltest.WithKey(t, issuer, rsaKey()), second: samltest.WithKey(t, issuer, otherKey())}
	r.serve(r.first.Metadata(ssoURL, r.first.Certificate))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		r.asked.Add(1)
		r.hold()
		_, _ = w.Write([]byte(*r.metadata.Load()))
	}))
	t.Cleanup(server.Close)
	client, err := upstream.Client(upstream.TLS{})
	if err != nil {
		t.Fatal(err)
	}
	r.world = &world{T: t, idp: r.first}
	r.conn = connect(t, func(c *saml.Config) {
		c.SSOURL, c.MetadataURL, c.Client = "", server.URL, client
		c.Now = func() time.Time {
			r.looked.Add(1)
			return now.Add(r.ahead)
		}
	})
	if err := saml.Learn(t.Context(), r.conn); err != nil {
		t.Fatal(err)
	}
	r.depart(connector.Departure{State: "flow"})
	return r
}

func (r *rolling) serve(text string) { r.metadata.Store(&text) }

// by posts a response that a provider has signed, after a change of its own, and
// returns how often that made us ask for the metadata.
func (r *rolling) by(idp *samltest.IdP, changes ...func(*etree.Element)) (asked int64, err error) {
	r.idp = idp
	before := r.asked.Load()
	_, err = r.post(samltest.Text(r.signed(changes...)))
	return r.asked.Load() - before, err
}

// A key that is new at the provider is believed at the first response that it has
// signed.
func TestRollover(t *testing.T) {
	t.Parallel()
	r := newRolling(t)
	if asked, err := r.by(r.first); err != nil || asked != 0 {
		t.Fatalf("before: asked %d times, %v", asked, err)
	}
	r.serve(r.first.Metadata(ssoURL, r.second.Certificate))
	if asked, err := r.by(r.second); err != nil || asked != 1 {
		t.Errorf("after: asked %d times, %v", asked, err)
	}
	if asked, err := r.by(r.first); !errors.Is(err, connector.ErrUpstream) || asked != 0 {
		t.Errorf("the old key: asked %d times, %v", asked, err)
	}
}

// The same where only the assertion says whose it is.
func TestRolloverWithoutIssuer(t *testing.T) {
	t.Parallel()
	r := newRolling(t)
	r.serve(r.first.Metadata(ssoURL, r.second.Certificate))
	asked, err := r.by(r.second, func(response *etree.Element) { response.RemoveChild(response.SelectElement("Issuer")) })
	if err != nil || asked != 1 {
		t.Errorf("asked %d times, %v", asked, err)
	}
}

// All who come with a new key at once are let in, and the metadata read once.
func TestRolloverOfMany(t *testing.T) {
	t.Parallel()
	const many = 5
	r := newRolling(t)
	r.serve(r.first.Metadata(ssoURL, r.second.Certificate))
	r.idp = r.second
	text := samltest.Text(r.signed())
	before := r.looked.Load()
	r.hold = func() { // until each has been found to be of an unknown key's, and one of them asks
		for r.looked.Load() < before+many+1 {
			time.Sleep(time.Millisecond)
		}
	}
	var all sync.WaitGroup
	for range many {
		all.Go(func() {
			if _, err := r.post(text); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if asked := r.asked.Load(); asked != 2 { // the first time to know the provider at all
		t.Errorf("asked %d times", asked)
	}
}

// Forgeries make us ask seldom, and what others have signed does not at all.
func TestForgeriesAskSeldom(t *testing.T) {
	t.Parallel()
	r := newRolling(t)
	r.idp = samltest.WithKey(t, "https://stranger.example", otherKey())
	response := r.signed()
	r.idp.Sign(response) // what is signed as a whole is verified before anything of it is read
	before := r.asked.Load()
	if _, err := r.post(samltest.Text(response)); !errors.Is(err, connector.ErrUpstream) || r.asked.Load() != before {
		t.Errorf("of a stranger: asked %d times, %v", r.asked.Load()-before, err)
	}
	total := int64(0)
	for range 20 {
		asked, err := r.by(r.second)
		if !errors.Is(err, connector.ErrUpstream) {
			t.Fatalf("a forgery: %v", err)
		}
		total += asked
	}
	if total != 1 {
		t.Errorf("forgeries made us ask %d times", total)
	}
	r.ahead = time.Minute / 2
	if asked, _ := r.by(r.second); asked != 1 {
		t.Errorf("later: asked %d times", asked)
	}
	// Metadata that cannot be read change nothing, and the error says both.
	r.ahead = 55 * time.Second
	r.serve("<nonsense/>")
	if _, err := r.by(r.second); err == nil || !strings.Contains(err.Error(), "metadata") || !strings.Contains(err.Error(), "signature") {
		t.Errorf("unreadable: %v", err)
	}
	if _, err := r.by(r.first); err != nil {
		t.Errorf("the key that is known: %v", err)
	}
}
