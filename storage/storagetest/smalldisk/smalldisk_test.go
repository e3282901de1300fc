package smalldisk_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/countersign/countersign/storage/storagetest/smalldisk"
)

func TestMain(m *testing.M) { os.Exit(smalldisk.Run(m)) }

// A disk is full when it is filled, has room when it is freed, and is gone when
// the test is over.
func TestDisk(t *testing.T) {
	var folder string
	t.Run("mounted", func(t *testing.T) {
		disk := smalldisk.New(t, 1<<20)
		folder = disk.Folder()
		for _, name := range []string{"one", "two"} {
			file := filepath.Join(folder, name)
			disk.Fill()
			if err := os.WriteFile(file, make([]byte, 1<<16), 0o600); !errors.Is(err, syscall.ENOSPC) {
				t.Errorf("writing to a full disk: %v", err)
			}
			disk.Free()
			if err := os.WriteFile(file, make([]byte, 1<<16), 0o600); err != nil {
				t.Errorf("writing to a freed disk: %v", err)
			}
		}
	})
	if _, err := os.Stat(folder); !os.IsNotExist(err) {
		t.Errorf("%s is still there: %v", folder, err)
	}
}

// Whoever is not root may do the same.
func TestDiskOfAnybody(t *testing.T) {
	if os.Geteuid() != 0 {
		return // then TestDisk is that
	}
	own, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	// Nobody may look into the folders of root's tests.
	dir, err := os.MkdirTemp("/tmp", "anybody-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	program := filepath.Join(dir, "tests")
	if err := errors.Join(os.WriteFile(program, own, 0o755), os.Chmod(program, 0o755), os.Chmod(dir, 0o755)); err != nil {
		t.Fatal(err)
	}
	const nobody = 65534
	tests := exec.CommandContext(t.Context(), program, "-test.run=^TestDisk$", "-test.v")
	tests.Dir, tests.Env = dir, []string{"PATH=" + os.Getenv("PATH")}
	tests.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	out, err := tests.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: TestDisk/mounted") {
		t.Errorf("%v\n%s", err, out)
	}
}
