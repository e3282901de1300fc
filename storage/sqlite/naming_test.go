package sqlite_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/countersign/countersign/storage"
	"github.com/countersign/countersign/storage/sqlite"
)

// The path in the configuration may be relative: an operator is told which file it is
// that is damaged, missing or locked.
func TestErrorsNameTheFile(t *testing.T) {
	folder := t.TempDir()
	damaged := filepath.Join(folder, "damaged.db")
	if err := os.WriteFile(damaged, []byte(strings.Repeat("This is no database. ", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	s := replicas(t, damaged)[0]
	if err := s.Migrate(t.Context()); err == nil || !strings.Contains(err.Error(), damaged) || errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("damaged: %v", err)
	}
	missing := filepath.Join(folder, "missing.db")
	if _, err := replicas(t, missing)[0].Ping(t.Context()); err == nil || !strings.Contains(err.Error(), missing) {
		t.Errorf("missing: %v", err)
	}
	locked := filepath.Join(folder, "locked.db")
	open(t, sqlite.Config{File: locked})
	other, err := plain(t, locked).Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if _, err := other.ExecContext(t.Context(), `BEGIN EXCLUSIVE`); err != nil {
		t.Fatal(err)
	}
	hurried, err := sqlite.Open(sqlite.Config{File: locked, StatementTimeout: 10 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer hurried.Close()
	if _, err := hurried.Ping(t.Context()); err == nil || !strings.Contains(err.Error(), locked) {
		t.Errorf("locked: %v", err)
	}
}

// SQLite says of a folder that it may not write to that the database is read-only,
// which it is not.
func TestReadOnlyFolder(t *testing.T) {
	folder, err := os.MkdirTemp("/tmp", "read-only-") // nobody may look into the folders of root's tests
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(os.Chmod(folder, 0o700), os.RemoveAll(folder)); err != nil {
			t.Error(err)
		}
	})
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	own, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	program, file := filepath.Join(folder, "tests"), filepath.Join(folder, "test.db")
	err = errors.Join(os.WriteFile(program, own, 0o755), os.Chmod(program, 0o755),
		os.WriteFile(file, nil, 0o666), os.Chmod(file, 0o666), os.Chmod(folder, 0o555))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program)
	cmd.Dir, cmd.Env = folder, []string{child + "=" + file}
	if os.Geteuid() == 0 { // who may write everywhere
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	out, err := cmd.CombinedOutput()
	want := file + ": attempt to write a readonly database (1544): its folder has to be writable, too"
	if err == nil || !strings.Contains(string(out), want) {
		t.Errorf("%v, %s", err, out)
	}
}
