package main

import (
	"fmt"
	"math"
	"os"
	"text/tabwriter"
	"time"
)

// target is what this is held against, in ratios of the same run where the
// machine matters. A target that is missed does not fail the run: whose machine
// it is does.
type target struct {
	what string
	got  float64
	want float64
	// atLeast: more is better.
	atLeast bool
	format  string
}

func (t target) met() string {
	if t.got == t.want || t.got > t.want == t.atLeast {
		return "met"
	}
	return "MISSED"
}

// compare prints the targets.
func (b *bench) compare() {
	fmt.Println()
	out := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(out, "target\twant\tgot\t")
	for _, t := range b.targets() {
		sign := "≤"
		if t.atLeast {
			sign = "≥"
		}
		fmt.Fprintf(out, "%s\t%s "+t.format+"\t"+t.format+"\t%s\n", t.what, sign, t.want, t.got, t.met())
	}
	out.Flush()
}

func (b *bench) targets() []target {
	g := b.got
	all := []target{
		{"ES256 at 32 callers, of pgbench's updates", g.grants["ES256"] / g.pgbench, 0.20, true, "%.3f"},
		{"RS256 at 32 callers, of bare RSA signatures", g.grants["RS256"] / g.signatures["RS256"], 0.60, true, "%.3f"},
		{"server CPU of an ES256 grant, µs", micros(g.serverCPU), 140, false, "%.0f"},
		{fmt.Sprintf("the same, were this a machine of %d RSA signatures/s", referenceSignatures),
			micros(g.serverCPU) * g.signatures["RS256"] / referenceSignatures, 140, false, "%.0f"},
		{"WAL of a grant, bytes", g.logBytes, 400, false, "%.0f"},
		{"statements of a grant", math.Round(100*g.statements) / 100, 1, false, "%.2f"},
		{"share of heap-only updates", g.hot, 0.95, true, "%.4f"},
		{"server memory after load, MiB", float64(g.resident) / (1 << 20), 60, false, "%.1f"},
	}
	if b.o.quick {
		return all
	}
	return append(all,
		target{"cold start to ready, ms", float64(g.coldStart) / float64(time.Millisecond), 60, false, "%.1f"},
		target{fmt.Sprintf("%d grants, p50 of that of %d", g.rows, smallRows), ratio(g.largeMedian, g.smallMedian), 1.3, false, "%.2f"},
		target{fmt.Sprintf("%d grants, p99 of that of %d", g.rows, smallRows), ratio(g.largeTail, g.smallTail), 1.3, false, "%.2f"},
		target{fmt.Sprintf("p99 while %d expired rows go, of that before", g.expired), ratio(g.drainingTail, g.quietTail), 2, false, "%.2f"},
	)
}

// referenceSignatures is how many bare RS256 signatures a second the machine made,
// on all cores, that the target for CPU time was measured on. There a bare
// prototype (a handler, an HMAC, the statement by pgx, a signature by go-jose)
// took 136 µs.
const referenceSignatures = 2820

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

func ratio(a, b time.Duration) float64 { return float64(a) / float64(b) }
