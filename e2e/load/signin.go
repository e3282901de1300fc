package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"sync/atomic"
	"time"

	"github.com/countersign/countersign/e2e/person"
)

const (
	// browsers sign in at once, each as somebody who was never here.
	browsers = 8
	client   = 1 // of clientIDs, for all that is not about signatures
)

// signIns measures logins from the password to the code, redemptions of those
// codes, and then refreshes what came of them once, as any client would.
func (b *bench) signIns(ctx context.Context) error {
	codes, err := b.logins(ctx)
	if err != nil {
		return err
	}
	answers, err := b.redemptions(ctx, codes)
	if err != nil {
		return err
	}
	b.count("refreshing after a login", b.each(len(answers), b.small.server.address, func(w *wire, i int) error { return b.refreshAnswer(w, answers[i].body) }))
	return ctx.Err()
}

// each does something once for each of n, with as many callers as refreshes are
// compared at.
func (b *bench) each(n int, address string, do func(w *wire, i int) error) outcome {
	var next atomic.Int64
	callers := make([]caller, compared)
	for c := range callers {
		w, err := dial(address)
		if err != nil {
			return outcome{failures: 1, failure: err}
		}
		defer w.close()
		callers[c] = func() error {
			i := int(next.Add(1) - 1)
			if i >= n {
				return errDone
			}
			return do(w, i)
		}
	}
	return untilDone(callers)
}

// refreshAnswer uses the refresh token of a token response.
func (b *bench) refreshAnswer(w *wire, answer []byte) error {
	var tokens struct {
		RefreshToken string `json:"refresh_token"`
	}
	if err := json.Unmarshal(answer, &tokens); err != nil {
		return err
	}
	form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {tokens.RefreshToken}}
	status, body, err := w.send(b.small.server.post(clientIDs[client], form.Encode()))
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("refreshing after a login: %d %s", status, body)
	}
	return err
}

// logins are done with an ordinary HTTP client and a cookie jar, which take more
// time of the machine than the server does; the latency is the password's POST
// alone, up to the redirect with the code.
func (b *bench) logins(ctx context.Context) (codes []string, err error) {
	found := make([][]string, browsers)
	spent := make([][]time.Duration, browsers)
	callers := make([]caller, browsers)
	transport := &http.Transport{MaxIdleConnsPerHost: browsers}
	defer transport.CloseIdleConnections()
	for i := range callers {
		callers[i] = func() error {
			code, took, err := b.login(ctx, transport)
			if err == nil {
				found[i], spent[i] = append(found[i], code), append(spent[i], took)
			}
			return err
		}
	}
	o, c, err := b.small.measured(ctx, func() outcome { return closedLoop(ctx, callers, b.o.measure) })
	if err != nil {
		return nil, err
	}
	b.count("signing in", o)
	var posts outcome
	for i := range found {
		codes = append(codes, found[i]...)
		for _, d := range spent[i] {
			posts.note(d, nil)
		}
	}
	slices.Sort(posts.latencies)
	fmt.Printf("\nlogins from the first request to the code, %d browsers: %.0f/s, the password's POST p50 %s ms, p99 %s ms; "+
		"server %d µs, PostgreSQL %d µs, %.1f statements, WAL %.0f bytes, errors %d\n", browsers, o.rate(),
		milliseconds(posts.percentile(50)), milliseconds(posts.percentile(99)),
		c.server.Microseconds(), c.database.Microseconds(), c.statements, c.logBytes, o.failures)
	return codes, ctx.Err()
}

// login takes a new browser through the pages. took is the time of the POST.
func (b *bench) login(ctx context.Context, transport http.RoundTripper) (code string, took time.Duration, err error) {
	query := url.Values{
		"client_id": {clientIDs[client]}, "redirect_uri": {redirectURI}, "response_type": {"code"},
		"scope": {"openid offline_access email profile groups"}, "state": {"a state of the client"}, "nonce": {"a nonce of the client"},
	}
	who := person.New(redirectURI, transport)
	page, err := who.Get(ctx, b.small.server.issuer+"/auth?"+query.Encode())
	if err != nil {
		return "", 0, err
	}
	if len(page.Forms) == 0 {
		return "", 0, fmt.Errorf("no form at %s: %d", page.URL, page.Status)
	}
	began := time.Now()
	page, err = who.Submit(ctx, page.Forms[0], url.Values{"login": {"alice@example.com"}, "password": {"correct horse"}})
	took = time.Since(began)
	if err != nil {
		return "", 0, err
	}
	if code = page.URL.Query().Get("code"); !page.Left || code == "" {
		return "", 0, fmt.Errorf("no code at %s: %d", page.URL, page.Status)
	}
	return code, took, nil
}

// redemptions exchanges each code, and returns the answers.
func (b *bench) redemptions(ctx context.Context, codes []string) ([]sample, error) {
	answers := make([]sample, len(codes))
	redeem := func(w *wire, i int) error {
		form := url.Values{"grant_type": {"authorization_code"}, "code": {codes[i]}, "redirect_uri": {redirectURI}}
		status, body, err := w.send(b.small.server.post(clientIDs[client], form.Encode()))
		if err == nil && status != http.StatusOK {
			err = fmt.Errorf("redeeming a code: %d %s", status, body)
		}
		answers[i] = sample{bytes.Clone(body), time.Now()}
		return err
	}
	o, c, err := b.small.measured(ctx, func() outcome { return b.each(len(codes), b.small.server.address, redeem) })
	if err != nil {
		return nil, err
	}
	for _, got := range answers {
		if err := b.small.keys.check(clientIDs[client], got); err != nil {
			o.note(0, err)
		}
	}
	b.count("redeeming a code", o)
	fmt.Printf("code exchanges, ES256, %d callers, %d codes: %.0f/s, p50 %s ms, p99 %s ms; "+
		"server %d µs, PostgreSQL %d µs, %.1f statements, WAL %.0f bytes, errors %d\n", compared, len(codes), o.rate(),
		milliseconds(o.percentile(50)), milliseconds(o.percentile(99)),
		c.server.Microseconds(), c.database.Microseconds(), c.statements, c.logBytes, o.failures)
	return answers, ctx.Err()
}
