package faults_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/countersign/countersign/e2e/leak"
)

// The invariants of the load, as the book lists them.
const (
	oneSuccessor   = "I1 one token, one successor"
	rotationKept   = "I2 no acknowledged rotation lost"
	revocationKept = "I2 no acknowledged revocation lost"
	revokedDead    = "I3 nothing revoked ever works"
	idTokens       = "I4 every id_token verifies"
	failedStore    = "I5 no 2xx on a failed store"
	saysSo         = "I5 an answer of failure is a 503 with Retry-After"
	chainsKept     = "I6 no chain lost by a client that retries"
	noSecrets      = "I7 no secret in a log"
	usedDead       = "F13 no used token accepted after a restart"
	bounded        = "F4 F14 goroutines and memory stay bounded"
)

var invariants = []string{oneSuccessor, rotationKept, revocationKept, revokedDead, idTokens, failedStore, saysSo, chainsKept, noSecrets, usedDead, bounded}

// book counts what was checked and what was found wrong.
type book struct {
	t     *testing.T
	began time.Time

	mu       sync.Mutex
	checked  map[string]int
	violated map[string]int
	counts   map[string]int
	ready    []time.Duration
}

func newBook(t *testing.T) *book {
	return &book{t: t, began: time.Now(), checked: map[string]int{}, violated: map[string]int{}, counts: map[string]int{}}
}

// check counts one look at an invariant, and says what is wrong if it does not hold.
func (b *book) check(invariant string, holds bool, format string, args ...any) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.checked[invariant]++
	if holds {
		return true
	}
	if b.violated[invariant]++; b.violated[invariant] <= 5 {
		b.t.Errorf("%s: %s", invariant, fmt.Sprintf(format, args...))
	}
	return false
}

// looked reports whether an invariant was checked.
func (b *book) looked(invariant string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.checked[invariant] > 0
}

// count counts what is neither right nor wrong.
func (b *book) count(what string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.counts[what]++
}

// most keeps the largest of what was counted elsewhere.
func (b *book) most(what string, n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.counts[what] = max(b.counts[what], n)
}

func (b *book) counted(what string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.counts[what]
}

// readyAfter notes how long something took to be ready again.
func (b *book) readyAfter(d time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ready = append(b.ready, d)
}

// searchLogs looks for secrets.
func (b *book) searchLogs(files []string) {
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			b.t.Error(err)
		}
		for line := range strings.Lines(string(data)) {
			secret := slices.ContainsFunc(secretive, func(s string) bool { return strings.Contains(line, s) })
			b.check(noSecrets, !secret && leak.Token(line) == "", "%s", line)
			if strings.HasPrefix(line, "panic:") || strings.HasPrefix(line, "fatal error:") {
				b.t.Errorf("%s: %s", file, line)
			}
		}
	}
}

// print closes the book. Each invariant named must have been looked at.
func (b *book) print(must ...string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var text strings.Builder
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(table, "\n%s, %.1f s\t checked\t violated\t\n", b.t.Name(), time.Since(b.began).Seconds())
	for _, invariant := range invariants {
		if b.checked[invariant] > 0 {
			fmt.Fprintf(table, "%s\t %d\t %d\t\n", invariant, b.checked[invariant], b.violated[invariant])
		}
		if slices.Contains(must, invariant) && b.checked[invariant] == 0 {
			b.t.Errorf("%s: nobody looked", invariant)
		}
	}
	names := make([]string, 0, len(b.counts))
	for name := range b.counts {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		fmt.Fprintf(table, "%s\t %d\t\t\n", name, b.counts[name])
	}
	_ = table.Flush() // into memory
	if n := len(b.ready); n > 0 {
		slices.Sort(b.ready)
		fmt.Fprintf(&text, "ready again after: median %s, longest %s\n", b.ready[n/2].Round(time.Millisecond), b.ready[n-1].Round(time.Millisecond))
	}
	fmt.Print(text.String())
}
