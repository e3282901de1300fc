package script

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Binary builds the program as `make build` does, into a folder of the test.
func Binary(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "countersign")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w -X main.version=v0.0.0-test", "-o", path,
		"github.com/countersign/countersign/cmd/countersign")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building the program: %v\n%s", err, out)
	}
	return path
}
