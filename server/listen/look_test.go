package listen

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// look is called here by hand, so that "once" is exact and not a race with a
// ticker.
func TestEachProblemIsLoggedOnce(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	var log bytes.Buffer
	c := &certificate{certFile: cert, keyFile: key, logger: slog.New(slog.NewTextHandler(&log, nil))}
	put := func(content string) {
		for _, file := range []string{cert, key} {
			if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	for i, step := range []struct {
		change func()
		logged int // problems logged so far
	}{
		{func() {}, 1}, // missing
		{func() {}, 1},
		{func() { put("one") }, 2},
		{func() {}, 2},
		{func() { put("two") }, 3}, // another bad pair is another problem
		{func() {}, 3},
		{func() { os.Remove(key) }, 4},
		{func() {}, 4},
		{func() { put("two") }, 5}, // back to a bad pair: said again
	} {
		step.change()
		c.look()
		if got := strings.Count(log.String(), "keeping the old one"); got != step.logged {
			t.Fatalf("step %d: %d problems logged, want %d:\n%s", i, got, step.logged, log.String())
		}
	}
}
