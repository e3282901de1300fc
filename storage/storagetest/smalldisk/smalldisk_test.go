package smalldisk_test

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/countersign/countersign/storage/storagetest/smalldisk"
)

// A disk is full when it is filled, has room when it is freed, and is gone when
// the test is over.
func TestDisk(t *testing.T) {
	var folder string
	t.Run("mounted", func(t *testing.T) {
		disk, err := smalldisk.New(t, 1<<20)
		if errors.Is(err, smalldisk.ErrNotPermitted) {
			t.Logf("NOT TESTED, for want of a right: %v", err)
			return
		}
		if err != nil {
			t.Fatal(err)
		}
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
	if folder == "" {
		return
	}
	if _, err := os.Stat(folder); !os.IsNotExist(err) {
		t.Errorf("%s is still there: %v", folder, err)
	}
}
