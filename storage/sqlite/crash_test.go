package sqlite_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/countersign/countersign/storage"
	"github.com/countersign/countersign/storage/sqlite"
	"github.com/countersign/countersign/storage/storagetest"
)

// dying holds the order that the test binary takes as another process.
const dying = "COUNTERSIGN_TEST_SQLITE_DYING"

// order is a step to take, and after how many parts of it to be killed.
type order struct {
	File, Name string
	Scene      storagetest.Scene
	Parts      int
}

// takeOrder is what the other process does.
func takeOrder(text string) int {
	var o order
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		fmt.Println(err)
		return 1
	}
	s, err := sqlite.OpenDying(sqlite.Config{File: o.File}, func() {
		if o.Parts--; o.Parts < 0 {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {} // until it arrives
		}
	})
	if err == nil {
		err = storagetest.Transition(context.Background(), o.Name, s, o.Scene)
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

// give lets another process take a step.
func (o order) give() (through bool, err error) {
	self, err := os.Executable()
	if err != nil {
		return false, err
	}
	text, err := json.Marshal(o)
	if err != nil {
		return false, err
	}
	cmd := exec.Command(self)
	// A process with the race detector takes a second to end, unless told otherwise.
	cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0", dying+"="+string(text))
	out, err := cmd.Output()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signal() == syscall.SIGKILL {
			return false, storagetest.ErrLost
		}
		return true, errors.New(strings.TrimSpace(string(out)))
	}
	return true, err
}

// A process is killed before each statement, BEGIN and COMMIT, and before it can
// say that it has committed.
func TestCrashAtEveryStatement(t *testing.T) {
	storagetest.RunCrashes(t, func(t *testing.T) (storagetest.Database, storagetest.Crash) {
		file := filepath.Join(t.TempDir(), "test.db")
		open(t, sqlite.Config{File: file})
		return func(t *testing.T) storage.Store { return open(t, sqlite.Config{File: file}) },
			func(_ *testing.T, name string, scene storagetest.Scene, parts int) (bool, error) {
				return order{file, name, scene, parts}.give()
			}
	})
}
