// Package binary builds the program as `make build` does and runs it for tests.
//
// It refuses to know what a test is about: it builds, starts, waits until the
// program is ready, and stops it.
//
// Threat: a test that passes although the program broke on the way. Whatever it
// logs as an error fails the test, and so does an exit that is not clean.
package binary

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/countersign/countersign/e2e/browser"
)

// build is the one build of this process.
var build struct {
	once sync.Once
	dir  string
	err  error
}

// Path builds the program, once per process, and returns where it is. Remove
// deletes it.
func Path(t testing.TB) string {
	t.Helper()
	build.once.Do(func() { build.dir, build.err = compile(browser.Root(t)) })
	if build.err != nil {
		t.Fatalf("building the program: %v", build.err)
	}
	return filepath.Join(build.dir, "countersign")
}

// Remove deletes what Path built. It is for the end of a TestMain.
func Remove() {
	if build.dir != "" {
		os.RemoveAll(build.dir)
	}
}

// compile builds with the flags of the Makefile, so that both share their caches.
func compile(root string) (dir string, err error) {
	if dir, err = os.MkdirTemp("", "countersign-e2e-"); err != nil {
		return "", err
	}
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", dir, "./cmd/countersign")
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", errors.Join(fmt.Errorf("%w\n%s", err, out), os.RemoveAll(dir))
	}
	return dir, nil
}
