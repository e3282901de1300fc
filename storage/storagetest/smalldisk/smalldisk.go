// Package smalldisk makes small file systems that tests can fill: a tmpfs each,
// which says ENOSPC as a full disk does. It refuses to pretend: where the system
// lets nobody mount, the tests fail.
//
// Threat: a test run that is killed must leave no mount behind. A keeper process
// unmounts when the test process is gone, however it went (see pgcluster).
package smalldisk

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// Disk is a small file system.
type Disk struct {
	t   testing.TB
	dir string
}

// keeping waits for the end of its standard input, then cleans up if the test did
// not.
const keeping = `cat >/dev/null; [ ! -d "$1" ] || { umount -l "$1"; rmdir "$1"; }`

// New mounts a disk of so many bytes, until the test ends.
func New(t testing.TB, size int) *Disk {
	t.Helper()
	parent := os.Getenv(folders)
	if parent == "" {
		parent = "/tmp"
	}
	dir, err := os.MkdirTemp(parent, "disk-")
	if err != nil {
		t.Fatal(err)
	}
	if err := mount(dir, size); err != nil {
		_ = os.Remove(dir) // the first error says more
		t.Fatalf("mounting a small disk: %v: run the tests on Linux as root, or as somebody to whom it gives user namespaces", err)
	}
	keeper := exec.Command("/bin/sh", "-c", keeping, "keeper", dir)
	keeper.Dir = "/"
	// A group of its own: the interrupt key must not end it with the tests.
	keeper.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	pipe, err := keeper.StdinPipe()
	if err == nil {
		err = keeper.Start()
	}
	if err != nil {
		t.Fatal(errors.Join(err, unmount(dir), os.Remove(dir)))
	}
	t.Cleanup(func() {
		if err := errors.Join(unmount(dir), os.Remove(dir), pipe.Close(), keeper.Wait()); err != nil {
			t.Errorf("unmounting a small disk: %v", err)
		}
	})
	return &Disk{t: t, dir: dir}
}

// Folder is where it is mounted. Everybody may write there.
func (d *Disk) Folder() string { return d.dir }

func (d *Disk) ballast() string { return filepath.Join(d.dir, "ballast") }

// Fill leaves no byte free.
func (d *Disk) Fill() {
	d.t.Helper()
	f, err := os.OpenFile(d.ballast(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		d.t.Fatal(err)
	}
	defer f.Close()
	if _, err := io.Copy(f, zeros{}); !errors.Is(err, syscall.ENOSPC) {
		d.t.Fatalf("filling a disk ends with %v", err)
	}
}

// Free gives back what Fill took.
func (d *Disk) Free() {
	d.t.Helper()
	if err := os.Remove(d.ballast()); err != nil {
		d.t.Fatal(err)
	}
}

// zeros never end.
type zeros struct{}

// Read implements io.Reader.
func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
