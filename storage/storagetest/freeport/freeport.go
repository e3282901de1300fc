// Package freeport finds ports for the servers that tests start, which have to be
// told theirs before they listen.
//
// A port that the system picks is free for a moment: the next test process, or the
// next outgoing connection, may get the same. These come from below the range of
// outgoing connections, and are held by a lock that other test processes see, for
// as long as this one lives.
package freeport

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// The ports to choose from. Linux takes those of outgoing connections from 32768
// upwards (net.ipv4.ip_local_port_range).
const (
	first = 12000
	last  = 32000
)

// Find returns a port of 127.0.0.1 that nobody listens on and no other test
// process is given.
func Find() (int, error) {
	dir := filepath.Join(os.TempDir(), "countersign-test-ports")
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return 0, fmt.Errorf("making the folder of reserved ports: %w", err)
	}
	_ = os.Chmod(dir, 0o777) // for everybody, whatever our umask is; others' is so already
	var why error
	for range 10_000 {
		port := first + rand.N(last-first)
		if err := reserve(filepath.Join(dir, strconv.Itoa(port))); err != nil {
			why = err
		} else if free(port) {
			return port, nil
		}
	}
	if why != nil {
		return 0, fmt.Errorf("there is no free port: %w", why)
	}
	return 0, errors.New("there is no free port")
}

// held keeps the locks: a file that is closed unlocks.
var held = make(chan *os.File, last-first)

// reserve locks the file of a port until the process ends.
func reserve(file string) error {
	// The folder is everybody's: whoever put a link there may not choose the file.
	f, err := os.OpenFile(file, os.O_CREATE|os.O_RDONLY|syscall.O_NOFOLLOW, 0o666)
	if err != nil {
		return err
	}
	// Whoever else has it open has locked it, also in this process.
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return fmt.Errorf("locking %s: %w", file, err)
	}
	held <- f
	return nil
}

func free(port int) bool {
	l, err := net.Listen("tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return false
	}
	l.Close()
	return true
}
