package faults_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"golang.org/x/oauth2"

	"github.com/countersign/countersign/e2e/person"
)

const (
	callback = "http://127.0.0.1:9/callback"
	tool     = "tool"
	brief    = "brief"
)

// party is a relying party that notes what it sees.
type party struct {
	*world
	*book
	t    *testing.T
	keys *witness
}

func (w *world) party(b *book) *party { return &party{w, b, b.t, &witness{world: w, book: b}} }

// answer is what came back.
type answer struct {
	status int
	raw    []byte
	values struct {
		Access  string `json:"access_token"`
		Refresh string `json:"refresh_token"`
		ID      string `json:"id_token"`
		Error   string `json:"error"`
		Active  bool   `json:"active"`
	}
}

var (
	// errRefused: invalid_grant. Trying again is no use.
	errRefused = errors.New("refused")
	// errAgain: no answer, or 503.
	errAgain = errors.New("no answer")
)

// post sends a form, authenticated as client. Its error is errAgain.
func (p *party) post(ctx context.Context, via http.RoundTripper, path, client string, form url.Values) (answer, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, p.issuer+path, strings.NewReader(form.Encode()))
	if err != nil {
		return answer{}, err
	}
	r.SetBasicAuth(client, clientSecret)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return p.send(via, r)
}

func (p *party) send(via http.RoundTripper, r *http.Request) (a answer, err error) {
	outage := p.outages.now()
	resp, err := via.RoundTrip(r)
	if err != nil {
		p.count("requests without an answer")
		return a, fmt.Errorf("%w: %v", errAgain, err)
	}
	defer resp.Body.Close()
	if a.raw, err = io.ReadAll(resp.Body); err != nil {
		p.count("requests without an answer")
		return a, fmt.Errorf("%w: %v", errAgain, err)
	}
	a.status = resp.StatusCode
	_ = json.Unmarshal(a.raw, &a.values) // not all answers are JSON
	// Reading works where only writing fails.
	if writes := strings.HasSuffix(r.URL.Path, "/token") || strings.HasSuffix(r.URL.Path, "/revoke"); writes && p.outages.within(outage) {
		refused := p.outages.readable.Load() && a.status == http.StatusBadRequest
		p.check(failedStore, a.status == http.StatusServiceUnavailable || refused, "%s: %d %s", r.URL.Path, a.status, a.raw)
	}
	if a.status >= 500 {
		p.count("answers of 503")
		p.check(saysSo, a.status == http.StatusServiceUnavailable && resp.Header.Get("Retry-After") != "", "%s: %d %s", r.URL.Path, a.status, a.raw)
		return a, errAgain
	}
	return a, nil
}

// redeem presents a refresh token once, and holds the answer against earlier ones
// to the same token.
func (p *party) redeem(ctx context.Context, via http.RoundTripper, c *chain, token string) (answer, error) {
	a, err := p.post(ctx, via, "/token", c.client, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}})
	switch {
	case err != nil:
		return a, err
	case a.status == http.StatusOK:
		p.check(oneSuccessor, c.succeeds(token, a.values.Refresh), "two successors in grant %d", c.number)
		p.keys.verify(a.values.ID)
		return a, nil
	case a.status == http.StatusBadRequest && a.values.Error == "invalid_grant":
		return a, errRefused
	}
	p.t.Errorf("refreshing: %d %s", a.status, a.raw)
	return a, errRefused
}

// persist does something until it is answered.
func (p *party) persist(do func(ctx context.Context) error) error {
	ctx, cancel := limited(p.t)
	defer cancel()
	began := time.Now()
	for {
		err := do(ctx)
		if !errors.Is(err, errAgain) {
			return err
		}
		if time.Since(began) > patience {
			p.t.Errorf("no answer for %s: %v", patience, err)
			return err
		}
		p.count("requests sent again")
		time.Sleep(20 * time.Millisecond)
	}
}

// login signs somebody in until it works, and returns the chain that it begins.
// A code whose answer was lost may be spent: then another is fetched.
func (p *party) login(who *person.Person, client string) *chain {
	p.doors <- struct{}{}
	defer func() { <-p.doors }()
	for began := time.Now(); time.Since(began) < patience; time.Sleep(100 * time.Millisecond) {
		c, err := p.loginOnce(who, client)
		if err == nil {
			p.count("logins")
			return c
		}
		p.count("logins begun again")
		if !errors.Is(err, errAgain) {
			p.t.Errorf("signing in: %v", err)
		}
	}
	p.t.Error("nobody can sign in")
	return nil
}

func (p *party) loginOnce(who *person.Person, client string) (*chain, error) {
	ctx, cancel := limited(p.t)
	defer cancel()
	verifier := oauth2.GenerateVerifier()
	config := oauth2.Config{ClientID: client, RedirectURL: callback, Scopes: []string{"openid", "offline_access"},
		Endpoint: oauth2.Endpoint{AuthURL: p.issuer + "/auth"}}
	page, err := who.Get(ctx, config.AuthCodeURL("state", oauth2.S256ChallengeOption(verifier)))
	for err == nil && !page.Left {
		switch page.Status {
		case http.StatusServiceUnavailable, http.StatusTooManyRequests:
			p.check(saysSo, page.Header.Get("Retry-After") != "", "a page of %d at %s", page.Status, page.URL)
			return nil, errAgain
		}
		if page.Status >= 400 || len(page.Forms) == 0 {
			return nil, fmt.Errorf("%d at %s:\n%s", page.Status, page.URL, page.Body)
		}
		page, err = who.Submit(ctx, page.Forms[0], url.Values{"login": {"alice@example.com"}, "password": {password}})
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %v", errAgain, err)
	}
	a, err := p.post(ctx, p.world, "/token", client, url.Values{"grant_type": {"authorization_code"},
		"code": {page.URL.Query().Get("code")}, "redirect_uri": {callback}, "code_verifier": {verifier}})
	if err != nil {
		return nil, err
	}
	if a.status != http.StatusOK {
		return nil, fmt.Errorf("redeeming a code: %d %s", a.status, a.raw)
	}
	p.keys.verify(a.values.ID)
	return newChain(client, a), p.shaped(a)
}

// shaped makes sure that what is looked for in the logs is what tokens look like.
func (p *party) shaped(a answer) error {
	for i, token := range []string{a.values.Refresh, a.values.Access, a.values.ID} {
		if !strings.HasPrefix(token, []string{"csr_", "csa_", "eyJ"}[i]) {
			return fmt.Errorf("tokens have changed their looks: %s", a.raw)
		}
	}
	return nil
}

// userInfo and introspect report whether an access token works.
func (p *party) userInfo(ctx context.Context, via http.RoundTripper, access string) (bool, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, p.issuer+"/userinfo", nil)
	if err != nil {
		return false, err
	}
	r.Header.Set("Authorization", "Bearer "+access)
	a, err := p.send(via, r)
	if err == nil && a.status != http.StatusOK && a.status != http.StatusUnauthorized {
		p.t.Errorf("userinfo: %d %s", a.status, a.raw)
	}
	return a.status == http.StatusOK, err
}

func (p *party) introspect(ctx context.Context, via http.RoundTripper, client, token string) (bool, error) {
	a, err := p.post(ctx, via, "/token/introspect", client, url.Values{"token": {token}})
	if err == nil && a.status != http.StatusOK {
		p.t.Errorf("introspecting: %d %s", a.status, a.raw)
	}
	return a.values.Active, err
}
