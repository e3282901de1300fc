package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"
)

// documents measures what relying parties fetch.
func (b *bench) documents(ctx context.Context) error {
	fmt.Println()
	for _, path := range []string{pathDiscovery, pathKeys} {
		o, err := b.document(ctx, path)
		if err != nil {
			return err
		}
		fmt.Printf("GET %s, %d callers: %.0f/s, p50 %s ms, p99 %s ms, errors %d\n", path, compared, o.rate(),
			milliseconds(o.percentile(50)), milliseconds(o.percentile(99)), o.failures)
	}
	return ctx.Err()
}

func (b *bench) document(ctx context.Context, path string) (outcome, error) {
	request := b.small.server.get(path)
	callers := make([]caller, compared)
	for i := range callers {
		w, err := dial(b.small.server.address)
		if err != nil {
			return outcome{}, err
		}
		defer w.close()
		callers[i] = func() error {
			status, body, err := w.send(request)
			if err == nil && (status != http.StatusOK || len(body) == 0) {
				err = fmt.Errorf("GET %s: %d %s", path, status, body)
			}
			return err
		}
	}
	o := closedLoop(ctx, callers, min(b.o.measure, 2*time.Second))
	b.count("fetching a document", o)
	return o, nil
}

// starts is how often the program is started again.
const starts = 11

// coldStarts measures from the start of the process to the first 200, on the
// database as it is.
func (b *bench) coldStarts(ctx context.Context) error {
	var all []time.Duration
	for range starts {
		b.small.server.stop()
		took, err := b.small.server.start(ctx)
		if err != nil {
			return err
		}
		all = append(all, took)
	}
	slices.Sort(all)
	b.got.coldStart = all[starts/2]
	fmt.Printf("\ncold start to the first 200, %d times: least %s ms, median %s ms, most %s ms\n", starts,
		milliseconds(all[0]), milliseconds(b.got.coldStart), milliseconds(all[starts-1]))
	return nil
}

// large compares the latencies on a large table with those on the small one, one
// right after the other.
func (b *bench) large(ctx context.Context) error {
	fmt.Println()
	w, err := b.newWorld(ctx, "large", b.o.rows)
	if err != nil {
		return err
	}
	defer w.server.stop()
	b.got.rows = b.o.rows
	fmt.Printf("\nrefreshes, closed loop, %d callers, the same number of grants in use\n", compared)
	fmt.Fprint(b.out, "table of\t"+refreshTitle)
	for _, in := range []*world{b.small, w, b.small, w} { // whatever comes and goes meets both
		if err := b.touch(ctx, in, client); err != nil {
			return err
		}
		o, c, err := b.closedRefreshes(ctx, in, client, compared)
		if err != nil {
			return err
		}
		fmt.Fprintf(b.out, "%d\t", in.rows)
		b.row("ES256", compared, o, c)
		median, tail := &b.got.smallMedian, &b.got.smallTail
		if in == w {
			median, tail = &b.got.largeMedian, &b.got.largeTail
		}
		*median, *tail = o.percentile(50), o.percentile(99)
	}
	return b.out.Flush()
}

// garbage measures refreshes at a fixed rate before and while expired grants are
// deleted, until there are none left.
func (b *bench) garbage(ctx context.Context) error {
	w := b.small
	w.server.end()
	if err := w.db.seedExpired(ctx, b.o.expired, w.rows/5); err != nil {
		return err
	}
	if err := w.db.settle(ctx); err != nil {
		return err
	}
	if _, err := w.server.start(ctx); err != nil {
		return err
	}
	// Collection begins most of a minute after the start.
	rate := b.got.grants["ES256"] / 4
	quiet, err := b.openRefreshes(ctx, w, client, rate, func(due time.Duration) bool { return due < 2*b.o.measure })
	if err != nil {
		return err
	}
	fmt.Printf("\nrefreshes with ES256, open loop at a quarter of the closed loop's rate, while garbage is collected\n")
	if err := w.awaitDeletion(ctx); err != nil {
		return err
	}
	draining, took, err := b.whileDraining(ctx, rate)
	if err != nil {
		return err
	}
	fmt.Fprint(b.out, "expired rows\trate/s\tp50 ms\tp95 ms\tp99 ms\tp99.9 ms\terrors\t\n")
	b.openRow(b.out, "not touched", rate, quiet)
	b.openRow(b.out, "going", rate, draining)
	b.out.Flush()
	fmt.Printf("%d rows went in %.1f s, %.0f/s\n", b.o.expired, took.Seconds(), float64(b.o.expired)/took.Seconds())
	b.got.expired = b.o.expired
	b.got.quietTail, b.got.drainingTail = quiet.percentile(99), draining.percentile(99)
	b.got.quietMedian, b.got.drainingMedian = quiet.percentile(50), draining.percentile(50)
	return nil
}

// deleted is how many grants the program has deleted since it started, by its own
// account: counting what is left would be work for the database.
func (w *world) deleted() (int, error) {
	n, err := w.server.metric(`countersign_garbage_deleted_total{table="grants"}`)
	return int(n), err
}

// awaitDeletion waits until collection has begun. A program that was killed before
// may have left a lease, which ends within three minutes.
func (w *world) awaitDeletion(ctx context.Context) error {
	for deadline := time.Now().Add(5 * time.Minute); time.Now().Before(deadline) && ctx.Err() == nil; time.Sleep(20 * time.Millisecond) {
		if n, err := w.deleted(); err != nil || n > 0 {
			return err
		}
	}
	return cmp.Or(ctx.Err(), errors.New("no expired row was deleted in five minutes"))
}

// whileDraining goes on until nothing is left.
func (b *bench) whileDraining(ctx context.Context, rate float64) (o outcome, took time.Duration, err error) {
	looking, gone := context.WithCancel(ctx)
	defer gone()
	began := time.Now()
	result := make(chan error, 1)
	go func() {
		defer gone()
		for {
			n, err := b.small.deleted()
			if err != nil || n >= b.o.expired || looking.Err() != nil {
				took = time.Since(began)
				result <- err
				return
			}
			time.Sleep(100 * time.Millisecond)
		}
	}()
	o, err = b.openRefreshes(ctx, b.small, client, rate, func(time.Duration) bool { return looking.Err() == nil })
	gone()
	return o, took, errors.Join(err, <-result)
}
