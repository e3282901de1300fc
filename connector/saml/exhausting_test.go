package saml_test

import (
	"bytes"
	"compress/flate"
	"context"
	"errors"
	"net/url"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/countersign/countersign/connector"
	"github.com/countersign/countersign/connector/saml"
	"github.com/countersign/countersign/connector/saml/samltest"
)

// Documents made to exhaust us are refused at once, and cost little.
func TestExhausting(t *testing.T) {
	w := newWorld(t)
	var bomb bytes.Buffer
	deflate, err := flate.NewWriter(&bomb, flate.BestSpeed)
	if err != nil {
		t.Fatal(err)
	}
	zeros := make([]byte, 1<<20)
	for range 96 { // more than the bound below
		if _, err := deflate.Write(zeros); err != nil {
			t.Fatal(err)
		}
	}
	if err := deflate.Close(); err != nil {
		t.Fatal(err)
	}
	good := samltest.Text(w.signed())
	for name, text := range map[string]string{
		"10 MB":               insertBefore(good, "</samlp:Response>", strings.Repeat(" ", 10<<20)),
		"deep nesting":        strings.Repeat("<a>", 40000) + strings.Repeat("</a>", 40000),
		"many elements":       "<a>" + strings.Repeat("<b/>", 80000) + "</a>",
		"many attributes":     "<a" + strings.Repeat(` b="c"`, 40000) + "/>",
		"a deflate bomb":      bomb.String(),
		"namespaces on end":   "<a" + strings.Repeat(` xmlns:b="c"`, 20000) + "/>",
		"billions of laughs":  `<!DOCTYPE l [<!ENTITY a "lollollol">` + strings.Repeat(`<!ENTITY b "&a;&a;&a;&a;&a;&a;">`, 1000) + `]><l>&b;</l>`,
		"a tag without end":   "<" + strings.Repeat("a", 380<<10),
		"an attribute on end": `<a b="` + strings.Repeat("x", 380<<10),
	} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			if _, err := w.post(text); !errors.Is(err, connector.ErrUpstream) {
				t.Errorf("error %v", err)
			}
			runtime.ReadMemStats(&after)
			if used := after.TotalAlloc - before.TotalAlloc; used > 64<<20 {
				t.Errorf("it cost %d bytes", used)
			}
		})
	}
	for name, form := range map[string]url.Values{
		"nothing": {}, "two responses": {"SAMLResponse": {samltest.Encode(good), samltest.Encode(good)}},
		"not base64": {"SAMLResponse": {"<samlp:Response>"}}, "an artifact": {"SAMLart": {"AAQ="}},
	} {
		if _, err := w.conn.Receive(t.Context(), form); !errors.Is(err, connector.ErrUpstream) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

// Whoever comes while others keep all readers busy is told so in time, and is served
// when they have gone.
func TestReadersTakeTurns(t *testing.T) {
	w := newWorld(t)
	end := saml.Busy(w.conn)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	form := url.Values{"SAMLResponse": {samltest.Encode(samltest.Text(w.signed()))}, "RelayState": {"flow"}}
	if _, err := w.conn.Receive(ctx, form); !errors.Is(err, connector.ErrUpstream) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("while others are read: %v", err)
	}
	end()
	if _, err := w.conn.Receive(t.Context(), form); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// What a stranger has signed is read once, and no more where the provider has
// metadata, which might have a new key.
func TestStrangersAreReadOnce(t *testing.T) {
	w, r := newWorld(t), newRolling(t)
	w.idp = samltest.WithKey(t, "https://stranger.example", otherKey())
	response := w.signed()
	w.idp.Sign(response)
	text := insertBefore(samltest.Text(response), "</samlp:Response>", strings.Repeat("<a/>", 5000))
	cost := func(of *world) float64 {
		return testing.AllocsPerRun(1, func() {
			if _, err := of.post(text); !errors.Is(err, connector.ErrUpstream) || !strings.Contains(err.Error(), "none of the provider's certificates") {
				t.Errorf("error %v", err)
			}
		})
	}
	if without, with := cost(w), cost(r.world); with > 1.2*without {
		t.Errorf("%.0f allocations, and %.0f without metadata", with, without)
	}
}
