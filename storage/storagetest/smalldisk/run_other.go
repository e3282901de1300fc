//go:build !linux

package smalldisk

import (
	"errors"
	"testing"
)

const folders = "COUNTERSIGN_TEST_DISKS"

// Run is m.Run: only Linux has a way to make disks.
func Run(m *testing.M) int { return m.Run() }

func mount(string, int) error { return errors.ErrUnsupported }

func unmount(string) error { return errors.ErrUnsupported }
