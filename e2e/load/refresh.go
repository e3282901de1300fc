package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// concurrency is by how many callers refreshes are measured; they are compared
// at the third.
var concurrency = []int{1, 8, 32, 128}

const compared = 32

// sampled: of so many answers, one is read to its end and its signature checked,
// once nobody's time is measured any more.
const sampled = 50

// refreshers are callers that share the grants of a client.
type refreshers struct {
	wires []*wire
	// each has the samples of each caller.
	each [][]sample
}

// sample is an answer, and when it came: a load may outlast its tokens.
type sample struct {
	body []byte
	came time.Time
}

// refreshers connects so many callers, each with grants of its own.
func (b *bench) refreshers(w *world, client, callers int) (*refreshers, []caller, error) {
	r := &refreshers{each: make([][]sample, callers)}
	all := make([]caller, callers)
	for i := range all {
		c, err := dial(w.server.address)
		if err != nil {
			r.close()
			return nil, nil, err
		}
		r.wires = append(r.wires, c)
		at, count := i, 0
		all[i] = func() error {
			body, err := b.refresh(c, w.server, clientIDs[client], &w.chains[client][at])
			if at += callers; at >= len(w.chains[client]) {
				at = i
			}
			if count++; err == nil && count%sampled == 0 {
				r.each[i] = append(r.each[i], sample{bytes.Clone(body), time.Now()})
			}
			return err
		}
	}
	return r, all, nil
}

func (r *refreshers) close() {
	for _, w := range r.wires {
		w.close()
	}
}

// refresh redeems the newest token of a grant. The successor is known before it
// comes: nothing in it is random.
func (b *bench) refresh(w *wire, s *server, client string, c *chain) ([]byte, error) {
	form := "grant_type=refresh_token&refresh_token=" + b.token(client, *c)
	status, body, err := w.send(s.post(client, form))
	if err != nil {
		return nil, err
	}
	if status != http.StatusOK {
		return nil, fmt.Errorf("refreshing %s: %d %s", c.id, status, body)
	}
	next := chain{c.id, c.generation + 1}
	if !bytes.Contains(body, []byte(`"refresh_token":"`+b.token(client, next)+`"`)) {
		return nil, fmt.Errorf("refreshing %s: another successor: %s", c.id, body)
	}
	*c = next
	return body, nil
}

// keySet are the keys of a server.
type keySet struct {
	issuer string
	set    jose.JSONWebKeySet
}

func (s *server) keys() (keySet, error) {
	w, err := dial(s.address)
	if err != nil {
		return keySet{}, err
	}
	defer w.close()
	status, body, err := w.send(s.get(pathKeys))
	if err != nil || status != http.StatusOK {
		return keySet{}, errors.Join(err, fmt.Errorf("the keys: %d %s", status, body))
	}
	k := keySet{issuer: s.issuer}
	return k, json.Unmarshal(body, &k.set)
}

// check checks the id_token of a token response.
func (k keySet) check(client string, got sample) error {
	var answer struct {
		AccessToken string `json:"access_token"`
		IDToken     string `json:"id_token"`
	}
	if err := json.Unmarshal(got.body, &answer); err != nil || answer.AccessToken == "" {
		return errors.Join(err, fmt.Errorf("a token response: %s", got.body))
	}
	token, err := jwt.ParseSigned(answer.IDToken, []jose.SignatureAlgorithm{jose.SignatureAlgorithm(strings.ToUpper(client))})
	if err != nil {
		return err
	}
	for _, key := range k.set.Key(token.Headers[0].KeyID) {
		var claims jwt.Claims
		if token.Claims(key, &claims) == nil {
			return claims.Validate(jwt.Expected{Issuer: k.issuer, AnyAudience: jwt.Audience{client}, Time: got.came})
		}
	}
	return fmt.Errorf("no key of the server verifies %s", answer.IDToken)
}

// finish checks the samples.
func (r *refreshers) finish(keys keySet, client string, o *outcome) (checked int) {
	r.close()
	for _, samples := range r.each {
		for _, got := range samples {
			if err := keys.check(client, got); err != nil {
				o.note(0, err)
			}
			checked++
		}
	}
	return checked
}

// cost is what a load took, for each of what succeeded.
type cost struct {
	server, database     time.Duration
	statements, logBytes float64
	allocations          float64
}

// measured runs a load and takes its cost.
func (w *world) measured(ctx context.Context, load func() outcome) (o outcome, c cost, err error) {
	before, err := w.db.counters(ctx)
	if err != nil {
		return o, c, err
	}
	mallocs, err := w.server.metric("go_memstats_mallocs_total")
	if err != nil {
		return o, c, err
	}
	server, err := cpuOf(w.server.pid())
	if err != nil {
		return o, c, err
	}
	o = load()
	serverAfter, err := cpuOf(w.server.pid())
	if err != nil {
		return o, c, err
	}
	after, err := w.db.counters(ctx)
	if err != nil {
		return o, c, err
	}
	mallocsAfter, err := w.server.metric("go_memstats_mallocs_total")
	if err != nil || o.count() == 0 {
		return o, c, err
	}
	did := after.since(before)
	each := func(d time.Duration) time.Duration { return d / time.Duration(o.count()) }
	return o, cost{
		server: each(serverAfter - server), database: each(did.cpu),
		statements: float64(did.statements) / o.count(), logBytes: float64(did.logBytes) / o.count(),
		allocations: (mallocsAfter - mallocs) / o.count(),
	}, nil
}

const refreshTitle = "alg\tcallers\tgrants/s\tp50 ms\tp95 ms\tp99 ms\tserver µs\tallocs\tPostgreSQL µs\tstatements\tWAL bytes\terrors\t\n"

// refreshes measures the closed loop on the small table.
func (b *bench) refreshes(ctx context.Context) error {
	for client := range clientIDs {
		if err := b.touch(ctx, b.small, client); err != nil {
			return err
		}
	}
	allBefore, hotBefore, err := b.small.db.updates(ctx)
	if err != nil {
		return err
	}
	fmt.Printf("\nrefreshes, closed loop, %d grants (server, allocations, PostgreSQL, statements and WAL are of one grant)\n", b.small.rows)
	fmt.Fprint(b.out, refreshTitle)
	for client, id := range clientIDs {
		for _, callers := range concurrency {
			o, c, err := b.closedRefreshes(ctx, b.small, client, callers)
			if err != nil {
				return err
			}
			alg := strings.ToUpper(id)
			b.row(alg, callers, o, c)
			if callers == compared {
				b.got.grants[alg] = o.rate()
				if alg == "ES256" {
					b.got.serverCPU, b.got.databaseCPU, b.got.logBytes, b.got.statements = c.server, c.database, c.logBytes, c.statements
				}
			}
		}
	}
	b.out.Flush()
	return b.afterRefreshes(ctx, allBefore, hotBefore)
}

// touch refreshes each grant once. What the first change of a page writes to the
// log is the checkpoint's, not the refresh's; and the first refresh of a grant
// makes its row longer, the others do not.
func (b *bench) touch(ctx context.Context, w *world, client int) error {
	b.count("refreshing for the first time", b.each(len(w.chains[client]), w.server.address, func(c *wire, i int) error {
		_, err := b.refresh(c, w.server, clientIDs[client], &w.chains[client][i])
		return err
	}))
	return ctx.Err()
}

// closedRefreshes warms up, then measures.
func (b *bench) closedRefreshes(ctx context.Context, w *world, client, callers int) (o outcome, c cost, err error) {
	r, all, err := b.refreshers(w, client, callers)
	if err != nil {
		return o, c, err
	}
	warm := closedLoop(ctx, all, b.o.warm)
	o, c, err = w.measured(ctx, func() outcome { return closedLoop(ctx, all, b.o.measure) })
	if err != nil {
		return o, c, err
	}
	o.failures += warm.failures
	if o.failure == nil {
		o.failure = warm.failure
	}
	r.finish(w.keys, clientIDs[client], &o)
	b.count("refreshing", o)
	return o, c, ctx.Err()
}

// profiled takes the profiles that were asked for, while their load goes on.
func (b *bench) profiled(ctx context.Context) error {
	if err := b.touch(ctx, b.small, client); err != nil {
		return err
	}
	taken := make(chan error, 1)
	inside := "http://" + b.small.server.telemetry + "/debug/pprof/"
	go func() {
		seconds := max(1, int((b.o.warm + b.o.measure).Seconds()))
		taken <- errors.Join(b.small.server.fetch(ctx, fmt.Sprint(inside, "profile?seconds=", seconds), b.o.profile),
			b.small.server.fetch(ctx, inside+"allocs", b.o.profile+".allocs"))
	}()
	fmt.Fprint(b.out, refreshTitle)
	o, c, err := b.closedRefreshes(ctx, b.small, client, compared)
	if err := errors.Join(err, <-taken); err != nil {
		return err
	}
	b.row("ES256", compared, o, c)
	return b.out.Flush()
}

func (b *bench) row(alg string, callers int, o outcome, c cost) {
	fmt.Fprintf(b.out, "%s\t%d\t%.0f\t%s\t%s\t%s\t%d\t%.0f\t%d\t%.2f\t%.0f\t%d\t\n", alg, callers, o.rate(),
		milliseconds(o.percentile(50)), milliseconds(o.percentile(95)), milliseconds(o.percentile(99)),
		c.server.Microseconds(), c.allocations, c.database.Microseconds(), c.statements, c.logBytes, o.failures)
}

func milliseconds(d time.Duration) string {
	return fmt.Sprintf("%.2f", float64(d)/float64(time.Millisecond))
}

// afterRefreshes says how much of the memory and of the indexes it took.
func (b *bench) afterRefreshes(ctx context.Context, allBefore, hotBefore int64) (err error) {
	if b.got.resident, err = residentBytes(b.small.server.pid()); err != nil {
		return err
	}
	all, hot, err := b.small.db.updates(ctx)
	if err != nil || all == allBefore {
		return err
	}
	b.got.hot = float64(hot-hotBefore) / float64(all-allBefore)
	fmt.Printf("server memory after that: %.1f MiB; %.2f %% of %d updates were heap-only\n",
		float64(b.got.resident)/(1<<20), 100*b.got.hot, all-allBefore)
	return nil
}

// openLoop measures latencies at half of what the closed loop reached, where
// nobody waits for the machine.
func (b *bench) openLoop(ctx context.Context) error {
	fmt.Println("\nrefreshes, open loop at half of that rate, 64 connections")
	fmt.Fprint(b.out, "alg\trate/s\tp50 ms\tp95 ms\tp99 ms\tp99.9 ms\terrors\t\n")
	for client, id := range clientIDs {
		alg := strings.ToUpper(id)
		rate := b.got.grants[alg] / 2
		o, err := b.openRefreshes(ctx, b.small, client, rate, func(due time.Duration) bool { return due < b.o.measure })
		if err != nil {
			return err
		}
		b.openRow(b.out, alg, rate, o)
	}
	return b.out.Flush()
}

func (b *bench) openRow(out io.Writer, name string, rate float64, o outcome) {
	fmt.Fprintf(out, "%s\t%.0f\t%s\t%s\t%s\t%s\t%d\t\n", name, rate, milliseconds(o.percentile(50)),
		milliseconds(o.percentile(95)), milliseconds(o.percentile(99)), milliseconds(o.percentile(99.9)), o.failures)
}

const openConnections = 64

func (b *bench) openRefreshes(ctx context.Context, w *world, client int, rate float64, more func(time.Duration) bool) (outcome, error) {
	r, all, err := b.refreshers(w, client, openConnections)
	if err != nil {
		return outcome{}, err
	}
	o := openLoop(ctx, all, rate, more)
	r.finish(w.keys, clientIDs[client], &o)
	b.count("refreshing at a fixed rate", o)
	return o, ctx.Err()
}
