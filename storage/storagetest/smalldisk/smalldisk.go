// Package smalldisk makes small file systems that tests can fill: a tmpfs each,
// which says ENOSPC as a full disk does. It refuses to pretend: where the system
// lets nobody mount, New says so.
//
// Threat: a test run that is killed must leave no mount behind. A keeper process
// unmounts when the test process is gone, however it went (see pgcluster).
package smalldisk

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// ErrNotPermitted: this process may not mount. Root may, outside of the strictest
// containers.
var ErrNotPermitted = errors.New("mounting a small disk is not permitted")

// Disk is a small file system.
type Disk struct {
	t   testing.TB
	dir string
}

// keeping waits for the end of its standard input, then cleans up. Somebody may
// still be in there, so the mount goes when they have left.
const keeping = `cat >/dev/null; umount -l "$1"; rmdir "$1"`

// New mounts a disk of so many bytes, until the test ends.
func New(t testing.TB, size int) (*Disk, error) {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "disk-")
	if err != nil {
		return nil, err
	}
	if err := mount(dir, size); err != nil {
		_ = os.Remove(dir) // the first error says more
		return nil, fmt.Errorf("%w: %w", ErrNotPermitted, err)
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
		return nil, errors.Join(err, unmount(dir), os.Remove(dir))
	}
	t.Cleanup(func() {
		if err := errors.Join(pipe.Close(), keeper.Wait()); err != nil {
			t.Errorf("unmounting a small disk: %v", err)
		}
	})
	return &Disk{t: t, dir: dir}, nil
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
