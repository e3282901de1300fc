package oidc_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/countersign/countersign/connector"
	"github.com/countersign/countersign/connector/oidc"
)

// watched sees the requests for keys.
type watched struct {
	next  http.RoundTripper
	asked func(*http.Request)
}

func (w watched) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Path == "/keys" {
		w.asked(r)
	}
	return w.next.RoundTrip(r)
}

// Keys that are old, and cannot be had again, cost one person half of their time, and
// the others nothing.
func TestKeysThatCannotBeHadAgain(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	var until time.Time
	c := p.connect(func(c *oidc.Config) {
		client := *c.Client
		client.Transport = watched{client.Transport, func(r *http.Request) { until, _ = r.Context().Deadline() }}
		c.Client = &client
	})
	if _, err := p.signIn(c); err != nil {
		t.Fatal(err)
	}
	p.mu.Lock()
	p.handlers["/keys"] = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }
	p.mu.Unlock()
	asked := p.count("/keys")
	p.now.Add(2 * 3600)
	p.claims["exp"] = p.clock().Add(time.Hour).Unix()
	away := p.depart(c)
	ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
	defer cancel()
	arrival := connector.Arrival{Kept: away.Kept, Query: url.Values{"code": {"x"}}}
	if _, err := c.Arrive(ctx, arrival); err != nil {
		t.Fatal(err)
	}
	if end, _ := ctx.Deadline(); !until.Before(end) {
		t.Errorf("the keys may take all of the time, until %s", until)
	}
	var all sync.WaitGroup
	for range 5 {
		all.Go(func() {
			if _, err := c.Arrive(t.Context(), arrival); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := p.count("/keys") - asked; n != 1 {
		t.Errorf("they were asked for %d times", n)
	}
	p.now.Add(11)
	if _, err := c.Arrive(t.Context(), arrival); err != nil || p.count("/keys")-asked != 2 {
		t.Errorf("after a while: %v, asked %d times", err, p.count("/keys")-asked)
	}
}

// Who waits for what somebody else asks for waits no longer than they want to.
func TestKeysThatHang(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	c := p.connect()
	p.mu.Lock()
	p.handlers["/keys"] = func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	p.mu.Unlock()
	arrival := connector.Arrival{Kept: p.depart(c).Kept, Query: url.Values{"code": {"x"}}}
	first, leave := context.WithCancel(t.Context())
	var all sync.WaitGroup
	defer all.Wait()
	defer leave()
	all.Go(func() { _, _ = c.Arrive(first, arrival) })
	p.await("asked", func() bool { return p.count("/keys") == 1 })
	short, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := c.Arrive(short, arrival); !errors.Is(err, connector.ErrUpstream) || short.Err() == nil || first.Err() != nil {
		t.Errorf("%v", err)
	}
}

// known answers in the name of an https provider, whatever was asked.
type known struct{ document string }

func (k known) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{
		StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}},
		Body: io.NopCloser(strings.NewReader(k.document)), Request: r,
	}, nil
}

// Who is asked over https leads to no address without it: codes, secrets and keys go
// there.
func TestDiscoveryStaysOnHTTPS(t *testing.T) {
	t.Parallel()
	const issuer = "https://idp.example"
	good := `{"issuer": "` + issuer + `"`
	endpoints := []string{"authorization_endpoint", "token_endpoint", "jwks_uri", "userinfo_endpoint", "end_session_endpoint"}
	for _, name := range endpoints {
		good += `, "` + name + `": "` + issuer + "/" + name + `"`
	}
	good += "}"
	documents := map[string]string{"": good}
	for _, name := range endpoints {
		documents[name] = strings.Replace(good, issuer+"/"+name, "http://idp.example/"+name, 1)
	}
	for name, document := range documents {
		p := newProvider(t)
		c := p.unknown(func(c *oidc.Config) { c.Issuer, c.Client = issuer, &http.Client{Transport: known{document}} })
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); c.Run(ctx) }()
		p.await("asked", func() bool {
			return c.Ready() == nil || !strings.Contains(c.Ready().Error(), "not been asked")
		})
		cancel()
		<-ended
		if err := c.Ready(); (name == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), name) {
			t.Errorf("%s without https: %v", name, err)
		}
	}
}
