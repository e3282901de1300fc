package smalldisk

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"
)

// capSysAdmin is the number of the right to mount (capabilities(7)).
const capSysAdmin = 21

// folders is where a process that Run started makes its disks.
const folders = "COUNTERSIGN_TEST_DISKS"

// Run is m.Run for tests that make disks, and belongs into TestMain. Root may
// mount. Everybody else runs the tests once more in a user and a mount namespace
// of their own (user_namespaces(7)), as the same user, because PostgreSQL does not
// run as root, but with the right to mount.
func Run(m *testing.M) int {
	if os.Geteuid() == 0 || os.Getenv(folders) != "" {
		return m.Run()
	}
	dir, err := os.MkdirTemp("/tmp", "disks-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	// Mounts are gone with their namespace; what is left are empty folders.
	defer os.RemoveAll(dir)
	// The system ends the tests when this thread ends, so it has to stay.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), folders+"="+dir)
	uid, gid := os.Geteuid(), os.Getegid()
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: uid, HostID: uid, Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: gid, HostID: gid, Size: 1}},
		AmbientCaps: []uintptr{capSysAdmin},
		Pdeathsig:   syscall.SIGKILL,
	}
	err = cmd.Run()
	var ended *exec.ExitError
	switch {
	case errors.As(err, &ended):
		return max(ended.ExitCode(), 1)
	case err != nil:
		fmt.Fprintf(os.Stderr, "no namespaces for the tests, so that they may not mount: %v\n", err)
		return m.Run()
	}
	return 0
}

func mount(dir string, size int) error {
	return syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_NOSUID|syscall.MS_NODEV, fmt.Sprintf("size=%d,mode=0777", size))
}

// unmount is for a disk that somebody may still be in: it goes when they have left.
func unmount(dir string) error { return syscall.Unmount(dir, syscall.MNT_DETACH) }
