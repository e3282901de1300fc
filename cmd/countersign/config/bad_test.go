package config_test

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/countersign/countersign/cmd/countersign/config"
)

var update = flag.Bool("update", false, "rewrite the expectations in testdata/bad")

// env is what the files in testdata refer to.
func env(name string) (string, bool) {
	value, ok := map[string]string{
		"SECRET":    "env-secret-0123456789abcdef0123456789",
		"EMPTY":     "",
		"DB_PORT":   "6543",
		"DB_PASS":   "p$SECRET: [x]",
		"CLIENT":    "from-env",
		"HASH":      "$2y$10$PjMt7gUnhCuBI62BIiPPN.2Sm47bmR8gUW9cMQkmLP1EFCXwQb9.K",
		"INJECTION": "a@b.example\nhash: x",
	}[name]
	return value, ok
}

const want = "# want: "

// Every file in testdata/bad breaks one rule (or a few that belong together)
// and ends with the exact messages that it must produce, one per line.
func TestBadFiles(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.yaml")
	if err != nil || len(files) < 80 {
		t.Fatalf("found %d files: %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) { badFile(t, file) })
	}
}

func badFile(t *testing.T, file string) {
	_, err := config.Load(file, env)
	var bad *config.Error
	if !errors.As(err, &bad) {
		t.Fatalf("got %v, want an *Error", err)
	}
	if !slices.IsSortedFunc(bad.Problems, func(a, b config.Problem) int { return a.Line - b.Line }) {
		t.Errorf("problems are not ordered by line:\n%v", err)
	}
	got := strings.Split(strings.ReplaceAll(err.Error(), file, "FILE"), "\n")
	text, messages := expectations(t, file)
	if *update {
		rewrite(t, file, text, got)
		return
	}
	if diff := cmp.Diff(messages, got); diff != "" {
		t.Errorf("messages (-want +got):\n%s", diff)
	}
}

// expectations splits a file into its text and the messages it must produce.
func expectations(t *testing.T, file string) (text string, messages []string) {
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if message, ok := strings.CutPrefix(line, want); ok {
			messages = append(messages, strings.TrimSuffix(message, "\n"))
		} else {
			text += line
		}
	}
	return text, messages
}

func rewrite(t *testing.T, file, text string, messages []string) {
	for _, m := range messages {
		text += want + m + "\n"
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
