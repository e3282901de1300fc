//go:build unix

package npm

import (
	"os"
	"syscall"
)

// lockFile waits for an exclusive lock on the file; closing it lets go.
func lockFile(path string) (*os.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
