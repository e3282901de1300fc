// Command load measures the built program with a real PostgreSQL, everything
// switched on and fsync with it, and prints what it got beside what the machine
// can do at all in the same run: single-row updates by pgbench, bare signatures.
//
// It refuses to be kind. The closed loop keeps every sample, so percentiles are
// exact. The open loop counts a latency from when the request was to be sent, so
// that a server that stalls is charged for all who would have come meanwhile.
// Every answer is checked, the successor of each refresh token letter by letter,
// and one error fails the run.
//
// Threat: numbers that flatter. The generator shares the machine with what it
// measures, and says how busy that was before; another program that runs at the
// same time makes everything here worthless.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// options are the command line.
type options struct {
	binary string
	// rows are the grants in the large table, expired the rows that garbage
	// collection has to delete.
	rows, expired int
	// measure is how long each load lasts, after warm.
	measure, warm time.Duration
	// quick: only refreshes on the small table.
	quick bool
	// profile is where to put a CPU profile of the server, and beside it one of
	// what it allocated; nothing but what they are of is measured then.
	profile string
}

func main() {
	var o options
	flag.StringVar(&o.binary, "binary", "bin/countersign", "the program to measure")
	flag.IntVar(&o.rows, "rows", 1_000_000, "grants in the large table")
	flag.IntVar(&o.expired, "expired", 200_000, "expired grants to delete while refreshes go on")
	flag.DurationVar(&o.measure, "measure", 5*time.Second, "how long each load lasts")
	flag.DurationVar(&o.warm, "warm", time.Second, "how long it goes on before it is measured")
	flag.StringVar(&o.profile, "profile", "", "write a CPU profile of the server here while 32 callers refresh with ES256, and do nothing else")
	flag.BoolVar(&o.quick, "quick", false, "measure refreshes on the small table, and nothing else")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		stop()
		os.Exit(1)
	}
}

// run measures everything, and prints the targets last.
func run(ctx context.Context, o options) (err error) {
	b, err := newBench(ctx, o)
	if err != nil {
		return err
	}
	defer b.close()
	b.machine("before")
	parts := []func(context.Context) error{b.limits, b.refreshes}
	switch {
	case o.profile != "":
		parts = []func(context.Context) error{b.profiled}
	case !o.quick:
		parts = append(parts, b.openLoop, b.signIns, b.documents, b.coldStarts, b.large, b.garbage)
	}
	for _, part := range parts {
		if err := part(ctx); err != nil {
			return err
		}
	}
	b.machine("after")
	if o.profile == "" {
		b.compare()
	}
	return b.failed()
}
