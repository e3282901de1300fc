// Package npm installs packages of Node.js for tests, as a package-lock.json pins
// them.
//
// It refuses to skip: without npm, the test fails.
//
// Threat: what is installed is what the hashes of the lock file say, and no script of
// a package runs at installation.
package npm

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Install calls `npm ci` in a folder with a package-lock.json, unless what it locks is
// installed. Tests of several packages may come here at once; one installs, the others
// wait.
func Install(folder string) error {
	mine, err := lockFile(filepath.Join(folder, "package-lock.json"))
	if err != nil {
		return fmt.Errorf("locking: %w", err)
	}
	defer mine.Close()
	wanted, err := locked(filepath.Join(folder, "package-lock.json"))
	if err != nil {
		return err
	}
	if got, err := locked(filepath.Join(folder, "node_modules", ".package-lock.json")); err == nil && same(wanted, got) {
		return nil
	}
	npm, err := exec.LookPath("npm")
	if err != nil {
		return fmt.Errorf("this test needs npm, which is not on PATH (Debian: apt-get install npm): %w", err)
	}
	cmd := exec.Command(npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	cmd.Dir = folder
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("npm ci: %w\n%s", err, out)
	}
	return nil
}

// lock is what a lock file says of a package.
type lock struct {
	// Integrity is a hash.
	Integrity string
	// Optional packages are for some machines only.
	Optional bool
}

// locked reads a lock file: packages by where they are installed.
func locked(lockFile string) (map[string]lock, error) {
	content, err := os.ReadFile(lockFile)
	if err != nil {
		return nil, err
	}
	var file struct{ Packages map[string]lock }
	if err := json.Unmarshal(content, &file); err != nil {
		return nil, fmt.Errorf("reading %s: %w", lockFile, err)
	}
	delete(file.Packages, "") // the folder itself
	return file.Packages, nil
}

// same reports whether what is wanted is there, and nothing else.
func same(wanted, got map[string]lock) bool {
	for path, w := range wanted {
		if g, ok := got[path]; ok && g.Integrity != w.Integrity || !ok && !w.Optional {
			return false
		}
	}
	for path := range got {
		if _, ok := wanted[path]; !ok {
			return false
		}
	}
	return true
}
